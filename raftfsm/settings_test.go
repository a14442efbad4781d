package raftfsm

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/rpc/atollpb"
)

func TestSettings(t *testing.T) {
	m := newCluster(t)
	id := m.do(&CreateNamespace{
		Name: "a", Labels: []SetLabel{{Key: "team", Value: "x"}, {Key: "env", Value: "prod"}},
		Limits: []SetLimit{{LimitKeys, 80, 100}, {LimitConnections, 0, 7}},
	}).NamespaceID
	n := m.State().Namespace(id)
	if len(n.Labels) != 2 || n.Labels[0].Key != "env" || n.Limits.Keys.Soft != 80 || n.Limits.Keys.Hard != 100 || n.Limits.Connections.Hard != 7 || n.Limits.Bytes != nil {
		t.Fatalf("created %v", n)
	}
	m.do(&UpdateNamespace{
		ID: id, Name: "b", Suspended: On, ReadOnly: On, ExpectedRevision: id,
		Labels: []SetLabel{{Key: "team", Remove: true}, {Key: "env", Value: "test"}, {Key: "nobody", Remove: true}},
		Limits: []SetLimit{{LimitKeys, 0, 0}, {LimitBytes, 5, 0}, {LimitConnections, 0, 0}},
	})
	n = m.State().NamespaceByName("b")
	if n.GetId() != id || !n.Suspended || !n.ReadOnly || len(n.Labels) != 1 || n.Labels[0].Value != "test" || n.Limits.Keys != nil || n.Limits.Bytes.Soft != 5 {
		t.Fatalf("updated %v", n)
	}
	if m.State().NamespaceByName("a") != nil {
		t.Fatal("the old name is still taken")
	}
	if !HasLabels(n, []SetLabel{{Key: "env", Value: "test"}}) || HasLabels(n, []SetLabel{{Key: "env", Value: "test"}, {Key: "team", Value: "x"}}) {
		t.Fatal("labels that a namespace has")
	}
	before := m.State().Revision()
	same := m.do(&UpdateNamespace{ID: id, Name: "b", Suspended: On, Labels: []SetLabel{{Key: "env", Value: "test"}}, Limits: []SetLimit{{LimitBytes, 5, 0}}})
	if same.Revision != before || m.State().Revision() != before {
		t.Fatalf("a change of nothing has revision %d, was %d", same.Revision, before)
	}
	m.do(&UpdateNamespace{ID: id, Suspended: Off, ReadOnly: Off, Limits: []SetLimit{{LimitBytes, 0, 0}}})
	if n = m.State().Namespace(id); n.Suspended || n.ReadOnly || n.Limits != nil {
		t.Fatalf("updated back %v", n)
	}
	if err := m.Restore(bytes.NewReader(dump(t, m.State()))); err != nil || !HasLabels(m.State().Namespace(id), []SetLabel{{Key: "env", Value: "test"}}) {
		t.Fatalf("after a restore %v: %v", m.State().Namespace(id), err)
	}
}

