package command_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// uses are what a Usage has told last of each.
type uses struct {
	t      *testing.T
	b      *commandtest.Bench
	u      *command.Usage
	now    time.Time
	tokens map[string]*atollpb.TokenUse
	spaces map[uint64]*atollpb.NamespaceUse
}

func newUses(t *testing.T) *uses {
	b := commandtest.New(t)
	return &uses{t, b, command.NewUsage(b.Executor), time.Now(), map[string]*atollpb.TokenUse{}, map[uint64]*atollpb.NamespaceUse{}}
}

// collect takes a report, a second after the last one, and returns how many tokens and namespaces it told of.
func (u *uses) collect() (tokens, namespaces int) {
	u.t.Helper()
	u.now = u.now.Add(time.Second)
	ts, ns := u.u.Collect(u.b.Node.Views.Current(), u.b.Node.Data, u.now)
	if len(ts) > 1000 || len(ns) > 1000 {
		u.t.Errorf("a report of %d tokens and %d namespaces", len(ts), len(ns))
	}
	for _, t := range ts {
		u.tokens[t.TokenId] = t
	}
	seen := make(map[uint64]bool)
	for _, n := range ns {
		if seen[n.NamespaceId] {
			u.t.Errorf("namespace %d is there twice", n.NamespaceId)
		}
		seen[n.NamespaceId] = true
		u.spaces[n.NamespaceId] = n
	}
	return len(ts), len(ns)
}

func TestUsageTellsWhatHasChanged(t *testing.T) {
	u := newUses(t)
	b := u.b
	s := b.Session(t, commandtest.AWriteSecret)
	bound(t, b, &atollpb.Limits{Keys: &atollpb.Limit{Soft: 2, Hard: 4}, ValueBytes: &atollpb.Limit{Soft: 10}, CommandsPerSecond: &atollpb.Limit{Soft: 5}})
	u.collect()
	expect(t, b, s, "MSET a 1 b 2 c 3 d 4", "+OK", "SET e 1", "-LIMIT keys:", "SET f "+strings.Repeat("v", 20), "-LIMIT keys:", "GET a", "$1",
		"GET a", "$1", "GET a", "$1", "GET a", "$1", "DEL d", ":1")
	u.collect()
	a, token := u.spaces[commandtest.AID], u.tokens["t-a-rw"]
	if a.GetKeys() != 3 || a.GetConnections() != 1 || a.GetLimited() != 2 || a.GetInBytesPerSecond() == 0 || a.GetOutBytesPerSecond() == 0 ||
		a.GetCommandsPerSecond() != 6 || !slices.Equal(a.GetOverSoft(), []string{"keys", "commands_per_second", "value_bytes"}) {
		t.Errorf("the namespace: %v", a)
	}
	if token.GetConnections() != 1 || token.GetLastUsedMs() != s.LastActive().UnixMilli() {
		t.Errorf("the token: %v", token)
	}
	if ts, ns := u.u.Collect(b.Node.Views.Current(), b.Node.Data, u.now.Add(10*time.Millisecond)); len(ts)+len(ns) > 0 {
		t.Errorf("told again at once: %v, %v", ts, ns)
	}
	u.collect()
	if a = u.spaces[commandtest.AID]; a.GetCommandsPerSecond() != 0 || a.GetKeys() != 3 || !slices.Equal(a.GetOverSoft(), []string{"keys"}) {
		t.Errorf("a second later: %v", a)
	}
	b.Registry.Remove(s)
	u.collect()
	if a, token = u.spaces[commandtest.AID], u.tokens["t-a-rw"]; a.GetConnections() != 0 || token.GetConnections() != 0 {
		t.Errorf("after the end of the session: %v, %v", a, token)
	}
}

// A namespace that nobody uses is held against new soft limits too.
func TestUsageOfIdleNamespaces(t *testing.T) {
	u := newUses(t)
	b := u.b
	s := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "MSET a 1 b 2 c 3", "+OK")
	restarted := commandtest.NewOver(t, b.Node.Data)
	bound(t, restarted, &atollpb.Limits{Keys: &atollpb.Limit{Soft: 2}})
	u.b, u.u = restarted, command.NewUsage(restarted.Executor)
	u.collect()
	u.collect()
	if a := u.spaces[commandtest.AID]; a.GetKeys() != 3 || !slices.Equal(a.GetOverSoft(), []string{"keys"}) {
		t.Errorf("the namespace: %v", a)
	}
}

