package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// api is an admin API that answers what a test says.
type api struct {
	t      *testing.T
	url    string
	mu     sync.Mutex // held by a handler that runs
	bodies []string   // of the requests, with method and path before them
}

func newAPI(t *testing.T, h http.HandlerFunc) *api {
	t.Helper()
	a := &api{t: t}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		a.bodies = append(a.bodies, r.Method+" "+r.URL.Path+" "+string(body))
		h(w, r)
	}))
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// answer is a handler with one answer.
func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // a client that has gone fails the test elsewhere
	}
}

// cli runs an operator's command against the API.
func (a *api) cli(stdin string, args ...string) (stdout, stderr string, code int) {
	a.t.Helper()
	var out, errs bytes.Buffer
	environ := []string{"ATOLL_ADMIN_ADDR=" + a.url, "ATOLL_TOKEN=admin-token"}
	code = run(a.t.Context(), args, environ, strings.NewReader(stdin), &out, &errs)
	a.mu.Lock() // the last handler has ended
	defer a.mu.Unlock()
	return out.String(), errs.String(), code
}

// The operator of a revocation has to hear which nodes don't know of it.
func TestP3LateNodesAreNamed(t *testing.T) {
	a := newAPI(t, answer(200, `{"revision":9,"lagging_nodes":["n1","n2"],"unreachable_nodes":["n2"]}`))
	_, stderr, code := a.cli("", "token", "revoke", "acme", "tok_1")
	late, silent, _ := strings.Cut(stderr, "\n")
	if code != 0 || !strings.Contains(late, "not yet applied by n1:") || !strings.Contains(silent, "does not hear n2:") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestArgumentsAreUTF8(t *testing.T) {
	a := newAPI(t, answer(200, `{}`))
	for _, args := range [][]string{
		{"ns", "create", "a\xffb"}, {"ns", "delete", "\xff"},
		{"ns", "create", "a", "--secret", "0123456789abcdef\xff"}, {"token", "create", "a", "--label=\xff"},
	} {
		if _, stderr, code := a.cli("", args...); code != 1 || !strings.Contains(stderr, "not valid UTF-8") {
			t.Errorf("%q: exit code %d, stderr %q", args, code, stderr)
		}
	}
	if len(a.bodies) != 0 {
		t.Errorf("sent %q", a.bodies)
	}
}

func TestSecretFromStdin(t *testing.T) {
	a := newAPI(t, answer(200, `{"namespace":{},"token":{}}`))
	for _, args := range [][]string{{"ns", "create", "acme", "--secret", "-"}, {"token", "create", "acme", "--secret=-"}} {
		if _, stderr, code := a.cli("a-secret-of-stdin\r\nanother line\n", args...); code != 0 || !strings.Contains(a.bodies[len(a.bodies)-1], `"secret":"a-secret-of-stdin"`) {
			t.Errorf("%q: exit code %d, stderr %q, sent %q", args, code, stderr, a.bodies)
		}
	}
	sent := len(a.bodies)
	for _, stdin := range []string{"", "\n", "0123456789abcdef\xff\n"} {
		if _, stderr, code := a.cli(stdin, "token", "create", "acme", "--secret=-"); code != 1 || !strings.Contains(stderr, "--secret: stdin") {
			t.Errorf("stdin %q: exit code %d, stderr %q", stdin, code, stderr)
		}
	}
	for _, flag := range []string{"--secret=0123456789abcdef", "--role=read-only", "--token-label=x", "--ttl=1h"} {
		name, _, _ := strings.Cut(flag, "=")
		if _, stderr, code := a.cli("", "ns", "create", "acme", "--no-token", flag); code != 1 || !strings.Contains(stderr, "--no-token and "+name) {
			t.Errorf("--no-token %s: exit code %d, stderr %q", flag, code, stderr)
		}
	}
	if len(a.bodies) != sent {
		t.Errorf("sent %q", a.bodies[sent:])
	}
}

// A promotion that has begun is followed also while the metadata service is away.
func TestPromotionIsFollowed(t *testing.T) {
	const group = `{"id":1,"primary":"n1","replicas":["n2"],"in_sync":["n1"],"promotion":{"target":"n2"}}`
	answers := []http.HandlerFunc{
		answer(200, `{"revision":9,"group":`+group+`}`),
		answer(503, `{"type":"urn:atoll:problem:no_leader","status":503,"detail":"no leader"}`),
		answer(429, `{"status":429,"detail":"too many requests at once"}`),
		func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				err = conn.Close()
			}
			if err != nil {
				t.Error(err)
			}
		},
		answer(200, `{"groups":[`+group+`]}`),
		answer(200, `{"groups":[{"id":1,"primary":"n2"}]}`),
	}
	next := 0
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		answers[min(next, len(answers)-1)](w, r)
		next++
	})
	if stdout, stderr, code := a.cli("", "group", "promote", "1", "n2"); code != 0 || !strings.Contains(stdout, "n2") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	answers, next = []http.HandlerFunc{answers[0], answer(401, `{"status":401,"detail":"the token is revoked"}`)}, 0
	if _, stderr, code := a.cli("", "group", "promote", "1", "n2"); code != 1 || !strings.Contains(stderr, "the token is revoked") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	if _, stderr, code := a.cli("", "group", "promote", "1", "n2", "--wait=1s"); code != 1 || !strings.Contains(stderr, "--wait") {
		t.Errorf("promote --wait: exit code %d, stderr %q", code, stderr)
	}
}