func TestSettingsAreBounded(t *testing.T) {
	m := newCluster(t)
	id := m.do(&CreateNamespace{Name: "a"}).NamespaceID
	m.do(&CreateNamespace{Name: "taken"})
	long := strings.Repeat("x", 256)
	many := []SetLabel{}
	for i := range LabelsMax + 1 {
		many = append(many, SetLabel{Key: fmt.Sprint("k", i)})
	}
	for want, c := range map[string]*UpdateNamespace{
		"1 to 63 bytes":     {Labels: []SetLabel{{Key: ""}}},
		"64 bytes long":     {Labels: []SetLabel{{Key: long[:64]}}},
		"takes letters":     {Labels: []SetLabel{{Key: "a b"}}},
		"at most 255 bytes": {Labels: []SetLabel{{Key: "a", Value: long}}},
		"control":           {Labels: []SetLabel{{Key: "a", Value: "\x01"}}},
		"at most 64":        {Labels: many},
		"kind 8":            {Limits: []SetLimit{{8, 1, 1}}},
		"above its hard":    {Limits: []SetLimit{{LimitKeys, 2, 1}}},
		"9223372036854775807": {
			Limits: []SetLimit{{LimitBytes, 0, LimitMax + 1}},
		},
		"suspended 3": {Suspended: 3},
		"read_only 3": {ReadOnly: 3},
		"contains a":  {Name: "a b"},
	} {
		c.ID = id
		if err := m.refused(CodeInvalid, c); !strings.Contains(err.Message, want) || err.Field == "" {
			t.Errorf("%+v: %q (%s), want %q", c, err.Message, err.Field, want)
		}
		m.refused(CodeInvalid, &CreateNamespace{Name: "n", Labels: c.Labels, Limits: append(c.Limits, SetLimit{Kind: 9})})
	}
	m.refused(CodeExists, &UpdateNamespace{ID: id, Name: "taken"})
	if err := m.refused(CodeConflict, &UpdateNamespace{ID: id, ReadOnly: On, ExpectedRevision: 1}); !err.Changed() {
		t.Errorf("a stale change: %v", err)
	}
	standard := m.State().Cluster().DefaultNamespaceId
	m.refused(CodeForbidden, &UpdateNamespace{ID: standard, Name: "other"})
	m.refused(CodeForbidden, &UpdateNamespace{ID: standard, Suspended: On})
	m.do(&UpdateNamespace{ID: standard, Name: DefaultNamespace, ReadOnly: On})
	m.do(&UpdateNamespace{ID: id, Labels: many[:LabelsMax]})
}

// Where no node is registered, none has to purge: a namespace in grace is kept all the same.
func TestGraceWithoutNodes(t *testing.T) {
	m := newCluster(t)
	id := m.do(&CreateNamespace{Name: "a"}).NamespaceID
	m.refused(CodePrecondition, &DropTombstones{IDs: []uint64{id}})
	m.do(&DeleteNamespace{ID: id, PurgeAtMs: 1 << 50})
	m.refused(CodePrecondition, &DropTombstones{IDs: []uint64{id}})
	m.do(&UndeleteNamespace{ID: id})
	m.do(&DeleteNamespace{ID: id})
	m.do(&DropTombstones{IDs: []uint64{id}})
	if m.State().Namespace(id) != nil {
		t.Error("a tombstone that no node has to purge stays")
	}
}

func TestGrace(t *testing.T) {
	m := newCluster(t)
	m.do(register("n1"))
	made := &CreateNamespace{Name: "a", Tokens: []NewToken{token("t1")}, Labels: []SetLabel{{Key: "k"}}, Limits: []SetLimit{{LimitKeys, 0, 9}}}
	id := m.do(made).NamespaceID
	purgeAt := int64(m.index+20) * 1000
	m.do(&DeleteNamespace{ID: id, PurgeAtMs: purgeAt})
	s := m.State()
	n := s.Namespace(id)
	if !inGrace(n) || n.PurgeAtMs != purgeAt || n.DeletedRevision != 0 || s.NamespaceByName("a") != nil || s.Token("t1") != nil || len(slices.Collect(s.Tombstones())) != 0 {
		t.Fatalf("deleted %v", n)
	}
	m.refused(CodeNotFound, &UpdateNamespace{ID: id, ReadOnly: On})
	m.refused(CodeNotFound, &CreateToken{NamespaceID: id, Token: token("t2")})
	m.refused(CodeNotFound, &ReplaceTokens{NamespaceID: id, Token: token("t2")})
	m.refused(CodeNotFound, &DeleteNamespace{ID: id})
	m.refused(CodePrecondition, &DropTombstones{IDs: []uint64{id}})
	m.refused(CodeInvalid, &ReportPurged{NodeID: "n1", Incarnation: m.State().Node("n1").Incarnation, Namespaces: []uint64{id}})
	m.do(&EndGrace{IDs: []uint64{id, 999}}) // too early
	if !inGrace(m.State().Namespace(id)) {
		t.Fatal("the grace ended before its time")
	}

	other := m.do(&CreateNamespace{Name: "a"}).NamespaceID
	m.refused(CodeExists, &UndeleteNamespace{ID: id})
	m.refused(CodeInvalid, &UndeleteNamespace{ID: id, Name: "a b"})
	m.refused(CodeNotFound, &UndeleteNamespace{ID: other})
	m.refused(CodeConflict, &UndeleteNamespace{ID: id, Name: "b", ExpectedRevision: 1})
	r := m.do(&UndeleteNamespace{ID: id, Name: "b", Tokens: []NewToken{token("t2")}})
	n = m.State().NamespaceByName("b")
	if n.GetId() != id || r.NamespaceID != id || r.TokenIDs[0] != "t2" || n.PurgeAtMs != 0 || len(n.Labels) != 1 || n.Limits.Keys.Hard != 9 || m.State().Token("t1") != nil {
		t.Fatalf("undeleted %v", n)
	}

	m.do(&DeleteNamespace{ID: id, PurgeAtMs: int64(m.index+2) * 1000})
	m.refused(CodeNotFound, &PurgeNamespace{ID: other})
	m.do(&EndGrace{IDs: []uint64{id, other}})
	if n = m.State().Namespace(id); !isTombstone(n) || n.DeletedRevision != m.index || !isActive(m.State().Namespace(other)) {
		t.Fatalf("after its grace %v", n)
	}
	m.refused(CodePrecondition, &UndeleteNamespace{ID: id})
	m.refused(CodePrecondition, &PurgeNamespace{ID: id})
	m.do(&DeleteNamespace{ID: other, PurgeAtMs: purgeAt * 2})
	m.do(&PurgeNamespace{ID: other})
	if !isTombstone(m.State().Namespace(other)) {
		t.Fatal("a purge didn't end the grace")
	}
}

