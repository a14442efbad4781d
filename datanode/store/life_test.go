package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// life is one store from its making to its end, on a disk with one fault.
type life struct {
	t     *testing.T
	w     *workload
	o     store.Options
	mem   *vfs.MemFS
	open  opener
	fault *faults
	s     *store.Store
	epoch uint64

	made   bool          // before that a node begins anew; mu guards it, and closed
	closed bool          // in order: everything is on the disk
	gone   bool          // after an error that a process ends with
	ending chan struct{} // closed where the process ends
	mu     sync.Mutex    // held for ever from there on, so that nothing goes on
}

func newLife(t *testing.T, seed uint64, how fault, at int) *life {
	l := &life{t: t, mem: vfs.NewCrashableMem(), open: store.Open, ending: make(chan struct{})}
	l.w = newWorkload(t, rand.New(rand.NewPCG(seed, 1)))
	l.fault = &faults{how: how, at: at, inner: l.mem}
	l.o = storetest.Options(t, l.fault.disk(), "data")
	l.o.Now, l.o.MemTableBytes, l.o.SegmentBytes, l.o.RetainBytes = l.w.clock, 64<<10, 16<<10, 32<<10
	l.o.SyncEvery = time.Hour // the workload does it
	l.o.Fatal = l.end
	return l
}

// end is the end of the process, from any goroutine. What the disk holds then is what the next one finds.
func (l *life) end(err error) {
	l.mu.Lock()
	close(l.ending)
	code := 1
	defer func() { os.Exit(code) }() // a judge's Fatal comes here too
	if happened, _ := l.fault.failed(); !happened {
		l.t.Errorf("nothing has failed, and the process ends: %v", err)
	}
	if l.made {
		l.judge()
	}
	if l.t.Failed() {
		l.t.Logf("the process ends: %v", err)
		return
	}
	fmt.Printf("\n%s at operation %d\n", processEnds, l.fault.at)
	code = 0
}

// judge holds what is on the disk against the model.
func (l *life) judge() {
	c := cut{percent: []int{0, 50, 100}[l.fault.at%3]}
	c.take(l.w, l.mem, uint64(l.fault.at))
	if l.closed {
		c.must = c.all
	}
	o := l.o
	o.Fatal = func(err error) { panic(err) }
	defer func() { // a Fatal of check passes here
		if l.t.Failed() {
			l.t.Logf("%v", l.fault)
		}
	}()
	l.w.check(o, c, l.open)
}

// finish judges a life that hasn't ended the process.
func (l *life) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, fsync := l.fault.failed(); fsync && !l.gone {
		l.t.Errorf("the process goes on after a failed fsync")
	}
	if l.s != nil {
		if err := l.s.Close(); err != nil {
			l.t.Errorf("close: %v", err)
		}
		l.s, l.closed = nil, true
	}
	if l.made {
		l.judge()
	}
}

// expect takes the error of an operation that may fail.
func (l *life) expect(what string, err error) {
	if happened, _ := l.fault.failed(); err != nil && !happened {
		l.errorf("%s: nothing has failed yet: %v", what, err)
	}
}

// errorf blames only a process that lives.
func (l *life) errorf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t.Errorf(format, args...)
}

func (l *life) run() {
	s, err := store.Create(l.o, replog.Start{})
	if err != nil {
		l.gone = true
		l.expect("create", err)
		return
	}
	l.mu.Lock()
	l.made = true
	l.mu.Unlock()
	l.begin(s)
	for i := 0; i < 120 && l.s != nil; i++ {
		l.step()
		switch i {
		case 20, 40, 60, 80, 100:
			l.flush()
		case 25:
			l.checkpoint("checkpoint")
		case 30, 90:
			l.s.Sweep(l.t.Context(), new(store.Tx))
		case 45:
			l.purge()
		case 65:
			l.reopen()
		case 85:
			l.expect("compact", l.s.Compact(l.t.Context()))
		}
	}
	if l.s != nil {
		l.compare()
		l.close()
	}
}

// begin makes a store the primary's.
func (l *life) begin(s *store.Store) {
	l.s, l.w.s = s, s
	l.epoch++
	err := s.BeginEpoch(l.epoch, "history", 0)
	if errors.Is(err, store.ErrDiskFull) {
		l.expect("begin epoch", err)
		s.CheckSpace()
		err = s.BeginEpoch(l.epoch, "history", 0)
	}
	if err != nil {
		l.errorf("begin epoch: %v", err)
	}
}

// step makes one run. Where it is refused, the store must be as it was, and take the next one.
func (l *life) step() {
	err := l.w.try()
	if err == nil {
		return
	}
	l.expect("a run", err)
	var d store.Damage
	switch {
	case errors.Is(err, store.ErrDiskFull):
		l.s.CheckSpace() // as each second
	case errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrMaybe):
		select {
		case <-l.ending:
		case <-time.After(20 * time.Second):
		}
		l.errorf("the process goes on after a run has ended with %v", err)
	case !errors.As(err, &d):
		l.errorf("a run: %v", err)
	}
	l.compare()
	if err := l.w.try(); err != nil {
		l.errorf("the run after a refused one: %v", err)
	}
}

// compare reads everything. The fault may come to one of the reads.
func (l *life) compare() {
	before, _ := l.fault.failed()
	err := l.s.Still(l.w.differs)
	if after, _ := l.fault.failed(); err != nil && !before && after {
		err = l.s.Still(l.w.differs)
	}
	if err != nil {
		l.errorf("%v", err)
	}
}

func (l *life) flush() {
	l.expect("sync the log", l.s.SyncLog())
	floor, err := l.s.Flush(l.t.Context())
	l.expect("flush", err)
	if err == nil {
		l.expect("retire", l.s.Log().Retire(floor))
	}
}

func (l *life) checkpoint(dir string) {
	cp, err := l.s.Checkpoint(l.t.Context(), dir)
	l.expect("checkpoint", err)
	if err == nil {
		cp.Pin.Release()
	}
}

// purge deletes a namespace, and waits for its space to be given back unless the fault comes to that.
func (l *life) purge() {
	for err := l.w.purge(); err != nil; err = l.w.purge() {
		l.expect("purge", err)
		l.s.CheckSpace()
	}
	id := l.w.ops[len(l.w.ops)-1].purge
	eventually(l.t, "the namespace to be purged", func() bool {
		happened, _ := l.fault.failed()
		return happened || slices.Contains(l.s.Purged(), id)
	})
}

func (l *life) close() {
	err := l.s.Close()
	l.expect("close", err)
	l.s, l.gone = nil, err != nil
	l.setClosed(err == nil)
}

func (l *life) setClosed(closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = closed
}

// reopen ends the life where it fails: nobody goes on without a store.
func (l *life) reopen() {
	l.close()
	if !l.closed {
		return
	}
	s, err := l.open(l.o)
	if err != nil {
		l.gone = true
		l.expect("open", err)
		return
	}
	l.setClosed(false)
	l.begin(s)
}
