package replog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// model is what a log must hold: the bodies of its entries, how many of them are surely fsynced, and
// how many retention may have dropped.
type model struct {
	bodies  [][]byte
	epochs  []uint64
	history []string
	synced  int
	dropped int
}

func (m *model) epoch() uint64 {
	if len(m.epochs) == 0 {
		return 1
	}
	return m.epochs[len(m.epochs)-1]
}

func (m *model) lastHistory() string {
	if len(m.history) == 0 {
		return "h"
	}
	return m.history[len(m.history)-1]
}

func (m *model) truncate(n int) {
	m.bodies, m.epochs, m.history = m.bodies[:n], m.epochs[:n], m.history[:n]
	m.synced = min(m.synced, n)
}

// next makes the record of the entry that follows.
func (m *model) next(rng *rand.Rand) (rec []byte, epoch uint64, history string) {
	epoch = m.epoch()
	turn := ""
	if rng.IntN(20) == 0 {
		epoch++
		turn = fmt.Sprintf("history-%d", epoch)
	}
	payload := make([]byte, rng.IntN(700))
	if rng.IntN(50) == 0 {
		payload = make([]byte, rng.IntN(20<<10))
	}
	for i := range payload {
		payload[i] = byte(rng.Uint32())
	}
	history = m.lastHistory()
	if turn != "" {
		history = turn
	}
	return record(uint64(len(m.bodies)+1), epoch, turn, payload), epoch, history
}

func (m *model) add(rec []byte, epoch uint64, history string) {
	m.bodies = append(m.bodies, bytes.Clone(rec[RecordHeader:]))
	m.epochs = append(m.epochs, epoch)
	m.history = append(m.history, history)
}

// check compares the log's ends, and its entries from a random place on.
func (m *model) check(t *testing.T, l *Log, from int) {
	t.Helper()
	st := l.State()
	if st.Last != uint64(len(m.bodies)) || st.LastEpoch != m.epoch() && len(m.bodies) > 0 || st.History != m.lastHistory() {
		t.Fatalf("the log's end is %+v, want entry %d of epoch %d and %q", st, len(m.bodies), m.epoch(), m.lastHistory())
	}
	if int(st.First) > m.dropped+1 {
		t.Fatalf("first entry %d, only %d may be dropped", st.First, m.dropped)
	}
	from = max(from, int(st.First)-1)
	r, err := l.NewReader(uint64(from + 1))
	must(t, err)
	for i := from; ; i++ {
		body, err := r.Next()
		if errors.Is(err, io.EOF) {
			if i != len(m.bodies) {
				t.Fatalf("%d entries, want %d", i, len(m.bodies))
			}
			return
		}
		if err != nil {
			t.Fatalf("entry %d: %v", i+1, err)
		}
		if !bytes.Equal(body, m.bodies[i]) {
			t.Fatalf("entry %d differs", i+1)
		}
	}
}

// shortFS fails the next write to a log segment, after so many percent of its bytes, when armed.
type shortFS struct {
	vfs.FS
	armed   bool
	percent int
}

func (f *shortFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return &shortFile{file, f}, err
}

func (f *shortFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	return &shortFile{file, f}, err
}

type shortFile struct {
	vfs.File
	fs *shortFS
}

func (f *shortFile) WriteAt(b []byte, off int64) (int, error) {
	if f.fs.armed {
		f.fs.armed = false
		n, err := f.File.WriteAt(b[:len(b)*f.fs.percent/100], off)
		return n, errors.Join(err, syscall.ENOSPC)
	}
	return f.File.WriteAt(b, off)
}

