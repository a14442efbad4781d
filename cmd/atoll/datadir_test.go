package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDataDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d, err := openDataDir(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.nodeID, "node-") {
		t.Errorf("made node id %q", d.nodeID)
	}
	if _, err := openDataDir(path, ""); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("opened twice: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	id := d.nodeID
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = openDataDir(path, ""); err != nil || d.nodeID != id {
		t.Fatalf("opened again as %v, %v", d, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = openDataDir(path, id); err != nil {
		t.Fatalf("with its own id: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDataDirRefusals looks at the message, and that nothing of somebody else's has changed.
func TestDataDirRefusals(t *testing.T) {
	tests := []struct {
		name   string
		files  map[string]string
		nodeID string
		want   string
	}{
		{"foreign", map[string]string{"notes.txt": "mine"}, "", "not Atoll's"},
		{"damaged", map[string]string{markerFile: "{"}, "", "damaged"},
		{"no node", map[string]string{markerFile: `{"format":1}`}, "", "damaged"},
		{"impossible node", map[string]string{markerFile: `{"format":1,"node_id":"a b"}`}, "", "damaged"},
		{"newer", map[string]string{markerFile: `{"format":2,"node_id":"n1"}`}, "", "format 2"},
		{"another node", map[string]string{markerFile: `{"format":1,"node_id":"n1"}`}, "n2", `"n1", not to "n2"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := t.TempDir()
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := openDataDir(path, tt.nodeID)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want %q and the path in it", err, tt.want)
			}
			for name, text := range tt.files {
				if got, err := os.ReadFile(filepath.Join(path, name)); err != nil || string(got) != text {
					t.Errorf("%s is now %q, %v", name, got, err)
				}
			}
			if _, err := os.Stat(filepath.Join(path, lockFile)); tt.name == "foreign" && err == nil {
				t.Error("a lock was put into a foreign directory")
			}
		})
	}
	t.Run("a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openDataDir(path, ""); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("half-made", func(t *testing.T) {
		path := t.TempDir()
		for _, name := range []string{lockFile, markerFile + ".tmp", "lost+found"} {
			if err := os.WriteFile(filepath.Join(path, name), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d, err := openDataDir(path, "n1")
		if err != nil {
			t.Fatalf("a crash before the marker stays: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
