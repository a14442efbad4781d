package raftfsm

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// drawCommand draws a command over few names and ids, so that commands meet each other.
func drawCommand(t *rapid.T, i int) Command {
	name := rapid.SampledFrom([]string{"a", "b", "c", "__x", ""})
	id := rapid.Uint64Range(1, 40)
	node := rapid.SampledFrom([]string{"n1", "n2", "n3"})
	inc := rapid.SampledFrom([]string{"i1", "i1", "i1", "i2"})
	newToken := func() NewToken {
		k := token(fmt.Sprintf("t%d", rapid.IntRange(0, 12).Draw(t, "token")))
		k.Role = rapid.SampledFrom([]atollpb.Role{1, 2, 2, 3, 4, 5}).Draw(t, "role")
		return k
	}
	ref := func() TokenRef {
		return TokenRef{ID: fmt.Sprintf("t%d", rapid.IntRange(0, 12).Draw(t, "token")), NamespaceID: rapid.SampledFrom([]uint64{0, 0, 0, 2}).Draw(t, "of")}
	}
	if c := drawSettings(t, newToken, ref); c != nil {
		return c
	}
	if c := drawEnrolment(t); c != nil {
		return c
	}
	switch rapid.IntRange(1, 22).Draw(t, "command") {
	case 1:
		return &SetMetadataNodes{Nodes: []MetadataNode{{ID: node.Draw(t, "id"), Incarnation: inc.Draw(t, "incarnation"), ClusterAddr: "x:1"}}, ExpectedRevision: id.Draw(t, "rev")}
	case 2, 18, 19:
		c := &CreateNamespace{Name: name.Draw(t, "name"), Durability: atollpb.Durability(rapid.IntRange(0, 3).Draw(t, "durability"))}
		for range rapid.IntRange(0, 2).Draw(t, "tokens") {
			c.Tokens = append(c.Tokens, newToken())
		}
		return c
	case 3:
		return &UpdateNamespace{ID: id.Draw(t, "ns"), Durability: atollpb.Durability(rapid.IntRange(0, 3).Draw(t, "durability"))}
	case 4, 20:
		return &DeleteNamespace{ID: id.Draw(t, "ns"), PurgeAtMs: rapid.Int64Range(0, 60).Draw(t, "purge")}
	case 5:
		return &CreateToken{NamespaceID: id.Draw(t, "ns"), Token: newToken()}
	case 6:
		return &RevokeToken{TokenRef: ref()}
	case 7:
		return &ReplaceTokens{NamespaceID: id.Draw(t, "ns"), Token: newToken()}
	case 8, 9:
		c := register(node.Draw(t, "node"))
		c.Incarnation, c.NewHistoryID = inc.Draw(t, "incarnation"), fmt.Sprintf("h%d", i)
		return c
	case 10:
		return &RemoveNode{ID: node.Draw(t, "node")}
	case 11:
		return &ReportPurged{NodeID: node.Draw(t, "node"), Incarnation: inc.Draw(t, "incarnation"), Namespaces: []uint64{id.Draw(t, "ns")}}
	case 12:
		return &DropTombstones{IDs: []uint64{id.Draw(t, "ns"), id.Draw(t, "ns")}}
	case 13:
		return &BeginEpoch{NodeID: node.Draw(t, "node"), Incarnation: "i1", HistoryID: fmt.Sprintf("h%d", id.Draw(t, "history")), Epoch: id.Draw(t, "epoch")}
	case 14:
		return &BeginPromotion{Target: node.Draw(t, "node")}
	case 15:
		return &CompletePromotion{PromotionRevision: id.Draw(t, "rev"), TargetIncarnation: "i1", FinalIndex: id.Draw(t, "index")}
	case 16:
		return &AbortPromotion{PromotionRevision: id.Draw(t, "rev")}
	case 21:
		k := newToken()
		k.Role = atollpb.Role(rapid.IntRange(2, 3).Draw(t, "role"))
		return &RestoreCluster{
			MetadataHistoryID: fmt.Sprintf("m%d", id.Draw(t, "history")), AdminToken: k,
			MetadataNode: MetadataNode{ID: node.Draw(t, "id"), Incarnation: inc.Draw(t, "incarnation"), ClusterAddr: "x:1"},
		}
	case 22:
		c := saveCommand() // refused: the state is a cluster's
		c.NodeID, c.Incarnation = node.Draw(t, "id"), inc.Draw(t, "incarnation")
		return c
	default:
		return &ForcePromotion{Target: node.Draw(t, "node"), NewHistoryID: fmt.Sprintf("h%d", i)}
	}
}

