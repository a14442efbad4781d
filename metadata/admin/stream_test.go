package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/audit"
)

var errEnough = errors.New("enough")

func TestAuditTellsWhoAndWhat(t *testing.T) {
	w := newWorld(t)
	before := w.State().Revision()
	for _, name := range []string{"a", "b"} {
		if _, err := w.client.CreateNamespace(t.Context(), adminapi.CreateNamespace{Name: name, Token: &adminapi.CreateToken{}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.client.DeleteNamespace(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	all, err := w.client.Audit(t.Context(), adminapi.AuditFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if i := audit.Verify(all); i != -1 {
		t.Errorf("record %d breaks the chain", i)
	}
	list, err := w.client.Audit(t.Context(), adminapi.AuditFilter{After: before})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, r := range list {
		actions = append(actions, r.Action)
		if r.Actor != "root" || !strings.HasPrefix(r.Source, "127.0.0.1:") {
			t.Errorf("%s by %q from %q", r.Action, r.Actor, r.Source)
		}
	}
	if want := []string{"create-namespace", "create-namespace", "delete-namespace"}; !slices.Equal(actions, want) {
		t.Errorf("%q, want %q", actions, want)
	}

	id := list[0].Changes[0].ID
	for _, c := range []struct {
		filter adminapi.AuditFilter
		want   int
	}{
		{adminapi.AuditFilter{Namespace: "b"}, 1},
		{adminapi.AuditFilter{Namespace: id}, 2}, // of a deleted one
		{adminapi.AuditFilter{Actor: "nobody"}, 0},
		{adminapi.AuditFilter{Last: 2}, 2},
		{adminapi.AuditFilter{Last: 1, Namespace: "b"}, 1},
	} {
		if got, err := w.client.Audit(t.Context(), c.filter); err != nil || len(got) != c.want {
			t.Errorf("%+v: %d records, %v", c.filter, len(got), err)
		}
	}
	if got, err := w.client.Audit(t.Context(), adminapi.AuditFilter{Last: 2}); err != nil || got[1].Action != "delete-namespace" {
		t.Errorf("the last: %+v, %v", got, err)
	}
	if _, p := w.request("GET", "/v1/audit?namespace=nothing", ""); p.Status != 404 {
		t.Errorf("an unknown namespace: %+v", p)
	}
	for _, query := range []string{"last=0", "limit=1001", "after=-1", "bogus=1"} {
		if _, p := w.request("GET", "/v1/audit?"+query, ""); p.Status != 422 || p.Detail == "" {
			t.Errorf("%s: %+v", query, p)
		}
	}
}

// A stream begins where it is asked to, and tells everything after that, once.
func TestEventsAndWatch(t *testing.T) {
	w := newWorld(t)
	before := w.State().Revision()
	for i := range 3 {
		w.must(&raftfsm.CreateNamespace{Name: fmt.Sprintf("n%d", i)})
	}
	var names []string
	err := w.client.Events(t.Context(), before, func(r audit.Record) error {
		for _, c := range r.Changes {
			if c.Field == "name" {
				names = append(names, c.After)
			}
		}
		if len(names) == 3 {
			w.must(&raftfsm.CreateNamespace{Name: "live"})
		}
		if len(names) == 4 {
			return errEnough
		}
		return nil
	})
	if want := []string{"n0", "n1", "n2", "live"}; !errors.Is(err, errEnough) || !slices.Equal(names, want) {
		t.Errorf("%q, %v", names, err)
	}

	names = nil
	var last uint64
	err = w.client.Watch(t.Context(), before, func(c adminapi.StateChange) error {
		if c.FromRevision < last {
			t.Errorf("a change from %d after one to %d", c.FromRevision, last)
		}
		last = c.Revision
		for _, n := range c.Namespaces {
			names = append(names, n.Name)
		}
		if len(c.RemovedNamespaces) > 0 {
			return errEnough
		}
		if len(names) == 4 {
			w.must(&raftfsm.DeleteNamespace{ID: w.State().NamespaceByName("n1").Id})
		}
		return nil
	})
	if !errors.Is(err, errEnough) || len(names) != 4 {
		t.Errorf("%q, %v", names, err)
	}
}

// A place that is not remembered any more is told, and so is a bad one.
func TestStreamResets(t *testing.T) {
	w := newWorld(t)
	w.must(&raftfsm.CreateNamespace{Name: "a"})
	first := uint64(1)
	for r := range w.State().Audit(0) {
		first = r.Revision
		break
	}
	for i := range raftfsm.AuditMax + 10 {
		w.must(&raftfsm.UpdateNamespace{ID: w.State().NamespaceByName("a").Id, Durability: atollpb.Durability(1 + (i+1)%2)})
	}
	if err := w.client.Events(t.Context(), first, func(audit.Record) error { return errEnough }); !errors.Is(err, adminapi.ErrReset) {
		t.Errorf("events: %v", err)
	}
	if err := w.client.Events(t.Context(), w.State().Revision()-5, func(audit.Record) error { return errEnough }); !errors.Is(err, errEnough) {
		t.Errorf("events of late: %v", err)
	}
	for _, header := range []string{"Last-Event-ID: x", "Last-Event-ID: -1"} {
		if _, p := w.request("GET", "/v1/events", "", header); p.Status != 422 {
			t.Errorf("%s: %+v", header, p)
		}
	}
}

// A stream ends with its token, and with its client.
func TestStreamEndsWithItsToken(t *testing.T) {
	w := newWorld(t)
	created, err := w.client.CreateToken(t.Context(), raftfsm.DefaultNamespace, adminapi.CreateToken{Role: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	client := w.clientFor(created.Token.Secret)
	seen := 0
	err = client.Events(t.Context(), w.State().Revision()-1, func(audit.Record) error {
		if seen++; seen == 1 {
			w.must(&raftfsm.RevokeToken{TokenRef: raftfsm.TokenRef{ID: created.Token.ID}})
			w.must(&raftfsm.CreateNamespace{Name: "unseen"})
		}
		return nil
	})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream of a revoked token: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = w.client.Events(ctx, w.State().Revision()-1, func(audit.Record) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the stream of a client that left: %v", err)
	}
}

// A node takes a bounded number of streams.
func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	after := w.State().Revision() - 1
	reading, ended := make(chan struct{}, streamsMax), make(chan struct{}, streamsMax)
	for range streamsMax {
		go func() {
			_ = w.client.Events(ctx, after, func(audit.Record) error { // it ends with ctx
				reading <- struct{}{}
				return nil
			})
			ended <- struct{}{}
		}()
	}
	for range streamsMax {
		<-reading
	}
	if _, p := w.request("GET", "/v1/events", ""); p.Status != 429 {
		t.Errorf("one more: %+v", p)
	}
	cancel()
	for range streamsMax {
		<-ended
	}
}

// A server that stops ends its streams at once.
func TestStreamsEndWithTheServer(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(w.handler, slog.New(slog.DiscardHandler))
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	client, err := adminapi.NewClient(l.Addr().String(), adminSecret)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	stopped := make(chan error, 1)
	err = client.Events(t.Context(), w.State().Revision()-1, func(audit.Record) error {
		go func() { stopped <- server.Shutdown(t.Context()) }()
		return nil
	})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("serve: %v", err)
	}
}

// The records of a namespace are those of all changes of its tokens, too, and not those of others'.
func TestAuditOfANamespace(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for _, name := range []string{"a", "b"} {
		w.must(&raftfsm.CreateNamespace{Name: name})
		for _, revoke := range []bool{false, true} {
			made, err := w.client.CreateToken(ctx, name, adminapi.CreateToken{})
			if err == nil {
				_, err = w.client.UpdateToken(ctx, name, made.Token.ID, adminapi.UpdateToken{Label: new("new")})
			}
			if err == nil && revoke {
				_, err = w.client.RevokeToken(ctx, name, made.Token.ID)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	list, err := w.client.Audit(ctx, adminapi.AuditFilter{Namespace: "a"})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, r := range list {
		actions = append(actions, r.Action)
	}
	if want := "create-namespace create-token update-token create-token update-token revoke-token"; strings.Join(actions, " ") != want {
		t.Errorf("%q, want %q", actions, want)
	}
}

// recorder is a client that counts how often its time to read begins anew.
type recorder struct {
	*httptest.ResponseRecorder
	deadlines int
}

func (r *recorder) SetWriteDeadline(time.Time) error {
	r.deadlines++
	return nil
}

// A stream that always has something to tell ends with its token and with the server all the same, and a client has
// time for each event.
func TestStreamsThatNeverPause(t *testing.T) {
	w := newWorld(t)
	a := &api{Config: Config{Consensus: w, Now: time.Now}}
	start := w.fsm.State()
	const most = 100
	serve := func(ctx context.Context, end func()) *recorder {
		rec := &recorder{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/events", nil)
		turn := uint64(0)
		a.serveStream(humago.NewContext(&huma.Operation{}, r, rec), caller{state: start, tokenID: "t1"}, 0, func(uint64) ([]event, uint64) {
			switch turn++; turn {
			case 2:
				end()
			case most:
				return []event{{name: "reset"}}, turn
			}
			return []event{{"audit", turn, 1}, {"audit", turn, 2}}, turn
		})
		return rec
	}
	check := func(name string, r *recorder) {
		t.Helper()
		if n := strings.Count(r.Body.String(), "event: "); n != 2 {
			t.Errorf("%s: %d events", name, n)
		}
		if r.deadlines < 3 { // one more for the header
			t.Errorf("%s: %d deadlines", name, r.deadlines)
		}
	}
	w.must(&raftfsm.CreateToken{NamespaceID: start.Cluster().DefaultNamespaceId, Token: raftfsm.NewToken{
		ID: "t1", Hash: make([]byte, raftfsm.HashBytes), Role: atollpb.Role_ROLE_VIEWER,
	}})
	start = w.fsm.State()
	ctx, cancel := context.WithCancel(t.Context())
	check("the client left", serve(ctx, cancel))
	stop := make(chan struct{})
	check("the server stops", serve(context.WithValue(t.Context(), stoppingKey{}, stop), func() { close(stop) }))
	check("the token was revoked", serve(t.Context(), func() { w.must(&raftfsm.RevokeToken{TokenRef: raftfsm.TokenRef{ID: "t1"}}) }))
}

// A stream of what is to come doesn't tell, at a node that is behind, what its caller has seen.
func TestStreamAtFollower(t *testing.T) {
	w := newWorld(t)
	w.role, w.behind = "follower", w.fsm.State()
	w.must(&raftfsm.CreateNamespace{Name: "seen"})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/v1/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminSecret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = resp.Body.Close()
		http.DefaultClient.CloseIdleConnections()
	}()
	w.must(&raftfsm.CreateNamespace{Name: "new"})
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if !strings.Contains(data, `"new"`) {
				t.Errorf("the first event is %s", data)
			}
			return
		}
	}
	t.Error("no event")
}
