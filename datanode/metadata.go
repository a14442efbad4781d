package datanode

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// metadataClient calls the metadata service: the node that answered last, then the others in turn.
type metadataClient struct {
	conns *connPool
	views *tenant.Views
	seeds []string

	mu   sync.Mutex
	last string
}

var errNoMetadata = errors.New("no metadata node answered")

// callTimeout bounds one attempt on one metadata node.
const callTimeout = 5 * time.Second

func (c *metadataClient) addresses() []string {
	c.mu.Lock()
	list := []string{}
	if c.last != "" {
		list = append(list, c.last)
	}
	c.mu.Unlock()
	if v := c.views.Current(); v != nil {
		for _, n := range v.Cluster().GetMetadataNodes() {
			list = append(list, n.GetClusterAddr())
		}
	}
	list = append(list, c.seeds...)
	seen := make(map[string]bool)
	return slices.DeleteFunc(list, func(a string) bool {
		dup := seen[a] || a == ""
		seen[a] = true
		return dup
	})
}

// elsewhere says that another metadata node may do what this one could not.
func elsewhere(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return true
	}
	return false
}

// call runs f on one metadata node after another until one answers. timeout bounds each attempt.
func (c *metadataClient) call(ctx context.Context, timeout time.Duration, f func(context.Context, atollpb.MetadataClient) error) error {
	errs := errNoMetadata
	for _, addr := range c.addresses() {
		conn, err := c.conns.get(addr)
		if err != nil {
			return err
		}
		attempt, cancel := context.WithTimeout(ctx, timeout)
		err = f(attempt, atollpb.NewMetadataClient(conn))
		cancel()
		if err == nil {
			c.mu.Lock()
			c.last = addr
			c.mu.Unlock()
			return nil
		}
		errs = fmt.Errorf("%w: %s: %w", errNoMetadata, addr, err)
		if !elsewhere(err) {
			return err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errs
}

// join registers the node, and remembers what the service told it.
func (n *Node) join(ctx context.Context) (*atollpb.JoinResponse, error) {
	r := &atollpb.JoinRequest{
		ClusterId: n.id.ClusterID, NodeId: n.cfg.NodeID, Incarnation: n.id.Incarnation,
		RespAddr: n.cfg.RESPAddr, ClusterAddr: n.cfg.ClusterAddr, Version: n.cfg.Version, HasData: n.id.HasData,
	}
	if s := n.member.Store(); s != nil {
		r.DataHistoryId = s.Applied().History
	}
	var reply *atollpb.JoinResponse
	err := n.meta.call(ctx, callTimeout, func(ctx context.Context, m atollpb.MetadataClient) (err error) {
		reply, err = m.Join(ctx, r)
		return err
	})
	return reply, err
}

func (n *Node) beginEpoch(ctx context.Context, r *atollpb.BeginEpochRequest) error {
	r.ClusterId = n.id.ClusterID
	return n.meta.call(ctx, callTimeout, func(ctx context.Context, m atollpb.MetadataClient) error {
		reply, err := m.BeginEpoch(ctx, r)
		if err == nil {
			n.cfg.Log.Info("got a new epoch", "revision", reply.GetRevision(), "after_index", r.GetLastIndex())
		}
		return err
	})
}

var namespaceOps = map[command.NamespaceOp]atollpb.NamespacesOp{
	command.NamespaceAdd: atollpb.NamespacesOp_NAMESPACES_OP_ADD,
	command.NamespaceSet: atollpb.NamespacesOp_NAMESPACES_OP_SET,
	command.NamespaceDel: atollpb.NamespacesOp_NAMESPACES_OP_DEL,
}

var namespaceStatus = map[atollpb.NamespacesResult]command.NamespaceStatus{
	atollpb.NamespacesResult_NAMESPACES_RESULT_OK:           command.NamespaceOK,
	atollpb.NamespacesResult_NAMESPACES_RESULT_EXISTS:       command.NamespaceExists,
	atollpb.NamespacesResult_NAMESPACES_RESULT_TOKEN_EXISTS: command.NamespaceTokenExists,
	atollpb.NamespacesResult_NAMESPACES_RESULT_NOT_FOUND:    command.NamespaceNotFound,
	atollpb.NamespacesResult_NAMESPACES_RESULT_FORBIDDEN:    command.NamespaceForbidden,
	atollpb.NamespacesResult_NAMESPACES_RESULT_INVALID:      command.NamespaceInvalid,
}

// waitApplied is how long a change of the namespaces waits for the live nodes.
const waitApplied = time.Second

// Namespaces is command.Node. The request id makes a retry on another metadata node have one effect.
func (n *Node) Namespaces(ctx context.Context, call command.NamespaceCall) (command.NamespaceResult, error) {
	r := &atollpb.NamespacesRequest{
		ClusterId: n.id.ClusterID, NodeId: n.cfg.NodeID, Op: namespaceOps[call.Op], Name: call.Name,
		TokenHash: call.TokenHash, RequestId: rand.Text(), WaitAppliedMs: waitApplied.Milliseconds(),
	}
	var reply *atollpb.NamespacesResponse
	err := n.meta.call(ctx, callTimeout, func(ctx context.Context, m atollpb.MetadataClient) (err error) {
		reply, err = m.Namespaces(ctx, r)
		return err
	})
	if err != nil {
		return command.NamespaceResult{}, err
	}
	result := command.NamespaceResult{
		Status: namespaceStatus[reply.GetResult()], Message: reply.GetMessage(), Lagging: reply.GetLaggingNodes(),
	}
	if result.Status == command.NamespaceOK {
		if _, err := n.views.Wait(ctx, reply.GetRevision()); err != nil {
			return result, fmt.Errorf("wait for view %d: %w", reply.GetRevision(), err)
		}
	}
	return result, nil
}

const (
	reportEvery = time.Second           // at least
	reportCheck = 20 * time.Millisecond // how soon a change that isn't the view's is told
)

// report tells the leader what this node has applied: at once when the view changes, soon when something
// else does that a controller waits for, and every second anyway.
func (n *Node) report(ctx context.Context) {
	tick := time.NewTicker(reportCheck)
	defer tick.Stop()
	var told *atollpb.NodeReport
	var at time.Time
	for ctx.Err() == nil {
		changed := n.views.Changed()
		r := n.buildReport()
		if urgent(told, r) || time.Since(at) >= reportEvery {
			err := n.meta.call(ctx, callTimeout, func(ctx context.Context, m atollpb.MetadataClient) error {
				_, err := m.Report(ctx, &atollpb.ReportRequest{ClusterId: n.id.ClusterID, Report: r})
				return err
			})
			at = time.Now()
			if err == nil {
				told = r
			} else if ctx.Err() == nil {
				n.cfg.Log.Debug("report to the metadata service", "err", err)
				told = r // it is told again in a second
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-tick.C:
		}
	}
}

// urgent says that somebody may be waiting for the difference between two reports.
func urgent(told, r *atollpb.NodeReport) bool {
	return told == nil || told.GetViewRevision() != r.GetViewRevision() || told.GetState() != r.GetState() ||
		told.GetQuiescedRevision() != r.GetQuiescedRevision() || told.GetWritten().GetEpoch() != r.GetWritten().GetEpoch() ||
		told.GetNote() != r.GetNote() || len(told.GetPurgedNamespaces()) != len(r.GetPurgedNamespaces())
}

func (n *Node) buildReport() *atollpb.NodeReport {
	st := n.member.Status()
	r := &atollpb.NodeReport{
		NodeId: n.cfg.NodeID, Incarnation: n.id.Incarnation, State: st.State, QuiescedRevision: st.Quiesced,
		CommitIndex: st.Commit, Note: st.Note[:min(len(st.Note), 256)],
	}
	v := n.views.Current()
	if v != nil {
		r.ViewRevision = v.Revision()
	}
	s := n.member.Store()
	if s == nil {
		return r
	}
	if s.DiskFull() {
		r.State, r.Note = atollpb.NodeState_NODE_STATE_READ_ONLY, "the disk is full"
	}
	log, applied, total := s.Log().State(), s.Applied(), s.Total()
	r.Written = &atollpb.Position{HistoryId: applied.History, Epoch: log.LastEpoch, Index: log.Last}
	r.SyncedIndex, r.AppliedIndex = log.SyncedIndex, applied.Index
	r.Keys, r.Bytes = uint64(max(0, total.Keys)), uint64(max(0, total.Bytes))
	if v == nil {
		return r
	}
	for _, id := range s.Purged() {
		if ns := v.Namespace(id); ns != nil && ns.Deleted() && !slices.Contains(ns.PurgedBy, n.cfg.NodeID+"/"+n.id.Incarnation) {
			r.PurgedNamespaces = append(r.PurgedNamespaces, id)
		}
	}
	return r
}
