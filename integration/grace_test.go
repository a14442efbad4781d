package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// A deleted namespace is nobody's in its grace, on every node, and its data is there again when it is undeleted; after
// the grace it is purged, and a restart doesn't shorten that.
func TestGraceKeepsTheData(t *testing.T) {
	s := startServer(t, "--delete-grace", "1h")
	d := s.joinData()
	d.waitReady()
	ctx, admin := t.Context(), s.admin()
	made, err := admin.CreateNamespace(ctx, adminapi.CreateNamespace{Name: "acme", Token: &adminapi.CreateToken{}}, adminapi.WaitApplied(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	mustDo := func(p *process, token, want string, args ...any) {
		t.Helper()
		if got, err := p.do(ctx, token, args...); err != nil || fmt.Sprint(got) != want {
			t.Fatalf("%v: %v, %v, want %s", args, got, err, want)
		}
	}
	mustDo(s, made.Token.Secret, "OK", "SET", "k", "v")
	if out := s.mustCLI("ns", "delete", "acme", "--wait", "10s"); !strings.Contains(out, "PURGE AT") {
		t.Errorf("deleted: %s", out)
	}
	for _, p := range []*process{s, d} {
		if _, err := p.do(ctx, made.Token.Secret, "GET", "k"); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("a token of a deleted namespace: %v", err)
		}
	}
	s.kill()
	s.restart()
	other, err := s.admin().CreateNamespace(ctx, adminapi.CreateNamespace{Name: "acme", Token: &adminapi.CreateToken{}}, adminapi.WaitApplied(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	mustDo(s, other.Token.Secret, "0", "DBSIZE")

	s.mustCLI("ns", "undelete", "acme", "--as", "back", "--secret", "a-secret-of-what-is-back", "--wait", "10s")
	mustDo(s, "a-secret-of-what-is-back", "v", "GET", "k")
	d.until("the replica's view", func(ctx context.Context) error {
		_, err := d.do(ctx, "a-secret-of-what-is-back", "GET", "k")
		return err
	})
	mustDo(d, "a-secret-of-what-is-back", "v", "GET", "k")

	s.mustCLI("ns", "delete", "back", "--wait", "10s")
	s.mustCLI("ns", "purge", fmt.Sprint(made.Namespace.ID))
	s.until("the purge of every node", func(ctx context.Context) error {
		list, err := s.admin().DeletedNamespaces(ctx)
		if err == nil && len(list) > 0 {
			err = fmt.Errorf("%+v", list)
		}
		return err
	})
}
