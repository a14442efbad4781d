package store_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// heldSyncFS lets fsyncs of log segments through one by one once hold is set, and counts them.
type heldSyncFS struct {
	vfs.FS
	mu    sync.Mutex
	hold  bool
	syncs int
	began chan struct{} // an fsync has come
	let   chan struct{} // it may go on
}

func (f *heldSyncFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if err == nil && strings.HasSuffix(name, ".log") {
		file = heldSyncFile{file, f}
	}
	return file, err
}

type heldSyncFile struct {
	vfs.File
	fs *heldSyncFS
}

func (f heldSyncFile) SyncData() error {
	f.fs.mu.Lock()
	hold := f.fs.hold
	f.fs.syncs++
	f.fs.mu.Unlock()
	if hold {
		f.fs.began <- struct{}{}
		<-f.fs.let
	}
	return f.File.SyncData()
}

func (f heldSyncFile) Sync() error { return f.SyncData() }

func put(s *store.Store, ns uint64, key string, d store.Durability) error {
	if !s.Enter() {
		return store.ErrClosed
	}
	defer s.Leave()
	var tx store.Tx
	s.Namespace(ns).Begin(&tx, store.Run{Write: true, Hashes: []uint64{store.HashKey(0, []byte(key))}})
	defer tx.End()
	tx.Put(tx.DB(0), []byte(key), str("v"))
	return tx.Commit(d)
}

// TestLocalWaitsForItself: a write that waits for its fsync holds up no write that doesn't, not even of the same
// key, and all that come while an fsync runs share the next.
func TestLocalWaitsForItself(t *testing.T) {
	const writers = 200
	fs := &heldSyncFS{FS: vfs.NewMem(), began: make(chan struct{}), let: make(chan struct{})}
	o := storetest.Options(t, fs, "data")
	o.SyncEvery = time.Hour
	s := storetest.OpenWith(t, o)
	fs.mu.Lock()
	fs.hold, fs.syncs = true, 0
	fs.mu.Unlock()

	done := make(chan error, writers+1)
	go func() { done <- put(s, 7, "hot", store.Local) }()
	<-fs.began
	for _, ns := range []uint64{7, 8} { // these would hang
		if err := put(s, ns, "hot", store.Async); err != nil {
			t.Fatal(err)
		}
	}
	for i := range writers {
		go func() { done <- put(s, 9, fmt.Sprint("k", i), store.Local) }()
	}
	eventually(t, "every write to be shown", func() bool { return s.Namespace(9).DBCounters(0).Keys == writers })
	select {
	case err := <-done:
		t.Fatalf("a write was acknowledged before its fsync: %v", err)
	default:
	}
	fs.let <- struct{}{}
	go func() {
		for range fs.began {
			fs.let <- struct{}{}
		}
	}()
	for range writers + 1 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	fs.mu.Lock()
	fs.hold = false
	syncs := fs.syncs
	fs.mu.Unlock()
	close(fs.began)
	// The first write's, the one for all that came meanwhile, and one more if some were late.
	if syncs > 5 {
		t.Errorf("%d fsyncs for %d writes", syncs, writers+1)
	}
}
