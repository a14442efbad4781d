package integration

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestRestore loses all three metadata nodes for good, and rebuilds the service on new machines from a backup: data nodes
// that saw more than the backup holds follow it, no id comes twice, and what was lost since is told.
func TestRestore(t *testing.T) {
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
	d := newProcess(t, "data", "--join", first.cluster)
	d.tokenDir, d.httpAddr = first.dir, first.httpAddr
	d.start()
	d.waitReady()
	ctx := t.Context()
	kept := first.createNamespace("kept")
	if _, err := d.do(ctx, kept, "SET", "k", "v"); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "backup")
	first.mustCLI("meta", "backup", backup)
	if _, stderr, err := first.cli("meta", "backup", backup); err == nil || !strings.Contains(stderr, "file exists") {
		t.Errorf("a second backup of that name: %v, %q", err, stderr)
	}
	lost := first.createNamespace("lost") // after the backup
	if _, err := d.do(ctx, lost, "SET", "k", "v"); err != nil {
		t.Fatal(err)
	}
	lostID := number(t, d, lost, "namespace_id")
	floor := number(t, d, first.adminToken(), "view_revision")
	for _, p := range voters {
		p.kill()
	}
	if got, err := d.do(ctx, kept, "GET", "k"); err != nil || got != "v" {
		t.Errorf("without a metadata service: %v, %v", got, err)
	}

	rebuilt := newProcess(t, "meta")
	restore := []string{
		"meta", "restore", backup, "--data-dir", rebuilt.dir, "--cluster-addr", rebuilt.cluster, "--http-addr", rebuilt.httpAddr, "--log-level", "error",
	}
	if _, stderr, err := rebuilt.cli(restore...); err == nil || !strings.Contains(stderr, "view_revision") {
		t.Errorf("without a floor: %v, %q", err, stderr)
	}
	out, stderr, err := rebuilt.cli(append(restore, "--floor", strconv.FormatUint(floor, 10))...)
	if err != nil || !strings.Contains(stderr, "is lost") {
		t.Fatalf("restore: %v\n%s%s", err, out, stderr)
	}
	rebuilt.start()
	rebuilt.waitReady()
	for range 2 {
		p := newProcess(t, "meta", "--join", rebuilt.cluster)
		p.tokenDir = rebuilt.dir
		p.start()
		p.waitReady()
	}

	// The data node still has its rows, and finds the service at its new address.
	d.stop()
	d.args, d.httpAddr, d.tokenDir = []string{"--join", rebuilt.cluster}, rebuilt.httpAddr, rebuilt.dir
	d.restart()
	d.until("following the new history", func(context.Context) error {
		if v := number(t, d, rebuilt.adminToken(), "view_revision"); v <= floor {
			return fmt.Errorf("its view is at %d, and was at %d before", v, floor)
		}
		return nil
	})
	if got, err := d.do(ctx, kept, "GET", "k"); err != nil || got != "v" {
		t.Errorf("after the restore: %v, %v", got, err)
	}
	if _, err := d.do(ctx, kept, "SET", "k", "w"); err != nil {
		t.Errorf("a write after the restore: %v", err)
	}
	if _, err := d.do(ctx, lost, "GET", "k"); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("a namespace that the backup doesn't hold: %v", err)
	}
	again := rebuilt.createNamespace("lost")
	if id := number(t, d, again, "namespace_id"); id <= lostID || id <= floor {
		t.Errorf("id %d, when %d and revision %d were handed out before", id, lostID, floor)
	}
	if got, err := d.do(ctx, again, "DBSIZE"); err != nil || got != int64(0) {
		t.Errorf("a namespace made again sees %v keys, %v", got, err)
	}
	if out := rebuilt.mustCLI("audit", "list"); !strings.Contains(out, "restore-cluster") {
		t.Errorf("the audit says nothing of the restore:\n%s", out)
	}
}

// number returns a number of INFO.
func number(t *testing.T, p *process, token, field string) uint64 {
	t.Helper()
	text, err := p.do(t.Context(), token, "INFO")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + field + `:(\d+)`).FindStringSubmatch(fmt.Sprint(text))
	if m == nil {
		t.Fatalf("no %s in INFO", field)
	}
	n, err := strconv.ParseUint(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
