package datanode

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/replication"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
)

const (
	reportEvery  = time.Second           // at least
	reportCheck  = 20 * time.Millisecond // how soon a change that isn't the view's is told
	noteBytesMax = 256
)

// report tells the leader what this node has applied: at once when the view changes, soon when something
// else does that a controller waits for, and every second anyway.
func (n *Node) report(ctx context.Context) {
	tick := time.NewTicker(reportCheck)
	defer tick.Stop()
	var told *atollpb.NodeReport
	var at time.Time
	failing := false
	usage, begin := command.NewUsage(n.executor), true // what a leader knows is from before the start
	for ctx.Err() == nil {
		changed := n.views.Changed()
		if n.promoted() {
			n.syncLog() // writers wait for it
		}
		r := n.buildReport()
		if n.urgent(told, r) || time.Since(at) >= reportEvery {
			n.addTotals(r)
			r.TokenUses, r.NamespaceUses = usage.Collect(n.views.Current(), n.member.Store(), time.Now())
			r.UsesBegin = begin
			err := n.meta.call(ctx, callTimeout, func(ctx context.Context, m atollpb.MetadataClient) error {
				_, err := m.Report(ctx, &atollpb.ReportRequest{ClusterId: n.clusterID(), Report: r})
				return err
			})
			at, told = time.Now(), r // after an error it is told again in a second
			if err != nil {
				usage.Again()
			}
			begin = begin && err != nil
			if err != nil && ctx.Err() == nil && !failing {
				n.cfg.Log.Warn("can't report to the metadata service", "err", err)
			}
			failing = err != nil
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-tick.C:
		}
	}
}

// urgent says that somebody may be waiting for the difference between two reports.
func (n *Node) urgent(told, r *atollpb.NodeReport) bool {
	return told == nil || told.GetViewRevision() != r.GetViewRevision() || told.GetState() != r.GetState() ||
		told.GetQuiescedRevision() != r.GetQuiescedRevision() || told.GetWritten().GetEpoch() != r.GetWritten().GetEpoch() ||
		told.GetNote() != r.GetNote() || !slices.Equal(told.GetPurgedNamespaces(), r.GetPurgedNamespaces()) ||
		((told.GetAppliedIndex() != r.GetAppliedIndex() || told.GetSyncedIndex() != r.GetSyncedIndex()) && n.promoted())
}

// promoted says that this node is to become the primary, which has stopped writing until it has all.
func (n *Node) promoted() bool {
	v := n.views.Current()
	return v != nil && v.Group(replication.GroupID).GetPromotion().GetTarget() == n.cfg.NodeID
}

// syncLog fsyncs what the log holds, without waiting for the time of it.
func (n *Node) syncLog() {
	if s := n.member.Store(); s != nil {
		if err := s.SyncLog(); err != nil && !errors.Is(err, store.ErrClosed) {
			n.cfg.Fatal(err)
		}
	}
}

// buildReport is what can be had at every check, whatever the number of namespaces.
func (n *Node) buildReport() *atollpb.NodeReport {
	st := n.member.Status() // before the log: the end of a quiesced one is final
	r := &atollpb.NodeReport{
		NodeId: n.cfg.NodeID, Incarnation: n.id.Incarnation, State: st.State, QuiescedRevision: st.Quiesced,
		CommitIndex: st.Commit, Note: strings.ToValidUTF8(st.Note[:min(len(st.Note), noteBytesMax)], ""),
	}
	v := n.views.Current()
	if v != nil {
		r.ViewRevision = v.Revision()
	}
	s := n.member.Store()
	if s == nil {
		return r
	}
	if why := readOnly(s); why != "" {
		r.State, r.Note = atollpb.NodeState_NODE_STATE_READ_ONLY, why
	}
	log, applied := s.Log().State(), s.Applied()
	r.Written = &atollpb.Position{HistoryId: applied.History, Epoch: log.LastEpoch, Index: log.Last}
	r.SyncedIndex, r.AppliedIndex = log.SyncedIndex, applied.Index
	if v != nil {
		r.PurgedNamespaces = n.purged(s, v)
	}
	return r
}

// readOnly says why a store takes no writes, empty if it does.
func readOnly(s *store.Store) string {
	switch {
	case s.Damaged() != nil:
		return "damaged data was found: see the log and atoll debug verify"
	case s.DiskFull():
		return "the disk is full"
	}
	return ""
}

// addTotals adds what costs a walk over the namespaces.
func (n *Node) addTotals(r *atollpb.NodeReport) {
	if s := n.member.Store(); s != nil {
		total := s.Total()
		r.Keys, r.Bytes = uint64(max(0, total.Keys)), uint64(max(0, total.Bytes))
	}
}

// purged returns the tombstones whose rows are gone here, and that the view doesn't know it of.
func (n *Node) purged(s *store.Store, v *tenant.View) []uint64 {
	var list, gone []uint64
	self := n.cfg.NodeID + "/" + n.id.Incarnation
	for ns := range v.Tombstones() {
		if slices.Contains(ns.PurgedBy, self) {
			continue
		}
		if gone == nil {
			if gone = s.Purged(); len(gone) == 0 {
				return nil
			}
		}
		if _, ok := slices.BinarySearch(gone, ns.ID); ok {
			list = append(list, ns.ID)
		}
	}
	return list
}
