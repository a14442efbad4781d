package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/metadata/control"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

func TestNamespaceLife(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made, err := w.client.CreateNamespace(ctx, adminapi.CreateNamespace{
		Name: "acme", Token: &adminapi.CreateToken{Label: "first"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if made.Namespace.ID != made.Revision || made.Namespace.Durability != "async" || made.Namespace.CreatedAt.IsZero() {
		t.Errorf("created %+v", made)
	}
	if made.Token == nil || !strings.HasPrefix(made.Token.Secret, "atoll_") || made.Token.Role != "read-write" || made.Token.Label != "first" {
		t.Errorf("first token %+v", made.Token)
	}
	state := w.fsm.State()
	hash := consensus.HashSecret(state.Cluster().TokenKey, made.Token.Secret)
	if got := state.TokenByHash(hash); got == nil || got.Id != made.Token.ID {
		t.Error("the secret doesn't find its token")
	}

	updated, err := w.client.UpdateNamespace(ctx, "acme", adminapi.UpdateNamespace{Durability: "local"}, adminapi.WithIfMatch(made.Namespace.ModifiedRevision))
	if err != nil || updated.Namespace.Durability != "local" || updated.Namespace.ModifiedRevision <= made.Revision {
		t.Errorf("updated %+v, error %v", updated, err)
	}
	shown, err := w.client.Namespace(ctx, "acme")
	if err != nil || !reflect.DeepEqual(shown, updated.Namespace) {
		t.Errorf("shown %+v, error %v, want %+v", shown, err, updated.Namespace)
	}

	if _, err := w.client.DeleteNamespace(ctx, "acme"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Namespace(ctx, "acme"); codeOf(err) != adminapi.CodeNotFound {
		t.Errorf("a deleted namespace: %v", err)
	}
	gone, err := w.client.DeletedNamespaces(ctx)
	if err != nil || len(gone) != 1 || gone[0].ID != made.Namespace.ID || gone[0].State != adminapi.StateDeleted || !slices.Equal(gone[0].WaitingFor, []string{"n1", "n2"}) {
		t.Errorf("tombstones %+v, error %v", gone, err)
	}
}

func TestNamespacePages(t *testing.T) {
	w := newWorld(t)
	var want []string
	for i := range 2005 {
		name := fmt.Sprintf("ns-%04d", i)
		w.must(&raftfsm.CreateNamespace{Name: name})
		want = append(want, name)
	}
	want = append([]string{raftfsm.DefaultNamespace}, want...)
	list, err := w.client.Namespaces(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range list {
		got = append(got, n.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d names, want %d in their order", len(got), len(want))
	}
	for path, n := range map[string]int{"?limit=1000": 1000, "": 100, "?after=ns-2000": 4, "?after=zzz": 0} {
		var page adminapi.NamespaceList
		w.get("/v1/namespaces"+path, &page)
		if len(page.Namespaces) != n || (page.Next == "") != (n < 100) {
			t.Errorf("%q has %d namespaces and next %q, want %d", path, len(page.Namespaces), page.Next, n)
		}
	}
}

func (w *world) get(path string, into any) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "GET", w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "bearer "+adminSecret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil || resp.StatusCode != 200 {
		w.t.Fatalf("GET %s answered %d: %s (%v)", path, resp.StatusCode, data, err)
	}
}

// TestNamesInPaths uses names that have to be escaped.
func TestNamesInPaths(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"ünïcode", "a?b", "a#b", "100%", "a+b", "a&b=c", `"`, "日本語", strings.Repeat("x", raftfsm.NameBytesMax)} {
		if _, err := w.client.CreateNamespace(t.Context(), adminapi.CreateNamespace{Name: name}); err != nil {
			t.Errorf("create %q: %v", name, err)
			continue
		}
		if n, err := w.client.Namespace(t.Context(), name); err != nil || n.Name != name {
			t.Errorf("show %q: %+v, %v", name, n, err)
		}
		if _, err := w.client.DeleteNamespace(t.Context(), name); err != nil {
			t.Errorf("delete %q: %v", name, err)
		}
	}
}

// TestRetries repeats each change with the same key: it has one effect, and the answer says so.
func TestRetries(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	key := adminapi.WithIdempotencyKey
	var first adminapi.CreatedNamespace
	for i := range 3 {
		in := adminapi.CreateNamespace{Name: "acme", Token: &adminapi.CreateToken{}}
		out, err := w.client.CreateNamespace(ctx, in, key("a-key-of-16-bytes-a"))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = out
			continue
		}
		if !out.Repeated || !reflect.DeepEqual(out.Namespace, first.Namespace) || out.Token.ID != first.Token.ID || out.Token.Secret != first.Token.Secret || out.Token.Secret == "" {
			t.Errorf("retry answered %+v, the first time %+v", out, first)
		}
	}
	var token adminapi.CreatedTokenReply
	for i := range 2 {
		out, err := w.client.CreateToken(ctx, "acme", adminapi.CreateToken{}, key("a-key-of-16-bytes-b"))
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 && (!out.Repeated || out.Token.ID != token.Token.ID || out.Token.Secret != token.Token.Secret) {
			t.Errorf("retry answered %+v, the first time %+v", out, token)
		}
		token = out
	}
	for i := range 2 {
		out, err := w.client.RevokeToken(ctx, "acme", token.Token.ID, key("a-key-of-16-bytes-c"))
		if err != nil || out.Repeated != (i == 1) {
			t.Errorf("revocation %d: %+v, %v", i, out, err)
		}
	}
	for i := range 2 {
		out, err := w.client.DeleteNamespace(ctx, "acme", key("a-key-of-16-bytes-d"))
		if err != nil || out.Repeated != (i == 1) {
			t.Errorf("deletion %d: %+v, %v", i, out, err)
		}
	}
	if _, err := w.client.DeleteNamespace(ctx, "acme", key("a-key-of-16-bytes-e")); codeOf(err) != adminapi.CodeNotFound {
		t.Errorf("deleting the unknown with a new key: %v", err)
	}
	// The name is free again; the old key must not reach the new namespace.
	if _, err := w.client.CreateNamespace(ctx, adminapi.CreateNamespace{Name: "acme"}); err != nil {
		t.Fatal(err)
	}
	if out, err := w.client.DeleteNamespace(ctx, "acme", key("a-key-of-16-bytes-d")); err != nil || !out.Repeated {
		t.Errorf("the old deletion again: %+v, %v", out, err)
	}
	if _, err := w.client.Namespace(ctx, "acme"); err != nil {
		t.Errorf("a retried deletion took the namespace of a later creation: %v", err)
	}
	again := adminapi.CreateNamespace{Name: "acme", Token: &adminapi.CreateToken{}}
	if _, err := w.client.CreateNamespace(ctx, again, key("a-key-of-16-bytes-a")); codeOf(err) != adminapi.CodePrecondition {
		t.Errorf("the answer names a namespace that is deleted: %v", err)
	}
}

// TestSecretSurvivesAnInternalRetry loses the answer to a proposal between metadata nodes: the secret is
// this request's, and nobody else will ever show it.
func TestSecretSurvivesAnInternalRetry(t *testing.T) {
	w := newWorld(t)
	w.twice = true
	key := adminapi.WithIdempotencyKey
	made, err := w.client.CreateNamespace(t.Context(), adminapi.CreateNamespace{Name: "acme", Token: &adminapi.CreateToken{}}, key("a-key-of-16-bytes-a"))
	if err != nil || made.Token == nil || made.Token.Secret == "" {
		t.Errorf("namespace %+v, %v", made, err)
	}
	token, err := w.client.CreateToken(t.Context(), "acme", adminapi.CreateToken{}, key("a-key-of-16-bytes-b"))
	if err != nil || token.Token.Secret == "" {
		t.Errorf("token %+v, %v", token, err)
	}
}

// TestReusedKeys sends another request with a key that had its effect: by name, by body and by caller.
func TestReusedKeys(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	key := adminapi.WithIdempotencyKey("a-key-of-16-bytes-k")
	for _, name := range []string{"del-a", "del-b"} {
		w.must(&raftfsm.CreateNamespace{Name: name})
	}
	if _, err := w.client.DeleteNamespace(ctx, "del-a", key); err != nil {
		t.Fatal(err)
	}
	_, err := w.client.DeleteNamespace(ctx, "del-b", key)
	if p, ok := errors.AsType[*adminapi.Problem](err); !ok || p.Code() != adminapi.CodeRequestReused || p.Status != 422 || !strings.Contains(p.Detail, "Idempotency-Key") {
		t.Errorf("the key of another deletion: %v", err)
	}
	if _, err := w.client.Namespace(ctx, "del-b"); err != nil {
		t.Errorf("the refused deletion: %v", err)
	}
	key = adminapi.WithIdempotencyKey("a-key-of-16-bytes-l")
	if _, err := w.client.CreateToken(ctx, "del-b", adminapi.CreateToken{Label: "one"}, key); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.CreateToken(ctx, "del-b", adminapi.CreateToken{Label: "two"}, key); codeOf(err) != adminapi.CodeRequestReused {
		t.Errorf("the key of another body: %v", err)
	}
	second, err := w.client.CreateToken(ctx, raftfsm.DefaultNamespace, adminapi.CreateToken{Role: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	other := w.clientFor(second.Token.Secret)
	if _, err := other.CreateToken(ctx, "del-b", adminapi.CreateToken{Label: "one"}, key); codeOf(err) != adminapi.CodeRequestReused {
		t.Errorf("the key of another caller: %v", err)
	}
}

func TestWaitApplied(t *testing.T) {
	w := newWorld(t)
	w.lag = control.Lag{Nodes: []string{"n1", "n2"}, Unreachable: []string{"n2"}}
	out, err := w.client.CreateNamespace(t.Context(), adminapi.CreateNamespace{Name: "a"}, adminapi.WaitApplied(time.Second))
	if err != nil || !slices.Equal(out.LaggingNodes, []string{"n1", "n2"}) || !slices.Equal(out.UnreachableNodes, []string{"n2"}) {
		t.Errorf("answered %+v, %v", out, err)
	}
	out, err = w.client.CreateNamespace(t.Context(), adminapi.CreateNamespace{Name: "b"})
	if err != nil || out.LaggingNodes != nil {
		t.Errorf("without wait: %+v, %v", out, err)
	}
}

func TestTokensOfRoles(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for _, role := range []string{"read-only", "read-write"} {
		made, err := w.client.CreateToken(ctx, raftfsm.DefaultNamespace, adminapi.CreateToken{Role: role})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.clientFor(made.Token.Secret).Namespaces(ctx); codeOf(err) != adminapi.CodeForbidden {
			t.Errorf("a %s token of the default namespace: %v", role, err)
		}
	}
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	made, err := w.client.CreateToken(ctx, raftfsm.DefaultNamespace, adminapi.CreateToken{Role: "admin", Secret: "0123456789abcdef", ExpiresAt: &expires})
	if err != nil || made.Token.Secret != "0123456789abcdef" || !made.Token.ExpiresAt.Equal(expires) {
		t.Fatalf("made %+v, %v", made, err)
	}
	second := w.clientFor(made.Token.Secret)
	if _, err := second.Namespaces(ctx); err != nil {
		t.Errorf("a second admin: %v", err)
	}
	if _, err := w.client.CreateToken(ctx, raftfsm.DefaultNamespace, adminapi.CreateToken{Secret: "0123456789abcdef"}); codeOf(err) != adminapi.CodeTokenExists {
		t.Errorf("a secret that is taken: %v", err)
	}
	if _, err := w.client.RevokeToken(ctx, raftfsm.DefaultNamespace, made.Token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Namespaces(ctx); codeOf(err) != adminapi.CodeUnauthorized {
		t.Errorf("a revoked admin: %v", err)
	}
}

func TestExpiredAdmin(t *testing.T) {
	w := newWorld(t)
	key := w.fsm.State().Cluster().TokenKey
	expires := time.Now().Add(time.Hour).UnixMilli()
	w.must(&raftfsm.CreateToken{NamespaceID: w.fsm.State().Cluster().DefaultNamespaceId, Token: raftfsm.NewToken{
		ID: "t", Hash: consensus.HashSecret(key, "short-lived-secret"), Role: atollpb.Role_ROLE_ADMIN, ExpiresMs: expires,
	}})
	a := &api{Config: Config{Consensus: w.fake, Now: func() time.Time { return time.UnixMilli(expires) }}, lookups: make(chan struct{}, 1)}
	r, err := http.NewRequestWithContext(t.Context(), "GET", "/v1/namespaces", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer short-lived-secret")
	if _, err := a.authenticate(r); err == nil {
		t.Error("an expired token was taken")
	}
	a.Now = func() time.Time { return time.UnixMilli(expires - 1) }
	if _, err := a.authenticate(r); err != nil {
		t.Errorf("a token in its last millisecond: %v", err)
	}
}

// TestP3RevokedAtTheLeader asks a follower that has not heard of a revocation.
func TestP3RevokedAtTheLeader(t *testing.T) {
	w := newWorld(t)
	made, err := w.client.CreateToken(t.Context(), raftfsm.DefaultNamespace, adminapi.CreateToken{Role: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	w.role, w.behind = "follower", w.fsm.State()
	old := w.clientFor(made.Token.Secret)
	if _, err := old.Namespaces(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.must(&raftfsm.RevokeToken{TokenRef: raftfsm.TokenRef{ID: made.Token.ID}})
	if _, err := old.Namespaces(t.Context()); codeOf(err) != adminapi.CodeUnauthorized {
		t.Errorf("a follower that is behind took a revoked token: %v", err)
	}
}

// TestNewTokenAtFollower uses a token that the answering follower has not heard of.
func TestNewTokenAtFollower(t *testing.T) {
	w := newWorld(t)
	w.role, w.behind = "follower", w.fsm.State()
	made, err := w.client.CreateToken(t.Context(), raftfsm.DefaultNamespace, adminapi.CreateToken{Role: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.clientFor(made.Token.Secret).Namespaces(t.Context()); err != nil {
		t.Errorf("a new token: %v", err)
	}
	w.role, w.catching = "leader", true
	if _, err := w.clientFor(made.Token.Secret).Namespaces(t.Context()); err != nil {
		t.Errorf("a new token at a leader that has yet to apply it: %v", err)
	}
	w.catching, w.behind = false, nil
	w.reads = 0
	w.request("GET", "/v1/namespaces", "", "Authorization: Bearer guess")
	if w.reads != 0 {
		t.Error("a guess at the leader cost a round of the cluster")
	}
}

func TestNodesAndGroups(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.reports = []control.Report{
		{NodeReport: &atollpb.NodeReport{
			NodeId: "n1", Incarnation: "i1", State: atollpb.NodeState_NODE_STATE_READ_ONLY, Note: "the disk is full", Keys: 7,
			Written: &atollpb.Position{HistoryId: "h1", Epoch: 2, Index: 9},
		}, Age: 20 * time.Millisecond, Live: true},
		{NodeReport: &atollpb.NodeReport{NodeId: "n2", Incarnation: "wiped"}, Live: true},
	}
	list, err := w.client.Nodes(ctx)
	if err != nil || len(list.Nodes) != 2 {
		t.Fatalf("nodes %+v, %v", list, err)
	}
	n1, n2 := list.Nodes[0], list.Nodes[1]
	if n1.Role != "primary" || !n1.Live || n1.Report == nil || n1.Report.State != "read-only" || n1.Report.Written.Index != 9 || n1.Report.AgeMs != 20 {
		t.Errorf("n1 is %+v", n1)
	}
	if n2.Role != "replica" || n2.Live || n2.Report != nil {
		t.Errorf("n2 took the report of another disk: %+v", n2)
	}
	if got, err := w.client.Node(ctx, "n2"); err != nil || got != n2 {
		t.Errorf("n2 alone is %+v, %v", got, err)
	}

	begun, err := w.client.Promote(ctx, 1, adminapi.Promote{Target: "n2"})
	if err != nil || begun.Group.Primary != "n1" || begun.Group.Promotion == nil || begun.Group.Promotion.Target != "n2" {
		t.Errorf("begun %+v, %v", begun, err)
	}
	forced, err := w.client.Promote(ctx, 1, adminapi.Promote{Target: "n2", AcceptLoss: true})
	if err != nil || forced.Group.Primary != "n2" || forced.Group.Promotion != nil || forced.Group.HistoryID == begun.Group.HistoryID {
		t.Errorf("forced %+v, %v", forced, err)
	}
	if _, err := w.client.RemoveNode(ctx, "n1"); codeOf(err) != adminapi.CodePrecondition || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("removal of a live node: %v", err)
	}
	w.reports[0].Live = false
	if _, err := w.client.RemoveNode(ctx, "n1"); err != nil {
		t.Error(err)
	}
	groups, err := w.client.Groups(ctx)
	if err != nil || len(groups.Groups) != 1 || len(groups.Groups[0].Replicas) != 0 || groups.Groups[0].Primary != "n2" {
		t.Errorf("groups %+v, %v", groups, err)
	}
	cluster, err := w.client.Cluster(ctx)
	if err != nil || cluster.ClusterID != "c1" || len(cluster.Voters) != 1 || cluster.LeaderID != "m1" {
		t.Errorf("cluster %+v, %v", cluster, err)
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	c := w.clientFor("")
	if err := errors.Join(c.Alive(t.Context()), c.Ready(t.Context())); err != nil {
		t.Error(err)
	}
	w.status = consensus.ErrStopped
	if c.Alive(t.Context()) == nil || c.Ready(t.Context()) == nil {
		t.Error("a stopped node says that it is well")
	}
}

func TestOpenAPI(t *testing.T) {
	w := newWorld(t)
	var doc struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	w.get("/openapi.json", &doc)
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	operations := 0
	for _, methods := range doc.Paths {
		operations += len(methods)
	}
	if want := 35; operations != want {
		t.Errorf("%d operations are described, want %d", operations, want)
	}
}

// TestActor looks at what goes into the log beside a command.
func TestActor(t *testing.T) {
	w := newWorld(t)
	if _, err := w.client.CreateNamespace(t.Context(), adminapi.CreateNamespace{Name: "a"}, adminapi.WithIdempotencyKey("a-key-of-16-bytes")); err != nil {
		t.Fatal(err)
	}
	got := w.proposed[len(w.proposed)-1]
	want := consensus.ProposeOptions{RequestID: "http:c61a2ef32425f74cd3ea594dcb0ced3c4cdf402ef1b7c4728902788151bdaccb", Actor: "root", Digest: raftfsm.DigestOf("POST", "/v1/namespaces", `{"name":"a"}`, "root")}
	if !strings.HasPrefix(got.Source, "127.0.0.1:") {
		t.Errorf("proposed from %q", got.Source)
	}
	if got.Source = ""; got != want {
		t.Errorf("proposed with %+v, want %+v", got, want)
	}
}
