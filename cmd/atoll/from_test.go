package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atolldb/atoll/rpc/atomicfile"
)

// A data directory is made from a save if it is new, goes on if it was made from that save, and is refused if it holds
// anything else.
func TestFrom(t *testing.T) {
	save, other := t.TempDir(), t.TempDir()
	made := func(from string) map[string]string {
		return map[string]string{fromFile: `{"format":1,"from":"` + from + `"}`, "meta/x": "", "data/x": "", markerFile: ""}
	}
	tests := []struct {
		name   string
		files  map[string]string
		from   string
		begins bool
		refuse string
	}{
		{"new", nil, save, true, ""},
		{"begun, with nothing in it", map[string]string{markerFile: "", lockFile: "", "tls/key": ""}, save, true, ""},
		{"made from it", made(save), save, false, ""},
		{"made from it, which is gone", made("/nowhere/save"), "/nowhere/save", false, ""},
		{"made from another", made(other), save, false, "was made from another save, " + other},
		{"another format", map[string]string{fromFile: `{"format":2}`}, save, false, "can't be read"},
		{"damaged", map[string]string{fromFile: `{"form`}, save, false, "can't be read"},
		{"a metadata node", map[string]string{"meta/x": ""}, save, false, "holds a node already"},
		{"a data node", map[string]string{"data/x": ""}, save, false, "holds a node already"},
		{"cut short", map[string]string{restoringFile: "", "meta/x": "", "data/x": ""}, save, true, ""},
		{"cut short at the end", map[string]string{restoringFile: "", fromFile: `{"format":1,"from":"` + other + `"}`}, save, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "dir")
			for name, text := range tt.files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := atomicfile.Write(path, []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			n := fromNode(dir, tt.from)
			path, begins, err := n.from()
			switch {
			case tt.refuse != "":
				if err == nil || !strings.Contains(err.Error(), tt.refuse) {
					t.Errorf("it says %v, want %q", err, tt.refuse)
				}
			case err != nil || begins != tt.begins || path != tt.from:
				t.Errorf("%q begins %v, %v", path, begins, err)
			}
			d := &dataDir{path: dir}
			if err := d.whole(); (err != nil) != strings.HasPrefix(tt.name, "cut short") {
				t.Errorf("whole: %v", err)
			}
		})
	}
	// What may be removed holds no save.
	dir := t.TempDir()
	for _, inside := range []string{dir, filepath.Join(dir, "data", "saves", "x")} {
		if _, _, err := fromNode(dir, inside).from(); err == nil || !strings.Contains(err.Error(), "in the data directory") {
			t.Errorf("%s: %v", inside, err)
		}
	}
	if _, _, err := fromNode(filepath.Join(dir, "copy"), filepath.Join(dir, "..copy")).from(); err != nil {
		t.Errorf("beside it: %v", err)
	}
}

func fromNode(dir, from string) *node {
	return &node{log: slog.New(slog.DiscardHandler), config: &config{values: map[string]any{"data-dir": dir, "from": from, "join": []string(nil)}}}
}
