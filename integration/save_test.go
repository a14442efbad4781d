package integration

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// TestSave saves a cluster under way, and begins another one from that: with what was there, with ids that none had, and
// beside the first.
func TestSave(t *testing.T) {
	s := startServer(t, "--delete-grace", "1h")
	d := s.joinData()
	d.waitReady()
	ctx := t.Context()
	acme, graced, gone := s.createNamespace("acme"), s.createNamespace("graced"), s.createNamespace("gone")
	revoked, err := s.admin().CreateToken(ctx, "acme", adminapi.CreateToken{})
	must(t, err)
	for _, token := range []string{acme, graced, gone, revoked.Token.Secret} {
		_, err := s.do(ctx, token, "SET", "k", "v")
		must(t, err)
	}
	ids := map[string]uint64{"acme": number(t, s, acme, "namespace_id"), "gone": number(t, s, gone, "namespace_id")}
	s.mustCLI("ns", "update", "acme", "--label", "env=prod", "--wait", "10s")
	s.mustCLI("token", "revoke", "acme", revoked.Token.ID, "--wait", "10s")
	s.mustCLI("ns", "delete", "graced", "--wait", "10s")
	replica := save(t, d) // has "gone" yet
	d.stop()              // so that the tombstone stays
	s.mustCLI("ns", "delete", "gone", "--now", "--wait", "0s")

	var written atomic.Int64
	var writer sync.WaitGroup
	writing, stop := context.WithCancel(ctx)
	defer stop()
	c := s.redis(acme)
	writer.Go(func() {
		for i := int64(0); writing.Err() == nil; i++ {
			if err := c.Set(ctx, fmt.Sprintf("w%d", i), i, 0).Err(); err != nil {
				t.Error(err)
				return
			}
			written.Store(i + 1)
		}
	})
	s.until("writing", func(context.Context) error {
		if written.Load() < 500 {
			return errors.New("not yet")
		}
		return nil
	})
	before := written.Load()
	dir := save(t, s)
	after := written.Load() + 1
	stop()
	writer.Wait()
	_, err = s.do(ctx, acme, "SET", "after", "the save")
	must(t, err)
	floor := number(t, s, s.adminToken(), "view_revision")
	oldAdmin := s.adminToken()
	s.stop()
	sums := sumsOf(t, dir)

	p := newProcess(t, "server", "--from", dir)
	p.start()
	p.waitReady()
	if got, err := p.do(ctx, acme, "MGET", "k", "after"); err != nil || fmt.Sprint(got) != "[v <nil>]" {
		t.Errorf("acme has %v, %v", got, err)
	}
	n, err := p.redis(acme).DBSize(ctx).Result()
	must(t, err)
	if n-1 < before || n-1 > after {
		t.Errorf("%d of the keys that a writer wrote, who had done %d before the save and %d after it", n-1, before, after)
	}
	for i := range n - 1 {
		if got, err := p.redis(acme).Get(ctx, fmt.Sprintf("w%d", i)).Int64(); err != nil || got != i {
			t.Fatalf("key %d of %d: %d, %v", i, n-1, got, err)
		}
		if i == 200 { // the rest is as these, and the count says that they are there
			break
		}
	}
	for name, token := range map[string]string{"a revoked token": revoked.Token.Secret, "of a deleted namespace": gone, "of one in grace": graced} {
		if _, err := p.do(ctx, token, "GET", "k"); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if id := number(t, p, acme, "namespace_id"); id != ids["acme"] {
		t.Errorf("acme has id %d, and had %d", id, ids["acme"])
	}
	if out := p.mustCLI("ns", "list", "--label", "env=prod"); !strings.Contains(out, "acme") || strings.Contains(out, "gone") {
		t.Errorf("namespaces:\n%s", out)
	}
	p.mustCLI("ns", "undelete", "graced", "--secret", "a-secret-of-what-is-back", "--wait", "10s")
	if got, err := p.do(ctx, "a-secret-of-what-is-back", "GET", "k"); err != nil || got != "v" {
		t.Errorf("the undeleted namespace has %v, %v", got, err)
	}
	for _, token := range []string{oldAdmin, p.adminToken()} {
		if _, err := p.do(ctx, token, "NAMESPACE", "GET", "*"); err != nil {
			t.Errorf("an admin token: %v", err)
		}
	}
	again := p.createNamespace("gone")
	if id := number(t, p, again, "namespace_id"); id <= ids["gone"] || id <= floor-2 { // the save's view is a little older
		t.Errorf("id %d, when %d and revision %d were handed out", id, ids["gone"], floor)
	}
	if got, err := p.do(ctx, again, "DBSIZE"); err != nil || got != int64(0) {
		t.Errorf("a namespace made again sees %v keys, %v", got, err)
	}
	if out := p.mustCLI("audit", "list"); !strings.Contains(out, "begin-from-save") {
		t.Errorf("the audit says nothing of the save:\n%s", out)
	}
	p.mustCLI("audit", "verify")

	r := p.joinData()
	r.waitReady()
	r.until("the full sync", func(context.Context) error {
		got, err := r.do(ctx, acme, "DBSIZE")
		if err == nil && got != n {
			err = fmt.Errorf("%v keys", got)
		}
		return err
	})
	r.stop()

	// A restart with the same command goes on with what the directory has by now.
	_, err = p.do(ctx, acme, "SET", "later", "v")
	must(t, err)
	p.stop()
	p.restart()
	if got, err := p.do(ctx, acme, "GET", "later"); err != nil || got != "v" {
		t.Errorf("after a restart: %v, %v", got, err)
	}
	p.stop()
	if out := p.mustCLI("debug", "verify", "--data-dir", p.dir); !strings.Contains(out, "data:") {
		t.Errorf("debug verify: %s", out)
	}
	p.refuses(t, "was made from another save", "--from", replica)
	if got := sumsOf(t, dir); got != sums {
		t.Errorf("the save was changed:\n%s\nit was\n%s", got, sums)
	}

	// The cluster that was saved goes on, and is another one.
	s.restart()
	if got, err := s.do(ctx, acme, "GET", "after"); err != nil || got != "the save" {
		t.Errorf("the first cluster has %v, %v", got, err)
	}
	q := newProcess(t, "server", "--from", replica)
	q.start()
	q.waitReady()
	if got, err := q.do(ctx, gone, "GET", "k"); err != nil || got != "v" {
		t.Errorf("from the replica's save: %v, %v", got, err)
	}
	first, err := s.admin().Cluster(ctx)
	must(t, err)
	other, err := q.admin().Cluster(ctx)
	if must(t, err); first.ClusterID == other.ClusterID {
		t.Errorf("both are cluster %s", other.ClusterID)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// save has a node make a save, and returns its directory.
func save(t *testing.T, p *process) string {
	t.Helper()
	_, err := p.do(t.Context(), p.adminToken(), "BGSAVE")
	must(t, err)
	p.until("saved", func(ctx context.Context) error {
		text, err := p.do(ctx, p.adminToken(), "INFO", "persistence")
		if info := fmt.Sprint(text); err == nil && (!strings.Contains(info, "rdb_bgsave_in_progress:0") || !strings.Contains(info, "rdb_last_bgsave_status:ok")) {
			err = errors.New(info)
		}
		return err
	})
	at, err := p.do(t.Context(), p.adminToken(), "LASTSAVE")
	must(t, err)
	if made, ok := at.(int64); !ok || time.Since(time.Unix(made, 0)) > time.Minute {
		t.Errorf("the last save was at %v", at)
	}
	dirs, err := filepath.Glob(filepath.Join(p.dir, "data", "saves", "*"))
	must(t, err)
	if len(dirs) == 0 {
		t.Fatal("there is no save")
	}
	return dirs[len(dirs)-1]
}

// sumsOf returns a digest of each file below a directory.
func sumsOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		fmt.Fprintf(&b, "%s %x\n", path, sha256.Sum256(data))
		return err
	}))
	return b.String()
}

