package mtls

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestCheck finds what is broken in a directory, and leaves every directory as it was.
func TestCheck(t *testing.T) {
	now := time.Now()
	c := newCluster(t, "c1", now)
	whole := func() string {
		i := c.identity("m1", now, Meta)
		if err := i.KeepAuthority(c.cert, c.key); err != nil {
			t.Fatal(err)
		}
		return i.dir
	}
	for name, tt := range map[string]struct {
		dir   string
		spoil func(dir string) error
		good  bool
	}{
		"whole":             {whole(), func(string) error { return nil }, true},
		"of a new node":     {t.TempDir(), func(string) error { return nil }, true},
		"without a key":     {whole(), func(dir string) error { return os.Remove(filepath.Join(dir, keyFile)) }, false},
		"broken key":        {whole(), func(dir string) error { return os.WriteFile(filepath.Join(dir, keyFile), []byte("x"), 0o600) }, false},
		"broken":            {whole(), func(dir string) error { return os.WriteFile(filepath.Join(dir, certFile), []byte("x"), 0o600) }, false},
		"broken authority":  {whole(), func(dir string) error { return os.WriteFile(filepath.Join(dir, authFile), []byte("x"), 0o600) }, false},
		"without authority": {whole(), func(dir string) error { return os.Remove(filepath.Join(dir, authFile)) }, true},
	} {
		if err := tt.spoil(tt.dir); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadDir(tt.dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := Check(tt.dir); (err == nil) != tt.good {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.ReadDir(tt.dir); err != nil || len(after) != len(before) {
			t.Errorf("%s: it has %d files, and had %d", name, len(after), len(before))
		}
	}
}
