package raftfsm

import (
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/ident"
)

func register(id string) *RegisterNode {
	return &RegisterNode{
		NodeID: id, Incarnation: id + "-i1", RESPAddr: id + ":1", ClusterAddr: id + ":2", Version: "v", NewHistoryID: "h-" + id,
	}
}

func (m *machine) group() *atollpb.Group { return m.State().Group(GroupID) }

func (m *machine) checkGroup(primary string, replicas ...string) {
	m.t.Helper()
	g := m.group()
	if g.Primary != primary || !slices.Equal(g.Replicas, replicas) || !slices.Equal(g.InSync, []string{primary}) {
		m.t.Fatalf("group %v, want primary %s, replicas %v", g, primary, replicas)
	}
	if m.State().Node(primary).Incarnation != g.PrimaryIncarnation {
		m.t.Fatalf("group %v: incarnation of the primary", g)
	}
	for i, e := range g.Epochs {
		if i > 0 && (g.Epochs[i-1].Epoch >= e.Epoch || g.Epochs[i-1].StartIndex >= e.StartIndex) {
			m.t.Fatalf("epochs %v", g.Epochs)
		}
	}
	if g.Epochs[len(g.Epochs)-1].Epoch != g.Epoch {
		m.t.Fatalf("epoch %d, epochs %v", g.Epoch, g.Epochs)
	}
}

func TestRegisterNode(t *testing.T) {
	m := newCluster(t)
	first := m.do(register("n2"))
	m.checkGroup("n2")
	g := m.group()
	if g.Epoch != first.Revision || g.HistoryId != "h-n2" || g.Epochs[0].StartIndex != 1 {
		t.Fatalf("group %v", g)
	}
	m.do(register("n3"))
	m.do(register("n1"))
	m.checkGroup("n2", "n1", "n3")

	// The same again changes nothing, another address only that.
	before := m.State().Revision()
	if r := m.do(register("n1")); r.Revision != before || m.State().Revision() != before {
		t.Fatalf("registering again: %+v", r)
	}
	moved := register("n1")
	moved.RESPAddr = "elsewhere:1"
	m.do(moved)
	if n := m.State().Node("n1"); n.RespAddr != "elsewhere:1" || n.RegisteredRevision == n.ModifiedRevision {
		t.Fatalf("node %v", n)
	}
	for _, change := range []func(*RegisterNode){
		func(c *RegisterNode) { c.NodeID = "" },
		func(c *RegisterNode) { c.NodeID = "a/b" },
		func(c *RegisterNode) { c.Incarnation = strings.Repeat("x", ident.BytesMax+1) },
		func(c *RegisterNode) { c.RESPAddr = "" },
		func(c *RegisterNode) { c.ClusterAddr = strings.Repeat("x", AddrBytesMax+1) },
		func(c *RegisterNode) { c.Version = "\n" },
	} {
		c := register("n9")
		change(c)
		m.refused(CodeInvalid, c)
	}
}

func TestDataOfAnotherHistoryIsRefused(t *testing.T) {
	m := newCluster(t)
	foreign := register("n1")
	foreign.HasData, foreign.DataHistoryID = true, "foreign"
	if err := m.refused(CodePrecondition, foreign); !strings.Contains(err.Message, "--discard-data") {
		t.Fatalf("refusal %v", err)
	}
	m.do(register("n1"))
	m.do(register("n2"))
	again := register("n2")
	again.HasData, again.DataHistoryID = true, "h-n1"
	m.do(again)
	m.do(&ForcePromotion{Target: "n2", NewHistoryID: "h2"})
	old := register("n1")
	old.HasData, old.DataHistoryID = true, "h-n1" // a past history: it will take a snapshot
	m.do(old)
	old.DataHistoryID = "foreign"
	m.refused(CodePrecondition, old)
}