func TestRotation(t *testing.T) {
	m := newCluster(t)
	id := m.do(&CreateNamespace{Name: "a"}).NamespaceID
	old := token("old")
	old.Label, old.Role, old.ExpiresMs = "app", atollpb.Role_ROLE_READ_ONLY, 1_000_000
	m.do(&CreateToken{NamespaceID: id, Token: old})
	next := token("next")
	next.Role = atollpb.Role_ROLE_ADMIN // not used
	r := m.do(&RotateToken{TokenRef: TokenRef{ID: "old", NamespaceID: id}, Token: next, OverlapMs: 5000})
	at := int64(m.index-1) * 1000
	was, is := m.State().Token("old"), m.State().Token("next")
	if r.TokenIDs[0] != "next" || was.ReplacedBy != "next" || was.ExpiresMs != at+5000 || is.Label != "app" || is.Role != old.Role || is.ExpiresMs != old.ExpiresMs {
		t.Fatalf("%+v: %v became %v", r, was, is)
	}
	m.refused(CodePrecondition, &RotateToken{TokenRef: TokenRef{ID: "old"}, Token: token("x")})
	m.refused(CodePrecondition, &UpdateToken{TokenRef: TokenRef{ID: "old"}, SetExpiry: true})
	m.refused(CodeInvalid, &RotateToken{TokenRef: TokenRef{ID: "next"}, Token: token("x"), OverlapMs: OverlapMsMax + 1})
	m.refused(CodeTokenExists, &RotateToken{TokenRef: TokenRef{ID: "next"}, Token: next})
	m.refused(CodeNotFound, &RotateToken{TokenRef: TokenRef{ID: "next", NamespaceID: id + 1}, Token: token("x")})
	m.refused(CodeConflict, &RotateToken{TokenRef: TokenRef{ID: "next", ExpectedRevision: 1}, Token: token("x")})
	m.do(&RotateToken{TokenRef: TokenRef{ID: "next"}, Token: token("third"), OverlapMs: OverlapMsMax})
	if was = m.State().Token("next"); was.ExpiresMs != old.ExpiresMs {
		t.Fatalf("an overlap makes a token live longer: %v", was)
	}
	m.do(&RotateToken{TokenRef: TokenRef{ID: "third"}, Token: token("fourth")})
	if m.State().Token("third") != nil {
		t.Fatal("without an overlap the old token is still there")
	}
	m.do(&RotateToken{TokenRef: TokenRef{ID: "admin"}, Token: token("admin2"), OverlapMs: 1})
	m.refused(CodePrecondition, &RotateToken{TokenRef: TokenRef{ID: "admin"}, Token: token("x")})
	m.refused(CodePrecondition, &RevokeToken{TokenRef{ID: "admin2"}})
	m.do(&RevokeToken{TokenRef{ID: "admin"}})
}