// A new leader, and one that has missed a report, hears of everything again.
func TestUsageIsToldAgain(t *testing.T) {
	u := newUses(t)
	b := u.b
	s := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "SET k v", "+OK")
	u.collect()
	u.collect()
	for what, lose := range map[string]func(){"a new leader": func() {}, "an error": u.u.Again} {
		clear(u.spaces)
		clear(u.tokens)
		lose()
		u.collect()
		if a := u.spaces[commandtest.AID]; a.GetKeys() != 1 || a.GetConnections() != 1 || u.tokens["t-a-rw"].GetConnections() != 1 {
			t.Errorf("%s hears %v, %v", what, u.spaces, u.tokens)
		}
	}
}

// Nothing is kept of a namespace that is gone, and has no sessions any more.
func TestUsageForgetsNamespaces(t *testing.T) {
	u := newUses(t)
	b := u.b
	before := b.Executor.NamespacesKept()
	for i := range 10 {
		v := b.Node.Views.Current()
		id, secret := uint64(1000+i), fmt.Sprint("secret", i)
		b.Install(t, &atollpb.ViewFrame{FromRevision: v.Revision(), Revision: v.Revision() + 1, Last: true,
			Namespaces: []*atollpb.Namespace{{Id: id, Name: fmt.Sprint("n", i), State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE}},
			Tokens:     []*atollpb.Token{commandtest.Token(fmt.Sprint("t", i), id, secret, atollpb.Role_ROLE_READ_WRITE)}})
		s := b.Session(t, secret)
		expect(t, b, s, "SET k v", "+OK")
		u.collect()
		v = b.Node.Views.Current()
		gone := b.Install(t, &atollpb.ViewFrame{FromRevision: v.Revision(), Revision: v.Revision() + 1, Last: true, RemovedTokens: []string{fmt.Sprint("t", i)},
			Namespaces: []*atollpb.Namespace{{Id: id, State: atollpb.NamespaceState_NAMESPACE_STATE_DELETED, DeletedRevision: v.Revision() + 1}}})
		b.Executor.EndFallen(gone, []uint64{id}, time.Now())
		u.collect()
		if n := b.Executor.NamespacesKept(); n != before+1 {
			t.Errorf("while its session ends, %d are kept", n-before)
		}
		b.Registry.Remove(s)
		u.collect()
		if n := b.Executor.NamespacesKept(); n != before {
			t.Errorf("%d are kept for ever", n-before)
		}
	}
}

// Of many namespaces and tokens each report tells a bounded part, and in the end of each.
func TestUsageIsBounded(t *testing.T) {
	const n = 2500
	u := newUses(t)
	b := u.b
	v := b.Node.Views.Current()
	f := &atollpb.ViewFrame{FromRevision: v.Revision(), Revision: v.Revision() + 1, Last: true}
	for i := range n {
		id := uint64(1000 + i)
		f.Namespaces = append(f.Namespaces, &atollpb.Namespace{Id: id, Name: fmt.Sprint("n", i), State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE})
		f.Tokens = append(f.Tokens, commandtest.Token(fmt.Sprint("t", i), id, fmt.Sprint("secret", i), atollpb.Role_ROLE_READ_WRITE))
	}
	b.Install(t, f)
	for i := range n {
		expect(t, b, b.Session(t, fmt.Sprint("secret", i)), "SET k v", "+OK")
	}
	reports := 0
	for ; len(u.spaces) < n || len(u.tokens) < n; reports++ {
		if u.collect(); reports > 20 {
			t.Fatalf("%d namespaces and %d tokens of %d were told in %d reports", len(u.spaces), len(u.tokens), n, reports)
		}
	}
	for range 20 {
		u.collect()
	}
	if ts, ns := u.collect(); ts > 210 || ns > 210 {
		t.Errorf("%d tokens and %d namespaces, of which none has changed", ts, ns)
	}
}
