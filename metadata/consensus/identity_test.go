package consensus

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDamagedIdentity: a flipped bit or a cut is found, or changes nothing.
func TestDamagedIdentity(t *testing.T) {
	dir := t.TempDir()
	id := identity{Format: identityFormat, NodeID: "meta1", Incarnation: newID(), ClusterID: newID(), Joined: true, Voters: 3}
	if err := id.save(dir); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, identityFile))
	if err != nil {
		t.Fatal(err)
	}
	want, err := parseIdentity(good)
	if err != nil || want.ClusterID != id.ClusterID {
		t.Fatalf("%s is read as %+v, %v", good, want, err)
	}
	found := 0
	for i := range 8 * len(good) {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		got, err := parseIdentity(bad)
		switch {
		case errors.Is(err, ErrDamage), errors.Is(err, ErrFormat):
			found++
		case err != nil || got != want:
			t.Errorf("bit %d flipped: read as %+v, %v", i, got, err)
		}
	}
	if found < 6*len(good) {
		t.Errorf("found %d of %d flipped bits", found, 8*len(good))
	}
	for i := range len(good) - 2 {
		if _, err := parseIdentity(good[:i]); !errors.Is(err, ErrDamage) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	other := bytes.Replace(good, []byte(`"format": 1`), []byte(`"format": 2`), 1)
	if _, err := parseIdentity(other); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "format 2, this version knows format 1") {
		t.Errorf("another format: %v", err)
	}
}
