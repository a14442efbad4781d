package raftfsm

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// machine is an FSM with a log position.
type machine struct {
	*FSM
	t     testing.TB
	index uint64
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	f, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return &machine{FSM: f, t: t}
}

func (m *machine) propose(p Proposal) Outcome {
	m.t.Helper()
	data, err := m.Encode(p)
	if err != nil {
		m.t.Fatal(err)
	}
	m.index++
	out, err := m.Apply(m.index, data)
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// do applies a command that must not be refused.
func (m *machine) do(c Command) Result {
	m.t.Helper()
	out := m.propose(Proposal{Command: c, TimeMs: int64(m.index) * 1000})
	if out.Refusal != nil {
		m.t.Fatalf("%T: %v", c, out.Refusal)
	}
	return out.Result
}

// refused applies a command that must be refused with a code, and must leave the state as it is.
func (m *machine) refused(code Code, c Command) *Error {
	m.t.Helper()
	before := m.State()
	out := m.propose(Proposal{Command: c, TimeMs: int64(m.index) * 1000, RequestID: "refused"})
	if out.Refusal == nil || out.Refusal.Code != code {
		m.t.Fatalf("%T %+v: refusal %v, want %v", c, c, out.Refusal, code)
	}
	after := m.State()
	if after.Revision() != before.Revision() || after.Applied() != m.index {
		m.t.Fatalf("%T: revision %d, applied %d after a refusal", c, after.Revision(), after.Applied())
	}
	return out.Refusal
}

func token(id string) NewToken {
	hash := bytes.Repeat([]byte{'.'}, HashBytes)
	copy(hash, id)
	return NewToken{ID: id, Hash: hash, Role: atollpb.Role_ROLE_READ_WRITE}
}

func initCluster() *InitCluster {
	admin := token("admin")
	admin.Role = atollpb.Role_ROLE_ADMIN
	return &InitCluster{
		ClusterID: "c1", MetadataHistoryID: "m1", TokenKey: make([]byte, HashBytes), AdminToken: admin,
		MetadataNode: MetadataNode{ID: "meta1", Incarnation: "m1", ClusterAddr: "127.0.0.1:1", HTTPAddr: "127.0.0.1:2"},
	}
}

func newCluster(t testing.TB) *machine {
	m := newMachine(t)
	m.do(initCluster())
	return m
}

func TestInitCluster(t *testing.T) {
	m := newMachine(t)
	m.refused(CodePrecondition, &CreateNamespace{Name: "early"})
	m.refused(CodePrecondition, &RegisterNode{NodeID: "n1"})
	m.refused(CodePrecondition, &BeginPromotion{Target: "n1"})
	short := initCluster()
	short.TokenKey = short.TokenKey[1:]
	m.refused(CodeInvalid, short)
	r := m.do(initCluster())
	s := m.State()
	if d := s.NamespaceByName(DefaultNamespace); d == nil || d.Id != r.NamespaceID || s.Cluster().DefaultNamespaceId != d.Id {
		t.Fatalf("default namespace %v", d)
	}
	if s.TokenByHash(token("admin").Hash).GetRole() != atollpb.Role_ROLE_ADMIN || s.Group(GroupID) == nil {
		t.Fatal("no admin token or group")
	}
	m.refused(CodePrecondition, initCluster())
	m.refused(CodeForbidden, &DeleteNamespace{ID: r.NamespaceID})
	m.refused(CodeForbidden, &ReplaceTokens{NamespaceID: r.NamespaceID, Token: token("x")})
	m.refused(CodePrecondition, &RevokeToken{TokenRef{ID: "admin"}})
	second := token("admin2")
	second.Role = atollpb.Role_ROLE_ADMIN
	m.do(&CreateToken{NamespaceID: r.NamespaceID, Token: second})
	m.do(&RevokeToken{TokenRef{ID: "admin"}})
}

func TestSetMetadataNodes(t *testing.T) {
	m := newCluster(t)
	nodes := []MetadataNode{{ID: "b", Incarnation: "i1", ClusterAddr: "b:1"}, {ID: "a", Incarnation: "i1", ClusterAddr: "a:1"}}
	rev := m.State().Cluster().ModifiedRevision
	m.do(&SetMetadataNodes{Nodes: nodes, ExpectedRevision: rev})
	got := m.State().Cluster()
	if len(got.MetadataNodes) != 2 || got.MetadataNodes[0].Id != "a" {
		t.Fatalf("metadata nodes %v", got.MetadataNodes)
	}
	m.refused(CodeConflict, &SetMetadataNodes{Nodes: nodes, ExpectedRevision: rev})
	if r := m.do(&SetMetadataNodes{Nodes: nodes, ExpectedRevision: got.ModifiedRevision}); r.Revision != got.ModifiedRevision {
		t.Fatalf("a change of nothing has revision %d", r.Revision)
	}
	wiped := []MetadataNode{nodes[0], {ID: "a", Incarnation: "i2", ClusterAddr: "a:1"}}
	if err := m.refused(CodePrecondition, &SetMetadataNodes{Nodes: wiped, ExpectedRevision: got.ModifiedRevision}); err.Field != "incarnation" {
		t.Errorf("an emptied disk under a known id: %v", err)
	}
	renamed := []MetadataNode{nodes[0], {ID: "c", Incarnation: "i2", ClusterAddr: "a:1"}}
	if err := m.refused(CodePrecondition, &SetMetadataNodes{Nodes: renamed, ExpectedRevision: got.ModifiedRevision}); err.Field != "cluster_addr" {
		t.Errorf("a new id at a known address: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	for _, addr := range []string{"a:1", "127.0.0.1:7379", "[::1]:65535", "[fe80::1%eth0]:1", "db.example:80"} {
		if err := validateAddr("addr", addr); err != nil {
			t.Error(err)
		}
	}
	for _, addr := range []string{"", "a", ":1", "a:", "a:0", "a:65536", "a:x", "::1:1", "[]:1", "[::1:1", "a b:1", "http://a:1", "a]:1"} {
		if err := validateAddr("addr", addr); err == nil || err.Field != "addr" {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

func TestNamespaceNames(t *testing.T) {
	m := newCluster(t)
	for _, name := range []string{"a", "A-b.c:d", "ünï", strings.Repeat("x", 255), "_x"} {
		m.do(&CreateNamespace{Name: name})
		m.refused(CodeExists, &CreateNamespace{Name: name})
	}
	for _, name := range []string{"", "__x", DefaultNamespace, "a b", "a\nb", "a/b", "\xff", strings.Repeat("x", 256), "a\u00a0b", "a\x00",
		"*", "default", ".", "..", "a\u200bb", "\ufeffa", "a\u202eb", "a\ufffd"} {
		if err := m.refused(CodeInvalid, &CreateNamespace{Name: name}); err.Field != "name" {
			t.Errorf("name %q: field %q", name, err.Field)
		}
	}
	m.refused(CodeInvalid, &CreateNamespace{Name: "d", Durability: atollpb.Durability_DURABILITY_DURABLE})
	m.refused(CodeInvalid, &CreateNamespace{Name: "d", Durability: 77})
}

func TestNamespaceLife(t *testing.T) {
	m := newCluster(t)
	r := m.do(&CreateNamespace{Name: "a", Tokens: []NewToken{token("t1"), token("t2")}})
	id := r.NamespaceID
	if id != r.Revision || len(r.TokenIDs) != 2 {
		t.Fatalf("result %+v", r)
	}
	// A refusal in the middle of a command leaves nothing of it.
	m.refused(CodeTokenExists, &CreateNamespace{Name: "b", Tokens: []NewToken{token("t3"), token("t1")}})
	if m.State().NamespaceByName("b") != nil || m.State().Token("t3") != nil {
		t.Fatal("half of a refused command is in the state")
	}
	m.do(&UpdateNamespace{ID: id, Durability: atollpb.Durability_DURABILITY_LOCAL, ExpectedRevision: id})
	m.refused(CodeConflict, &UpdateNamespace{ID: id, Durability: atollpb.Durability_DURABILITY_ASYNC, ExpectedRevision: id})
	m.refused(CodeConflict, &DeleteNamespace{ID: id, ExpectedRevision: id})
	m.do(&DeleteNamespace{ID: id})
	s := m.State()
	if s.NamespaceByName("a") != nil || s.Token("t1") != nil || s.TokenByHash(token("t2").Hash) != nil {
		t.Fatal("a deleted namespace is found by name or token")
	}
	if n := s.Namespace(id); n.State != atollpb.NamespaceState_NAMESPACE_STATE_DELETED || n.DeletedRevision != s.Revision() {
		t.Fatalf("tombstone %v", n)
	}
	m.refused(CodeNotFound, &DeleteNamespace{ID: id})
	m.refused(CodeNotFound, &CreateToken{NamespaceID: id, Token: token("t9")})
	m.refused(CodeNotFound, &UpdateNamespace{ID: id})
	again := m.do(&CreateNamespace{Name: "a", Tokens: []NewToken{token("t1")}})
	if again.NamespaceID == id {
		t.Fatal("a namespace id was used again")
	}
}

func TestTokens(t *testing.T) {
	m := newCluster(t)
	a := m.do(&CreateNamespace{Name: "a", Tokens: []NewToken{token("t1")}}).NamespaceID
	b := m.do(&CreateNamespace{Name: "b"}).NamespaceID
	bad := func(change func(*NewToken)) *CreateToken {
		n := token("x")
		change(&n)
		return &CreateToken{NamespaceID: a, Token: n}
	}
	m.refused(CodeInvalid, bad(func(n *NewToken) { n.ID = "" }))
	m.refused(CodeInvalid, bad(func(n *NewToken) { n.ID = "a/b" }))
	m.refused(CodeInvalid, bad(func(n *NewToken) { n.Hash = n.Hash[1:] }))
	m.refused(CodeInvalid, bad(func(n *NewToken) { n.Role = atollpb.Role_ROLE_ADMIN }))
	m.refused(CodeInvalid, bad(func(n *NewToken) { n.Role = 0 }))
	m.refused(CodeInvalid, bad(func(n *NewToken) { n.ExpiresMs = 1 }))
	m.refused(CodeInvalid, bad(func(n *NewToken) { n.Label = strings.Repeat("x", LabelBytesMax+1) }))
	m.refused(CodeTokenExists, &CreateToken{NamespaceID: b, Token: token("t1")})
	m.refused(CodeNotFound, &RevokeToken{TokenRef{ID: "nobody"}})
	m.do(&CreateToken{NamespaceID: a, Token: token("t2")})
	m.refused(CodeTokenExists, &ReplaceTokens{NamespaceID: b, Token: token("t2")})
	kept := token("other-id")
	kept.Hash = token("t2").Hash
	if r := m.do(&ReplaceTokens{NamespaceID: a, Token: kept}); r.TokenIDs[0] != "t2" {
		t.Fatalf("SET of the same secret made token %q", r.TokenIDs)
	}
	if m.State().Token("t1") != nil || m.State().Token("t2") == nil {
		t.Fatal("tokens after SET")
	}
	short := token("t4")
	short.ExpiresMs = int64(m.index)*1000 + 1500 // the machine's clock steps a second a command
	m.do(&CreateToken{NamespaceID: a, Token: short})
	again := token("t5")
	again.Hash = short.Hash
	m.refused(CodeTokenExists, &CreateToken{NamespaceID: b, Token: again})
	m.do(&CreateToken{NamespaceID: b, Token: again}) // t4 has expired
	if m.State().Token("t4") != nil || m.State().TokenByHash(short.Hash).GetId() != "t5" {
		t.Fatal("an expired token keeps its secret")
	}
	m.do(&ReplaceTokens{NamespaceID: a, Token: token("t3")})
	if m.State().Token("t2") != nil || m.State().Token("t3") == nil {
		t.Fatal("tokens after the second SET")
	}
}

// SET of a secret whose token expires, or has, makes one that lasts.
func TestSetReplacesATokenThatExpires(t *testing.T) {
	m := newCluster(t)
	a := m.do(&CreateNamespace{Name: "a"}).NamespaceID
	for name, change := range map[string]func(*NewToken){
		"lives":   func(n *NewToken) { n.ExpiresMs = int64(m.index)*1000 + 1_000_000 },
		"expired": func(n *NewToken) { n.ExpiresMs = int64(m.index)*1000 + 500 }, // the next command's time is later
		"label":   func(n *NewToken) { n.Label = "x" },
	} {
		old := token(name)
		change(&old)
		m.do(&CreateToken{NamespaceID: a, Token: old})
		set := token(name + "-set")
		set.Hash = old.Hash
		r := m.do(&ReplaceTokens{NamespaceID: a, Token: set})
		got := m.State().TokenByHash(set.Hash)
		if r.TokenIDs[0] != set.ID || got.GetId() != set.ID || got.ExpiresMs != 0 || got.Label != "" || m.State().Token(old.ID) != nil {
			t.Errorf("%s: %v is the token %v", name, r.TokenIDs, got)
		}
	}
	past := token("past")
	past.ExpiresMs = int64(m.index)*1000 + 500
	m.do(&CreateToken{NamespaceID: a, Token: past})
	m.refused(CodeInvalid, &ReplaceTokens{NamespaceID: a, Token: past})
}

func TestRequestHasOneEffect(t *testing.T) {
	m := newCluster(t)
	p := Proposal{Command: &CreateNamespace{Name: "a", Tokens: []NewToken{token("t1")}}, RequestID: "r1", Digest: DigestOf("create", "a")}
	one := m.propose(p)
	p.Command = &CreateNamespace{Name: "a", Tokens: []NewToken{token("t2")}} // the proposer made another token for the retry
	two := m.propose(p)
	if one.Refusal != nil || two.Refusal != nil || !two.Result.Repeated || two.Result.Revision != one.Result.Revision {
		t.Fatalf("first %+v, second %+v", one, two)
	}
	if m.State().Revision() != one.Result.Revision {
		t.Fatal("the repeated request changed the revision")
	}
	if err := m.Restore(bytes.NewReader(dump(t, m.State()))); err != nil {
		t.Fatal(err)
	}
	if two = m.propose(p); !two.Result.Repeated {
		t.Fatalf("after a restore %+v", two)
	}
	// The same kind of command, about something else.
	p.Command, p.Digest = &CreateNamespace{Name: "b"}, DigestOf("create", "b")
	other := m.propose(p)
	if other.Refusal == nil || other.Refusal.Code != CodeRequestReused || m.State().NamespaceByName("b") != nil {
		t.Fatalf("another request under the same id: %+v", other)
	}
	if DigestOf("a", "bc") == DigestOf("ab", "c") {
		t.Fatal("two lists of parts have one digest")
	}
	if out, err := DecodeOutcome(EncodeOutcome(two)); err != nil || out.Result.Revision != two.Result.Revision {
		t.Fatalf("outcome %+v: %v", out, err)
	}
	if out, err := DecodeOutcome(EncodeOutcome(other)); err != nil || !errors.Is(out.Err(), other.Refusal) {
		t.Fatalf("outcome %+v: %v", out, err)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	m := newCluster(t)
	id := m.do(&CreateNamespace{Name: "a"}).NamespaceID
	toggle := func(i int) Command {
		return &UpdateNamespace{ID: id, Durability: atollpb.Durability(1 + (i+1)%2)}
	}
	for i := range RequestsMax + 10 {
		m.propose(Proposal{Command: toggle(i), RequestID: "r" + string(idKey(uint64(i)))})
	}
	if m.State().requests != RequestsMax {
		t.Fatalf("%d requests are remembered", m.State().requests)
	}
	if out := m.propose(Proposal{Command: toggle(0), RequestID: "r" + string(idKey(0))}); out.Result.Repeated {
		t.Fatal("the oldest request is still remembered")
	}
	if out := m.propose(Proposal{Command: toggle(0), RequestID: "r" + string(idKey(RequestsMax))}); !out.Result.Repeated {
		t.Fatal("a newer request is forgotten")
	}
}

func TestUnknownCommandStops(t *testing.T) {
	m := newCluster(t)
	before := m.State()
	for name, data := range map[string][]byte{
		"id": {200, 1, 1, 0, 0, 0, 0}, "version": {3, 99, 0, 0, 0, 0},
	} {
		if _, err := m.Apply(m.index+1, data); !errors.Is(err, ErrUnknownCommand) {
			t.Errorf("unknown %s: %v", name, err)
		}
	}
	good, err := m.Encode(Proposal{Command: &CreateNamespace{Name: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{nil, good[:len(good)-1], append(good, 0)} {
		if _, err := m.Apply(m.index+1, data); !errors.Is(err, ErrCorruptCommand) {
			t.Errorf("corrupt command %x: %v", data, err)
		}
	}
	if m.State() != before {
		t.Fatal("a command that can't be read changed the state")
	}
}

func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	m := newCluster(t)
	long := strings.Repeat("x", stringBytesMax+1)
	for _, p := range []Proposal{
		{Command: &CreateNamespace{Name: long}},
		{Command: &CreateNamespace{Name: "a"}, RequestID: long},
		{Command: &CreateNamespace{Name: "a", Durability: -1}},
		{Command: &ReportPurged{Namespaces: make([]uint64, listLenMax+1)}},
		{Command: nil},
	} {
		if _, err := m.Encode(p); err == nil {
			t.Errorf("%T was encoded", p.Command)
		}
	}
}

func TestCommandTable(t *testing.T) {
	last := uint64(0)
	for i, e := range commandTable() {
		if e.id <= last || e.versions > e.version || e.versions == 0 {
			t.Errorf("row %d: id %d version %d", i, e.id, e.version)
		}
		last = e.id
	}
}
