package main

import (
	"net/http"
	"strings"
	"testing"
)

// What the flags of settings say is what the API gets.
func TestSettingFlags(t *testing.T) {
	var last string
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		last = r.Method + " " + r.URL.RequestURI()
		answer(200, `{"namespace":{"name":"acme"},"token":{},"namespaces":[{"id":7,"name":"acme","state":"in-grace"},{"id":8,"name":"b","state":"deleted"},{"id":9,"name":"c","state":"in-grace"},{"id":10,"name":"c","state":"in-grace"}]}`)(w, r)
	})
	for _, tt := range []struct{ args, request, body string }{
		{"ns create acme --no-token --label env=prod --label t=a=b --limit keys=1000:800 --limit bytes=10GiB", "POST /v1/namespaces", `{"name":"acme","durability":"async","labels":{"env":"prod","t":"a=b"},"limits":{"bytes":{"hard":10737418240},"keys":{"soft":800,"hard":1000}}}`},
		{"ns create acme --no-token --limit keys=none", "POST /v1/namespaces", `{"name":"acme","durability":"async"}`},
		{"ns create acme --secret 0123456789abcdef --token-label l", "POST /v1/namespaces", `"token":{"secret":"0123456789abcdef","role":"read-write","label":"l"}`},
		{"ns update acme --label env=prod --label team- --label empty= --limit keys=none --limit bytes=0:5KiB --read-only off", "PATCH /v1/namespaces/acme", `{"labels":{"empty":"","env":"prod","team":null},"limits":{"bytes":{"soft":5120},"keys":null},"read_only":false}`},
		{"ns suspend acme", "PATCH /v1/namespaces/acme", `{"suspended":true}`},
		{"ns resume acme", "PATCH /v1/namespaces/acme", `{"suspended":false}`},
		{"ns read-only acme on", "PATCH /v1/namespaces/acme", `{"read_only":true}`},
		{"ns rename acme other", "PATCH /v1/namespaces/acme", `{"name":"other"}`},
		{"ns delete acme --wait 0s", "DELETE /v1/namespaces/acme", ``},
		{"ns delete acme --now --wait 0s", "DELETE /v1/namespaces/acme?now=true", ``},
		{"ns delete acme --now --wait 1s", "DELETE /v1/namespaces/acme?now=true&wait=applied&wait_ms=1000", ``},
		{"ns undelete acme --no-token --as new", "POST /v1/deleted-namespaces/7/undelete", `{"name":"new"}`},
		{"ns undelete 9 --no-token", "POST /v1/deleted-namespaces/9/undelete", `{}`},
		{"ns purge 9", "POST /v1/deleted-namespaces/9/purge", ``},
		{"ns list --label a=b --label c=d --state active", "GET /v1/namespaces?label=a%3Db&label=c%3Dd&limit=400&state=active", ``},
		{"ns list --deleted", "GET /v1/deleted-namespaces?limit=400", ``},
		{"token rotate acme tok --overlap 1h --label l", "POST /v1/namespaces/acme/tokens/tok/rotate", `{"overlap_ms":3600000,"label":"l"}`},
		{"token update acme tok --expires never --label=", "PATCH /v1/namespaces/acme/tokens/tok", `{"label":"","expires_at":"never"}`},
		{"token update acme tok --expires 1h", "PATCH /v1/namespaces/acme/tokens/tok", `{"expires_at":"2`},
	} {
		if _, stderr, code := a.cli("", strings.Fields(tt.args)...); code != 0 {
			t.Errorf("atoll %s: exit code %d, stderr %q", tt.args, code, stderr)
			continue
		}
		body := a.bodies[len(a.bodies)-1]
		if !strings.HasPrefix(last, tt.request) || !strings.Contains(body, tt.body) {
			t.Errorf("atoll %s sent %s and %s, want %s and %s", tt.args, last, body, tt.request, tt.body)
		}
	}
	sent := len(a.bodies)
	for args, want := range map[string]string{
		"ns create acme --label x-":                       "no label to remove",
		"ns create acme --label x":                        "KEY=VALUE",
		"ns update acme --label x=1 --label x-":           "twice",
		"ns update acme --limit keys=1 --limit keys=none": "twice",
		"ns update acme --limit keys=-1":                  "HARD[:SOFT]",
		"ns update acme --limit keys=1:x":                 "HARD[:SOFT]",
		"ns update acme --limit keys":                     "HARD[:SOFT]",
		"ns update acme --read-only yes":                  "on nor off",
		"ns update acme":                                  "nothing to change",
		"ns list --deleted --state active":                "--deleted",
		"ns purge x":                                      "not a number",
		"token update acme tok":                           "nothing to change",
	} {
		if _, stderr, code := a.cli("", strings.Fields(args)...); code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("atoll %s: exit code %d, stderr %q, want %q", args, code, stderr, want)
		}
	}
	if len(a.bodies) != sent {
		t.Errorf("sent %q", a.bodies[sent:])
	}
	for args, want := range map[string]string{"ns undelete b": "no namespace in grace", "ns undelete c": "several"} {
		if _, stderr, code := a.cli("", strings.Fields(args)...); code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("atoll %s: exit code %d, stderr %q, want %q", args, code, stderr, want)
		}
	}
}

func TestUsedOfLimits(t *testing.T) {
	a := newAPI(t, answer(200, `{"name":"acme","id":7,"state":"active","labels":{"env":"prod"},"limits":{"keys":{"soft":8,"hard":9},"value_bytes":{"hard":5},"connections":{"soft":2}},
		"usage":{"keys":3,"bytes":4,"connections":1,"commands_per_second":6,"limited":2,"over_soft":["keys"]}}`))
	stdout, stderr, code := a.cli("", "ns", "show", "acme")
	rows := strings.Join(strings.Fields(stdout), " ")
	for _, want := range []string{"label env prod", "keys 3 of 9 (soft 8)", "bytes 4", "connections 1 of 2 (soft)", "commands_per_second 6", "value_bytes - of 5", "limited commands 2", "over soft limits keys"} {
		if code != 0 || !strings.Contains(rows, want) {
			t.Errorf("exit code %d, stderr %q: %q is not in\n%s", code, stderr, want, stdout)
		}
	}
}
