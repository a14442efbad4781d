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

func putKey(s *store.Store, ns uint64, key string, d store.Durability) error {
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
	go func() { done <- putKey(s, 7, "hot", store.Local) }()
	<-fs.began
	for _, ns := range []uint64{7, 8} { // these would hang
		if err := putKey(s, ns, "hot", store.Async); err != nil {
			t.Fatal(err)
		}
	}
	for i := range writers {
		go func() { done <- putKey(s, 9, fmt.Sprint("k", i), store.Local) }()
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

// held returns a store whose log's fsyncs wait from now on, and a function that ends that.
func held(t *testing.T) (s *store.Store, fs *heldSyncFS, end func()) {
	fs = &heldSyncFS{FS: vfs.NewMem(), began: make(chan struct{}), let: make(chan struct{})}
	o := storetest.Options(t, fs, "data")
	o.SyncEvery = time.Hour
	s = storetest.OpenWith(t, o)
	if err := putKey(s, 7, "k", store.Local); err != nil {
		t.Fatal(err)
	}
	fs.mu.Lock()
	fs.hold = true
	fs.mu.Unlock()
	return s, fs, func() {
		fs.mu.Lock()
		fs.hold = false
		fs.mu.Unlock()
		fs.let <- struct{}{}
	}
}

// TestLocalWaitsForWhatItFound: a DEL that finds nothing is acknowledged once the DEL before it can't be lost
// any more.
func TestLocalWaitsForWhatItFound(t *testing.T) {
	s, fs, end := held(t)
	del := func(done chan<- error) {
		s.Enter()
		defer s.Leave()
		var tx store.Tx
		s.Namespace(7).Begin(&tx, store.Run{Write: true, Hashes: []uint64{store.HashKey(0, []byte("k"))}})
		defer tx.End()
		tx.Delete(tx.DB(0), []byte("k"))
		done <- tx.Commit(store.Local)
	}
	first, second := make(chan error, 1), make(chan error, 1)
	go del(first)
	<-fs.began
	go del(second)
	select {
	case err := <-second:
		t.Errorf("acknowledged while the log is fsynced up to %d of %d: %v", s.Log().State().SyncedIndex, s.Log().State().Last, err)
		second <- err
	case <-time.After(50 * time.Millisecond): // long enough for one that doesn't wait
	}
	end()
	for _, c := range []chan error{first, second} {
		if err := <-c; err != nil {
			t.Error(err)
		}
	}
	if st := s.Log().State(); st.SyncedIndex != st.Last {
		t.Errorf("fsynced up to %d of %d", st.SyncedIndex, st.Last)
	}
}

// TestLocalLetsLargeRunsGoOn: many large writes wait for one fsync, and nobody's large reads with them.
func TestLocalLetsLargeRunsGoOn(t *testing.T) {
	const writers = 50
	s, fs, end := held(t)
	run := func(ns uint64, key string, d store.Durability) error {
		s.Enter()
		defer s.Leave()
		var tx store.Tx
		s.Namespace(ns).Begin(&tx, store.Run{Write: true, Hashes: []uint64{store.HashKey(0, []byte(key))}})
		defer tx.End()
		tx.Put(tx.DB(0), []byte(key), store.Row{Type: store.TypeString, Data: make([]byte, 70<<10)})
		return tx.Commit(d)
	}
	done := make(chan error, writers)
	for i := range writers {
		go func() { done <- run(8, fmt.Sprint("k", i), store.Local) }()
	}
	<-fs.began
	eventually(t, "every write to be shown", func() bool { return s.Namespace(8).DBCounters(0).Keys == writers })
	if err := run(9, "theirs", store.Async); err != nil { // would hang
		t.Error(err)
	}
	end()
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
