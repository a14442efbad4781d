package store_test

import (
	"fmt"
	"testing"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestWatched holds which writes whoever watches a key sees. Each is made on a store with the keys a and spread, and b in
// database 1.
func TestWatched(t *testing.T) {
	sub := func(tx *store.Tx, value string) {
		tx.PutSub(tx.DB(0), []byte("spread"), 7, store.SubMember, []byte("m"), []byte(value))
	}
	for name, tt := range map[string]struct {
		write   func(tx *store.Tx)
		changed []string // of a, b, none, spread
	}{
		"nothing":           {func(*store.Tx) {}, nil},
		"a write":           {func(tx *store.Tx) { tx.Put(tx.DB(0), []byte("a"), str("w")) }, []string{"a"}},
		"a delete":          {func(tx *store.Tx) { tx.Delete(tx.DB(0), []byte("a")) }, []string{"a"}},
		"another database":  {func(tx *store.Tx) { tx.Put(tx.DB(1), []byte("a"), str("w")) }, nil},
		"a new key":         {func(tx *store.Tx) { tx.Put(tx.DB(0), []byte("none"), str("w")) }, []string{"none"}},
		"of no key":         {func(tx *store.Tx) { tx.Delete(tx.DB(0), []byte("none")) }, nil},
		"a sub row":         {func(tx *store.Tx) { sub(tx, "w") }, []string{"spread"}},
		"a touch":           {func(tx *store.Tx) { tx.Touch(tx.DB(0), []byte("a")) }, []string{"a"}},
		"a flush":           {func(tx *store.Tx) { tx.FlushDB(tx.DB(0)) }, []string{"a", "spread"}},
		"a flush elsewhere": {func(tx *store.Tx) { tx.FlushDB(tx.DB(2)) }, nil},
		"all flushed":       {func(tx *store.Tx) { tx.FlushAll() }, []string{"a", "b", "spread"}},
		"a swap":            {func(tx *store.Tx) { tx.SwapDB(tx.DB(0), tx.DB(1)) }, []string{"a", "b", "spread"}},
		"written, flushed": {func(tx *store.Tx) {
			tx.Put(tx.DB(0), []byte("none"), str("w"))
			tx.FlushDB(tx.DB(0))
		}, []string{"a", "none", "spread"}},
		"flushed, written": {func(tx *store.Tx) {
			tx.FlushDB(tx.DB(0))
			tx.Put(tx.DB(0), []byte("none"), str("w"))
		}, []string{"a", "none", "spread"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := storetest.OpenWith(t, storetest.Options(t, vfs.NewMem(), "data"))
			write(t, s, tenant, func(tx *store.Tx) {
				tx.Put(tx.DB(0), []byte("a"), str("v"))
				tx.Put(tx.DB(1), []byte("b"), str("v"))
				tx.Put(tx.DB(0), []byte("spread"), store.Row{Type: store.TypeHash, Spread: true, Version: 7, Count: 1, Bytes: 2})
				sub(tx, "v")
			})
			watched := map[string]*store.Watched{"a": {}, "b": {}, "none": {}, "spread": {}}
			read(s, tenant, func(tx *store.Tx) {
				for key, w := range watched {
					db := 0
					if key == "b" {
						db = 1
					}
					w.Watch(tx, tx.DB(db), []byte(key))
					w.Watch(tx, tx.DB(db), []byte(key))
					if w.Len() != 1 || w.Changed(tx) {
						t.Errorf("%s: %d keys, changed at once: %v", key, w.Len(), w.Changed(tx))
					}
				}
			})
			write(t, s, tenant+1, tt.write) // of another namespace
			look := func(want []string) {
				t.Helper()
				read(s, tenant, func(tx *store.Tx) {
					for key, w := range watched {
						expected := false
						for _, k := range want {
							expected = expected || k == key
						}
						if got := w.Changed(tx); got != expected {
							t.Errorf("%s: changed is %v", key, got)
						}
					}
				})
			}
			look(nil)
			write(t, s, tenant, tt.write)
			look(tt.changed)
			for _, w := range watched {
				w.Release()
				w.Release()
			}
			look(nil)
			write(t, s, tenant, tt.write)
			look(nil)
		})
	}
}

// TestWatchedMany holds that a key which is watched twice counts once, however many there are.
func TestWatchedMany(t *testing.T) {
	s := storetest.OpenWith(t, storetest.Options(t, vfs.NewMem(), "data"))
	var w store.Watched
	const many = 100
	read(s, tenant, func(tx *store.Tx) {
		for range 2 {
			for i := range many {
				w.Watch(tx, tx.DB(i%2), fmt.Appendf(nil, "k%d", i/2))
			}
		}
	})
	if w.Len() != many {
		t.Errorf("%d keys are watched", w.Len())
	}
	write(t, s, tenant, func(tx *store.Tx) { tx.Put(tx.DB(1), []byte("k49"), str("v")) })
	read(s, tenant, func(tx *store.Tx) {
		if !w.Changed(tx) {
			t.Error("a write of the last one isn't seen")
		}
	})
	w.Release()
}