// TestModel runs random operations on a crashable filesystem. After a crash every fsynced entry is
// there, what follows is a prefix of what was appended, and nothing else.
//
// Seen to fail when SyncTo leaves out the fsync of the directory or of a segment before the current one,
// when recovery believes the headers of overridden segments or does not fsync what a killed process left
// to the kernel, when Retire leaves only a segment whose header is not fsynced, and when a failed write is
// not taken back. The search behind a torn place is about damage: without it TestTornTail fails.
func TestModel(t *testing.T) {
	for range 6 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func runModel(t *testing.T, rng *rand.Rand) {
	mem := vfs.NewCrashableMem()
	fs := &shortFS{FS: mem}
	makeDir(t, fs)
	l, err := Create(testOptions(fs), Start{History: "h"})
	must(t, err)
	var m model
	for range 1500 {
		switch n := rng.IntN(100); {
		case n < 70:
			rec, epoch, history := m.next(rng)
			must(t, l.Append(rec))
			m.add(rec, epoch, history)
		case n < 75:
			fs.armed, fs.percent = true, 50*rng.IntN(3)
			rec, _, _ := m.next(rng)
			if err := l.Append(rec); !errors.Is(err, ErrFull) {
				t.Fatalf("short write: %v", err)
			}
		case n < 82:
			must(t, l.Sync())
			m.synced = len(m.bodies)
		case n < 84:
			to := rng.IntN(len(m.bodies) + 1)
			must(t, l.SyncTo(uint64(to)))
			m.synced = max(m.synced, to)
		case n < 86:
			to := max(m.dropped, len(m.bodies)-rng.IntN(60))
			must(t, l.Cut(uint64(to)))
			m.synced = len(m.bodies)
			m.truncate(min(to, len(m.bodies)))
		case n < 90:
			l.opts.RetainBytes = int64(rng.IntN(60 << 10))
			m.dropped = max(m.dropped, rng.IntN(m.synced+1))
			must(t, l.Retire(uint64(m.dropped)))
		case n < 94:
			must(t, l.Close())
			l, err = Open(testOptions(fs))
			must(t, err)
			m.synced = len(m.bodies)
		case n < 97:
			l = m.crash(t, l, &mem, fs, rng)
		default:
			m.check(t, l, rng.IntN(len(m.bodies)+1))
		}
	}
	m.check(t, l, 0)
	must(t, l.Close())
}

// crash goes on with what a power cut may leave.
func (m *model) crash(t *testing.T, l *Log, mem **vfs.MemFS, fs *shortFS, rng *rand.Rand) *Log {
	t.Helper()
	percent := []int{0, 50, 100}[rng.IntN(3)]
	after := (*mem).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	must(t, l.Close())
	*mem, fs.FS = after, after
	l, err := Open(testOptions(fs))
	if err != nil {
		t.Fatalf("open after a crash that kept %d %%: %v", percent, err)
	}
	last := int(l.State().Last)
	if last < m.synced || last > len(m.bodies) || percent == 100 && last != len(m.bodies) {
		t.Fatalf("%d entries after a crash that kept %d %%, %d were fsynced and %d appended", last, percent, m.synced, len(m.bodies))
	}
	m.truncate(last)
	m.synced = last
	m.check(t, l, 0)
	return l
}

// TestFailedSyncIsFinal: a second fsync would succeed for pages that the first one has lost.
func TestFailedSyncIsFinal(t *testing.T) {
	mem := vfs.NewMem()
	makeDir(t, mem)
	var on errorfs.Toggle
	on.Injector = errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			return errorfs.ErrInjected
		}
		return nil
	})
	l, err := Create(testOptions(errorfs.Wrap(mem, &on)), Start{})
	must(t, err)
	appendN(t, l, 1, 1)
	on.On()
	if err := l.Sync(); !errors.Is(err, errorfs.ErrInjected) {
		t.Errorf("fsync: %v", err)
	}
	on.Off()
	if err := l.Sync(); !errors.Is(err, errorfs.ErrInjected) {
		t.Errorf("second fsync: %v", err)
	}
	if err := l.Append(record(2, 1, "", nil)); !errors.Is(err, errorfs.ErrInjected) {
		t.Errorf("append: %v", err)
	}
	_ = l.Close() // says the same
}

