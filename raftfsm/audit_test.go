package raftfsm

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/audit"
)

func records(s *State) []audit.Record {
	var list []audit.Record
	for r := range s.Audit(0) {
		list = append(list, *r)
	}
	return list
}

// Each change is recorded with who made it, and what was before and after.
func TestAudit(t *testing.T) {
	m := newCluster(t)
	first := len(records(m.State()))
	create := m.propose(Proposal{Command: &CreateNamespace{Name: "a", Tokens: []NewToken{token("t1")}}, Actor: "tok_x", Source: "[::1]:7", TimeMs: 5000}).Result
	m.propose(Proposal{Command: &UpdateNamespace{ID: create.NamespaceID, Durability: atollpb.Durability_DURABILITY_LOCAL}, Actor: "control"})
	m.propose(Proposal{Command: &UpdateNamespace{ID: create.NamespaceID, Durability: atollpb.Durability_DURABILITY_LOCAL}, Actor: "tok_x"}) // no change
	m.propose(Proposal{Command: &CreateNamespace{Name: "a"}, Actor: "tok_x"})                                                               // refused
	m.propose(Proposal{Command: &RevokeToken{TokenRef: TokenRef{ID: "t1"}}, Actor: "tok_x"})

	got := records(m.State())[first:]
	if len(got) != 3 {
		t.Fatalf("%d records: %+v", len(got), got)
	}
	id := fmt.Sprint(create.NamespaceID)
	c := got[0]
	if c.Actor != "tok_x" || c.Source != "[::1]:7" || c.Action != "create-namespace" || c.At.UnixMilli() != 5000 || c.Revision != create.Revision {
		t.Errorf("%+v", c)
	}
	for _, want := range []audit.FieldChange{{Record: "namespace", ID: id, Field: "name", After: "a"}, {Record: "token", ID: "t1", Field: "role", After: "role_read_write"}} {
		if !slices.Contains(c.Changes, want) {
			t.Errorf("%+v lacks %+v", c.Changes, want)
		}
	}
	if want := []audit.FieldChange{{Record: "namespace", ID: id, Field: "durability", Before: "durability_async", After: "durability_local"}}; !slices.Equal(got[1].Changes, want) {
		t.Errorf("%+v, want %+v", got[1].Changes, want)
	}
	if !slices.Contains(got[2].Changes, audit.FieldChange{Record: "token", ID: "t1", Field: "role", Before: "role_read_write"}) {
		t.Errorf("%+v", got[2].Changes)
	}
	if i := audit.Verify(records(m.State())); i != -1 {
		t.Errorf("record %d breaks the chain", i)
	}
	after := slices.Collect(m.State().Audit(got[1].Revision))
	if len(after) != 1 || after[0].Revision != got[2].Revision {
		t.Errorf("after %d: %+v", got[1].Revision, after)
	}
}

// No field of bytes, of whichever record, gets into a record of the audit: secrets and their hashes are such fields.
func TestAuditHoldsNoSecrets(t *testing.T) {
	m := newCluster(t)
	k := token("t1")
	k.Hash = []byte(strings.Repeat("S", HashBytes))
	m.propose(Proposal{Command: &CreateNamespace{Name: "a", Tokens: []NewToken{k}}})
	text := fmt.Sprintf("%+v", records(m.State()))
	for _, secret := range [][]byte{k.Hash, m.State().Cluster().TokenKey} {
		for _, form := range []string{string(secret), hex.EncodeToString(secret), fmt.Sprint(secret), fmt.Sprintf("%q", secret)} {
			if strings.Contains(text, form) {
				t.Errorf("the audit holds %q", form)
			}
		}
	}
}

