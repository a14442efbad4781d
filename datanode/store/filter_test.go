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

// TestFilterOfStoredKeys: the filter that is built at open knows what earlier lives have written, spread
// collections among it, and few others.
func TestFilterOfStoredKeys(t *testing.T) {
	o := filterOptions(t)
	s := storetest.OpenWith(t, o)
	for ns := uint64(7); ns < 10; ns++ {
		write(t, s, ns, func(tx *store.Tx) {
			for i := range 3000 {
				tx.Put(tx.DB(i%3), fmt.Appendf(nil, "k%d", i), str("v"))
			}
			version := tx.NewVersion()
			tx.Put(tx.DB(0), []byte("hash"), store.Row{Type: store.TypeHash, Spread: true, Version: version, Count: 500})
			for i := range 500 {
				tx.PutSub(tx.DB(0), []byte("hash"), version, store.SubMember, fmt.Append(nil, i), []byte("v"))
			}
		})
	}
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
		}
	}
	if taken > 90 {
		t.Errorf("%d of 9000 absent keys are taken for present", taken)
	}
}
