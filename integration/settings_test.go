package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// TestSettings is an operator who bounds, stops and brings back a tenant with the commands alone, while it is connected
// to a primary and to a replica.
func TestSettings(t *testing.T) {
	s := startServer(t)
	replica := s.joinData()
	replica.waitReady()
	ctx := t.Context()
	var created adminapi.CreatedNamespace
	decode(t, s.mustCLI("ns", "create", "acme", "--label", "env=prod", "--limit", "keys=10:5", "--limit", "value_bytes=1KiB", "-o", "json"), &created)
	token := created.Token.Secret
	clients := []*redis.Client{once(s, token), once(replica, token)}

	for i := range 10 {
		if err := clients[i%2].Set(ctx, fmt.Sprintf("k%d", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range clients {
		if err := c.Set(ctx, "one-more", 1, 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "LIMIT keys") {
			t.Errorf("an eleventh key: %v", err)
		}
		if err := c.Set(ctx, "k1", strings.Repeat("x", 2000), 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "LIMIT value bytes") {
			t.Errorf("a large value: %v", err)
		}
		if err := errors.Join(c.Set(ctx, "k1", 2, 0).Err(), c.Expire(ctx, "k2", time.Hour).Err()); err != nil {
			t.Errorf("an overwrite at the limit: %v", err)
		}
	}
	s.until("showing what is used", func(context.Context) error {
		out := s.mustCLI("ns", "show", "acme")
		for _, want := range []string{"10 of 10 (soft 5)", "over soft limits", "env"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("no %q in\n%s", want, out)
			}
		}
		return nil
	})

	s.mustCLI("ns", "read-only", "acme", "on")
	for _, c := range clients {
		if err := c.Del(ctx, "k1").Err(); err == nil || !strings.HasPrefix(err.Error(), "NSREADONLY") {
			t.Errorf("a write while it is read-only: %v", err)
		}
		if got, err := c.Get(ctx, "k3").Result(); err != nil || got != "3" {
			t.Errorf("a read while it is read-only: %q, %v", got, err)
		}
	}
	s.mustCLI("ns", "read-only", "acme", "off")

	s.mustCLI("ns", "suspend", "acme")
	for _, c := range clients {
		if err := c.Get(ctx, "k3").Err(); !ended(err) && !suspended(err) {
			t.Errorf("a session of a suspended namespace: %v", err)
		}
		if err := c.Get(ctx, "k3").Err(); !suspended(err) {
			t.Errorf("a login while it is suspended: %v", err)
		}
	}
	s.mustCLI("ns", "resume", "acme")
	s.mustCLI("ns", "rename", "acme", "acme-2")
	if got, err := once(replica, token).Get(ctx, "k3").Result(); err != nil || got != "3" {
		t.Errorf("after it was resumed and renamed: %q, %v", got, err)
	}

	var rotated adminapi.CreatedTokenReply
	decode(t, s.mustCLI("token", "rotate", "acme-2", created.Token.ID, "--overlap", "1h", "-o", "json"), &rotated)
	for _, secret := range []string{token, rotated.Token.Secret} {
		if err := once(s, secret).Ping(ctx).Err(); err != nil {
			t.Errorf("in the overlap: %v", err)
		}
	}
	s.mustCLI("token", "revoke", "acme-2", created.Token.ID)
	if err := once(replica, token).Ping(ctx).Err(); err == nil || !strings.HasPrefix(err.Error(), "WRONGPASS") {
		t.Errorf("the old token after its revocation: %v", err)
	}

	s.mustCLI("ns", "delete", "acme-2")
	if err := once(s, rotated.Token.Secret).Ping(ctx).Err(); err == nil || !strings.HasPrefix(err.Error(), "WRONGPASS") {
		t.Errorf("a token of a deleted namespace: %v", err)
	}
	var back adminapi.CreatedNamespace
	decode(t, s.mustCLI("ns", "undelete", "acme-2", "-o", "json"), &back)
	for _, p := range []*process{s, replica} {
		if got, err := once(p, back.Token.Secret).DBSize(ctx).Result(); err != nil || got != 10 {
			t.Errorf("after the undeletion: %d keys, %v", got, err)
		}
	}
	if back.Namespace.ID != created.Namespace.ID || back.Namespace.Limits["keys"].Hard != 10 {
		t.Errorf("it came back as %+v", back.Namespace)
	}
	s.mustCLI("ns", "delete", "acme-2", "--now")
	s.until("purging", func(context.Context) error {
		if out := s.mustCLI("ns", "list", "--deleted"); strings.Contains(out, "acme-2") {
			return errors.New(out)
		}
		return nil
	})
	if out := s.mustCLI("audit", "verify"); !strings.Contains(out, "RECORDS") {
		t.Errorf("audit verify printed %q", out)
	}
}

// once is a client that tells of every error, and keeps its connection.
func once(p *process, token string) *redis.Client {
	p.t.Helper()
	return p.redis(token, func(o *redis.Options) { o.MaxRetries, o.PoolSize = -1, 1 })
}

// ended reports whether an error is that of a connection that was closed.
func ended(err error) bool {
	var closed net.Error
	return errors.Is(err, io.EOF) || errors.As(err, &closed) || err != nil && strings.HasPrefix(err.Error(), "NOAUTH the token or the namespace")
}

func suspended(err error) bool { return err != nil && strings.Contains(err.Error(), "NSSUSPENDED") }

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
}