// drawSettings draws a command about settings, graces and rotations in a third of the cases, and nil otherwise.
func drawSettings(t *rapid.T, newToken func() NewToken, ref func() TokenRef) Command {
	id, name := rapid.Uint64Range(1, 40), rapid.SampledFrom([]string{"", "", "a", "b", "c"})
	labels, limits := []SetLabel{}, []SetLimit{}
	for range rapid.IntRange(0, 2).Draw(t, "labels") {
		labels = append(labels, SetLabel{
			Key: rapid.SampledFrom([]string{"env", "team", "!"}).Draw(t, "key"), Value: rapid.SampledFrom([]string{"", "x"}).Draw(t, "value"),
			Remove: rapid.Bool().Draw(t, "remove"),
		})
	}
	for range rapid.IntRange(0, 2).Draw(t, "limits") {
		limits = append(limits, SetLimit{LimitKind(rapid.IntRange(1, 8).Draw(t, "kind")), rapid.Uint64Range(0, 2).Draw(t, "soft"), rapid.Uint64Range(0, 2).Draw(t, "hard")})
	}
	onOff := func() Switch { return Switch(rapid.IntRange(0, 2).Draw(t, "switch")) }
	switch rapid.IntRange(1, 22).Draw(t, "settings") {
	case 1:
		return &CreateNamespace{Name: name.Draw(t, "name"), Labels: labels, Limits: limits}
	case 2:
		return &UpdateNamespace{ID: id.Draw(t, "ns"), Name: name.Draw(t, "name"), Labels: labels, Limits: limits, Suspended: onOff(), ReadOnly: onOff()}
	case 3:
		c := &UndeleteNamespace{ID: id.Draw(t, "ns"), Name: name.Draw(t, "name")}
		if rapid.Bool().Draw(t, "first") {
			c.Tokens = []NewToken{newToken()}
		}
		return c
	case 4:
		return &PurgeNamespace{ID: id.Draw(t, "ns")}
	case 5:
		return &EndGrace{IDs: []uint64{id.Draw(t, "ns"), id.Draw(t, "ns"), id.Draw(t, "ns")}}
	case 6:
		return &RotateToken{TokenRef: ref(), Token: newToken(), OverlapMs: rapid.Uint64Range(0, 9).Draw(t, "overlap")}
	case 7:
		return &UpdateToken{TokenRef: ref(), SetLabel: rapid.Bool().Draw(t, "set"), Label: "l", SetExpiry: rapid.Bool().Draw(t, "expires"), ExpiresMs: rapid.Int64Range(0, 60).Draw(t, "at")}
	}
	return nil
}