func TestUpdateToken(t *testing.T) {
	m := newCluster(t)
	id := m.do(&CreateNamespace{Name: "a", Tokens: []NewToken{token("t")}}).NamespaceID
	ref := TokenRef{ID: "t", NamespaceID: id}
	later := int64(m.index)*1000 + 100_000
	m.do(&UpdateToken{TokenRef: ref, SetLabel: true, Label: "x", SetExpiry: true, ExpiresMs: later})
	if k := m.State().Token("t"); k.Label != "x" || k.ExpiresMs != later {
		t.Fatalf("updated %v", k)
	}
	if r := m.do(&UpdateToken{TokenRef: ref, SetLabel: true, Label: "x"}); r.Revision == m.index {
		t.Fatal("a change of nothing has a revision")
	}
	m.refused(CodeInvalid, &UpdateToken{TokenRef: ref, SetLabel: true, Label: strings.Repeat("x", LabelBytesMax+1)})
	m.refused(CodeInvalid, &UpdateToken{TokenRef: ref, SetExpiry: true, ExpiresMs: 1})
	m.refused(CodePrecondition, &UpdateToken{TokenRef: TokenRef{ID: "admin"}, SetExpiry: true, ExpiresMs: later})
	m.do(&UpdateToken{TokenRef: ref, SetExpiry: true})
	if k := m.State().Token("t"); k.ExpiresMs != 0 || k.Label != "x" {
		t.Fatalf("updated %v", k)
	}
}

// encodeAs writes a command as an older version of this program did.
func encodeAs(t *testing.T, version uint64, c Command) []byte {
	t.Helper()
	f := &fields{version: version}
	head := envelope{newCodec().byType[reflect.TypeOf(c)].id, version, &Proposal{TimeMs: 5}}
	head.fields(f)
	c.fields(f)
	if f.err != nil {
		t.Fatal(f.err)
	}
	return f.buf
}

func TestOldVersionsOfCommands(t *testing.T) {
	m := newCluster(t)
	apply := func(c Command) Outcome {
		t.Helper()
		m.index++
		out, err := m.Apply(m.index, encodeAs(t, 1, c))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	id := apply(&CreateNamespace{Name: "a", Tokens: []NewToken{token("t")}, Labels: []SetLabel{{Key: "not-written"}}}).Result.NamespaceID
	if n := m.State().Namespace(id); n == nil || len(n.Labels) != 0 {
		t.Fatalf("created %v", n)
	}
	if out := apply(&UpdateNamespace{ID: id, Durability: atollpb.Durability_DURABILITY_LOCAL}); out.Refusal != nil {
		t.Fatal(out.Refusal)
	}
	viewer := token("v")
	viewer.Role = atollpb.Role_ROLE_VIEWER
	standard := m.State().Cluster().DefaultNamespaceId
	if out := apply(&CreateToken{NamespaceID: standard, Token: viewer}); out.Refusal == nil || out.Refusal.Code != CodeInvalid {
		t.Fatalf("a role that version 1 refused: %+v", out)
	}
	m.do(&CreateToken{NamespaceID: standard, Token: viewer})
	m.refused(CodeInvalid, &CreateToken{NamespaceID: id, Token: viewer})
	if out := apply(&RevokeToken{TokenRef{ID: "t", NamespaceID: 99}}); out.Refusal != nil {
		t.Fatal(out.Refusal)
	}
	if out := apply(&DeleteNamespace{ID: id, PurgeAtMs: 1 << 60}); out.Refusal != nil || !isTombstone(m.State().Namespace(id)) {
		t.Fatalf("deleted: %+v", out)
	}
}
