package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// api is an admin API that answers what a test says.
type api struct {
	t      *testing.T
	url    string
	bodies []string // of the requests, with method and path before them
}

func newAPI(t *testing.T, h http.HandlerFunc) *api {
	t.Helper()
	a := &api{t: t}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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

func TestDottedArguments(t *testing.T) {
	a := newAPI(t, answer(200, `{}`))
	_, stderr, code := a.cli("", "token", "revoke", "acme", "..")
	if code != 1 || !strings.Contains(stderr, `token id ".."`) || len(a.bodies) != 0 {
		t.Errorf("exit code %d, stderr %q, sent %q", code, stderr, a.bodies)
	}
}
