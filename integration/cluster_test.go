package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// TestOperatorCommands goes through the commands of an operator.
func TestOperatorCommands(t *testing.T) {
	s := startServer(t)
	contains := func(out string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("%q isn't in\n%s", w, out)
			}
		}
	}
	contains(s.mustCLI("ns", "create", "acme", "--durability", "local", "--secret", "a-secret-of-acme"), "acme", "local", "a-secret-of-acme")
	contains(s.mustCLI("ns", "create", "silent", "--no-token"), "silent", "-")
	contains(s.mustCLI("ns", "list"), "NAME", "__namespace", "acme", "silent")
	contains(s.mustCLI("ns", "show", "acme"), "acme", "local")
	contains(s.mustCLI("ns", "update", "acme", "--durability", "async"), "async")
	contains(s.mustCLI("ns", "delete", "silent"), "silent", "PURGE AT")
	contains(s.mustCLI("ns", "list", "--deleted"), "WAITING FOR", "silent", "in-grace")
	contains(s.mustCLI("ns", "undelete", "silent", "--as", "loud", "--secret", "a-secret-of-loud"), "loud", "a-secret-of-loud")
	contains(s.mustCLI("ns", "update", "loud", "--label", "env=test", "--label", "team=x", "--limit", "keys=1000:800", "--limit", "bytes=1GiB"), "of 1000 (soft 800)", "of 1073741824")
	contains(s.mustCLI("ns", "update", "loud", "--label", "team-", "--limit", "keys=none"), "label env", "of 1073741824")
	contains(s.mustCLI("ns", "list", "--label", "env=test"), "loud")
	contains(s.mustCLI("ns", "suspend", "loud"), "suspended")
	contains(s.mustCLI("ns", "list", "--state", "suspended"), "loud")
	contains(s.mustCLI("ns", "resume", "loud"), "active")
	contains(s.mustCLI("ns", "read-only", "loud", "on"), "true")
	contains(s.mustCLI("ns", "rename", "loud", "louder"), "louder", "env")
	contains(s.mustCLI("ns", "delete", "louder", "--now"), "louder", "now")
	contains(s.mustCLI("status"), "CLUSTER", "GROUP", "primary", "serving")
	contains(s.mustCLI("group", "status"), "PRIMARY")
	contains(s.mustCLI("version"), "atoll", "go1.")
	contains(s.mustCLI("health", "--http-addr", s.httpAddr, "--resp-addr", s.respAddr), "ok")

	var made adminapi.CreatedTokenReply
	if err := json.Unmarshal([]byte(s.mustCLI("token", "create", "acme", "--role", "read-only", "--ttl", "1h", "-o", "json")), &made); err != nil {
		t.Fatal(err)
	}
	if _, err := s.do(t.Context(), made.Token.Secret, "SET", "k", "v"); err == nil {
		t.Error("a read-only token wrote")
	}
	if _, err := s.do(t.Context(), made.Token.Secret, "DBSIZE"); err != nil {
		t.Errorf("a read-only token read: %v", err)
	}
	contains(s.mustCLI("token", "list", "acme"), made.Token.ID, "read-only", "never")
	var next adminapi.CreatedTokenReply
	if err := json.Unmarshal([]byte(s.mustCLI("token", "rotate", "acme", made.Token.ID, "--overlap", "1h", "-o", "json")), &next); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{made.Token.Secret, next.Token.Secret} {
		if _, err := s.do(t.Context(), secret, "DBSIZE"); err != nil {
			t.Errorf("in the overlap: %v", err)
		}
	}
	contains(s.mustCLI("token", "list", "acme"), "LAST USED", "REPLACED BY", next.Token.ID)
	contains(s.mustCLI("token", "update", "acme", next.Token.ID, "--label", "rotated", "--expires", "never"), "rotated", "never")
	contains(s.mustCLI("token", "revoke", "acme", made.Token.ID), made.Token.ID)
	if _, err := s.do(t.Context(), made.Token.Secret, "DBSIZE"); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("a revoked token: %v", err)
	}
	var nodes []adminapi.Node
	if err := json.Unmarshal([]byte(s.mustCLI("node", "list", "-o", "json")), &nodes); err != nil || len(nodes) != 1 {
		t.Fatalf("nodes %v, %v", nodes, err)
	}
	contains(s.mustCLI("node", "show", nodes[0].ID), nodes[0].Incarnation, "primary")

	for _, tt := range []struct {
		want string
		args []string
	}{
		{`namespace "acme" exists`, []string{"ns", "create", "acme"}},
		{"1 to 255 bytes", []string{"ns", "create", strings.Repeat("x", 256)}},
		{"durable is not available", []string{"ns", "create", "x", "--durability", "durable"}},
		{"KEY=VALUE", []string{"ns", "update", "acme", "--label", "x"}},
		{"HARD[:SOFT]", []string{"ns", "update", "acme", "--limit", "keys"}},
		{"above its hard", []string{"ns", "update", "acme", "--limit", "keys=1:2"}},
		{"nothing to change", []string{"ns", "update", "acme"}},
		{"on nor off", []string{"ns", "read-only", "acme", "maybe"}},
		{"no namespace in grace", []string{"ns", "undelete", "nobody"}},
		{"not a number", []string{"ns", "purge", "acme"}},
		{"16 to 512 bytes", []string{"token", "create", "acme", "--secret", "short"}},
		{"the token already exists", []string{"token", "create", "acme", "--secret", "a-secret-of-acme"}},
		{"was not found", []string{"ns", "show", "nobody"}},
		{"default namespace", []string{"ns", "delete", "__namespace"}},
		{"primary already", []string{"group", "promote", "1", nodes[0].ID}},
		{"not a group's number", []string{"group", "promote", "one", nodes[0].ID}},
		{"unknown, revoked or expired", []string{"ns", "list", "--token", "wrong"}},
		{"--data-dir", []string{"ns", "list", "--data-dir", "/does/not/exist"}},
		{"refused", []string{"ns", "list", "--admin-addr", "127.0.0.1:1"}},
		{"accepts 1 arg", []string{"ns", "show"}},
	} {
		_, stderr, err := s.cli(tt.args...)
		if err == nil || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, tt.want) {
			t.Errorf("atoll %s: %v\n%swant one line with %q", strings.Join(tt.args, " "), err, stderr, tt.want)
		}
	}
}