// refuses starts the process with other arguments, and requires that it ends by itself and says why.
func (p *process) refuses(t *testing.T, why string, args ...string) {
	t.Helper()
	old := p.args
	p.args = args
	p.start()
	p.args = old
	select {
	case <-p.exit:
		if log := p.log(); p.err == nil || !strings.Contains(log, why) {
			t.Errorf("with %v it ends with %v, and says\n%s\nwant %q", args, p.err, tail(log), why)
		}
	case <-time.After(readyWait):
		t.Errorf("with %v it runs", args)
		p.kill()
	}
}

// What is no save, or not as it was saved, makes nothing; a start that was cut short starts over, or is refused.
func TestSaveIsChecked(t *testing.T) {
	s := startServer(t)
	ctx := t.Context()
	acme := s.createNamespace("acme")
	_, err := s.do(ctx, acme, "SET", "k", strings.Repeat("v", 5000))
	must(t, err)
	if _, err := s.do(ctx, acme, "BGSAVE"); err == nil || !strings.Contains(err.Error(), "admin permission") {
		t.Errorf("a tenant saves: %v", err)
	}
	if got, err := s.do(ctx, s.adminToken(), "SAVE"); err != nil || got != "OK" {
		t.Errorf("SAVE: %v, %v", got, err)
	}
	dir := save(t, s)
	p := newProcess(t, "server")
	nothing := func() {
		t.Helper()
		if _, err := os.Stat(p.dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it has made %s: %v", p.dir, err)
		}
	}
	p.refuses(t, "there is no", "--from", t.TempDir())
	p.refuses(t, "give one of them", "--from", dir, "--join", s.cluster)
	nothing()
	tables, err := filepath.Glob(filepath.Join(dir, "pebble", "*.sst"))
	must(t, err)
	for _, path := range []string{filepath.Join(dir, "save.json"), filepath.Join(dir, "view.base"), tables[len(tables)-1]} {
		data, err := os.ReadFile(path)
		must(t, err)
		bad := append([]byte(nil), data...)
		bad[len(bad)/3] ^= 4
		must(t, os.Remove(path)) // the table is the node's, too
		must(t, os.WriteFile(path, bad, 0o600))
		p.refuses(t, filepath.Base(path), "--from", dir)
		must(t, os.Remove(path))
		p.refuses(t, filepath.Base(path), "--from", dir)
		must(t, os.WriteFile(path, data, 0o600))
		nothing()
	}
	s.stop()
	s.refuses(t, "holds a node already", "--from", dir)

	// Killed at any moment, it starts over, or goes on with what is whole.
	for range 8 {
		p.args = []string{"--from", dir}
		p.start()
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond) // no order: any moment will do
		p.kill()
	}
	p.start()
	p.waitReady()
	if got, err := p.do(ctx, acme, "STRLEN", "k"); err != nil || got != int64(5000) {
		t.Errorf("after it was killed a few times: %v, %v", got, err)
	}
	p.stop()
	// Half of a restore is nobody's data.
	must(t, os.WriteFile(filepath.Join(p.dir, "RESTORING"), nil, 0o600))
	must(t, os.RemoveAll(filepath.Join(p.dir, "meta")))
	p.refuses(t, "was cut short")
	if out, _, err := p.cli("debug", "verify", "--data-dir", p.dir); err == nil || !strings.Contains(out, "cut short") {
		t.Errorf("debug verify: %v\n%s", err, out)
	}
	p.start()
	p.waitReady()
	if got, err := p.do(ctx, acme, "STRLEN", "k"); err != nil || got != int64(5000) {
		t.Errorf("when it has started over: %v, %v", got, err)
	}
}
