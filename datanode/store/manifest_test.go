package store_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// manifest returns the path of the newest MANIFEST.
func manifest(t *testing.T, fs *vfs.MemFS) string {
	t.Helper()
	name := ""
	for path := range content(t, fs) {
		if strings.HasPrefix(path, "data/pebble/MANIFEST-") {
			name = max(name, path)
		}
	}
	return name
}

// TestBrokenManifest: what Pebble would take for an older state, or for no store at all, is refused with the place
// named, before it removes a single table. A torn end is not.
func TestBrokenManifest(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(t *testing.T, fs *vfs.MemFS)
		want error // nil: it opens
	}{
		{"nothing", func(*testing.T, *vfs.MemFS) {}, nil},
		{"a flip in the first record", func(t *testing.T, fs *vfs.MemFS) {
			b := readFile(t, fs, manifest(t, fs))
			b[10] ^= 1
			writeFile(t, fs, manifest(t, fs), b)
		}, store.ErrDamage},
		{"a flip in the first record, and no note", func(t *testing.T, fs *vfs.MemFS) {
			b := readFile(t, fs, manifest(t, fs))
			b[10] ^= 1
			writeFile(t, fs, manifest(t, fs), b)
			if err := fs.Remove(manifestNotes); err != nil {
				t.Fatal(err)
			}
		}, store.ErrDamage},
		{"a torn end", func(t *testing.T, fs *vfs.MemFS) {
			b := readFile(t, fs, manifest(t, fs))
			writeFile(t, fs, manifest(t, fs), append(b, 1, 2, 3, 4, 200, 0, 1, 5, 6))
		}, nil},
		{"no marker", func(t *testing.T, fs *vfs.MemFS) {
			for path := range content(t, fs) {
				if strings.HasPrefix(path, "data/pebble/marker.manifest") {
					if err := fs.Remove(path); err != nil {
						t.Fatal(err)
					}
				}
			}
		}, errors.ErrUnsupported}, // any
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			o := settled(t, fs, 7)
			c.harm(t, fs)
			before := tables(content(t, fs))
			s, err := store.Open(o)
			if c.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("it opens", s.Close())
			}
			if c.want == store.ErrDamage {
				d, ok := errors.AsType[*replog.Damage](err)
				if !errors.Is(err, store.ErrDamage) || !ok || d.File != manifest(t, fs) || d.Offset != 0 {
					t.Errorf("refused with %v", err)
				}
			}
			if after := tables(content(t, fs)); len(before) == 0 || !slices.Equal(before, after) {
				t.Errorf("tables %v, before %v", after, before)
			}
			if _, found := verify(t, o); len(found) == 0 {
				t.Error("the check finds nothing")
			}
		})
	}
}

func tables(files map[string]string) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(files)), func(path string) bool { return !strings.HasSuffix(path, ".sst") })
}
