package admin

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
)

func TestRotation(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.must(&raftfsm.CreateNamespace{Name: "acme"})
	old, err := w.client.CreateToken(ctx, "acme", adminapi.CreateToken{Role: "read-only", Label: "app"})
	if err != nil {
		t.Fatal(err)
	}
	key := adminapi.WithIdempotencyKey("a-key-of-16-bytes")
	var first adminapi.CreatedTokenReply
	for i := range 2 {
		next, err := w.client.RotateToken(ctx, "acme", old.Token.ID, adminapi.RotateToken{OverlapMs: 60_000}, key)
		if err != nil || next.Token.Role != "read-only" || next.Token.Label != "app" || next.Token.Secret == "" || next.Token.ID == old.Token.ID {
			t.Fatalf("rotated %+v, %v", next, err)
		}
		if i == 1 && (!next.Repeated || next.Token.ID != first.Token.ID || next.Token.Secret != first.Token.Secret) {
			t.Errorf("a retry answers %+v, the first time %+v", next, first)
		}
		first = next
	}
	was, err := w.client.Token(ctx, "acme", old.Token.ID)
	if err != nil || was.ReplacedBy != first.Token.ID || was.ExpiresAt == nil || time.Until(*was.ExpiresAt) > time.Minute {
		t.Errorf("the old token %+v, %v", was, err)
	}
	if _, err := w.client.RotateToken(ctx, "acme", old.Token.ID, adminapi.RotateToken{}); codeOf(err) != adminapi.CodePrecondition || !strings.Contains(err.Error(), first.Token.ID) {
		t.Errorf("rotated twice: %v", err)
	}
	if _, err := w.client.RotateToken(ctx, raftfsm.DefaultNamespace, first.Token.ID, adminapi.RotateToken{}); codeOf(err) != adminapi.CodeNotFound {
		t.Errorf("another namespace's token: %v", err)
	}
	chosen, err := w.client.RotateToken(ctx, "acme", first.Token.ID, adminapi.RotateToken{Secret: "0123456789abcdef", Label: "new"})
	if err != nil || chosen.Token.Secret != "0123456789abcdef" || chosen.Token.Label != "new" {
		t.Errorf("rotated to a chosen secret %+v, %v", chosen, err)
	}
	if _, err := w.client.Token(ctx, "acme", first.Token.ID); codeOf(err) != adminapi.CodeNotFound {
		t.Errorf("without an overlap the old token is there: %v", err)
	}
}

// The last admin rotates its own token, and goes on with the new one.
func TestAdminRotatesItself(t *testing.T) {
	w := newWorld(t)
	next, err := w.client.RotateToken(t.Context(), raftfsm.DefaultNamespace, "root", adminapi.RotateToken{})
	if err != nil || next.Token.Role != "admin" {
		t.Fatalf("rotated %+v, %v", next, err)
	}
	if _, err := w.client.Cluster(t.Context()); codeOf(err) != adminapi.CodeUnauthorized {
		t.Errorf("the old token: %v", err)
	}
	c := w.clientFor(next.Token.Secret)
	if _, err := c.Cluster(t.Context()); err != nil {
		t.Errorf("the new token: %v", err)
	}
	if _, err := c.RevokeToken(t.Context(), raftfsm.DefaultNamespace, next.Token.ID); codeOf(err) != adminapi.CodePrecondition {
		t.Errorf("revoked the last admin: %v", err)
	}
	if _, err := c.UpdateToken(t.Context(), raftfsm.DefaultNamespace, next.Token.ID, adminapi.UpdateToken{ExpiresAt: "2100-01-01T00:00:00Z"}); codeOf(err) != adminapi.CodePrecondition {
		t.Errorf("an end for the last admin: %v", err)
	}
}

