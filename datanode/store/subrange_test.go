package store_test

import (
	"testing"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
)

// TestDeleteSubs: what a run has removed as a range is gone for it, but for what it has written since, and for everybody
// once it is committed; and what lies beside it isn't.
func TestDeleteSubs(t *testing.T) {
	s := storetest.Open(t)
	var tx store.Tx
	key := []byte("key")
	run := func(f func(db store.DB)) {
		s.Namespace(tenant).Begin(&tx, store.Run{Exclusive: true})
		defer tx.End()
		f(tx.DB(0))
		if err := tx.Commit(store.Async); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []store.Sub{store.SubScore, store.SubEntry, store.SubGroup} {
		version := uint64(sub)
		names := func(db store.DB) (list string) {
			for name := range tx.Subs(db, key, version, sub, store.Bounds{}) {
				list += string(name)
			}
			for name := range tx.Subs(db, key, version, sub, store.Bounds{Reverse: true}) {
				if _, ok := tx.GetSub(db, key, version, sub, name); !ok {
					t.Errorf("%q is walked over and not there", name)
				}
			}
			return list
		}
		run(func(db store.DB) {
			for _, name := range []string{"a", "b", "c", "d"} {
				tx.PutSub(db, key, version, sub, []byte(name), []byte("old"))
			}
		})
		run(func(db store.DB) {
			tx.PutSub(db, key, version, sub, []byte("bb"), []byte("own"))
			tx.PutSub(db, key, version, sub, []byte("e"), []byte("own"))
			tx.DeleteSubs(db, key, version, sub, []byte("b"), []byte("d"))
			if got := names(db); got != "ade" {
				t.Errorf("kind %d: the run sees %q", sub, got)
			}
			for _, name := range []string{"b", "bb", "c"} {
				if v, ok := tx.GetSub(db, key, version, sub, []byte(name)); ok {
					t.Errorf("kind %d: the run reads %q of %q", sub, v, name)
				}
			}
			tx.PutSub(db, key, version, sub, []byte("c"), []byte("new"))
			if got := names(db); got != "acde" {
				t.Errorf("kind %d: the run sees %q after a write", sub, got)
			}
		})
		run(func(db store.DB) {
			if got := names(db); got != "acde" {
				t.Errorf("kind %d: after the run there is %q", sub, got)
			}
			if v, _ := tx.GetSub(db, key, version, sub, []byte("c")); string(v) != "new" {
				t.Errorf("kind %d: c is %q", sub, v)
			}
		})
	}
}
