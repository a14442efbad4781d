package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// unflushable refuses to make sstables while on is set, as a disk without room does.
type unflushable struct {
	vfs.FS
	on    *atomic.Bool
	tried chan struct{}
}

func newUnflushable() unflushable {
	return unflushable{vfs.NewMem(), new(atomic.Bool), make(chan struct{}, 1)}
}

func (f unflushable) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.on.Load() && strings.HasSuffix(name, ".sst") {
		select {
		case f.tried <- struct{}{}:
		default:
		}
		return nil, syscall.ENOSPC
	}
	return f.FS.Create(name, c)
}

// fakeDisk says how much room it has.
type fakeDisk struct {
	vfs.FS
	available atomic.Uint64
}

func (f *fakeDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.available.Load(), TotalBytes: 1 << 40}, nil
}

// TestStuckCheckpoint: a checkpoint whose flush finds no room holds up neither a change of role nor
// readers, and ends with its caller's patience.
func TestStuckCheckpoint(t *testing.T) {
	fs := newUnflushable()
	s := storetest.OpenWith(t, storetest.Options(t, fs, "data"))
	write(t, s, tenant, func(tx *store.Tx) { tx.Put(tx.DB(0), []byte("k"), str("v")) })
	fs.on.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := s.Checkpoint(ctx, "cp")
		ended <- err
	}()
	<-fs.tried
	s.Stop(store.Quiesced)
	if !s.Enter() {
		t.Error("the store is closed")
	}
	s.Leave()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the checkpoint ended with %v", err)
	}
	fs.on.Store(false)
}

// TestStuckReplica: a replica that can't flush goes on serving what it shows, and on applying when it can.
func TestStuckReplica(t *testing.T) {
	primary := storetest.Open(t)
	for i := range 1500 {
		write(t, primary, tenant, func(tx *store.Tx) {
			for j := range 100 {
				tx.Put(tx.DB(0), fmt.Appendf(nil, "k%d-%d", i, j), str("v"))
			}
		})
	}
	fs := newUnflushable()
	replica, err := store.Create(storetest.Options(t, fs, "data"), replog.Start{})
	if err != nil {
		t.Fatal(err)
	}
	fs.on.Store(true)
	last := primary.Log().State().Last
	copyLog(t, primary, replica, last)
	to, err := replica.Log().NewReader(1)
	if err != nil {
		t.Fatal(err)
	}
	applied := make(chan error, 1)
	go func() { applied <- replica.ApplyTo(t.Context(), to, last) }()
	at := uint64(0)
	for before := time.Now(); at == 0 || time.Since(before) < time.Second; time.Sleep(time.Millisecond) {
		if !replica.Enter() { // hangs if the applier waits for Pebble under the gate
			t.Fatal("the store is closed")
		}
		replica.Leave()
		if now := replica.Applied().Index; now != at {
			at, before = now, time.Now()
		}
	}
	if at == last {
		t.Fatalf("applied %d of %d: the test shows nothing", at, last)
	}
	fs.on.Store(false)
	if err := <-applied; err != nil {
		t.Fatal(err)
	}
	sameRows(t, primary, replica)
	if err := replica.Close(); err != nil {
		t.Fatal(err)
	}
}

