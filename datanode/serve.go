package datanode

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/replication"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// lease is one generation with a view that its data allows. All that acquire the same two share one, so
// that a run allocates nothing for it.
type lease struct {
	views   *tenant.Views
	view    *tenant.View
	store   *store.Store
	primary bool
}

// Acquire is command.Node. It is promise P1 for every command: no generation is entered by a view that
// is older than the data needs.
func (n *Node) Acquire() (command.Lease, error) {
	for {
		s := n.member.Store()
		switch {
		case n.views.Current() == nil:
			return nil, fmt.Errorf("%w: no view", command.ErrLoading)
		case s == nil:
			return nil, fmt.Errorf("%w: %s", command.ErrLoading, n.member.Status().Note)
		}
		if why := n.member.Blocked(); why != nil {
			return nil, fmt.Errorf("%w: %s", command.ErrLoading, *why)
		}
		if !s.Enter() {
			if n.member.Store() == s {
				return nil, fmt.Errorf("%w: the node is shutting down", command.ErrLoading)
			}
			continue // swapped meanwhile
		}
		v := n.views.Current()
		if need := s.Applied().MinRevision; !replication.ViewBeforeData(v.Revision(), need) {
			s.Leave()
			return nil, fmt.Errorf("%w: the data needs view %d, this node has %d", command.ErrLoading, need, v.Revision())
		}
		return n.leaseOf(s, v), nil
	}
}

func (n *Node) leaseOf(s *store.Store, v *tenant.View) *lease {
	l := n.lease.Load()
	if l == nil || l.store != s || l.view != v {
		l = &lease{n.views, v, s, v.Group(replication.GroupID).GetPrimary() == n.cfg.NodeID}
		n.lease.Store(l)
	}
	return l
}

// View is command.Lease.
func (l *lease) View() *tenant.View { return l.view }

// Store is command.Lease.
func (l *lease) Store() *store.Store { return l.store }

// Primary is command.Lease.
func (l *lease) Primary() bool { return l.primary }

// Newest is command.Lease.
func (l *lease) Newest() *tenant.View { return l.views.Current() }

// Release is command.Lease.
func (l *lease) Release() { l.store.Leave() }

// WaitApplied is command.Node.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	for {
		s := n.member.Store()
		if s == nil {
			return command.ErrLoading
		}
		err := s.WaitApplied(ctx, index)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if n.member.Store() == s {
			return fmt.Errorf("%w: the node is shutting down", command.ErrLoading)
		}
	}
}

// Acks is command.Node.
func (n *Node) Acks(index uint64) command.Acks { return command.Acks(n.member.Acks(index)) }

// SyncLog is command.Node.
func (n *Node) SyncLog() error {
	s := n.member.Store()
	if s == nil {
		return command.ErrLoading
	}
	return s.SyncLog()
}

// Save is command.Node.
func (n *Node) Save(ctx context.Context, wait bool) error {
	done, err := n.member.BeginSave()
	switch {
	case errors.Is(err, replication.ErrSaving):
		return command.ErrSaving
	case err != nil || !wait:
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done(): // the save goes on
		return ctx.Err()
	}
}

// Saves is command.Node.
func (n *Node) Saves() command.Saves { return command.Saves(n.member.Saves()) }

// Facts is command.Node. It enters no store: its caller holds a lease, and a change of role between the
// two would wait for that lease, and this for the change.
func (n *Node) Facts() command.Facts {
	st := n.member.Status()
	f := command.Facts{
		NodeID: n.cfg.NodeID, Incarnation: n.id.Incarnation, RESPAddr: n.cfg.RESPAddr, ClusterAddr: n.cfg.ClusterAddr,
		State: stateName(st.State), Note: st.Note, CommitIndex: st.Commit, SourceUp: st.SourceUp, Syncing: st.Syncing,
		ViewAge: time.Since(n.views.Heard()),
	}
	if !st.Heard.IsZero() {
		f.LagSeconds = int64(time.Since(st.Heard).Seconds())
	}
	s := n.member.Store()
	if s == nil {
		return f
	}
	if why := readOnly(s); why != "" {
		f.State, f.Note, f.Damaged = "read-only", why, s.Damaged() != nil
	}
	log, applied := s.Log().State(), s.Applied()
	f.Written = command.Position{History: applied.History, Epoch: log.LastEpoch, Index: log.Last}
	f.SyncedIndex, f.AppliedIndex = log.SyncedIndex, applied.Index
	if s.Role() != store.Replica {
		f.CommitIndex = log.Last
	}
	v := n.views.Current()
	for _, k := range n.member.Sinks() {
		sink := command.SinkFacts{NodeID: k.NodeID, AppliedIndex: k.Applied, LagSeconds: int64(time.Since(k.Heard).Seconds())}
		if v != nil {
			sink.RESPAddr = v.Node(k.NodeID).GetRespAddr()
		}
		f.Sinks = append(f.Sinks, sink)
	}
	return f
}

func stateName(s atollpb.NodeState) string {
	switch s {
	case atollpb.NodeState_NODE_STATE_SERVING:
		return "serving"
	case atollpb.NodeState_NODE_STATE_SYNCING:
		return "syncing"
	case atollpb.NodeState_NODE_STATE_READ_ONLY:
		return "read-only"
	default:
		return "loading"
	}
}
