package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const declaredNamespaces = `namespaces:
- name: acme
  durability: local
  labels: {env: prod}
  limits: {keys: 1000, bytes: 10GiB:8GiB}
- name: fresh
  limits: {connections: "5"}
  read-only: true
- name: same
`

// The difference is shown, in the order of the file, and done with the revision that was looked at.
func TestApply(t *testing.T) {
	const have = `{"namespaces":[
		{"id":2,"name":"__namespace","state":"active","durability":"async","modified_revision":2},
		{"id":6,"name":"acme","state":"active","durability":"async","labels":{"env":"test","team":"web"},"limits":{"keys":{"hard":1000},"value_bytes":{"hard":9}},"modified_revision":31},
		{"id":7,"name":"gone","state":"active","durability":"async","modified_revision":32},
		{"id":8,"name":"same","state":"suspended","durability":"local","modified_revision":33}]}`
	var match []string
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			answer(200, have)(w, r)
			return
		}
		match = append(match, r.Header.Get("If-Match"))
		answer(200, `{"namespace":{}}`)(w, r)
	})
	const shown = `~ update acme
    durability: async -> local
    label env: "test" -> "prod"
    label team: "web" -> none
    limit bytes: none -> 10737418240 (soft 8589934592)
    limit value_bytes: 9 -> none
+ create fresh
    limit connections: none -> 5
    read-only: false -> true
- delete gone
`
	stdout, stderr, code := a.cli(declaredNamespaces, "ns", "apply", "-f", "-", "--prune", "--dry-run")
	if code != 0 || stdout != shown || len(a.bodies) != 1 {
		t.Errorf("dry run: exit code %d, stdout %q, stderr %q, sent %q", code, stdout, stderr, a.bodies)
	}
	if _, stderr, code = a.cli(declaredNamespaces, "ns", "apply", "-f", "-"); code != 1 || !strings.Contains(stderr, "--yes") {
		t.Errorf("nobody to ask: exit code %d, stderr %q", code, stderr)
	}
	file := filepath.Join(t.TempDir(), "tenants.yaml")
	if err := os.WriteFile(file, []byte(declaredNamespaces), 0o600); err != nil {
		t.Fatal(err)
	}
	a.bodies = nil
	if stdout, stderr, code = a.cli("", "ns", "apply", "-f", file, "--prune", "--yes"); code != 0 || stdout != shown {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	want := []string{
		`GET /v1/namespaces `,
		`PATCH /v1/namespaces/acme {"durability":"local","labels":{"env":"prod","team":null},"limits":{"bytes":{"soft":8589934592,"hard":10737418240},"value_bytes":null}}`,
		`POST /v1/namespaces {"name":"fresh","limits":{"connections":{"hard":5}}}`,
		`PATCH /v1/namespaces/fresh {"read_only":true}`,
		`DELETE /v1/namespaces/gone `,
	}
	if strings.Join(a.bodies, "\n") != strings.Join(want, "\n") {
		t.Errorf("sent\n%s\nwant\n%s", strings.Join(a.bodies, "\n"), strings.Join(want, "\n"))
	}
	if got := strings.Join(match, " "); got != `"31"   "32"` {
		t.Errorf("If-Match %s", got)
	}
}

func TestApplyNothing(t *testing.T) {
	a := newAPI(t, answer(200, `{"namespaces":[{"id":6,"name":"acme","state":"suspended","durability":"local","labels":{"a":"b"},"limits":{"keys":{"hard":10,"soft":5}},"read_only":true}]}`))
	const same = "namespaces: [{name: acme, durability: local, labels: {a: b}, limits: {keys: 10:5, bytes: 0}, suspended: true, read-only: true}]"
	if stdout, stderr, code := a.cli(same, "ns", "apply", "-f", "-"); code != 0 || stdout != "nothing to change\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// A file without a list deletes nothing; one with an empty list does.
func TestApplyPrunesByAList(t *testing.T) {
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			answer(200, `{"namespaces":[{"id":7,"name":"acme","state":"active","durability":"async","modified_revision":9}]}`)(w, r)
			return
		}
		answer(200, `{}`)(w, r)
	})
	for _, text := range []string{"namespaces:\n", "{}"} {
		if _, stderr, code := a.cli(text, "ns", "apply", "-f", "-", "--prune", "--yes"); code != 1 || len(a.bodies) != 0 || !strings.Contains(stderr, "namespaces: []") {
			t.Errorf("%q: exit code %d, stderr %q, sent %q", text, code, stderr, a.bodies)
		}
		if stdout, stderr, code := a.cli(text, "ns", "apply", "-f", "-", "--yes"); code != 0 || stdout != "nothing to change\n" {
			t.Errorf("%q without --prune: exit code %d, stdout %q, stderr %q", text, code, stdout, stderr)
		}
		a.bodies = nil
	}
	if _, stderr, code := a.cli("namespaces: []", "ns", "apply", "-f", "-", "--prune", "--yes"); code != 0 || len(a.bodies) != 2 || !strings.HasPrefix(a.bodies[1], "DELETE /v1/namespaces/acme") {
		t.Errorf("an empty list: exit code %d, stderr %q, sent %q", code, stderr, a.bodies)
	}
}

