package store_test

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
)

// Only so many runs hold large rows at once; the others wait for one of them to end, and small runs don't.
func TestLargeRunsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storetest.Open(t)
		ns := s.Namespace(1)
		begin := func(key string) *store.Tx {
			if !s.Enter() {
				t.Fatal("the store is closed")
			}
			tx := new(store.Tx)
			ns.Begin(tx, store.Run{Write: true, Hashes: []uint64{store.HashKey(0, []byte(key))}})
			return tx
		}
		end := func(tx *store.Tx) {
			tx.End()
			s.Leave()
		}
		put := func(tx *store.Tx, key string, size int) {
			tx.Put(tx.DB(0), []byte(key), store.Row{Type: store.TypeString, Data: make([]byte, size)})
		}
		n := max(4, 2*runtime.GOMAXPROCS(0))
		var open []*store.Tx
		for i := range n {
			key := fmt.Sprint("large", i)
			tx := begin(key)
			for range 3 { // takes one place, however much it holds
				put(tx, key, 64<<10)
			}
			open = append(open, tx)
		}
		small := begin("small")
		for range 10 {
			put(small, "small", 5<<10)
		}
		held, done := false, make(chan struct{})
		go func() {
			defer close(done)
			tx := begin("more")
			put(tx, "more", 64<<10)
			held = true
			end(tx)
		}()
		synctest.Wait()
		if held {
			t.Errorf("%d runs hold large rows", n+1)
		}
		end(open[0])
		<-done
		for _, tx := range append(open[1:], small) {
			end(tx)
		}
	})
}
