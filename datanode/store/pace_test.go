package store_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// slowDisk is a disk on which an fsync of the log takes until it is let go.
type slowDisk struct {
	vfs.FS
	mu   sync.Mutex
	busy chan struct{} // closed when the disk is done; nil: at once
}

type slowFile struct {
	vfs.File
	disk *slowDisk
}

func (d *slowDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	if err != nil || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return slowFile{f, d}, nil
}

func (f slowFile) SyncData() error {
	f.disk.mu.Lock()
	busy := f.disk.busy
	f.disk.mu.Unlock()
	if busy != nil {
		<-busy
	}
	return f.File.SyncData()
}

// TestSmallWritesPassLargeOnes: while the disk is behind with what large runs have written, others' small ones go on. The
// large ones wait, and not for ever.
func TestSmallWritesPassLargeOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{FS: vfs.NewMem()}
		o := storetest.Options(t, disk, "data")
		o.SegmentBytes, o.MemTableBytes = 1<<30, 64<<20 // the log alone is behind
		s := storetest.OpenWith(t, o)
		done := make(chan struct{})
		disk.mu.Lock()
		disk.busy = done
		disk.mu.Unlock()
		put := func(ns uint64, key string, size int) {
			if !s.Enter() {
				t.Error("the store is closed")
				return
			}
			defer s.Leave()
			write(t, s, ns, func(tx *store.Tx) { tx.Put(tx.DB(0), []byte(key), str(strings.Repeat("v", size))) })
		}
		const loud, quiet, size = 8, 9, 4 << 20
		began := time.Now()
		var large sync.WaitGroup
		var written atomic.Int32
		large.Go(func() {
			for range store.UnsyncedBytes/size + 2 {
				put(loud, "large", size)
				written.Add(1)
			}
		})
		synctest.Wait()
		was := written.Load()
		if at := time.Since(began); was != store.UnsyncedBytes/size || at != 0 {
			t.Errorf("%d large writes were let through after %v, the bound is %d bytes", was, at, store.UnsyncedBytes)
		}
		put(quiet, "small", 10)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("a small write has waited for %v", waited)
		}
		time.Sleep(store.PaceMax + time.Millisecond)
		synctest.Wait()
		if n := written.Load() - was; n != 1 {
			t.Errorf("%d large writes in %v on a disk that does nothing, want 1", n, store.PaceMax)
		}
		close(done)
		disk.mu.Lock()
		disk.busy = nil
		disk.mu.Unlock()
		began = time.Now()
		large.Wait()
		if took := time.Since(began); took >= store.PaceMax {
			t.Errorf("the large writes went on %v after the disk did", took)
		}
	})
}

// TestHeavyRunsAreFew: of one namespace, and no other's run waits for a place of theirs.
func TestHeavyRunsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storetest.Open(t)
		begin := func(ns uint64, bytes int, key string) *store.Tx {
			tx := new(store.Tx)
			s.Namespace(ns).Begin(tx, store.Run{Write: true, Bytes: bytes, Hashes: []uint64{store.HashKey(0, []byte(key))}})
			return tx
		}
		var held []*store.Tx
		for range store.HeavyRuns() {
			held = append(held, begin(1, store.HeavyBytes, string(rune('a'+len(held)))))
		}
		begun, ended := false, make(chan struct{})
		go func() {
			defer close(ended)
			tx := begin(1, store.HeavyBytes, "more")
			begun = true
			tx.End()
		}()
		synctest.Wait()
		if begun {
			t.Errorf("%d heavy runs of a namespace go on", store.HeavyRuns()+1)
		}
		begin(2, store.HeavyBytes, "a").End()
		begin(1, store.HeavyBytes-1, "less").End()
		held[0].Put(held[0].DB(0), []byte("a"), str("v"))
		if err := held[0].Commit(store.Local); err != nil { // which needs no place while it waits for the disk
			t.Fatal(err)
		}
		<-ended
		for _, tx := range held {
			tx.End()
		}
	})
}
