package main

import (
	"strings"
	"testing"
)

func TestInviteCommands(t *testing.T) {
	a := newAPI(t, answer(200, `{"invite":{"id":"0011223344556677","role":"meta","uses_max":2},"join_token":"atollj_x"}`))
	stdout, stderr, code := a.cli("", "node", "invite", "-q", "--role", "meta", "--uses", "2", "--ttl", "90s", "--for", "m2")
	if code != 0 || stdout != "atollj_x\n" || stderr != "" {
		t.Errorf("exit code %d, printed %q and %q", code, stdout, stderr)
	}
	if want := `POST /v1/invites {"role":"meta","ttl_ms":90000,"uses":2,"node_id":"m2"}`; a.bodies[0] != want {
		t.Errorf("sent %s, want %s", a.bodies[0], want)
	}
	if stdout, _, _ := a.cli("", "node", "invite"); !strings.Contains(stdout, "JOIN TOKEN") || !strings.Contains(stdout, "0011223344556677") {
		t.Errorf("printed %q", stdout)
	}
	sent := len(a.bodies)
	for _, args := range [][]string{{"--ttl", "0s"}, {"--ttl", "9000h"}, {"--uses", "0"}, {"--uses", "-1"}} {
		if _, stderr, code := a.cli("", append([]string{"node", "invite"}, args...)...); code != 1 || !strings.Contains(stderr, args[0]) {
			t.Errorf("%v: exit code %d, stderr %q", args, code, stderr)
		}
	}
	if len(a.bodies) != sent {
		t.Errorf("sent %q", a.bodies[sent:])
	}
}