func copyLog(t *testing.T, from, to *store.Store, last uint64) {
	t.Helper()
	r, err := from.Log().NewReader(to.Log().State().Last + 1)
	if err != nil {
		t.Fatal(err)
	}
	for to.Log().State().Last < last {
		body, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := to.Append(append(make([]byte, replog.RecordHeader), body...)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIdleRetention: the log shrinks to its retention when a pin ends, without another write.
func TestIdleRetention(t *testing.T) {
	o := storetest.Options(t, vfs.NewMem(), "data")
	o.RetainBytes = 8 << 20
	s := storetest.OpenWith(t, o)
	pin, err := s.Log().Pin(0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 24 {
		write(t, s, tenant, func(tx *store.Tx) { tx.Put(tx.DB(0), fmt.Appendf(nil, "k%d", i), str(string(make([]byte, 1<<20)))) })
	}
	floor, err := s.Flush(t.Context())
	if err == nil {
		err = s.Log().Retire(floor)
	}
	if st := s.Log().State(); err != nil || st.First != 1 {
		t.Fatalf("entries were dropped under the pin: %+v, %v", st, err)
	}
	pin.Release()
	eventually(t, "the log to shrink to its retention", func() bool { return s.Log().State().First > 1 })
}

// TestAlarmBetweenRows: a sweep that comes while an entry is applied misses none of the keys that run out.
func TestAlarmBetweenRows(t *testing.T) {
	s := storetest.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tx := new(store.Tx); ctx.Err() == nil; {
			s.Sweep(ctx, tx)
		}
	}()
	for ns := uint64(10); ns < 30; ns++ {
		write(t, s, ns, func(tx *store.Tx) {
			for i := range 5000 {
				tx.Put(tx.DB(1), fmt.Appendf(nil, "k%d", i), str("v"))
			}
			tx.Put(tx.DB(0), []byte("ttl"), store.Row{Type: store.TypeString, ExpireMS: time.Now().UnixMilli(), Data: []byte("v")})
		})
	}
	cancel()
	<-done
	for ns := uint64(10); ns < 30; ns++ { // by the store's own sweeper
		eventually(t, "an expired key to go", func() bool { return s.Namespace(ns).DBCounters(0).Keys == 0 })
	}
}

// TestFullReplica: a replica below its reserve takes no entry, and takes them again when there is room.
func TestFullReplica(t *testing.T) {
	primary := storetest.Open(t)
	write(t, primary, tenant, func(tx *store.Tx) { tx.Put(tx.DB(0), []byte("k"), str("v")) })
	disk := &fakeDisk{FS: vfs.NewMem()}
	disk.available.Store(1 << 30)
	o := storetest.Options(t, disk, "data")
	o.ReserveBytes = 1 << 20
	replica, err := store.Create(o, replog.Start{})
	if err != nil {
		t.Fatal(err)
	}
	disk.available.Store(1 << 10)
	eventually(t, "the replica to see that the disk is full", replica.DiskFull)
	r, err := primary.Log().NewReader(1)
	if err != nil {
		t.Fatal(err)
	}
	body, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := replica.Append(append(make([]byte, replog.RecordHeader), body...)); !errors.Is(err, store.ErrDiskFull) {
		t.Errorf("appended: %v", err)
	}
	disk.available.Store(1 << 30)
	eventually(t, "the replica to see that there is room", func() bool { return !replica.DiskFull() })
	copyLog(t, primary, replica, primary.Log().State().Last)
	if err := replica.Close(); err != nil {
		t.Fatal(err)
	}
}

// noRoom is a disk on which no block is left while on is set: not even for taking a write back.
type noRoom struct {
	vfs.FS
	on *atomic.Bool
}

func (f noRoom) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return noRoomFile{file, f.on}, err
}

type noRoomFile struct {
	vfs.File
	on *atomic.Bool
}

func (f noRoomFile) WriteAt(b []byte, at int64) (int, error) {
	if f.on.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.WriteAt(b, at)
}

// TestNoBlockLeft: an append that finds no block refuses the write, and ends nothing.
func TestNoBlockLeft(t *testing.T) {
	fs := noRoom{vfs.NewMem(), new(atomic.Bool)}
	s := storetest.OpenWith(t, storetest.Options(t, fs, "data"))
	fs.on.Store(true)
	if err := tryWrite(s); !errors.Is(err, store.ErrDiskFull) {
		t.Errorf("full disk: %v", err)
	}
	fs.on.Store(false)
	eventually(t, "writes to be taken again", func() bool { return tryWrite(s) == nil })
}

// TestReplicaOfSmallMemtables: Pebble's first memtables after an open are small ones, many before it
// flushes; a replica doesn't take them for want of room.
func TestReplicaOfSmallMemtables(t *testing.T) {
	primary := storetest.Open(t)
	for i := range 400 {
		write(t, primary, tenant, func(tx *store.Tx) {
			for j := range 100 {
				tx.Put(tx.DB(0), fmt.Appendf(nil, "k%d-%d", i, j), str(strings.Repeat("v", 200)))
			}
		})
	}
	for _, size := range []int{2 << 20, 16 << 20} {
		o := storetest.Options(t, vfs.NewMem(), "data")
		o.MemTableBytes = size
		replica, err := store.Create(o, replog.Start{})
		if err != nil {
			t.Fatal(err)
		}
		last := primary.Log().State().Last
		copyLog(t, primary, replica, last)
		to, err := replica.Log().NewReader(1)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := replica.ApplyTo(ctx, to, last); err != nil {
			t.Errorf("memtables of %d bytes: applied %d of %d: %v", size, replica.Applied().Index, last, err)
		}
		cancel()
		if err := replica.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
