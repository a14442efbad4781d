package raftfsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/rpc/audit"
)

// What was turned away is in the audit, and nowhere else in the state.
func TestRecordRefusals(t *testing.T) {
	newMachine(t).refused(CodePrecondition, &RecordRefusals{Refusals: []Refusal{{Reason: RefusedUnknown, Count: 1}}})
	m := newCluster(t)
	before := m.State().Revision()
	m.do(&RecordRefusals{Refusals: []Refusal{{Reason: RefusedUnknown, Count: 7, NodeID: "n1", Role: "data", Source: "[::1]:7", SinceMs: 5}, {Reason: RefusedForeign, Count: 1}}})
	list := records(m.State())
	want := []audit.FieldChange{
		{Record: "refusal", ID: RefusedUnknown, Field: "count", After: "7"}, {Record: "refusal", ID: RefusedUnknown, Field: "node_id", After: "n1"},
		{Record: "refusal", ID: RefusedUnknown, Field: "role", After: "data"}, {Record: "refusal", ID: RefusedUnknown, Field: "source", After: "[::1]:7"},
		{Record: "refusal", ID: RefusedUnknown, Field: "since_ms", After: "5"}, {Record: "refusal", ID: RefusedForeign, Field: "count", After: "1"},
	}
	if last := list[len(list)-1]; !slices.Equal(last.Changes, want) || last.Action != "record-refusals" || last.Revision <= before {
		t.Errorf("%+v", last)
	}
	for name, r := range map[string][]Refusal{
		"none": nil, "too many": make([]Refusal, refusalReasonsMax+1), "no reason": {{Count: 1}}, "a reason of words": {{Reason: "a b"}},
		"a long id": {{Reason: "a", NodeID: strings.Repeat("x", 65)}}, "a long role": {{Reason: "a", Role: strings.Repeat("x", 17)}},
		"a long source": {{Reason: "a", Source: strings.Repeat("x", 65)}}, "no UTF-8": {{Reason: "a", Source: "\xff"}},
	} {
		if out := m.propose(Proposal{Command: &RecordRefusals{Refusals: r}}); out.Refusal == nil || out.Refusal.Code != CodeInvalid {
			t.Errorf("%s: %+v", name, out)
		}
	}

	// A record has room for every reason in full.
	var all []Refusal
	for i := range 14 {
		all = append(all, Refusal{Reason: fmt.Sprint("reason", i), Count: 1, SinceMs: 1, Source: "s"})
		if i < 11 {
			all[i].NodeID, all[i].Role = "n", "data"
		}
	}
	m.do(&RecordRefusals{Refusals: all})
	list = records(m.State())
	if last := list[len(list)-1]; last.Omitted != 0 {
		t.Errorf("%d are left out", last.Omitted)
	}
}
