package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/metadata/control"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

const adminSecret = "atoll_test-admin-secret"

// fake is a consensus of one state machine without Raft, and a control that knows what it is told.
type fake struct {
	mu        sync.Mutex
	fsm       *raftfsm.FSM
	index     uint64
	behind    *raftfsm.State // State answers it instead, if set
	role      string
	catching  bool // the leader has yet to apply what was committed before
	before    error
	readErr   error
	readAfter error // readErr once a proposal has had its effect
	status    error
	reports   []control.Report
	lag       control.Lag
	twice     bool // a proposal has its effect, and is tried again because its answer was lost
	proposed  []consensus.ProposeOptions
	reads     int
	voters    []string // what was asked about them
	usesOf    []uint64 // namespaces whose uses were asked for
}

func (f *fake) Propose(_ context.Context, c raftfsm.Command, o consensus.ProposeOptions) (raftfsm.Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.proposed = append(f.proposed, o)
	if f.before != nil {
		return raftfsm.Result{}, f.before
	}
	data, err := f.fsm.Encode(raftfsm.Proposal{Command: c, RequestID: o.RequestID, Digest: o.Digest, Actor: o.Actor, Source: o.Source, TimeMs: time.Now().UnixMilli()})
	if err != nil {
		return raftfsm.Result{}, err
	}
	f.index++
	out, err := f.fsm.Apply(f.index, data)
	if f.twice {
		f.index++
		out, err = f.fsm.Apply(f.index, data)
	}
	if err == nil {
		err = out.Err()
	}
	if err == nil && f.readAfter != nil {
		f.readErr = f.readAfter
	}
	return out.Result, err
}

func (f *fake) Read(context.Context) (*raftfsm.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	return f.fsm.State(), f.readErr
}

func (f *fake) State() *raftfsm.State {
	if f.behind != nil {
		return f.behind
	}
	return f.fsm.State()
}

func (f *fake) RemoveVoter(_ context.Context, id string, _ consensus.ProposeOptions) error {
	f.voters = append(f.voters, "remove "+id)
	if f.readAfter != nil {
		f.readErr = f.readAfter
	}
	return f.before
}

func (f *fake) Transfer(_ context.Context, id string) error {
	f.voters = append(f.voters, "transfer "+id)
	return f.before
}

func (f *fake) Feed() *raftfsm.Feed { return f.fsm.Feed() }

func (f *fake) Status() consensus.Status {
	return consensus.Status{
		NodeID: "m1", Role: f.role, CatchingUp: f.catching, LeaderID: "m1", Initialised: true, Err: f.status,
		Voters: []consensus.Voter{{ID: "m1", ClusterAddr: "127.0.0.1:7379"}},
	}
}

func (f *fake) Reports(context.Context) ([]control.Report, error) { return f.reports, f.readErr }

func (f *fake) Uses(_ context.Context, id uint64) ([]control.Report, error) {
	f.usesOf = append(f.usesOf, id)
	return f.reports, f.readErr
}

func (f *fake) UsesOf(context.Context, []uint64) ([]control.Report, error) {
	return f.reports, f.readErr
}

func (f *fake) WaitApplied(context.Context, uint64, time.Duration) control.Lag { return f.lag }

func (f *fake) Promote(ctx context.Context, target string, acceptLoss bool, o consensus.ProposeOptions) (raftfsm.Result, error) {
	if acceptLoss {
		return f.Propose(ctx, &raftfsm.ForcePromotion{Target: target, NewHistoryID: "h2"}, o)
	}
	return f.Propose(ctx, &raftfsm.BeginPromotion{Target: target}, o)
}

type world struct {
	*fake
	t       *testing.T
	url     string
	handler http.Handler
	client  *adminapi.Client
}

// newWorld serves the API of an initialised cluster with two data nodes, n1 the primary.
func newWorld(t *testing.T) *world {
	t.Helper()
	fsm, err := raftfsm.New()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, fake: &fake{fsm: fsm, role: "leader"}}
	key := []byte(strings.Repeat("k", raftfsm.HashBytes))
	w.must(&raftfsm.InitCluster{
		ClusterID: "c1", MetadataHistoryID: "mh1", TokenKey: key,
		AdminToken:   raftfsm.NewToken{ID: "root", Hash: consensus.HashSecret(key, adminSecret), Role: atollpb.Role_ROLE_ADMIN},
		MetadataNode: raftfsm.MetadataNode{ID: "m1", Incarnation: "i1", ClusterAddr: "127.0.0.1:7379"},
	})
	for i, id := range []string{"n1", "n2"} {
		w.must(&raftfsm.RegisterNode{
			NodeID: id, Incarnation: "i1", RESPAddr: fmt.Sprintf("127.0.0.1:%d", 6379+i), ClusterAddr: fmt.Sprintf("127.0.0.1:%d", 7379+i),
			Version: "1", NewHistoryID: "h1",
		})
	}
	w.serve(0)
	return w
}