func dump(t fataler, s *State) []byte {
	var b bytes.Buffer
	if err := s.WriteSnapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type fataler interface{ Fatal(...any) }

// model is a view that knows only deltas.
type model struct {
	revision   uint64
	cluster    *atollpb.ClusterInfo
	namespaces map[uint64]*atollpb.Namespace
	tokens     map[string]*atollpb.Token
	nodes      map[string]*atollpb.Node
	groups     map[uint32]*atollpb.Group
}

func newModel() *model {
	return &model{
		namespaces: map[uint64]*atollpb.Namespace{}, tokens: map[string]*atollpb.Token{},
		nodes: map[string]*atollpb.Node{}, groups: map[uint32]*atollpb.Group{},
	}
}

func (v *model) apply(d *atollpb.ViewFrame) {
	if d.Cluster != nil {
		v.cluster = d.Cluster
	}
	merge(v.namespaces, d.RemovedNamespaces, d.Namespaces, (*atollpb.Namespace).GetId)
	merge(v.tokens, d.RemovedTokens, d.Tokens, (*atollpb.Token).GetId)
	merge(v.nodes, d.RemovedNodes, d.Nodes, (*atollpb.Node).GetId)
	merge(v.groups, nil, d.Groups, (*atollpb.Group).GetId)
	v.revision = d.Revision
}

// merge applies removals and puts in the order that would show an id that is in both.
func merge[K comparable, M any](into map[K]M, removed []K, put []M, id func(M) K) {
	for _, m := range put {
		into[id(m)] = m
	}
	for _, k := range removed {
		delete(into, k)
	}
}

// state is the model's content of a state, by its queries.
func stateModel(s *State) *model {
	v := newModel()
	v.revision, v.cluster = s.Revision(), s.Cluster()
	for n := range s.AllNamespaces() {
		v.namespaces[n.Id] = n
	}
	for k := range s.AllTokens() {
		v.tokens[k.Id] = k
	}
	for n := range s.Nodes() {
		v.nodes[n.Id] = n
	}
	for g := range s.Groups() {
		v.groups[g.Id] = g
	}
	return v
}

func sameMessage[M proto.Message](a, b M) bool { return proto.Equal(a, b) }

func (v *model) equal(o *model) bool {
	return v.revision == o.revision && proto.Equal(v.cluster, o.cluster) &&
		maps.EqualFunc(v.namespaces, o.namespaces, sameMessage) && maps.EqualFunc(v.tokens, o.tokens, sameMessage) &&
		maps.EqualFunc(v.nodes, o.nodes, sameMessage) && maps.EqualFunc(v.groups, o.groups, sameMessage)
}

// checkIndexes looks at what the indexes say about each other.
func checkIndexes(t *rapid.T, s *State) {
	checkNamespaces(t, s)
	byNamespace := 0
	for k := range s.AllTokens() {
		if s.TokenByHash(k.Hash) != k || !isActive(s.Namespace(k.NamespaceId)) {
			t.Fatalf("token %v is not found, or has no namespace", k)
		}
	}
	for n := range s.AllNamespaces() {
		for range s.Tokens(n.Id) {
			byNamespace++
		}
	}
	tokens := 0
	for range s.AllTokens() {
		tokens++
	}
	if tokens != byNamespace {
		t.Fatalf("%d tokens, %d by namespace", tokens, byNamespace)
	}
}

// checkNamespaces looks at the indexes of namespaces in their three states.
func checkNamespaces(t *rapid.T, s *State) {
	names, active := 0, 0
	for n := range s.Namespaces("") {
		names++
		if s.Namespace(n.Id) != n || s.NamespaceByName(n.Name) != n {
			t.Fatalf("namespace %v is not found", n)
		}
	}
	for n := range s.AllNamespaces() {
		if isActive(n) {
			active++
		} else if s.NamespaceByName(n.Name).GetId() == n.Id {
			t.Fatalf("deleted %v is found by name", n)
		}
	}
	var deleted []uint64
	for n := range s.Deleted(0) {
		deleted = append(deleted, n.Id)
	}
	dead, grace, due := slices.Collect(s.Tombstones()), slices.Collect(s.InGrace(0)), slices.Collect(s.Due())
	byTime := func(a, b *atollpb.Namespace) int { return cmp.Compare(a.PurgeAtMs, b.PurgeAtMs) }
	if len(deleted) != len(dead)+len(grace) || len(due) != len(grace) || !slices.IsSorted(deleted) || !slices.IsSortedFunc(due, byTime) {
		t.Fatalf("deleted %v, tombstones %v, in grace %v, due %v", deleted, dead, grace, due)
	}
	for _, n := range dead {
		if !isTombstone(n) || n.DeletedRevision == 0 || n.PurgeAtMs != 0 {
			t.Fatalf("tombstone %v", n)
		}
	}
	for _, n := range grace {
		if !inGrace(n) || n.PurgeAtMs == 0 || len(n.PurgedBy) > 0 {
			t.Fatalf("in grace %v", n)
		}
	}
	if names != active {
		t.Fatalf("%d names of %d namespaces", names, active)
	}
}

// Applying everything gives what applying a part, a snapshot, a restore and the rest gives; the feed's
// deltas give the state; and two state machines give the same bytes.
func TestEveryPrefixRestores(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole, err := New()
		if err != nil {
			t.Fatal(err)
		}
		commands := [][]byte{}
		outcomes := [][]byte{}
		view := newModel()
		n := rapid.IntRange(1, 40).Draw(t, "n")
		for i := range n {
			p := Proposal{Command: initCluster(), TimeMs: int64(i)}
			if i > 0 {
				p.Command = drawCommand(t, i)
				p.RequestID = rapid.SampledFrom([]string{"", "", "r1", "r2"}).Draw(t, "request")
				p.Digest = DigestOf(rapid.SampledFrom([]string{"d1", "d1", "d2"}).Draw(t, "digest"))
			}
			data, err := whole.Encode(p)
			if err != nil {
				t.Fatal(err)
			}
			out, err := whole.Apply(uint64(i+1), data)
			if err != nil {
				t.Fatal(err)
			}
			commands, outcomes = append(commands, data), append(outcomes, EncodeOutcome(out))
			deltas, ok := whole.Feed().Since(view.revision)
			if !ok || len(deltas) > 1 {
				t.Fatalf("%d deltas, %v", len(deltas), ok)
			}
			for _, d := range deltas {
				view.apply(d)
			}
			if !view.equal(stateModel(whole.State())) {
				t.Fatalf("after %T the deltas give another state", p.Command)
			}
			checkIndexes(t, whole.State())
		}
		want := dump(t, whole.State())
		for k := range n + 1 {
			checkPrefix(t, commands, outcomes, k, want)
		}
	})
}

func checkPrefix(t *rapid.T, commands, outcomes [][]byte, k int, want []byte) {
	f, err := New()
	if err != nil {
		t.Fatal(err)
	}
	apply := func(from, to int) {
		for i := from; i < to; i++ {
			out, err := f.Apply(uint64(i+1), commands[i])
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(EncodeOutcome(out), outcomes[i]) {
				t.Fatalf("restored at %d, command %d has another outcome: %+v", k, i, out)
			}
		}
	}
	apply(0, k)
	snapshot := dump(t, f.State())
	if f, err = New(); err != nil {
		t.Fatal(err)
	}
	if err := f.Restore(bytes.NewReader(snapshot)); err != nil {
		t.Fatal(err)
	}
	if again := dump(t, f.State()); !bytes.Equal(again, snapshot) {
		t.Fatalf("restored at %d, the snapshot differs", k)
	}
	apply(k, len(commands))
	if !bytes.Equal(dump(t, f.State()), want) {
		t.Fatalf("restored at %d, the end differs", k)
	}
}
