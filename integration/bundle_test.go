package integration

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTools runs the operator's tools beside the API against a real node: the client, the bundle, and Pebble's own
// commands on the stopped node's store.
func TestTools(t *testing.T) {
	addrs := freeAddrs(t, 2)
	s := startServer(t, "--pprof-addr", addrs[0], "--metrics-addr", addrs[1])
	const canary = "a-value-that-no-bundle-may-hold"
	token := s.createNamespace("acme")

	tenant := []string{"cli", "--resp-addr", s.respAddr, "--token", token}
	run := func(args ...string) string { return s.mustCLI(append(slices.Clone(tenant), args...)...) }
	if out := run("SET", "greeting", canary); out != "OK\n" {
		t.Errorf("SET printed %q", out)
	}
	if out := run("GET", "greeting"); out != canary+"\n" {
		t.Errorf("GET printed %q", out)
	}
	if out, stderr, err := s.cli(append(tenant, "INCR", "greeting")...); err == nil || !strings.HasPrefix(out, "ERR value is not an integer") ||
		!strings.Contains(stderr, "answered with an error") {
		t.Errorf("INCR: %v, %q, %q", err, out, stderr)
	}
	if out := s.mustCLI("cli", "--resp-addr", s.respAddr, "DBSIZE"); out != "0\n" {
		t.Errorf("an admin's DBSIZE printed %q", out)
	}

	path := filepath.Join(t.TempDir(), "bundle.tar.gz")
	out, _, err := s.cli("debug", "bundle", path, "--resp-addr", s.respAddr, "--profile", "1s", "--pprof-addr", addrs[0], "--metrics-addr", addrs[1])
	if err != nil || out != path+"\n" {
		t.Fatalf("bundle: %v, %q", err, out)
	}
	files := untar(t, path)
	if missing := files["errors.txt"]; missing != "" {
		t.Errorf("missing: %s", missing)
	}
	for name, want := range map[string]string{
		"version.txt": "atoll", "config.json": "resp-addr", "files.txt": "admin-token", "info.txt": "# Keyspace", "api/nodes.json": s.respAddr,
		"api/cluster.json": "leader_id", "api/groups.json": "primary", "api/namespaces.json": "acme", "goroutines.txt": "goroutine 1 ", "metrics.txt": "atoll_", "heap.pprof": "", "cpu.pprof": "",
	} {
		if len(files[name]) == 0 || !strings.Contains(files[name], want) {
			t.Errorf("%s: %d bytes, and no %q", name, len(files[name]), want)
		}
	}
	for name, data := range files {
		for _, secret := range []string{canary, token, s.adminToken()} {
			if strings.Contains(data, secret) {
				t.Errorf("%s holds %q", name, secret)
			}
		}
	}
	if _, stderr, err := s.cli("debug", "bundle", path); err == nil || !strings.Contains(stderr, "file exists") {
		t.Errorf("a second bundle of that name: %v, %q", err, stderr)
	}

	rows := filepath.Join(s.dir, "data", "generations", "1", "pebble")
	s.stop()
	manifests, err := filepath.Glob(filepath.Join(rows, "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatalf("manifests %q, %v", manifests, err)
	}
	if out := s.mustCLI("debug", "pebble", "manifest", "dump", manifests[len(manifests)-1]); !strings.Contains(out, "atoll.v1") {
		t.Errorf("manifest dump printed %q", out)
	}
	tables, err := filepath.Glob(filepath.Join(rows, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("tables %q, %v", tables, err)
	}
	s.mustCLI("debug", "pebble", "sstable", "check", tables[0])
	if err := os.WriteFile(tables[0], []byte("no table"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.mustCLI("debug", "pebble", "sstable", "check", tables[0]); !strings.Contains(out, "invalid table") {
		t.Errorf("a broken table: %q", out)
	}
	if out := s.mustCLI("debug", "pebble", "--help"); strings.Contains(out, "excise") {
		t.Errorf("commands that write are there: %q", out)
	}
}

func untar(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, "atoll-debug/")] = string(data)
	}
}