// The key of a change is the program's own: what the operator says doesn't make it too long.
func TestKeyHoldsNoArguments(t *testing.T) {
	var key string
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		key = r.Header.Get("Idempotency-Key")
		answer(404, `{"status":404,"detail":"not found"}`)(w, r)
	})
	_, stderr, code := a.cli("", "group", "promote", "1", strings.Repeat("n", 200))
	if code != 1 || !strings.Contains(stderr, "not found") || key == "" || len(key) > 64 {
		t.Errorf("exit code %d, stderr %q, key %q", code, stderr, key)
	}
}

// The answer to a change comes after the wait, so the wait counts beyond the time-out.
func TestWaitBeyondTimeout(t *testing.T) {
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done(): // the client did not stay
		case <-time.After(50 * time.Millisecond):
			answer(200, `{"revision":9}`)(w, r)
		}
	})
	if _, stderr, code := a.cli("", "ns", "delete", "acme", "--timeout=1ms", "--wait=1ms"); code != 0 {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	if _, _, code := a.cli("", "ns", "show", "acme", "--timeout=1ms"); code != 1 {
		t.Error("a command without a wait ignores its time-out")
	}
}

func TestMistypedVariableIsNamed(t *testing.T) {
	var out, errs bytes.Buffer
	a := newAPI(t, answer(200, `{"nodes":[]}`))
	code := run(t.Context(), []string{"node", "list"}, []string{"ATOLL_ADMIN_ADDR=" + a.url, "ATOLL_TOKEN=x", "ATOLL_OUTPT=json"}, strings.NewReader(""), &out, &errs)
	if code != 0 || !strings.Contains(errs.String(), "ATOLL_OUTPT") {
		t.Errorf("exit code %d, stderr %q", code, errs.String())
	}
	errs.Reset()
	code = run(t.Context(), []string{"node", "list", "--data-dir", t.TempDir()}, []string{"ATOLL_ADMIN_ADDR=" + a.url, "ATOLL_TOKN=x"}, strings.NewReader(""), &out, &errs)
	if code != 1 || !strings.Contains(errs.String(), "ATOLL_TOKN:") || !strings.Contains(errs.String(), "no admin token") {
		t.Errorf("a mistyped token: exit code %d, stderr %q", code, errs.String())
	}
}

func TestDottedArguments(t *testing.T) {
	a := newAPI(t, answer(200, `{}`))
	_, stderr, code := a.cli("", "token", "revoke", "acme", "..")
	if code != 1 || !strings.Contains(stderr, `token id ".."`) || len(a.bodies) != 0 {
		t.Errorf("exit code %d, stderr %q, sent %q", code, stderr, a.bodies)
	}
}
