package store_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// base is what a killed process has left, and the model of it.
type base struct {
	disk cut
	w    *workload
	dir  string
	open opener
}

// newBase makes a store with a log to replay, or a checkpoint of it.
func newBase(t *testing.T, seed uint64, staged bool) *base {
	l := newLife(t, seed, broken, -1)
	s, err := store.Create(l.o, replog.Start{})
	if err != nil {
		t.Fatal(err)
	}
	l.begin(s)
	for i := range 100 {
		l.step()
		switch i {
		case 30, 60:
			l.flush()
		case 40:
			l.purge()
		}
	}
	b := &base{w: l.w, dir: l.o.Dir, open: store.Open, disk: cut{percent: 100}}
	if staged {
		b.dir, b.open = "staged", store.OpenSnapshot
		if err := l.mem.MkdirAll(b.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		l.checkpoint(store.PebbleDir(b.dir, l.mem.PathJoin))
	}
	b.disk.take(l.w, l.mem, seed)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return b
}

// runAgain opens what a base has left, with the fault.
func (l *life) runAgain(b *base) {
	l.w, l.open, l.o.Dir, l.o.Now = b.w, b.open, b.dir, b.w.clock
	l.mem = b.disk.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: l.w.rng})
	l.fault.inner = l.mem
	l.o.FS = l.fault.disk()
	l.made, l.closed = true, true // everything is on the disk already
	s, err := l.open(l.o)
	l.expect("open", err)
	if err != nil {
		l.gone = true
		if errors.Is(err, store.ErrDamage) || errors.Is(err, replog.ErrDamaged) {
			l.errorf("the fault is taken for damage: %v", err)
		}
		return
	}
	w := l.w.copyWith(s, &b.disk)
	w.lose(len(b.disk.ops))
	l.mu.Lock()
	l.s, l.w = s, w
	l.mu.Unlock()
	l.compare()
	l.close()
}

// TestPowerCutsAtOpen cuts the power at every fsync of openings, which move markers and replay the log: what was
// there before is there after the next one.
func TestPowerCutsAtOpen(t *testing.T) {
	rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
	b := newBase(t, rng.Uint64(), false)
	o := storetest.Options(t, nil, b.dir)
	o.Now, o.MemTableBytes, o.SegmentBytes = b.w.clock, 64<<10, 16<<10
	for range 6 {
		disk := b.disk.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
		var mu sync.Mutex
		var cuts []cut
		o.FS = powerFS{disk, func() {
			mu.Lock()
			defer mu.Unlock()
			c := b.disk
			c.percent, c.must = []int{0, 10, 50, 90}[rng.IntN(4)], len(c.ops)
			c.disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.percent, RNG: rng})
			cuts = append(cuts, c)
		}}
		s, err := store.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, c := range cuts {
			b.w.check(o, c, store.Open)
		}
	}
}
