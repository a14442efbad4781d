package store_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// shortage is a disk that has no room while on is set, but for Pebble's MANIFEST: the reserve is for that.
type shortage struct {
	vfs.FS
	on   *atomic.Bool
	says bool // GetDiskUsage knows it
}

func newShortage(says bool) *shortage {
	s := &shortage{on: new(atomic.Bool), says: says}
	s.FS = errorfs.Wrap(vfs.NewCrashableMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if s.on.Load() && full.may(op) && !strings.Contains(op.Path, "MANIFEST") {
			return syscall.ENOSPC
		}
		return nil
	}))
	return s
}

// GetDiskUsage is vfs.FS.
func (s *shortage) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	if !s.says {
		return s.FS.GetDiskUsage(path)
	}
	u := vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31}
	if s.on.Load() {
		u.AvailBytes = 1 << 10
	}
	return u, nil
}

// TestShortageOfSpace: while the disk is full writes are refused with nothing done, and reads go on; when it
// has room again, writes go on in the same process. Found by a write that fails, or before one does.
func TestShortageOfSpace(t *testing.T) {
	t.Run("found", func(t *testing.T) { runShortages(t, newShortage(false)) })
	t.Run("foreseen", func(t *testing.T) { runShortages(t, newShortage(true)) })
}

func runShortages(t *testing.T, disk *shortage) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := newWorkload(t, rand.New(rand.NewPCG(seed, 1)))
	o := storetest.Options(t, disk, "data")
	o.Now, o.MemTableBytes, o.SegmentBytes, o.RetainBytes = w.clock, 64<<10, 16<<10, 32<<10
	o.ReserveBytes = 1 << 20
	s, err := store.Create(o, replog.Start{})
	if err == nil {
		err = s.BeginEpoch(1, "history", 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.s = s
	for range 12 {
		for range 5 + w.rng.IntN(50) {
			w.step()
		}
		err := s.Still(func() error {
			disk.on.Store(true)
			defer disk.on.Store(false)
			return w.refuses(disk.says)
		})
		if err != nil {
			t.Fatal(err)
		}
		s.CheckSpace() // as each second
		w.step()
		if _, err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Still(w.differs); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if w.s, err = store.Open(o); err != nil {
		t.Fatal(err)
	}
	w.compare()
	if err := w.s.Close(); err != nil {
		t.Fatal(err)
	}
}

// refuses tries what a full disk refuses, and what it doesn't.
func (w *workload) refuses(foreseen bool) error {
	w.t.Helper()
	if foreseen {
		w.s.CheckSpace()
	}
	if w.s.DiskFull() != foreseen {
		w.t.Errorf("full before a write: %v", w.s.DiskFull())
	}
	before := w.s.Log().State().Last
	for range 3 {
		if err := w.try(); !errors.Is(err, store.ErrDiskFull) {
			w.t.Errorf("a run: %v", err)
		}
		w.s.CheckSpace() // the next one may try again where the disk can't say that it is full
	}
	if err := w.purge(); !errors.Is(err, store.ErrDiskFull) {
		w.t.Errorf("a purge: %v", err)
	}
	if last := w.s.Log().State().Last; last != before {
		w.t.Errorf("entry %d is in the log, the last that was acknowledged is %d", last, before)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Millisecond)
	defer cancel()
	if _, err := w.s.Checkpoint(ctx, "checkpoint"); err == nil {
		w.t.Error("a checkpoint found room")
	}
	return errors.Join(w.s.SyncLog(), w.differs())
}
