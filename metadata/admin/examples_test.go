package admin

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// notShown are fields of requests that nobody should copy from an example.
var notShown = []string{"secret", "accept_loss"}

// TestExamples holds the description to an example of each body, which its schema allows and which shows every field
// that a request may have.
func TestExamples(t *testing.T) {
	doc := (&api{}).registerAll(http.NewServeMux())
	all, requests, responses := examples(), 0, 0
	for path, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			if _, ok := all[op.OperationID]; !ok && op.OperationID != "get-backup" { // whose answer is bytes
				t.Errorf("%s %s has no examples", op.Method, path)
			}
			delete(all, op.OperationID)
			if op.RequestBody != nil {
				for _, media := range op.RequestBody.Content {
					requests++
					checkExample(t, doc, op.OperationID+" request", media, huma.ModeWriteToServer)
					checkComplete(t, doc, op.OperationID+" request", media.Schema, generic(t, media.Example))
				}
			}
			for status, response := range op.Responses {
				for kind, media := range response.Content {
					if status[0] == '2' && kind != "application/octet-stream" {
						responses++
						checkExample(t, doc, op.OperationID+" response", media, huma.ModeReadFromServer)
					}
				}
			}
		}
	}
	for id := range all {
		t.Errorf("there are examples of %s, and no such operation", id)
	}
	if requests < 9 || responses < 31 {
		t.Errorf("%d requests and %d responses were looked at", requests, responses)
	}
}

// generic returns a value as JSON has it.
func generic(t *testing.T, v any) any {
	t.Helper()
	data, err := json.Marshal(v)
	var out any
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func checkExample(t *testing.T, doc *huma.OpenAPI, what string, media *huma.MediaType, mode huma.ValidateMode) {
	t.Helper()
	if media.Example == nil {
		t.Errorf("%s has no example", what)
		return
	}
	for _, err := range invalidities(doc, media.Schema, mode, generic(t, media.Example)) {
		t.Errorf("%s: the example is not what the schema says: %v", what, err)
	}
}

// invalidities returns what a schema refuses of a value.
func invalidities(doc *huma.OpenAPI, s *huma.Schema, mode huma.ValidateMode, v any) []error {
	result := &huma.ValidateResult{}
	huma.Validate(doc.Components.Schemas, s, huma.NewPathBuffer(nil, 0), mode, v, result)
	return result.Errors
}

// checkComplete requires that a value has every field of its schema.
func checkComplete(t *testing.T, doc *huma.OpenAPI, what string, s *huma.Schema, v any) {
	t.Helper()
	if s.Ref != "" {
		s = doc.Components.Schemas.SchemaFromRef(s.Ref)
	}
	object, _ := v.(map[string]any)
	for name, property := range s.Properties {
		if _, ok := object[name]; !ok && !slices.Contains(notShown, name) {
			t.Errorf("%s: the example doesn't show %s", what, name)
			continue
		}
		checkComplete(t, doc, what+"."+name, property, object[name])
	}
}

// A wrong example is found.
func TestExamplesAreChecked(t *testing.T) {
	doc := (&api{}).registerAll(http.NewServeMux())
	body := doc.Paths["/v1/invites"].Post.RequestBody.Content["application/json"].Schema
	for _, wrong := range []string{`{"role":"king"}`, `{"ttl_ms":"1h"}`, `{"uses":101}`, `{"bogus":1}`} {
		var v any
		if err := json.Unmarshal([]byte(wrong), &v); err != nil {
			t.Fatal(err)
		}
		if len(invalidities(doc, body, huma.ModeWriteToServer, v)) == 0 {
			t.Errorf("%s passes", wrong)
		}
	}
}

// TestExamplesAreAccepted sends every request as its example shows it to an API that has what it is about, and requires
// an answer that the description allows.
func TestExamplesAreAccepted(t *testing.T) {
	doc := (&api{}).registerAll(http.NewServeMux())
	sent := 0
	for path, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Patch, item.Delete} {
			if op == nil || op.OperationID == "watch" || op.OperationID == "events" { // which don't end
				continue
			}
			sent++
			w := newWorld(t)
			status, data := w.send(op, w.furnish(op, path))
			if status != http.StatusOK {
				t.Errorf("%s was answered %d %s", op.OperationID, status, data)
				continue
			}
			media := op.Responses["200"].Content["application/json"]
			if media == nil {
				continue
			}
			var v any
			if err := json.Unmarshal(data, &v); err != nil {
				t.Errorf("%s was answered %s: %v", op.OperationID, data, err)
			}
			for _, err := range invalidities(doc, media.Schema, huma.ModeReadFromServer, v) {
				t.Errorf("%s was answered %s: %v", op.OperationID, data, err)
			}
		}
	}
	if sent < 30 {
		t.Errorf("%d requests were sent", sent)
	}
}

// furnish makes what an operation is about, and returns the path that names it.
func (w *world) furnish(op *huma.Operation, path string) string {
	w.t.Helper()
	w.serve(time.Hour)
	w.setAuthority()
	if op.OperationID == "finish-authority" {
		if _, err := w.client.BeginAuthority(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
	w.must(&raftfsm.RegisterNode{NodeID: "data-2", Incarnation: "i1", RESPAddr: "127.0.0.1:1", ClusterAddr: "127.0.0.1:2", Version: "1", NewHistoryID: "h1"})
	token := raftfsm.NewToken{ID: newExampleRecords().token.ID, Hash: make([]byte, raftfsm.HashBytes), Role: atollpb.Role_ROLE_READ_ONLY}
	if op.OperationID != "create-namespace" {
		w.must(&raftfsm.CreateNamespace{Name: "acme", Tokens: []raftfsm.NewToken{token}})
	}
	id := "data-2"
	switch {
	case strings.Contains(path, "tokens"):
		id = token.ID
	case strings.Contains(path, "groups"):
		id = "1"
	case strings.Contains(path, "deleted-namespaces"):
		gone := w.must(&raftfsm.CreateNamespace{Name: "gone"})
		w.must(&raftfsm.DeleteNamespace{ID: gone.NamespaceID, PurgeAtMs: time.Now().Add(time.Hour).UnixMilli()})
		id = strconv.FormatUint(gone.NamespaceID, 10)
	case strings.Contains(path, "invites"):
		made, err := w.client.CreateInvite(w.t.Context(), adminapi.CreateInvite{})
		if err != nil {
			w.t.Fatal(err)
		}
		id = made.Invite.ID
	}
	return strings.NewReplacer("{name}", "acme", "{id}", id).Replace(path)
}

// send sends an operation's example.
func (w *world) send(op *huma.Operation, path string) (int, []byte) {
	w.t.Helper()
	var body io.Reader
	if op.RequestBody != nil {
		data, err := json.Marshal(op.RequestBody.Content["application/json"].Example)
		if err != nil {
			w.t.Fatal(err)
		}
		body = strings.NewReader(string(data))
	}
	r, err := http.NewRequestWithContext(w.t.Context(), op.Method, w.url+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminSecret)
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, data
}
