package metadata

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/metadata/control"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

func (p *process) group() *atollpb.Group { return p.node.consensus.State().Group(raftfsm.GroupID) }

// at puts a position of the group's log into the node's report.
func (d *dataNode) at(p *process, index uint64) {
	g := p.group()
	d.report.Written = &atollpb.Position{HistoryId: g.HistoryId, Epoch: g.Epoch, Index: index}
	d.report.AppliedIndex, d.report.SyncedIndex = index, index
}

// pair starts a metadata node with a primary, n1, and a replica, n2, both at index 10.
func pair(t *testing.T, config func(*Config)) (p *process, n1, n2 *dataNode) {
	p = newProcessWith(t, "meta1", config)
	p.ready()
	n1, n2 = newDataNode(t, "n1"), newDataNode(t, "n2")
	n1.joins(p)
	n2.joins(p)
	n1.at(p, 10)
	n2.at(p, 10)
	n1.reports(p)
	n2.reports(p)
	return p, n1, n2
}

func promote(p *process, target string, acceptLoss bool) (raftfsm.Result, error) {
	return p.node.control.Promote(p.t.Context(), target, acceptLoss, consensus.ProposeOptions{})
}

func TestPlannedPromotion(t *testing.T) {
	p, n1, n2 := pair(t, nil)
	begun, err := promote(p, "n2", false)
	if err != nil {
		t.Fatal(err)
	}
	// The primary has stopped at 12; the replica has not come there, then has it but has not applied it, then
	// has not fsynced it.
	n1.at(p, 12)
	n1.report.QuiescedRevision = begun.Revision
	n1.reports(p)
	n2.reports(p)
	n2.at(p, 12)
	n2.report.AppliedIndex = 11
	n2.reports(p)
	n2.report.AppliedIndex, n2.report.SyncedIndex = 12, 11
	n2.reports(p)
	if g := p.group(); g.Primary != "n1" {
		t.Fatalf("promoted before the target had everything: %v", g)
	}
	n2.report.SyncedIndex = 12
	n2.reports(p)
	p.until("the promotion", func() bool { return p.group().Primary == "n2" })
	g := p.group()
	if last := g.Epochs[len(g.Epochs)-1]; last.StartIndex != 13 || last.Epoch != g.Epoch || g.Promotion != nil {
		t.Fatalf("group %v", g)
	}
}

func TestPromotionIsAborted(t *testing.T) {
	p, _, _ := pair(t, func(c *Config) { c.promotion = time.Millisecond })
	begun, err := promote(p, "n2", false)
	if err != nil {
		t.Fatal(err)
	}
	p.until("the end of the promotion", func() bool {
		s := p.node.consensus.State()
		return s.Revision() > begun.Revision && s.Group(raftfsm.GroupID).Promotion == nil
	})
	if g := p.group(); g.Primary != "n1" {
		t.Fatalf("group %v", g)
	}
}

func TestPromotionIsRefused(t *testing.T) {
	p, n1, n2 := pair(t, nil)
	refused := func(what, message string, acceptLoss bool) {
		t.Helper()
		_, err := promote(p, "n2", acceptLoss)
		var refusal *raftfsm.Error
		if !errors.As(err, &refusal) || refusal.Code != raftfsm.CodePrecondition || !strings.Contains(refusal.Message, message) {
			t.Errorf("%s: %v", what, err)
		}
	}
	n2.report.State = atollpb.NodeState_NODE_STATE_SYNCING
	n2.reports(p)
	refused("target that syncs", "not serving", false)
	refused("target that syncs, by force", "not serving", true)
	n2.report.State = atollpb.NodeState_NODE_STATE_SERVING
	n2.report.Written.HistoryId = "other"
	n2.reports(p)
	refused("target of another history", "another history", true)
	n2.at(p, 5)
	n2.reports(p)

	// A leader that has just started has heard of nobody.
	p.restart()
	p.ready()
	refused("target that has not reported", "has not reported", true)
	n2.reports(p)
	refused("without the primary", "--accept-loss", false)
	history := p.group().HistoryId
	if _, err := promote(p, "n2", true); err != nil {
		t.Fatal(err)
	}
	if g := p.group(); g.Primary != "n2" || g.HistoryId == history || g.PastHistories[0] != history {
		t.Fatalf("group %v", g)
	}
	n1.reports(p)
	if _, err := promote(p, "nobody", false); !errors.Is(err, &raftfsm.Error{Code: raftfsm.CodeNotFound}) {
		t.Errorf("unknown target: %v", err)
	}
}