// The table of records is bounded, and what stays is a chain.
func TestAuditIsBounded(t *testing.T) {
	m := newCluster(t)
	for i := range AuditMax + 50 {
		m.propose(Proposal{Command: &CreateNamespace{Name: fmt.Sprintf("n%d", i)}})
	}
	list := records(m.State())
	if len(list) != AuditMax {
		t.Errorf("%d records", len(list))
	}
	if i := audit.Verify(list); i != -1 {
		t.Errorf("record %d breaks the chain", i)
	}
	if list[len(list)-1].Revision != m.State().Revision() {
		t.Errorf("the newest record is of revision %d", list[len(list)-1].Revision)
	}

	// A snapshot keeps them, and the count: one more drops one.
	other := newMachine(t)
	if err := other.Restore(bytes.NewReader(dump(t, m.State()))); err != nil {
		t.Fatal(err)
	}
	other.index = m.index
	other.propose(Proposal{Command: &CreateNamespace{Name: "one-more"}})
	if n := len(records(other.State())); n != AuditMax {
		t.Errorf("%d records after a restore", n)
	}
}

// A command that changes more than one record may list is recorded with how many it leaves out.
func TestAuditOmits(t *testing.T) {
	m := newCluster(t)
	var tokens []NewToken
	for i := range 50 {
		tokens = append(tokens, token(fmt.Sprintf("t%d", i)))
	}
	m.propose(Proposal{Command: &CreateNamespace{Name: "a", Tokens: tokens}})
	list := records(m.State())
	last := list[len(list)-1]
	if len(last.Changes) != AuditChangesMax || last.Omitted == 0 {
		t.Errorf("%d changes, %d left out", len(last.Changes), last.Omitted)
	}
}

// Each change of a list is seen: one far behind what a text shows, and one that only moves a separator.
func TestAuditSeesEveryChangeOfAList(t *testing.T) {
	m := newCluster(t)
	var labels []SetLabel
	for i := range LabelsMax {
		labels = append(labels, SetLabel{Key: fmt.Sprintf("k%02d", i), Value: strings.Repeat("v", 100)})
	}
	long := m.do(&CreateNamespace{Name: "long", Labels: labels}).NamespaceID
	m.do(&UpdateNamespace{ID: long, Labels: []SetLabel{{Key: "k63", Value: "changed"}}})
	one := m.do(&CreateNamespace{Name: "one", Labels: []SetLabel{{Key: "a", Value: "x b=y"}}}).NamespaceID
	m.do(&UpdateNamespace{ID: one, Labels: []SetLabel{{Key: "a", Value: "x"}, {Key: "b", Value: "y"}}})
	list := records(m.State())
	for _, r := range []audit.Record{list[len(list)-3], list[len(list)-1]} {
		if len(r.Changes) != 1 || r.Changes[0].Field != "labels" {
			t.Errorf("%s at %d: %+v", r.Action, r.Revision, r.Changes)
		}
	}
}

// A deletion's record says what became of the namespace, however many tokens it had.
func TestAuditOfADeletionNamesTheNamespace(t *testing.T) {
	m := newCluster(t)
	for _, purgeAt := range []int64{0, 1 << 50} {
		create := &CreateNamespace{Name: "a"}
		for i := range 2 * AuditChangesMax {
			create.Tokens = append(create.Tokens, token(fmt.Sprintf("t%d-%d", purgeAt, i)))
		}
		id := m.do(create).NamespaceID
		m.do(&DeleteNamespace{ID: id, PurgeAtMs: purgeAt})
		list := records(m.State())
		last := list[len(list)-1]
		if !slices.ContainsFunc(last.Changes, func(c audit.FieldChange) bool { return c.Record == "namespace" && c.Field == "state" }) {
			t.Errorf("purged at %d: %+v", purgeAt, last.Changes)
		}
		if slices.Collect(m.State().Tokens(id)) != nil {
			t.Errorf("purged at %d: it has tokens", purgeAt)
		}
	}
}

// A snapshot with a record that was changed is not taken.
func TestRestoreChecksTheAudit(t *testing.T) {
	record := records(newCluster(t).State())[0]
	for _, actor := range []string{record.Actor, "somebody else"} {
		record.Actor = actor
		f := &fields{}
		auditRow{&record}.fields(f)
		if err := decodeOwn(f.buf, auditRow{&audit.Record{}}); (err != nil) != (actor == "somebody else") {
			t.Errorf("by %q: %v", actor, err)
		}
	}
}