// TestFailedRetireIsFinal: after a removal whose fsync failed the next one could reach the disk first, and leave a gap.
func TestFailedRetireIsFinal(t *testing.T) {
	mem := vfs.NewMem()
	makeDir(t, mem)
	var on errorfs.Toggle
	on.Injector = errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync {
			return errorfs.ErrInjected
		}
		return nil
	})
	l, err := Create(testOptions(errorfs.Wrap(mem, &on)), Start{})
	must(t, err)
	appendN(t, l, 100, 1000)
	must(t, l.Sync())
	l.opts.RetainBytes = 0
	on.On()
	if err := l.Retire(100); !errors.Is(err, errorfs.ErrInjected) {
		t.Errorf("retire: %v", err)
	}
	on.Off()
	for what, err := range map[string]error{
		"append": l.Append(record(101, 1, "", nil)), "fsync": l.Sync(), "retire": l.Retire(100),
	} {
		if !errors.Is(err, errorfs.ErrInjected) {
			t.Errorf("%s afterwards: %v", what, err)
		}
	}
	_ = l.Close() // says the same
}

// TestErrorAtEveryOperation fails each file operation of a short life in turn. Then the process ends,
// with or without a power cut, and the log must open and hold what was fsynced and nothing invented.
func TestErrorAtEveryOperation(t *testing.T) {
	for k := 0; ; k++ {
		for _, percent := range []int{0, 50, 100} {
			if !failAt(t, k, percent) {
				return
			}
		}
	}
}

func failAt(t *testing.T, k, percent int) (injected bool) {
	rng := rand.New(rand.NewPCG(uint64(k), uint64(percent)))
	mem := vfs.NewCrashableMem()
	makeDir(t, mem)
	at := errorfs.OnIndex(int32(k))
	broken := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if err := at.MaybeError(op); err != nil {
			injected = true
			return err
		}
		return nil
	})
	var m model
	created := lifeWithErrors(t, errorfs.Wrap(mem, broken), &m, rng)
	after := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
	l, err := Open(testOptions(after))
	if err != nil && !created {
		return injected
	}
	if err != nil {
		t.Fatalf("operation %d, %d %%: %v", k, percent, err)
	}
	last := int(l.State().Last)
	if last < m.synced || last > len(m.bodies) {
		t.Fatalf("operation %d, %d %%: %d entries, %d were fsynced and %d appended", k, percent, last, m.synced, len(m.bodies))
	}
	m.truncate(last)
	m.check(t, l, 0)
	must(t, l.Close())
	return injected
}

// lifeWithErrors appends, syncs, cuts, retires and reopens until an error says that the process must end.
func lifeWithErrors(t *testing.T, fs vfs.FS, m *model, rng *rand.Rand) (created bool) {
	l, err := Create(testOptions(fs), Start{History: "h"})
	if err != nil {
		return false
	}
	defer func() { _ = l.Close() }() // ends with the injected error, or another
	for step := range 120 {
		switch {
		case step%40 == 39:
			_ = l.Close()
			next, err := Open(testOptions(fs))
			if errors.Is(err, ErrDamaged) {
				t.Errorf("an error is taken for damage: %v", err)
			}
			if err != nil {
				return true
			}
			l = next
			m.synced = len(m.bodies)
		case step == 60:
			if l.Cut(uint64(len(m.bodies)-5)) != nil {
				// Before or after the rename: both are whole logs, and nothing was promised since.
				m.synced = min(m.synced, len(m.bodies)-5)
				return true
			}
			m.truncate(len(m.bodies) - 5)
			m.synced = len(m.bodies)
		case step%25 == 24:
			l.opts.RetainBytes = 10 << 10
			m.dropped = m.synced
			_ = l.Retire(uint64(m.synced)) // reported, and tried again later
		case step%9 == 8:
			if l.Sync() != nil {
				return true
			}
			m.synced = len(m.bodies)
		default:
			rec, epoch, history := m.next(rng)
			switch err := l.Append(rec); {
			case err == nil:
				m.add(rec, epoch, history)
			case !errors.Is(err, ErrFull):
				return true
			}
		}
	}
	return true
}