// The control plane's half of promise P7: a deleted namespace's id stays, in full views too, until every
// registered node has reported that it has purged it, and a report survives a change of leader or process.
func TestP7TombstoneStaysUntilAllReported(t *testing.T) {
	p, n1, n2 := pair(t, nil)
	id := p.namespaces(atollpb.NamespacesOp_NAMESPACES_OP_ADD, "a", "s").Revision
	kept := p.namespaces(atollpb.NamespacesOp_NAMESPACES_OP_ADD, "b", "s2").Revision
	p.namespaces(atollpb.NamespacesOp_NAMESPACES_OP_DEL, "a", "")
	n1.report.PurgedNamespaces = []uint64{id, kept + 1000}
	n1.reports(p)
	p.until("the purge of n1", func() bool { return len(p.node.consensus.State().Namespace(id).GetPurgedBy()) == 1 })

	p.restart()
	p.ready()
	v := newView(t)
	v.watch(t.Context(), p)
	v.reach(p.node.consensus.State().Revision())
	if n := v.namespaces[id]; n.GetState() != atollpb.NamespaceState_NAMESPACE_STATE_DELETED || len(n.PurgedBy) != 1 {
		t.Fatalf("tombstone in the full view: %v", n)
	}
	n2.report.PurgedNamespaces = []uint64{id}
	n2.reports(p)
	p.until("the end of the tombstone", func() bool { return p.node.consensus.State().Namespace(id) == nil })
	v.reach(p.node.consensus.State().Revision())
	if _, ok := v.namespaces[id]; ok {
		t.Fatal("the view still has the tombstone")
	}
	if p.node.consensus.State().Namespace(kept) == nil || v.namespaces[kept] == nil {
		t.Fatal("another namespace is gone")
	}
}

// Many purges cost few commands: a promotion under way waits for no more than the one at hand.
func TestPurgesAreBatched(t *testing.T) {
	p, n1, n2 := pair(t, nil)
	const many = 200
	var ids []uint64
	raft := p.node.consensus
	for i := range many {
		made, err := raft.Propose(t.Context(), &raftfsm.CreateNamespace{Name: fmt.Sprintf("n%d", i)}, consensus.ProposeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := raft.Propose(t.Context(), &raftfsm.DeleteNamespace{ID: made.NamespaceID}, consensus.ProposeOptions{}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, made.NamespaceID)
	}
	before := p.node.Status().LastLogIndex
	n1.report.PurgedNamespaces, n2.report.PurgedNamespaces = ids, ids
	n1.reports(p)
	n2.reports(p)
	p.until("the end of the tombstones", func() bool {
		for range raft.State().Tombstones() {
			return false
		}
		return true
	})
	if commands := p.node.Status().LastLogIndex - before; commands > 10 {
		t.Errorf("%d commands for %d purges", commands, many)
	}
}

func TestWaitAppliedAfterChangeOfLeader(t *testing.T) {
	p, _, _ := pair(t, nil)
	p.restart()
	p.ready()
	// The new leader has no reports: that says nothing about who is live.
	lag := p.node.control.WaitApplied(t.Context(), 1, time.Millisecond)
	if len(lag.Nodes) != 2 || len(lag.Unreachable) != 0 {
		t.Fatalf("lag %v", lag)
	}
}

// The control plane's half of promise P3: the reply names a node that can't be reached, and doesn't wait
// for it.
func TestP3UnreachableNodesAreNamed(t *testing.T) {
	p, n1, _ := pair(t, nil)
	revision := p.namespaces(atollpb.NamespacesOp_NAMESPACES_OP_ADD, "a", "s").Revision
	p.until("the silence of both nodes", func() bool {
		reports, err := p.node.control.Reports(t.Context())
		return err == nil && !slices.ContainsFunc(reports, func(r control.Report) bool { return r.Live })
	})
	n1.report.ViewRevision = revision
	n1.reports(p)
	lag := p.node.control.WaitApplied(t.Context(), revision, time.Hour)
	if !slices.Equal(lag.Nodes, []string{"n2"}) || !slices.Equal(lag.Unreachable, []string{"n2"}) {
		t.Fatalf("lag %v", lag)
	}
	r, err := p.metadata().Namespaces(t.Context(), &atollpb.NamespacesRequest{
		ClusterId: p.node.Status().ClusterID, NodeId: "n1", Op: atollpb.NamespacesOp_NAMESPACES_OP_DEL, Name: "a", WaitAppliedMs: 1,
	})
	if err != nil || !slices.Contains(r.LaggingNodes, "n2") {
		t.Fatalf("NAMESPACE DEL: %v, %v", r, err)
	}
}

func TestWaitAppliedWithoutALeader(t *testing.T) {
	ps := newCluster(t)
	newDataNode(t, "n1").joins(ps[0])
	ps[0].until("the node", func() bool { return ps[0].node.consensus.State().Node("n1") != nil })
	ps[1].kill()
	ps[2].kill()
	ps[0].until("no leader", func() bool { return ps[0].node.Status().LeaderID == "" })
	if lag := ps[0].node.control.WaitApplied(t.Context(), 1, time.Millisecond); !slices.Equal(lag.Nodes, []string{"n1"}) {
		t.Fatalf("lag %v", lag)
	}
}
