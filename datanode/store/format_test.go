package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestOtherFormatsAreRefused: a store of another version of the position row, of another comparer or of a
// later Pebble is refused with both versions named.
func TestOtherFormatsAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(fs *vfs.MemFS) error
		want   error
		says   []string
	}{
		{"position", func(fs *vfs.MemFS) error {
			return withPebble(fs, store.Codec{}.Comparer(), func(db *pebble.DB) error {
				return db.Set([]byte{0, 1}, []byte("\x02what a later version says"), pebble.NoSync)
			})
		}, store.ErrFormat, []string{"version 2", "version 1"}},
		{"comparer", func(fs *vfs.MemFS) error {
			if err := errors.Join(fs.RemoveAll("data/pebble"), fs.Remove(manifestNotes)); err != nil { // the note is of the MANIFEST that goes
				return err
			}
			other := *pebble.DefaultComparer
			other.Name = "atoll.v2"
			return withPebble(fs, &other, func(*pebble.DB) error { return nil })
		}, nil, []string{"atoll.v2", "atoll.v1"}},
		{"pebble", func(fs *vfs.MemFS) error {
			names, err := fs.List("data/pebble")
			for _, n := range names {
				if base, ok := strings.CutPrefix(n, "marker.format-version."); ok {
					number, _, _ := strings.Cut(base, ".")
					return fs.Rename("data/pebble/"+n, "data/pebble/marker.format-version."+number+".999")
				}
			}
			return errors.Join(err, errors.New("no marker"))
		}, nil, []string{"format major version 999", "of formats up to " + pebble.FormatNewest.String()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			o := storetest.Options(t, fs, "data")
			s, err := store.Create(o, replog.Start{})
			if err == nil {
				err = errors.Join(s.BeginEpoch(1, "history", 0), s.Close())
			}
			if err == nil {
				err = c.change(fs)
			}
			if err != nil {
				t.Fatal(err)
			}
			s, err = store.Open(o)
			if err == nil {
				t.Fatal("it opens", s.Close())
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("refused with %v, want %v", err, c.want)
			}
			for _, text := range c.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("refused with %q, which doesn't say %q", err, text)
				}
			}
		})
	}
}

func withPebble(fs vfs.FS, comparer *pebble.Comparer, f func(*pebble.DB) error) error {
	db, err := pebble.Open("data/pebble", &pebble.Options{FS: fs, Comparer: comparer, DisableWAL: true, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
	if err != nil {
		return err
	}
	return errors.Join(f(db), db.Flush(), db.Close())
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, args ...any) {
	panic(fmt.Sprintf(f, args...))
}