// TestThreeMetadataNodes kills each metadata node in turn under changes: every change that was answered
// stays, and clients of the data node see nothing of it.
func TestThreeMetadataNodes(t *testing.T) {
	first := newProcess(t, "meta")
	first.start()
	first.waitReady()
	voters := []*process{first}
	for range 2 {
		p := newProcess(t, "meta", "--join", first.cluster)
		p.tokenDir = first.dir
		p.start()
		p.waitReady()
		voters = append(voters, p)
	}
	first.until("leading three voters", func(ctx context.Context) error {
		c, err := first.admin().Cluster(ctx)
		if err == nil && len(c.Voters) != 3 {
			err = fmt.Errorf("%d voters", len(c.Voters))
		}
		return err
	})
	d := newProcess(t, "data", "--join", first.cluster)
	d.tokenDir, d.httpAddr = first.dir, first.httpAddr
	d.start()
	d.waitReady()
	token := first.createNamespace("acme")

	made := []string{"__namespace", "acme"}
	for i, victim := range voters {
		victim.kill()
		if _, err := d.do(t.Context(), token, "SET", "k", i); err != nil {
			t.Errorf("a write while metadata node %d is away: %v", i, err)
		}
		other := voters[(i+1)%len(voters)]
		name := fmt.Sprintf("made-%d", i)
		other.until("changing metadata without one node", func(ctx context.Context) error {
			_, err := other.admin().CreateNamespace(ctx, adminapi.CreateNamespace{Name: name}, adminapi.WithIdempotencyKey("a-creation-of-"+name), adminapi.WaitApplied(time.Second))
			return err
		})
		made = append(made, name)
		victim.restart()
	}
	for i, p := range voters {
		list, err := p.admin().Namespaces(t.Context())
		var names []string
		for _, n := range list {
			names = append(names, n.Name)
		}
		if err != nil || !slices.Equal(names, made) {
			t.Errorf("metadata node %d lists %v, %v; want %v", i, names, err, made)
		}
	}
	for _, p := range voters {
		p.stop()
	}
	if got, err := d.do(t.Context(), token, "GET", "k"); err != nil || got != "2" {
		t.Errorf("with every metadata node stopped: %v, %v", got, err)
	}
	if _, err := d.do(t.Context(), token, "SET", "k", "alone"); err != nil {
		t.Errorf("a write with every metadata node stopped: %v", err)
	}
}

// TestHostilePeers sends to each port what belongs to another, and what is nobody's.
func TestHostilePeers(t *testing.T) {
	s := startServer(t)
	packets := map[string]string{
		"huge bulk":     "*1\r\n$9223372036854775807\r\n",
		"huge array":    "*2000000000\r\n",
		"negative bulk": "*1\r\n$-100\r\n",
		"HTTP":          "POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a b\r\n",
		"HTTP/2":        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"raft":          "R\x00\x00\x00\x00\xff\xff\xff\xff",
		"noise":         strings.Repeat("\xff\x00\r\n", 1<<16),
		"TLS":           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"long line":     strings.Repeat("x", 1<<20),
	}
	for name, packet := range packets {
		for port, addr := range map[string]string{"resp": s.respAddr, "http": s.httpAddr, "cluster": s.cluster} {
			t.Run(name+" to "+port, func(t *testing.T) { sendRaw(t, addr, packet) })
		}
	}
	if err := s.redis("").Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	if n, err := s.redis("").DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Errorf("%d keys, %v", n, err)
	}
	s.createNamespace("still-here")
	s.stop()
}
