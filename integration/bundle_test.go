package integration

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBundle looks into a bundle of a real node: what it is for is there, and no secret or value.
func TestBundle(t *testing.T) {
	addrs := freeAddrs(t, 2)
	s := startServer(t, "--pprof-addr", addrs[0], "--metrics-addr", addrs[1])
	const canary = "a-value-that-no-bundle-may-hold"
	token := s.createNamespace("acme")

	if err := s.redis(token).Set(t.Context(), "greeting", canary, 0).Err(); err != nil {
		t.Fatal(err)
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