func TestWipedDisks(t *testing.T) {
	m := newCluster(t)
	m.do(register("n1"))
	wiped := register("n1")
	wiped.Incarnation, wiped.NewHistoryID = "n1-i2", "h-new"

	// Its disk may only be not mounted: a primary begins again only if it is told to.
	before := m.group()
	if err := m.refused(CodePrecondition, wiped); !strings.Contains(err.Message, "--begin-empty") {
		t.Fatalf("refusal %v", err)
	}
	m.do(register("n1")) // the disk is back
	wiped.BeginEmpty = true
	r := m.do(wiped)
	m.checkGroup("n1")
	g := m.group()
	if g.HistoryId != "h-new" || g.Epoch != r.Revision || !slices.Equal(g.PastHistories, []string{before.HistoryId}) {
		t.Fatalf("group %v", g)
	}
	// While a replica has what it lost, it is refused.
	m.do(register("n2"))
	wiped.Incarnation = "n1-i3"
	if err := m.refused(CodePrecondition, wiped); !strings.Contains(err.Message, "--accept-loss") {
		t.Fatalf("refusal %v", err)
	}
	// A wiped replica just comes back, but no longer as the target of a promotion.
	p := m.do(&BeginPromotion{Target: "n2"})
	replica := register("n2")
	replica.Incarnation = "n2-i2"
	m.do(replica)
	m.checkGroup("n1", "n2")
	m.refused(CodeConflict, &CompletePromotion{PromotionRevision: p.Revision, TargetIncarnation: "n2-i1", FinalIndex: 5})
}

func TestRemoveNode(t *testing.T) {
	m := newCluster(t)
	m.do(register("n1"))
	m.do(register("n2"))
	m.refused(CodePrecondition, &RemoveNode{ID: "n1"})
	m.refused(CodeNotFound, &RemoveNode{ID: "n3"})
	p := m.do(&BeginPromotion{Target: "n2"})
	m.refused(CodePrecondition, &RemoveNode{ID: "n2"})
	m.do(&AbortPromotion{PromotionRevision: p.Revision})
	m.do(&RemoveNode{ID: "n2"})
	m.checkGroup("n1")
	if m.State().Node("n2") != nil {
		t.Fatal("the node is still there")
	}
}

func TestBeginEpoch(t *testing.T) {
	m := newCluster(t)
	m.refused(CodeConflict, &BeginEpoch{NodeID: "n1"})
	m.do(register("n1"))
	m.do(register("n2"))
	begin := func(last uint64) *BeginEpoch {
		g := m.group()
		return &BeginEpoch{NodeID: "n1", Incarnation: "n1-i1", HistoryID: g.HistoryId, Epoch: g.Epoch, LastIndex: last}
	}
	stale := begin(0)
	e1 := m.group().Epoch
	e2 := m.do(begin(100)).Revision
	m.refused(CodeConflict, stale)
	for _, change := range []func(*BeginEpoch){
		func(c *BeginEpoch) { c.NodeID = "n2" },
		func(c *BeginEpoch) { c.Incarnation = "x" },
		func(c *BeginEpoch) { c.HistoryID = "x" },
		func(c *BeginEpoch) { c.Epoch++ },
	} {
		c := begin(100)
		change(c)
		m.refused(CodeConflict, c)
	}
	// A power cut took entries, back to before the last epoch: that one has none that stay.
	p := m.do(&BeginPromotion{Target: "n2"})
	e3 := m.do(begin(95)).Revision
	got := m.group().Epochs
	if len(got) != 2 || got[0].Epoch != e1 || got[1].Epoch != e3 || got[1].StartIndex != 96 || e2 >= e3 {
		t.Fatalf("epochs %v", got)
	}
	m.checkGroup("n1", "n2")
	m.refused(CodeConflict, &CompletePromotion{PromotionRevision: p.Revision, TargetIncarnation: "n2-i1", FinalIndex: 95})
	for i := range uint64(epochsMax + 5) {
		m.do(begin(200 + i))
	}
	if n := len(m.group().Epochs); n != epochsMax {
		t.Fatalf("%d epochs are kept", n)
	}
}

