package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/audit"
)

func auditRecords() []audit.Record {
	a := audit.Record{
		Revision: 7, At: time.UnixMilli(1000).UTC(), Actor: "tok_a", Source: "127.0.0.1:9", Action: "update-namespace",
		Changes: []audit.FieldChange{{Record: "namespace", ID: "6", Field: "durability", Before: "durability_async", After: "durability_local"}},
	}
	a.Hash = a.Sum()
	b := audit.Record{Revision: 9, At: time.UnixMilli(2000).UTC(), Actor: "control", Action: "drop-tombstones", Changes: []audit.FieldChange{}, Previous: a.Hash}
	b.Hash = b.Sum()
	return []audit.Record{a, b}
}

func answerJSON(v any) http.HandlerFunc {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return answer(200, string(data))
}

func TestAuditCommands(t *testing.T) {
	a := newAPI(t, answerJSON(adminapi.AuditList{Revision: 9, Records: auditRecords()}))
	if stdout, stderr, code := a.cli("", "audit", "list"); code != 0 || !strings.Contains(stdout, `namespace 6 durability: "durability_async" to "durability_local"`) {
		t.Errorf("list: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if stdout, stderr, code := a.cli("", "audit", "verify"); code != 0 || !strings.Contains(stdout, auditRecords()[1].Hash) {
		t.Errorf("verify: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	broken := auditRecords()
	broken[0].Actor = "tok_b"
	a = newAPI(t, answerJSON(adminapi.AuditList{Revision: 9, Records: broken}))
	if _, stderr, code := a.cli("", "audit", "verify"); code != 1 || !strings.Contains(stderr, "revision 7 was changed") {
		t.Errorf("verify: exit code %d, stderr %q", code, stderr)
	}
}

func TestAuditFollow(t *testing.T) {
	a := newAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "event: heartbeat\ndata: {\"revision\":5}\n\n")
		for _, r := range auditRecords() {
			data, err := json.Marshal(r)
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(w, "event: audit\nid: %d\ndata: %s\n\n", r.Revision, data)
		}
	})
	stdout, stderr, code := a.cli("", "audit", "follow", "--after", "5")
	want := "1970-01-01 00:00:01 7 update-namespace by tok_a from 127.0.0.1:9: namespace 6 durability: \"durability_async\" to \"durability_local\"\n" +
		"1970-01-01 00:00:02 9 drop-tombstones by control: \n"
	if stdout != want || code != 1 || !strings.Contains(stderr, "unexpected EOF") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	a = newAPI(t, answer(200, "event: reset\ndata: {\"revision\":9}\n\n"))
	if _, stderr, code := a.cli("", "audit", "follow", "--after", "5"); code != 1 || !strings.Contains(stderr, "not remembered") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestAuditOfRefusals(t *testing.T) {
	r := audit.Record{Action: "record-refusals"}
	for _, c := range [][3]string{
		{"join-token-used", "count", "12"}, {"join-token-used", "node_id", "n1"}, {"join-token-used", "role", "data"}, {"join-token-used", "source", "10.0.0.1:5"},
		{"join-token-used", "since_ms", "5"}, {"certificate-foreign", "count", "1"}, {"certificate-foreign", "source", "[::1]:7"},
	} {
		r.Changes = append(r.Changes, audit.FieldChange{Record: "refusal", ID: c[0], Field: c[1], After: c[2]})
	}
	const want = "12 x join-token-used node n1 as data from 10.0.0.1:5; 1 x certificate-foreign from [::1]:7"
	if got := changesText(&r); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
