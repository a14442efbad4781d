package raftfsm

import (
	"errors"
	"iter"
	"slices"
	"testing"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// viewOf returns the frames of a whole view of a state, as a data node keeps them: one for each table.
func viewOf(s *State) []*atollpb.ViewFrame {
	frame := func() *atollpb.ViewFrame { return &atollpb.ViewFrame{Revision: s.Revision()} }
	first, namespaces, tokens := frame(), frame(), frame()
	first.Full, first.Cluster = true, s.Cluster()
	first.Groups, first.Nodes = slices.Collect(s.Groups()), slices.Collect(s.Nodes())
	namespaces.Namespaces = slices.Collect(s.AllNamespaces())
	tokens.Tokens, tokens.Last = slices.Collect(s.AllTokens()), true
	return []*atollpb.ViewFrame{first, namespaces, tokens}
}

func saveCommand() *BeginFromSave {
	admin := token("rescue")
	admin.Role = atollpb.Role_ROLE_ADMIN
	return &BeginFromSave{
		ClusterID: "c2", MetadataHistoryID: "m2", AdminToken: admin,
		MetadataNode: MetadataNode{ID: "n9", Incarnation: "m9", ClusterAddr: "127.0.0.1:9", HTTPAddr: "127.0.0.1:10"},
		NodeID:       "n9", Incarnation: "i9", DataHistoryID: "old", NewHistoryID: "new",
	}
}

// A save's cluster has the namespaces and tokens of the one that was saved, and nothing else of it.
func TestBeginFromSave(t *testing.T) {
	m := newCluster(t)
	a := m.do(&CreateNamespace{Name: "a", Tokens: []NewToken{token("t1"), token("t2")}})
	m.do(&RevokeToken{TokenRef{ID: "t2"}})
	m.do(&RegisterNode{NodeID: "n1", Incarnation: "i1", RESPAddr: "x:1", ClusterAddr: "x:2", NewHistoryID: "old"})
	gone := m.do(&CreateNamespace{Name: "gone"})
	last := m.do(&DeleteNamespace{ID: gone.NamespaceID})

	f, err := FromView(slices.Values(viewOf(m.State())))
	if err != nil {
		t.Fatal(err)
	}
	if f.State().Revision() != last.Revision || f.State().Applied() != last.Revision {
		t.Errorf("the state of the view is at %d, the view at %d", f.State().Revision(), last.Revision)
	}
	copied := &machine{FSM: f, t: t, index: last.Revision + 100}
	for _, spoil := range []func(*BeginFromSave){
		func(c *BeginFromSave) { c.AdminToken.Role = atollpb.Role_ROLE_READ_WRITE },
		func(c *BeginFromSave) { c.ClusterID = "c1" }, func(c *BeginFromSave) { c.MetadataHistoryID = "m1" },
		func(c *BeginFromSave) { c.NewHistoryID = c.DataHistoryID }, func(c *BeginFromSave) { c.Incarnation = "" },
		func(c *BeginFromSave) { c.MetadataNode.ClusterAddr = "nowhere" },
	} {
		c := saveCommand()
		spoil(c)
		copied.refused(CodeInvalid, c)
	}
	r := copied.do(saveCommand())
	s := copied.State()
	if c := s.Cluster(); c.ClusterId != "c2" || c.MetadataHistoryId != "m2" || len(c.MetadataNodes) != 1 || c.MetadataNodes[0].Id != "n9" {
		t.Errorf("the cluster is %v", c)
	}
	if s.Node("n1") != nil || s.Authority() != nil {
		t.Error("a node or the authority of the old cluster is in it")
	}
	g := s.Group(GroupID)
	if g.Primary != "n9" || g.PrimaryIncarnation != "i9" || g.HistoryId != "new" || g.Epoch != r.Revision || !slices.Equal(g.PastHistories, []string{"old"}) {
		t.Errorf("the group is %v", g)
	}
	if n := s.NamespaceByName("a"); n == nil || n.Id != a.NamespaceID || s.Token("t1") == nil || s.Token("t2") != nil {
		t.Error("its namespaces and tokens are not those of the save")
	}
	if n := s.Namespace(gone.NamespaceID); n == nil || !isTombstone(n) {
		t.Errorf("the deleted namespace is %v", n)
	}
	if s.TokenByHash(token("rescue").Hash).GetRole() != atollpb.Role_ROLE_ADMIN || s.TokenByHash(token("admin").Hash).GetRole() != atollpb.Role_ROLE_ADMIN {
		t.Error("an admin token doesn't work")
	}
	// The node of the rows registers; nobody else could have taken its place.
	copied.do(&RegisterNode{NodeID: "n8", Incarnation: "i8", RESPAddr: "x:1", ClusterAddr: "x:2", NewHistoryID: "other"})
	copied.do(&RegisterNode{NodeID: "n9", Incarnation: "i9", RESPAddr: "x:3", ClusterAddr: "x:4", HasData: true, DataHistoryID: "old", NewHistoryID: "other"})
	copied.checkGroup("n9", "n8")
	if again := copied.do(&CreateNamespace{Name: "b"}); again.NamespaceID <= last.Revision {
		t.Errorf("id %d was handed out before", again.NamespaceID)
	}
	copied.refused(CodePrecondition, saveCommand())
	m.refused(CodePrecondition, saveCommand()) // on a cluster
	newMachine(t).refused(CodePrecondition, saveCommand())
}

// An operator may bring the old cluster's admin token along.
func TestBeginFromSaveWithAKnownToken(t *testing.T) {
	f, err := FromView(slices.Values(viewOf(newCluster(t).State())))
	if err != nil {
		t.Fatal(err)
	}
	copied := &machine{FSM: f, t: t, index: 50}
	c := saveCommand()
	c.AdminToken.Hash = token("admin").Hash
	copied.do(c)
	if copied.State().Token("rescue") != nil || copied.State().Token("admin") == nil {
		t.Error("the known token was replaced")
	}
}

func TestFromViewIsChecked(t *testing.T) {
	good := func() []*atollpb.ViewFrame { return viewOf(newCluster(t).State()) }
	for name, frames := range map[string]iter.Seq[*atollpb.ViewFrame]{
		"nothing":          slices.Values([]*atollpb.ViewFrame(nil)),
		"cut short":        slices.Values(good()[:2]),
		"no cluster":       slices.Values(good()[1:]),
		"of two revisions": slices.Values(func() []*atollpb.ViewFrame { f := good(); f[1].Revision++; return f }()),
		"longer":           slices.Values(append(good(), good()[2])),
		"no default":       slices.Values(func() []*atollpb.ViewFrame { f := good(); f[1].Namespaces = nil; return f }()),
	} {
		if _, err := FromView(frames); !errors.Is(err, ErrView) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