// The time limit is of each step, and not of all together.
func TestApplyTakesItsTime(t *testing.T) {
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(waitSlack/2 + 100*time.Millisecond):
		case <-r.Context().Done():
		}
		if r.Method == http.MethodGet {
			answer(200, `{"namespaces":[]}`)(w, r)
			return
		}
		answer(200, `{}`)(w, r)
	})
	if _, stderr, code := a.cli("namespaces: [{name: a}]", "ns", "apply", "-f", "-", "--yes", "--timeout", "1ms", "--wait", "0s"); code != 0 || len(a.bodies) != 2 {
		t.Errorf("exit code %d, stderr %q, sent %q", code, stderr, a.bodies)
	}
}

// What fails is named with how far it came.
func TestApplyStops(t *testing.T) {
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet:
			answer(200, `{"namespaces":[]}`)(w, r)
		case r.Method == http.MethodPost && r.URL.Path == "/v1/namespaces":
			answer(409, `{"status":409,"detail":"namespace \"acme\" exists"}`)(w, r)
		}
	})
	if _, stderr, code := a.cli(declaredNamespaces, "ns", "apply", "--yes", "-f", "-"); code != 1 || !strings.Contains(stderr, `create acme (0 of 4 steps were done): `) {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestBadDeclarations(t *testing.T) {
	a := newAPI(t, answer(200, `{"namespaces":[]}`))
	for _, c := range []struct{ text, want string }{
		{"namespaces: [{name: a, colour: red}]", "colour"},
		{"namespaces: [{durability: local}]", "namespace 1 has no name"},
		{"namespaces: [{name: a}, {name: a}]", `"a" comes twice`},
		{"namespaces: [{name: a, limits: {keys: many}}]", `limit "many"`},
		{"namespaces: [{name: a, limits: {keys: {hard: 1}}}]", "it takes HARD or HARD:SOFT"},
		{"namespaces: [{name: a, labels: [1]}]", "line 1"},
		{"namespaces: []\n---\nnamespaces: []", "more than one document"},
		{"namespaces: {", "line 1"},
		{"", "EOF"},
	} {
		if _, stderr, code := a.cli(c.text, "ns", "apply", "--yes", "-f", "-"); code != 1 || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: exit code %d, stderr %q", c.text, code, stderr)
		}
	}
	if len(a.bodies) != 0 {
		t.Errorf("sent %q", a.bodies)
	}
	if _, stderr, code := a.cli("", "ns", "apply", "-f", "/nowhere.yaml"); code != 1 || !strings.Contains(stderr, "/nowhere.yaml") {
		t.Errorf("a missing file: exit code %d, stderr %q", code, stderr)
	}
	if _, stderr, code := a.cli("", "ns", "apply"); code != 1 || !strings.Contains(stderr, "file") {
		t.Errorf("no file: exit code %d, stderr %q", code, stderr)
	}
}

func TestTop(t *testing.T) {
	a := newAPI(t, answer(200, `{"namespaces":[
		{"name":"a","state":"active","usage":{"keys":5,"bytes":7,"connections":1,"commands_per_second":10,"limited":2,"over_soft":["keys"]}},
		{"name":"b","state":"active","usage":{"keys":50,"connections":1,"commands_per_second":3}},
		{"name":"c","state":"suspended"}]}`))
	for _, c := range []struct{ by, order string }{{"commands", "a b c"}, {"keys", "b a c"}, {"name", "a b c"}, {"connections", "a b c"}} {
		stdout, stderr, code := a.cli("", "top", "--once", "--sort", c.by)
		var order []string
		for _, line := range strings.Split(strings.TrimSpace(stdout), "\n")[1:] {
			order = append(order, strings.Fields(line)[0])
		}
		if code != 0 || strings.Join(order, " ") != c.order {
			t.Errorf("by %s: exit code %d, stdout %q, stderr %q", c.by, code, stdout, stderr)
		}
	}
	for _, args := range [][]string{{"--sort", "luck"}, {"--every", "1ms"}} {
		if _, stderr, code := a.cli("", append([]string{"top", "--once"}, args...)...); code != 1 || !strings.Contains(stderr, args[0]) {
			t.Errorf("%q: exit code %d, stderr %q", args, code, stderr)
		}
	}
}
