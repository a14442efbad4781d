package control

import (
	"fmt"
	"testing"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// What a node tells of is bounded by what the state has, however much comes and goes.
func TestUsesOfWhatIsGoneAreForgotten(t *testing.T) {
	fsm, err := raftfsm.New()
	if err != nil {
		t.Fatal(err)
	}
	index := uint64(0)
	apply := func(c raftfsm.Command) uint64 {
		t.Helper()
		data, err := fsm.Encode(raftfsm.Proposal{Command: c, TimeMs: 1})
		if err != nil {
			t.Fatal(err)
		}
		index++
		out, err := fsm.Apply(index, data)
		if err != nil || out.Refusal != nil {
			t.Fatal(out.Refusal, err)
		}
		return index
	}
	token := func(id string) raftfsm.NewToken {
		hash := make([]byte, raftfsm.HashBytes)
		copy(hash, id)
		return raftfsm.NewToken{ID: id, Hash: hash, Role: atollpb.Role_ROLE_READ_ONLY}
	}
	admin := token("admin")
	admin.Role = atollpb.Role_ROLE_ADMIN
	apply(&raftfsm.InitCluster{
		ClusterID: "c", MetadataHistoryID: "h", TokenKey: make([]byte, raftfsm.HashBytes), AdminToken: admin,
		MetadataNode: raftfsm.MetadataNode{ID: "m", Incarnation: "i", ClusterAddr: "m:1"},
	})
	c := New(Config{})
	take := func(tokens []string, begin bool) *uses {
		r := &atollpb.NodeReport{NodeId: "n", Incarnation: "i", UsesBegin: begin}
		for _, id := range tokens {
			r.TokenUses = append(r.TokenUses, &atollpb.TokenUse{TokenId: id})
		}
		u := c.takeUses(fsm.State(), r)
		c.reports["n"] = received{report: r, uses: u}
		if len(r.TokenUses) != 0 {
			t.Fatal("the report keeps its uses")
		}
		return u
	}
	id := apply(&raftfsm.CreateNamespace{Name: "a", Tokens: []raftfsm.NewToken{token("kept")}})
	take([]string{"kept", "never-there"}, false)
	for i := range 3 * sweepMin {
		name := fmt.Sprint("t", i)
		apply(&raftfsm.CreateToken{NamespaceID: id, Token: token(name)})
		u := take([]string{name}, false)
		apply(&raftfsm.RevokeToken{TokenRef: raftfsm.TokenRef{ID: name}})
		if len(u.tokens) > sweepMin {
			t.Fatalf("%d tokens are kept, of which one is there", len(u.tokens))
		}
		if u.tokens["kept"] == nil || u.tokens["never-there"] != nil {
			t.Fatal("the tokens that are kept")
		}
	}
	if u := take(nil, true); len(u.tokens) != 0 {
		t.Errorf("after a start of the node %d tokens are kept", len(u.tokens))
	}
	c.reports["n"] = received{report: &atollpb.NodeReport{NodeId: "n", Incarnation: "wiped"}, uses: take([]string{"kept"}, false)}
	if u := take(nil, false); len(u.tokens) != 0 {
		t.Error("uses of another disk are kept")
	}
}