// serve begins to serve the API with a grace for what is deleted.
func (w *world) serve(grace time.Duration) {
	t := w.t
	t.Helper()
	handler, err := New(Config{
		Consensus: w, Control: w, HTTPAddr: "admin.example:8379", Version: "test", Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		DeleteGrace: grace,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.handler = handler
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.client = w.clientFor(adminSecret)
}

func (w *world) clientFor(token string) *adminapi.Client {
	w.t.Helper()
	c, err := adminapi.NewClient(w.url, token)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

func (w *world) must(c raftfsm.Command) raftfsm.Result {
	w.t.Helper()
	r, err := w.Propose(w.t.Context(), c, consensus.ProposeOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// request sends one raw request; header lines are "Name: value".
func (w *world) request(method, path, body string, headers ...string) (*http.Response, *adminapi.Problem) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminSecret)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if value == "" {
			req.Header.Del(name)
			continue
		}
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	p := &adminapi.Problem{}
	if resp.StatusCode >= 300 {
		if err := json.Unmarshal(data, p); err != nil {
			w.t.Fatalf("%s %s answered %d with %q, which is no problem record: %v", method, path, resp.StatusCode, data, err)
		}
		if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
			w.t.Errorf("%s %s: content type %q", method, path, got)
		}
		if p.Status != resp.StatusCode {
			w.t.Errorf("%s %s: status %d in the record, %d in the answer", method, path, p.Status, resp.StatusCode)
		}
	}
	return resp, p
}

// codeOf returns the problem code of a client's error.
func codeOf(err error) string {
	if p, ok := errors.AsType[*adminapi.Problem](err); ok {
		return p.Code()
	}
	return fmt.Sprintf("not a problem: %v", err)
}

func TestRefusals(t *testing.T) {
	long := strings.Repeat("n", raftfsm.NameBytesMax+1)
	tests := []struct {
		name         string
		method, path string
		body         string
		header       string
		status       int
		detail       string // part of it: the field and the bound
	}{
		{"no such path", "GET", "/v1/nothing", "", "", 404, "/v1/nothing"},
		{"token that is dots", "DELETE", "/v1/namespaces/acme/tokens/..", "", "", 404, "/v1/namespaces/acme/tokens/.."},
		{"token that is escaped dots", "DELETE", "/v1/namespaces/acme/tokens/%2e%2e", "", "", 404, "nothing at"},
		{"token that is a dot", "DELETE", "/v1/namespaces/acme/.", "", "", 404, "nothing at"},
		{"doubled slash", "DELETE", "/v1//namespaces/acme", "", "", 404, "nothing at"},
		{"dots before the API", "DELETE", "/x/../v1/namespaces/acme", "", "", 404, "nothing at"},
		{"slash at the end", "DELETE", "/v1/namespaces/acme/", "", "", 404, "nothing at"},
		{"no such method", "PUT", "/v1/namespaces", "", "", 405, "PUT"},
		{"no token", "GET", "/v1/namespaces", "", "Authorization: ", 401, "Bearer"},
		{"basic authentication", "GET", "/v1/namespaces", "", "Authorization: Basic eDp5", 401, "Bearer"},
		{"unknown token", "GET", "/v1/namespaces", "", "Authorization: Bearer nope", 401, "unknown"},
		{"endless token", "GET", "/v1/namespaces", "", "Authorization: Bearer " + strings.Repeat("x", 513), 401, "Bearer"},
		{"foreign host", "GET", "/v1/namespaces", "", "Host: evil.example", 421, "evil.example"},
		{"foreign host of a public path", "GET", "/healthz", "", "Host: evil.example:80", 421, "evil.example"},
		{"not JSON", "POST", "/v1/namespaces", "{", "", 400, "body"},
		{"not JSON in a list", "POST", "/v1/namespaces", "[x", "", 400, "body"},
		{"list without an end", "POST", "/v1/namespaces", strings.Repeat("[", 60000), "", 400, "body"},
		{"deep body", "POST", "/v1/namespaces", `{"name":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", "", 422, "body.name"},
		{"key that is no text", "POST", "/v1/namespaces", `{1:2}`, "", 400, "body"},
		{"value that is no JSON", "POST", "/v1/namespaces", `{"name":x,"name":x}`, "", 400, "body"},
		{"brackets that don't match", "POST", "/v1/namespaces", `{"name":[}`, "", 400, "body"},
		{"key twice in a list", "POST", "/v1/namespaces", `{"name":[{"a":1,"a":2}]}`, "", 422, "body.name.a: the key comes twice"},
		{"wrong content type", "POST", "/v1/namespaces", "name=x", "Content-Type: text/plain", 415, "content type"},
		{"oversized body", "POST", "/v1/namespaces", `{"name":"` + strings.Repeat("x", adminapi.BodyBytesMax) + `"}`, "", 413, "65536 bytes"},
		{"name that is not UTF-8", "POST", "/v1/namespaces", "{\"name\":\"x\xff\"}", "", 400, "not valid UTF-8"},
		{"name with half a pair", "POST", "/v1/namespaces", `{"name":"x\ud800"}`, "", 422, "name contains U+FFFD"},
		{"label with half a pair", "POST", "/v1/namespaces/acme/tokens", `{"label":"x\ud800"}`, "", 422, "label contains U+FFFD"},
		{"secret with half a pair", "POST", "/v1/namespaces/acme/tokens", `{"secret":"0123456789abcdef\ud800"}`, "", 422, "secret contains U+FFFD"},
		{"key twice", "POST", "/v1/namespaces", `{"name":"x","name":"y"}`, "", 422, "body.name: the key comes twice"},
		{"key twice within", "POST", "/v1/namespaces", `{"name":"x","token":{"label":"a","label":"b"}}`, "", 422, "body.token.label: the key comes twice"},
		{"key of another case", "POST", "/v1/namespaces", `{"Name":"x"}`, "", 422, "body.Name"},
		{"no content type", "POST", "/v1/namespaces", `{"name":"x"}`, "Content-Type: ", 415, "application/json"},
		{"no name", "POST", "/v1/namespaces", `{}`, "", 422, "name"},
		{"empty name", "POST", "/v1/namespaces", `{"name":""}`, "", 422, "1 to 255 bytes"},
		{"long name", "POST", "/v1/namespaces", `{"name":"` + long + `"}`, "", 422, "1 to 255 bytes"},
		{"name with a space", "POST", "/v1/namespaces", `{"name":"a b"}`, "", 422, "space"},
		{"reserved name", "POST", "/v1/namespaces", `{"name":"__x"}`, "", 422, "reserved"},
		{"name of a wrong type", "POST", "/v1/namespaces", `{"name":1}`, "", 422, "body.name"},
		{"unknown field", "POST", "/v1/namespaces", `{"name":"x","nmae":"y"}`, "", 422, "body.nmae"},
		{"unknown parameter", "GET", "/v1/namespaces?lmit=1", "", "", 422, "query.lmit"},
		{"page too long", "GET", "/v1/namespaces?limit=1001", "", "", 422, "query.limit: expected number <= 1000"},
		{"later durability", "POST", "/v1/namespaces", `{"name":"x","durability":"replicated"}`, "", 422, "durability replicated is not available"},
		{"later durability", "PATCH", "/v1/namespaces/acme", `{"durability":"durable"}`, "", 422, "durability durable is not available"},
		{"unknown durability", "POST", "/v1/namespaces", `{"name":"x","durability":"paper"}`, "", 422, "use async or local"},
		{"short secret", "POST", "/v1/namespaces/acme/tokens", `{"secret":"short"}`, "", 422, "16 to 512 bytes"},
		{"long secret", "POST", "/v1/namespaces/acme/tokens", `{"secret":"` + strings.Repeat("s", 513) + `"}`, "", 422, "16 to 512 bytes"},
		{"secret with a line end", "POST", "/v1/namespaces/acme/tokens", `{"secret":"0123456789abcdef\n"}`, "", 422, "control character"},
		{"unknown role", "POST", "/v1/namespaces/acme/tokens", `{"role":"king"}`, "", 422, "read-only, read-write, viewer, operator or admin"},
		{"admin of a tenant", "POST", "/v1/namespaces/acme/tokens", `{"role":"admin"}`, "", 422, "tokens of the default namespace"},
		{"long label", "POST", "/v1/namespaces/acme/tokens", `{"label":"` + strings.Repeat("l", 129) + `"}`, "", 422, "at most 128 bytes"},
		{"expired token", "POST", "/v1/namespaces/acme/tokens", `{"expires_at":"2001-01-01T00:00:00Z"}`, "", 422, "not in the future"},
		{"no date", "POST", "/v1/namespaces/acme/tokens", `{"expires_at":"tomorrow"}`, "", 422, "body.expires_at"},
		{"token of nobody", "POST", "/v1/namespaces/nobody/tokens", `{}`, "", 404, `"nobody" was not found`},
		{"duplicate name", "POST", "/v1/namespaces", `{"name":"acme"}`, "", 409, `"acme" exists`},
		{"delete the default", "DELETE", "/v1/namespaces/__namespace", "", "", 403, "default namespace"},
		{"delete the unknown", "DELETE", "/v1/namespaces/nobody", "", "", 404, `"nobody" was not found`},
		{"stale change", "PATCH", "/v1/namespaces/acme", `{"durability":"local"}`, `If-Match: "1"`, 412, "changed at revision"},
		{"wait for what", "DELETE", "/v1/namespaces/acme?wait=forever", "", "", 422, "query.wait"},
		{"wait for ever", "DELETE", "/v1/namespaces/acme?wait=applied&wait_ms=60001", "", "", 422, "query.wait_ms"},
		{"long key", "DELETE", "/v1/namespaces/acme", "", "Idempotency-Key: " + strings.Repeat("k", 129), 400, "16 to 128 bytes"},
		{"short key", "DELETE", "/v1/namespaces/acme", "", "Idempotency-Key: " + strings.Repeat("k", 15), 400, "16 to 128 bytes"},
		{"revoke another's token", "DELETE", "/v1/namespaces/acme/tokens/root", "", "", 404, `no token "root"`},
		{"revoke the last admin", "DELETE", "/v1/namespaces/__namespace/tokens/root", "", "", 409, "last admin token"},
		{"unknown node", "GET", "/v1/nodes/n9", "", "", 404, `"n9" was not found`},
		{"remove the primary", "DELETE", "/v1/nodes/n1", "", "", 409, "promote another node first"},
		{"unknown group", "POST", "/v1/groups/7/promote", `{"target":"n2"}`, "", 404, "group 7"},
		{"no group", "POST", "/v1/groups/x/promote", `{"target":"n2"}`, "", 422, "path.id"},
		{"promote the primary", "POST", "/v1/groups/1/promote", `{"target":"n1"}`, "", 409, "primary already"},
		{"promote nobody", "POST", "/v1/groups/1/promote", `{"target":"n9"}`, "", 404, `"n9" was not found`},
	}
	w := newWorld(t)
	w.must(&raftfsm.CreateNamespace{Name: "acme"})
	revision := w.fsm.State().Revision()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var headers []string
			if tt.header != "" {
				headers = append(headers, tt.header)
			}
			resp, p := w.request(tt.method, tt.path, tt.body, headers...)
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d (%s)", resp.StatusCode, tt.status, p.Detail)
			}
			if !strings.Contains(p.Detail, tt.detail) {
				t.Errorf("detail %q, want %q in it", p.Detail, tt.detail)
			}
			if p.Code() == "" {
				t.Errorf("type %q", p.Type)
			}
			if tt.status == 401 && resp.Header.Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate header")
			}
		})
	}
	if got := w.fsm.State().Revision(); got != revision {
		t.Errorf("a refused request changed the state: revision %d, was %d", got, revision)
	}
}

// TestProblemLocations looks at where a refusal says that the fault is.
func TestProblemLocations(t *testing.T) {
	w := newWorld(t)
	w.must(&raftfsm.CreateNamespace{Name: "acme"})
	for _, tt := range []struct{ path, body, header, want string }{
		{"/v1/namespaces/acme/tokens", `{"expires_at":"2001-01-01T00:00:00Z"}`, "", "body.expires_at"},
		{"/v1/namespaces/acme/tokens", `{"label":"\u0007"}`, "", "body.label"},
		{"/v1/namespaces", `{"name":"x","token":{"label":"\u0007"}}`, "", "body.token.label"},
		{"/v1/namespaces", `{"name":"x","token":{"role":"admin"}}`, "", "body.token.role"},
		{"/v1/namespaces", `{"name":"x","token":{"role":"king"}}`, "", "body.token.role"},
		{"/v1/namespaces", `{"name":"x","token":{"expires_at":"2001-01-01T00:00:00Z"}}`, "", "body.token.expires_at"},
		{"/v1/namespaces", `{"name":"a b"}`, "", "body.name"},
		{"/v1/namespaces", `{"name":"acme"}`, "", "body.name"},
		{"/v1/namespaces", `{"name":"x","token":{"secret":"` + adminSecret + `"}}`, "", "body.token.secret"},
		{"/v1/namespaces", `{"name":"x"}`, "Idempotency-Key: " + strings.Repeat("\u00fc", 100), "header.Idempotency-Key"},
	} {
		headers := []string{}
		if tt.header != "" {
			headers = append(headers, tt.header)
		}
		_, p := w.request("POST", tt.path, tt.body, headers...)
		if len(p.Errors) != 1 || p.Errors[0].Location != tt.want {
			t.Errorf("%s: %+v, want %s", tt.body, p, tt.want)
		}
	}
}

// TestSecretsAreNotEchoed sends a secret in requests that are refused.
func TestSecretsAreNotEchoed(t *testing.T) {
	w := newWorld(t)
	w.must(&raftfsm.CreateNamespace{Name: "acme"})
	const secret = "a-secret-of-somebody"
	for _, body := range []string{
		`{"secret":"` + secret + `","label":7}`,
		`{"secret":"` + secret + `","role":"king"}`,
		`{"secret":"` + secret + `"`,
		`{"secret":["` + secret + `"]}`,
	} {
		_, p := w.request("POST", "/v1/namespaces/acme/tokens", body)
		if data, _ := json.Marshal(p); p.Status < 400 || strings.Contains(string(data), secret) {
			t.Errorf("body %s was answered %s", body, data)
		}
	}
}

// TestP8HonestErrors goes through every outcome of a proposal: only the indeterminate ones say so.
func TestP8HonestErrors(t *testing.T) {
	tests := []struct {
		err    error
		status int
		code   string
	}{
		{consensus.ErrNoLeader, 503, adminapi.CodeNoLeader},
		{consensus.ErrTooMuch, 429, adminapi.CodeTooMuch},
		{consensus.ErrStopped, 503, adminapi.CodeUnavailable},
		{consensus.ErrIndeterminate, 504, adminapi.CodeIndeterminate},
		{fmt.Errorf("%w: %w", consensus.ErrIndeterminate, consensus.ErrNoLeader), 504, adminapi.CodeIndeterminate},
		{fmt.Errorf("%w: %w", consensus.ErrIndeterminate, context.DeadlineExceeded), 504, adminapi.CodeIndeterminate},
		{raftfsm.ErrCommandTooLarge, 413, adminapi.CodeTooLarge},
		{context.DeadlineExceeded, 503, adminapi.CodeUnavailable},
		{errors.New("something new"), 504, adminapi.CodeIndeterminate},
	}
	for _, tt := range tests {
		t.Run(tt.err.Error(), func(t *testing.T) {
			w := newWorld(t)
			w.before = tt.err
			resp, p := w.request("POST", "/v1/namespaces", `{"name":"x"}`)
			if resp.StatusCode != tt.status || p.Code() != tt.code {
				t.Errorf("answered %d %s (%s), want %d %s", resp.StatusCode, p.Code(), p.Detail, tt.status, tt.code)
			}
		})
	}
	t.Run("done on the leader, and this node can't read it", func(t *testing.T) {
		w := newWorld(t)
		w.behind, w.readAfter = w.fsm.State(), consensus.ErrNoLeader
		resp, p := w.request("POST", "/v1/namespaces", `{"name":"x"}`)
		if resp.StatusCode != 504 || p.Code() != adminapi.CodeIndeterminate {
			t.Errorf("a change that happened was answered %d %s (%s)", resp.StatusCode, p.Code(), p.Detail)
		}
	})
	t.Run("a metadata node is removed, and this node can't read", func(t *testing.T) {
		w := newWorld(t)
		w.readAfter = consensus.ErrNoLeader
		resp, p := w.request("DELETE", "/v1/metadata-nodes/m2", "")
		if resp.StatusCode != 504 || p.Code() != adminapi.CodeIndeterminate {
			t.Errorf("a removal that happened was answered %d %s (%s)", resp.StatusCode, p.Code(), p.Detail)
		}
	})
}