func TestPromotion(t *testing.T) {
	m := newCluster(t)
	m.do(register("n1"))
	m.do(register("n2"))
	m.do(register("n3"))
	m.refused(CodeNotFound, &BeginPromotion{Target: "n9"})
	m.refused(CodePrecondition, &BeginPromotion{Target: "n1"})
	m.refused(CodeConflict, &AbortPromotion{PromotionRevision: 1})
	p := m.do(&BeginPromotion{Target: "n3"}).Revision
	if g := m.group(); g.Promotion.Target != "n3" || g.Promotion.Revision != p {
		t.Fatalf("group %v", g)
	}
	m.refused(CodePrecondition, &BeginPromotion{Target: "n2"})
	m.refused(CodeConflict, &CompletePromotion{PromotionRevision: p + 1, TargetIncarnation: "n3-i1", FinalIndex: 41})
	m.refused(CodeConflict, &CompletePromotion{PromotionRevision: p, TargetIncarnation: "other", FinalIndex: 41})
	history := m.group().HistoryId
	done := m.do(&CompletePromotion{PromotionRevision: p, TargetIncarnation: "n3-i1", FinalIndex: 41}).Revision
	m.checkGroup("n3", "n1", "n2")
	g := m.group()
	if last := g.Epochs[len(g.Epochs)-1]; g.Epoch != done || last.StartIndex != 42 || g.HistoryId != history || g.Promotion != nil {
		t.Fatalf("group %v", g)
	}
	m.refused(CodeConflict, &CompletePromotion{PromotionRevision: p, TargetIncarnation: "n3-i1", FinalIndex: 41})

	m.refused(CodeInvalid, &ForcePromotion{Target: "n2"})
	m.do(&BeginPromotion{Target: "n1"})
	forced := m.do(&ForcePromotion{Target: "n2", NewHistoryID: "h-forced"}).Revision
	m.checkGroup("n2", "n1", "n3")
	g = m.group()
	if g.HistoryId != "h-forced" || g.Epoch != forced || g.Promotion != nil || !slices.Equal(g.PastHistories, []string{history}) {
		t.Fatalf("group %v", g)
	}
}

// The state machine's half of promise P7: an id stays until every registered node has said, with its
// present disk, that it has purged it.
func TestP7TombstoneStaysUntilAllPurged(t *testing.T) {
	m := newCluster(t)
	m.do(register("n1"))
	m.do(register("n2"))
	id := m.do(&CreateNamespace{Name: "a"}).NamespaceID
	report := func(node string) *ReportPurged {
		return &ReportPurged{NodeID: node, Incarnation: node + "-i1", Namespaces: []uint64{id, 999}}
	}
	m.refused(CodeInvalid, report("n1"))
	m.refused(CodePrecondition, &DropTombstones{IDs: []uint64{id, 999}})
	m.do(&DeleteNamespace{ID: id})
	m.refused(CodePrecondition, &DropTombstones{IDs: []uint64{id, 999}})
	m.do(report("n1"))
	m.refused(CodePrecondition, &DropTombstones{IDs: []uint64{id, 999}})
	m.refused(CodeNotFound, report("n9"))
	m.refused(CodeConflict, &ReportPurged{NodeID: "n2", Incarnation: "x", Namespaces: []uint64{id}})
	m.do(report("n2"))

	m.do(register("n3")) // it may take a snapshot that still has the rows
	m.refused(CodePrecondition, &DropTombstones{IDs: []uint64{id, 999}})
	m.do(report("n3"))
	wiped := register("n2")
	wiped.Incarnation = "n2-i2"
	m.do(wiped)
	m.refused(CodePrecondition, &DropTombstones{IDs: []uint64{id, 999}})
	m.do(&RemoveNode{ID: "n2"})
	m.do(&DropTombstones{IDs: []uint64{id, 999}})
	if m.State().Namespace(id) != nil {
		t.Fatal("the tombstone is still there")
	}
	m.do(&DropTombstones{IDs: []uint64{id, 999}})
}