func TestUpdateToken(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.must(&raftfsm.CreateNamespace{Name: "acme"})
	made, err := w.client.CreateToken(ctx, "acme", adminapi.CreateToken{Label: "one"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.client.UpdateToken(ctx, "acme", made.Token.ID, adminapi.UpdateToken{ExpiresAt: "2100-01-01T00:00:00Z"})
	if err != nil || out.Token.Label != "one" || out.Token.ExpiresAt.Year() != 2100 {
		t.Errorf("updated %+v, %v", out, err)
	}
	out, err = w.client.UpdateToken(ctx, "acme", made.Token.ID, adminapi.UpdateToken{ExpiresAt: "never", Label: new("")}, adminapi.WithIfMatch(out.Token.ModifiedRevision))
	if err != nil || out.Token.Label != "" || out.Token.ExpiresAt != nil {
		t.Errorf("updated %+v, %v", out, err)
	}
	for _, at := range []string{"soon", "2001-01-01T00:00:00Z", "1901-01-01T00:00:00Z"} {
		if _, err := w.client.UpdateToken(ctx, "acme", made.Token.ID, adminapi.UpdateToken{ExpiresAt: at}); codeOf(err) != adminapi.CodeInvalid || !strings.Contains(err.Error(), "expires_at") {
			t.Errorf("expires_at %q: %v", at, err)
		}
	}
}

// A retry shows the secret again, also at a metadata node that knows nothing but the state; and neither the log nor
// the state, with the cluster's key in it, has what the secret is made of.
func TestMadeSecretsAreShownAgain(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.must(&raftfsm.CreateNamespace{Name: "acme"})
	const key = "a-key-that-nobody-can-guess"
	one, err := w.client.CreateToken(ctx, "acme", adminapi.CreateToken{Label: "x"}, adminapi.WithIdempotencyKey(key))
	if err != nil || one.Token.Secret == "" {
		t.Fatalf("made %+v, %v", one, err)
	}
	w.serve(0) // another node, over the same state
	other := w.clientFor(adminSecret)
	two, err := other.CreateToken(ctx, "acme", adminapi.CreateToken{Label: "x"}, adminapi.WithIdempotencyKey(key))
	if err != nil || !two.Repeated || two.Token.Secret != one.Token.Secret || two.Token.ID != one.Token.ID {
		t.Fatalf("a retry answers %+v, the first time %+v: %v", two, one, err)
	}
	if _, err := other.CreateToken(ctx, "acme", adminapi.CreateToken{Label: "y"}, adminapi.WithIdempotencyKey(key)); codeOf(err) != adminapi.CodeRequestReused {
		t.Errorf("another request with the key: %v", err)
	}
	fresh, err := other.CreateToken(ctx, "acme", adminapi.CreateToken{Label: "x"}, adminapi.WithIdempotencyKey(key+"2"))
	if err != nil || fresh.Token.Secret == one.Token.Secret {
		t.Errorf("another key made %+v, %v", fresh, err)
	}
	var snapshot bytes.Buffer
	if err := w.fsm.State().WriteSnapshot(&snapshot); err != nil {
		t.Fatal(err)
	}
	proposed := fmt.Sprintf("%q", w.proposed)
	for _, leak := range []string{key, one.Token.Secret, strings.TrimPrefix(one.Token.Secret, "atoll_")} {
		if bytes.Contains(snapshot.Bytes(), []byte(leak)) || strings.Contains(proposed, leak) {
			t.Errorf("%q is in the state or the log", leak)
		}
	}
	// What the state does hold doesn't make the secret.
	for _, p := range w.proposed {
		if p.RequestID != "" && consensus.DeriveSecret(w.fsm.State().Cluster().TokenKey, "root", p.RequestID) == one.Token.Secret {
			t.Error("the request id makes the secret")
		}
	}
	// A chosen one is shown again as well: the body is that of the first request.
	const secret = "0123456789abcdef"
	for range 2 {
		out, err := other.CreateToken(ctx, "acme", adminapi.CreateToken{Secret: secret}, adminapi.WithIdempotencyKey(key+"3"))
		if err != nil || out.Token.Secret != secret {
			t.Errorf("a chosen secret: %+v, %v", out, err)
		}
	}
}

// Two callers with one key make two secrets.
func TestMadeSecretsAreOfTheirCaller(t *testing.T) {
	w := newWorld(t)
	a := &api{Config: Config{Consensus: w}}
	secrets := map[string]bool{}
	for _, id := range []string{"root", "other", "root"} {
		ctx := context.WithValue(t.Context(), callerKey{}, caller{state: w.State(), tokenID: id})
		made, refusal := a.newToken(ctx, &adminapi.CreateToken{}, ChangeParams{IdempotencyKey: "a-key-of-16-bytes"})
		if refusal != nil {
			t.Fatal(refusal)
		}
		secrets[made.secret] = true
	}
	if len(secrets) != 2 {
		t.Errorf("%d secrets of two callers", len(secrets))
	}
}

// A secret that isn't the token's is not shown as it.
func TestAnotherSecretIsNotShown(t *testing.T) {
	w := newWorld(t)
	state := w.State()
	n, result := state.NamespaceByName(raftfsm.DefaultNamespace), raftfsm.Result{TokenIDs: []string{"root"}}
	for secret, want := range map[string]string{adminSecret: adminSecret, "another": ""} {
		made := madeToken{raftfsm.NewToken{Hash: consensus.HashSecret(state.Cluster().TokenKey, secret)}, secret}
		if got := createdToken(state, n, result, made); got.ID != "root" || got.Secret != want {
			t.Errorf("%q: %+v", secret, got)
		}
	}
}

// A retried creation is answered as the first time, also when the namespace has another name by then, or is gone.
func TestCreateTokenIsRetried(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	id := w.must(&raftfsm.CreateNamespace{Name: "acme"}).NamespaceID
	key := adminapi.WithIdempotencyKey("a-key-of-16-bytes")
	first, err := w.client.CreateToken(ctx, "acme", adminapi.CreateToken{}, key)
	if err != nil {
		t.Fatal(err)
	}
	w.must(&raftfsm.UpdateNamespace{ID: id, Name: "new"})
	again, err := w.client.CreateToken(ctx, "acme", adminapi.CreateToken{}, key)
	if err != nil || !again.Repeated || again.Token.ID != first.Token.ID || again.Token.Secret != first.Token.Secret || again.Token.Namespace != "new" {
		t.Errorf("after a renaming: %+v, %v", again, err)
	}
	w.must(&raftfsm.DeleteNamespace{ID: id})
	if _, err := w.client.CreateToken(ctx, "acme", adminapi.CreateToken{}, key); codeOf(err) != adminapi.CodePrecondition {
		t.Errorf("after the deletion: %v", err)
	}
	if _, err := w.client.CreateToken(ctx, "acme", adminapi.CreateToken{}, adminapi.WithIdempotencyKey("another-16-byte-key")); codeOf(err) != adminapi.CodeNotFound {
		t.Errorf("a first request for what is gone: %v", err)
	}
}

// TestRolesOfTheAPI sends every operation as every role: the OpenAPI description says who may.
func TestRolesOfTheAPI(t *testing.T) {
	w := newWorld(t)
	w.serve(time.Hour)
	id := w.must(&raftfsm.CreateNamespace{Name: "acme"}).NamespaceID
	dead := w.must(&raftfsm.CreateNamespace{Name: "dead"}).NamespaceID
	w.must(&raftfsm.DeleteNamespace{ID: dead, PurgeAtMs: time.Now().Add(time.Hour).UnixMilli()})
	secrets := map[string]string{}
	for _, role := range []string{"viewer", "operator"} {
		made, err := w.client.CreateToken(t.Context(), raftfsm.DefaultNamespace, adminapi.CreateToken{Role: role})
		if err != nil {
			t.Fatal(err)
		}
		secrets[role] = made.Token.Secret
		if _, err := w.client.CreateToken(t.Context(), "acme", adminapi.CreateToken{Role: role}); codeOf(err) != adminapi.CodeInvalid {
			t.Errorf("a tenant's %s: %v", role, err)
		}
	}
	// Method and path, and the least role.
	for _, tt := range []struct{ request, role string }{
		{"GET /v1/namespaces", "viewer"}, {"GET /v1/namespaces/acme", "viewer"}, {"GET /v1/deleted-namespaces", "viewer"},
		{fmt.Sprintf("GET /v1/deleted-namespaces/%d", dead), "viewer"}, {"GET /v1/namespaces/__namespace/tokens", "viewer"},
		{"GET /v1/namespaces/__namespace/tokens/root", "viewer"}, {"GET /v1/nodes", "viewer"}, {"GET /v1/nodes/n1", "viewer"},
		{"GET /v1/groups", "viewer"}, {"GET /v1/cluster", "viewer"},
		{"POST /v1/namespaces", "operator"}, {"PATCH /v1/namespaces/acme", "operator"}, {"DELETE /v1/namespaces/nobody", "operator"},
		{fmt.Sprintf("POST /v1/deleted-namespaces/%d/undelete", id), "operator"}, {fmt.Sprintf("POST /v1/deleted-namespaces/%d/purge", id), "operator"},
		{"POST /v1/namespaces/acme/tokens", "operator"}, {"PATCH /v1/namespaces/acme/tokens/x", "operator"},
		{"POST /v1/namespaces/acme/tokens/x/rotate", "operator"}, {"DELETE /v1/namespaces/acme/tokens/x", "operator"},
		{"PATCH /v1/namespaces/__namespace", "admin"}, {"DELETE /v1/namespaces/__namespace", "admin"}, {"POST /v1/namespaces/%5F_namespace/tokens", "admin"},
		{"PATCH /v1/namespaces/__namespace/tokens/x", "admin"}, {"POST /v1/namespaces/__namespace/tokens/x/rotate", "admin"},
		{"DELETE /v1/namespaces/__namespace/tokens/x", "admin"}, {"DELETE /v1/nodes/n9", "admin"}, {"POST /v1/groups/9/promote", "admin"},
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		for _, role := range []string{"viewer", "operator"} {
			revision, body := w.fsm.State().Revision(), ""
			if method == "PATCH" || method == "POST" && !strings.HasSuffix(path, "/purge") {
				body = `{"bogus":1}`
			}
			resp, p := w.request(method, path, body, "Authorization: Bearer "+secrets[role])
			may := tt.role == "viewer" || tt.role == role
			if (resp.StatusCode == 403) == may || resp.StatusCode == 401 {
				t.Errorf("%s as %s: %d %s", tt.request, role, resp.StatusCode, p.Detail)
			}
			if !may && (!strings.Contains(p.Detail, "role "+tt.role) || p.Code() != adminapi.CodeForbidden || w.fsm.State().Revision() != revision) {
				t.Errorf("%s as %s: %+v", tt.request, role, p)
			}
		}
	}
	operator := w.clientFor(secrets["operator"])
	if _, err := operator.CreateNamespace(t.Context(), adminapi.CreateNamespace{Name: "of-the-operator", Token: &adminapi.CreateToken{}}); err != nil {
		t.Errorf("an operator creates a namespace: %v", err)
	}
	if _, err := operator.CreateToken(t.Context(), "of-the-operator", adminapi.CreateToken{}); err != nil {
		t.Errorf("an operator creates a token: %v", err)
	}
	if resp, p := w.request("GET", "/v1/namespaces/__namespace/tokens", "", "Authorization: Bearer "+secrets["viewer"]); resp.StatusCode != 200 {
		t.Errorf("a viewer lists tokens: %+v", p)
	}
}

// An operation that the table of roles doesn't know takes an admin, and no GET does but that of the cluster's keys.
func TestRoleOfEveryOperation(t *testing.T) {
	w := newWorld(t)
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Description string `json:"description"`
		} `json:"paths"`
	}
	w.get("/openapi.json", &doc)
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if !secured(path) {
				continue
			}
			if role := leastRole(op.OperationID); (method == "get" && op.OperationID != "get-backup") != (rank(role) == 1) {
				t.Errorf("%s %s takes the role %v", method, path, role)
			}
			if !strings.Contains(op.Description, "admin") {
				t.Errorf("%s %s says nothing of roles: %q", method, path, op.Description)
			}
		}
	}
	if leastRole("what-comes-next") != leastRole("promote") {
		t.Error("an unknown operation is open to others than admins")
	}
}

func TestSecretBytesMin(t *testing.T) {
	a := &api{Config: Config{SecretBytesMin: 3}}
	if err := a.checkSecret("abc"); err != nil {
		t.Error(err)
	}
	if err := a.checkSecret("ab"); err == nil || !strings.Contains(err.Message, "3 to 512 bytes") {
		t.Errorf("a short secret: %v", err)
	}
}
