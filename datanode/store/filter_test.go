package store_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func filterOptions(t *testing.T) store.Options {
	o := storetest.Options(t, vfs.NewMem(), "data")
	o.RowCacheBytes = 64 << 20 // room for a filter of a million keys
	return o
}

// TestFilterKnowsEveryKey builds filters while keys come and go: none of them ever denies a key that is there.
func TestFilterKnowsEveryKey(t *testing.T) {
	s := storetest.OpenWith(t, filterOptions(t))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	end := sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
	})
	defer end()
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := s.BuildFilter(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 4000 {
		ns, db := uint64(7+i%3), i%2
		write(t, s, ns, func(tx *store.Tx) {
			tx.Put(tx.DB(db), fmt.Appendf(nil, "k%d", i), str("v"))
			if i >= 600 && i%5 == 0 {
				tx.Delete(tx.DB(db), fmt.Appendf(nil, "k%d", i-600))
			}
		})
		for j := max(0, i-6); j <= i; j++ {
			if s.FilterDenies(uint64(7+j%3), j%2, fmt.Appendf(nil, "k%d", j)) {
				t.Fatalf("key %d was written, and the filter denies it after %d", j, i)
			}
		}
	}
	end()
	for i := range 4000 {
		ns, db, key := uint64(7+i%3), i%2, fmt.Appendf(nil, "k%d", i)
		gone := i < 3400 && i%5 == 0
		read(s, ns, func(tx *store.Tx) {
			if _, ok := tx.Get(tx.DB(db), key); ok == gone {
				t.Errorf("key %d: there is %v", i, ok)
			}
		})
		if !gone && s.FilterDenies(ns, db, key) {
			t.Errorf("the filter denies key %d", i)
		}
	}
}

// fillSpread writes keys, and one collection of so many members into each of three namespaces.
func fillSpread(t *testing.T, s *store.Store, keys, members int) (versions map[uint64]uint64) {
	versions = map[uint64]uint64{}
	for ns := uint64(7); ns < 10; ns++ {
		write(t, s, ns, func(tx *store.Tx) {
			for i := range keys {
				tx.Put(tx.DB(i%3), fmt.Appendf(nil, "k%d", i), str("v"))
			}
			versions[ns] = tx.NewVersion()
			tx.Put(tx.DB(0), []byte("hash"), store.Row{Type: store.TypeHash, Spread: true, Version: versions[ns], Count: uint64(members)})
		})
		for from := 0; from < members; from += 50_000 {
			write(t, s, ns, func(tx *store.Tx) {
				for i := from; i < min(from+50_000, members); i++ {
					tx.PutSub(tx.DB(0), []byte("hash"), versions[ns], store.SubMember, fmt.Append(nil, i), nil)
				}
			})
		}
	}
	return versions
}

// TestFilterOfStoredRows: the filter that is built at open knows what earlier lives have written, members of
// spread collections among it, and few others.
func TestFilterOfStoredRows(t *testing.T) {
	o := filterOptions(t)
	s := storetest.OpenWith(t, o)
	versions := fillSpread(t, s, 3000, 500)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	eventually(t, "the filter", s.Filtering)
	taken := 0
	for ns := uint64(7); ns < 10; ns++ {
		if s.FilterDenies(ns, 0, []byte("hash")) {
			t.Error("the filter denies a spread hash")
		}
		for i := range 3000 {
			if s.FilterDenies(ns, i%3, fmt.Appendf(nil, "k%d", i)) {
				t.Fatalf("the filter denies key %d of namespace %d", i, ns)
			}
			if !s.FilterDenies(ns, i%3, fmt.Appendf(nil, "absent%d", i)) {
				taken++
			}
			if denied := s.FilterDeniesMember(ns, 0, []byte("hash"), versions[ns], fmt.Append(nil, i)); denied && i < 500 {
				t.Fatalf("the filter denies member %d of namespace %d", i, ns)
			} else if !denied && i >= 500 {
				taken++
			}
		}
	}
	if taken > 180 {
		t.Errorf("%d of 16500 absent rows are taken for present", taken)
	}
	s.Resume()
	write(t, s, 7, func(tx *store.Tx) {
		tx.PutSub(tx.DB(0), []byte("hash"), versions[7], store.SubMember, []byte("late"), nil)
	})
	if s.FilterDeniesMember(7, 0, []byte("hash"), versions[7], []byte("late")) {
		t.Error("the filter denies a member that was written after it was built")
	}
}

// TestFilterWithoutMembers: more members than there is room for leave a filter of the keys alone.
func TestFilterWithoutMembers(t *testing.T) {
	o := filterOptions(t)
	o.RowCacheBytes = 26 << 20 // room for a million rows, and not for two
	s := storetest.OpenWith(t, o)
	versions := fillSpread(t, s, 100, 400_000)
	if err := s.BuildFilter(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !s.Filtering() || !s.FilterDenies(7, 0, []byte("absent")) || s.FilterDenies(7, 0, []byte("k0")) {
		t.Error("there is no filter of keys")
	}
	if s.FilterDeniesMember(7, 0, []byte("hash"), versions[7], []byte("absent")) {
		t.Error("the filter tells of members, and can't know them")
	}
}

// TestFilterGivenUp: what an attempt has left goes when there is no room for a filter any more.
func TestFilterGivenUp(t *testing.T) {
	s := storetest.OpenWith(t, filterOptions(t))
	if left, err := s.GiveUpFilter(t.Context()); err != nil || left {
		t.Errorf("a filter is left: %v, %v", left, err)
	}
}
