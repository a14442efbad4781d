package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestManySmallRows: a run of many tiny rows is large for a memtable although its payload is small;
// Pebble then keeps the bytes, and the next run must not reuse them.
func TestManySmallRows(t *testing.T) {
	s := storetest.Open(t)
	put := func(key string) {
		write(t, s, tenant, func(tx *store.Tx) {
			row := store.Row{Type: store.TypeHash, Spread: true, Version: tx.NewVersion()}
			for i := range 4000 {
				f := fmt.Appendf(nil, "%s%d", key, i)
				tx.PutSub(tx.DB(0), []byte(key), row.Version, store.SubMember, f, nil)
				row.Count++
				row.Bytes += store.SubSize(f, nil)
			}
			tx.Put(tx.DB(0), []byte(key), row)
		})
	}
	for _, key := range []string{"a", "b", "c"} {
		put(key)
	}
	if err := s.Verify(); err != nil {
		t.Error(err)
	}
	for _, key := range []string{"a", "b", "c"} {
		read(s, tenant, func(tx *store.Tx) {
			r, ok := tx.Get(tx.DB(0), []byte(key))
			n := 0
			for range tx.Subs(tx.DB(0), []byte(key), r.Version, store.SubMember, store.Bounds{}) {
				n++
			}
			if !ok || n != 4000 {
				t.Errorf("%s has %d sub rows", key, n)
			}
		})
	}
}

// TestRoleChangesAgainstApplying: a promotion and a close may come while a replica applies.
func TestRoleChangesAgainstApplying(t *testing.T) {
	primary := storetest.Open(t)
	for i := range 300 {
		write(t, primary, tenant, func(tx *store.Tx) { tx.Put(tx.DB(0), fmt.Appendf(nil, "k%d", i), str("v")) })
	}
	replica, err := store.Create(storetest.Options(t, vfs.NewMem(), "data"), replog.Start{})
	if err != nil {
		t.Fatal(err)
	}
	last := primary.Log().State().Last
	copyLog(t, primary, replica, last)
	to, err := replica.Log().NewReader(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := replica.BeginEpoch(2, "history", 0); err == nil {
		t.Error("an epoch began on a log that is ahead of what is applied")
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := uint64(1); i <= last; i++ {
			if err := replica.ApplyTo(t.Context(), to, i); err != nil {
				t.Error(err)
			}
		}
	})
	for {
		if err := replica.BeginEpoch(2, "history", 0); err == nil {
			break
		}
	}
	wg.Wait()
	if err := replica.Append(make([]byte, 100)); err == nil {
		t.Error("a primary has taken an entry of another")
	}
	if err := replica.ApplyTo(t.Context(), to, last+2); err == nil {
		t.Error("a primary has applied an entry of another")
	}
	if err := replica.Close(); err != nil {
		t.Fatal(err)
	}
	if err := replica.ApplyTo(t.Context(), to, last+2); !errors.Is(err, store.ErrClosed) {
		t.Errorf("apply after close: %v", err)
	}
}

func tryWrite(s *store.Store) error {
	var tx store.Tx
	s.Namespace(tenant).Begin(&tx, store.Run{Write: true, Hashes: []uint64{store.HashKey(0, []byte("a"))}})
	defer tx.End()
	tx.Put(tx.DB(0), []byte("a"), str("1"))
	return tx.Commit(store.Async)
}

// TestFullDisk: a write that finds no room is refused with nothing done, and writes go on by themselves
// when there is room.
func TestFullDisk(t *testing.T) {
	var full errorfs.Toggle
	full.Injector = errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt {
			return errorfs.ErrInjected
		}
		return nil
	})
	mem := vfs.NewMem()
	s := storetest.OpenWith(t, storetest.Options(t, tolerant{errorfs.Wrap(mem, &full), &full}, "data"))
	if err := tryWrite(s); err != nil {
		t.Fatal(err)
	}
	full.On()
	before := s.Applied().Index
	if err := tryWrite(s); !errors.Is(err, store.ErrDiskFull) {
		t.Errorf("full disk: %v", err)
	}
	if got := s.Applied().Index; got != before {
		t.Errorf("index %d after a refused write, want %d", got, before)
	}
	full.Off()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if err := tryWrite(s); err == nil {
			break
		} else if !errors.Is(err, store.ErrDiskFull) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if err := s.Verify(); err != nil {
		t.Error(err)
	}
}

// tolerant lets the taking back of a failed record succeed: overwriting needs no room.
type tolerant struct {
	vfs.FS
	full *errorfs.Toggle
}

func (f tolerant) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return tolerantFile{file}, err
}

func (f tolerant) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	return tolerantFile{file}, err
}

type tolerantFile struct{ vfs.File }

func (f tolerantFile) WriteAt(b []byte, off int64) (int, error) {
	if len(b) == replog.RecordHeader {
		return len(b), nil
	}
	return f.File.WriteAt(b, off)
}

// TestFailedFsyncEndsAllWriting: the process is asked to end, and until it does nothing is acknowledged.
func TestFailedFsyncEndsAllWriting(t *testing.T) {
	var on errorfs.Toggle
	on.Injector = errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			return errorfs.ErrInjected
		}
		return nil
	})
	o := storetest.Options(t, errorfs.Wrap(vfs.NewMem(), &on), "data")
	o.SyncEvery = time.Hour
	ended := make(chan error, 1)
	o.Fatal = func(err error) {
		select {
		case ended <- err:
		default:
		}
	}
	s, err := store.Create(o, replog.Start{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.BeginEpoch(1, "history", 0); err != nil {
		t.Fatal(err)
	}
	on.On()
	var tx store.Tx
	s.Namespace(tenant).Begin(&tx, store.Run{Exclusive: true})
	tx.Put(tx.DB(0), []byte("a"), str("1"))
	if err := tx.Commit(store.Local); !errors.Is(err, store.ErrMaybe) {
		t.Errorf("failed fsync: %v", err)
	}
	tx.End()
	if err := <-ended; !errors.Is(err, errorfs.ErrInjected) {
		t.Errorf("asked to end because of %v", err)
	}
	on.Off()
	if err := tryWrite(s); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after it: %v", err)
	}
	_ = s.Close() // the log says what failed
}
