package replog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testOptions(fs vfs.FS) Options {
	return Options{
		FS: fs, Dir: "log", SegmentBytes: 8 << 10, RetainBytes: 1 << 40, RetainAge: 1000 * time.Hour,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

// record makes a record of a data entry, or with a history of an epoch's first.
func record(index, epoch uint64, history string, payload []byte) []byte {
	e := Entry{Kind: KindData, Index: index, Epoch: epoch}
	if history != "" {
		e.Kind, e.Note = KindEpoch, []byte(history)
	}
	return append(AppendHeader(nil, &e), payload...)
}

// makeDir makes the log's directory durable, as the store does.
func makeDir(tb testing.TB, fs vfs.FS) {
	tb.Helper()
	if err := errors.Join(fs.MkdirAll("log", 0o755), syncDir(fs, "")); err != nil {
		tb.Fatal(err)
	}
}

func newTestLog(tb testing.TB, fs vfs.FS) *Log {
	tb.Helper()
	makeDir(tb, fs)
	l, err := Create(testOptions(fs), Start{History: "h"})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func payloadOf(index uint64, size int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%d,", index), size)
}

func appendN(tb testing.TB, l *Log, n, size int) {
	tb.Helper()
	for range n {
		st := l.State()
		must(tb, l.Append(record(st.Last+1, max(1, st.LastEpoch), "", payloadOf(st.Last+1, size))))
	}
}

func readAllEntries(tb testing.TB, l *Log, from uint64) (list []uint64) {
	tb.Helper()
	r, err := l.NewReader(from)
	must(tb, err)
	for {
		body, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		must(tb, err)
		list = append(list, bodyIndex(body))
	}
}

func TestAppendRefuses(t *testing.T) {
	l := newTestLog(t, vfs.NewMem())
	appendN(t, l, 3, 1)
	for name, c := range map[string]struct {
		rec  []byte
		want error
	}{
		"gap":          {record(5, 1, "", nil), ErrOrder},
		"again":        {record(3, 1, "", nil), ErrOrder},
		"epoch back":   {record(4, 0, "", nil), ErrOrder},
		"short":        {make([]byte, 30), ErrCorrupt},
		"long history": {record(4, 2, strings.Repeat("x", historyMax+1), nil), ErrCorrupt},
	} {
		if err := l.Append(c.rec); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	appendN(t, l, 1, 1)
	must(t, l.Close())
	if err := l.Append(record(5, 1, "", nil)); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	must(t, l.Close())
}

// reopenWith lets damage change the bytes of the log's files between two opens.
func reopenWith(t *testing.T, fs *vfs.MemFS, name string, change func(b []byte) []byte) (*Log, error) {
	t.Helper()
	path := "log/" + name
	f, err := fs.Open(path)
	must(t, err)
	b, err := io.ReadAll(f)
	must(t, errors.Join(err, f.Close()))
	b = change(b)
	w, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = w.Write(b)
	must(t, errors.Join(err, w.Close()))
	return Open(testOptions(fs))
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte { b[at] ^= 0x10; return b }
}

// TestFlippedBits flips every byte of a log of three segments, one at a time: the damage is found at
// open or by a reader, or it lies beyond what any record knows to be fsynced and is cut as a torn tail.
func TestFlippedBits(t *testing.T) {
	for seq := uint64(1); seq <= 3; seq++ {
		for at, size := 0, 1; at < size; at += 23 {
			fs := vfs.NewMem()
			l := newTestLog(t, fs)
			for range 3 {
				appendN(t, l, 12, 250)
				must(t, l.Sync())
			}
			known := uint64(24) // an entry after the second fsync knows of it
			must(t, l.Close())
			l, err := reopenWith(t, fs, segmentName(seq), func(b []byte) []byte { size = len(b); return flip(at)(b) })
			if errors.Is(err, ErrDamaged) || errors.Is(err, ErrFormat) {
				continue
			}
			must(t, err)
			r, err := l.NewReader(1)
			must(t, err)
			var last uint64
			for {
				body, err := r.Next()
				if errors.Is(err, io.EOF) {
					if last < known {
						t.Errorf("segment %d, byte %d: reads %d entries, %d were known to be fsynced", seq, at, last, known)
					}
					break
				}
				if errors.Is(err, ErrDamaged) {
					break
				}
				must(t, err)
				if last++; !bytes.Equal(body[len(body)-len(payloadOf(last, 250)):], payloadOf(last, 250)) {
					t.Fatalf("segment %d, byte %d: entry %d is served broken", seq, at, last)
				}
			}
			must(t, l.Close())
		}
	}
}

func TestAnotherFormatIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	l := newTestLog(t, fs)
	appendN(t, l, 3, 1)
	must(t, l.Close())
	_, err := reopenWith(t, fs, segmentName(1), func(b []byte) []byte { b[8] = 2; return b })
	if !errors.Is(err, ErrFormat) {
		t.Errorf("error %v, want ErrFormat", err)
	}
}

// TestTornTail: a bad record beyond the fsynced offset is cut off, also when whole ones follow it; the
// same one is damage once a later record knows it to be fsynced.
func TestTornTail(t *testing.T) {
	for _, synced := range []bool{false, true} {
		fs := vfs.NewMem()
		l := newTestLog(t, fs)
		appendN(t, l, 5, 10)
		must(t, l.Sync())
		place := int(headerSize + l.State().EndOffset)
		appendN(t, l, 5, 10)
		if synced {
			must(t, l.Sync())
		}
		appendN(t, l, 1, 10)
		must(t, l.Close())
		l, err := reopenWith(t, fs, segmentName(1), flip(place+30))
		if synced {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("fsynced: %v, want ErrDamaged", err)
			}
			continue
		}
		must(t, err)
		if got := l.State().Last; got != 5 {
			t.Errorf("last entry %d, want 5", got)
		}
		appendN(t, l, 3, 10) // follows in a new segment
		must(t, l.Close())
		l, err = Open(testOptions(fs))
		must(t, err)
		if got := readAllEntries(t, l, 1); !slices.Equal(got, []uint64{1, 2, 3, 4, 5, 6, 7, 8}) {
			t.Errorf("entries %v", got)
		}
		must(t, l.Close())
	}
}

// TestTenantCannotForgeRecords: a value that holds a whole record of another log, which claims that
// everything is fsynced, must not turn a torn tail into damage.
func TestTenantCannotForgeRecords(t *testing.T) {
	forged := record(7, 1, "", nil)
	sealRecord(forged, salt(rand.Uint64()), 1<<40)
	fs := vfs.NewMem()
	l := newTestLog(t, fs)
	appendN(t, l, 3, 1)
	place := int(headerSize + l.State().EndOffset)
	must(t, l.Append(record(4, 1, "", forged)))
	must(t, l.Close())
	l, err := reopenWith(t, fs, segmentName(1), flip(place))
	must(t, err)
	if got := l.State().Last; got != 3 {
		t.Errorf("last entry %d, want 3", got)
	}
	must(t, l.Close())
}

// TestCutIsCrashSafe: the rename decides. Files that the process had no time to remove are overridden.
func TestCutIsCrashSafe(t *testing.T) {
	for _, to := range []uint64{1, 17, 30, 31, 59, 90} {
		fs := vfs.NewCrashableMem()
		l := newTestLog(t, fs)
		appendN(t, l, 30, 250)
		must(t, l.Append(record(31, 2, "later", nil)))
		appendN(t, l, 60, 250)
		must(t, l.Sync())
		before := fs.CrashClone(vfs.CrashCloneCfg{})
		must(t, l.Cut(to))
		history, epoch := "h", uint64(1)
		if to >= 31 {
			history, epoch = "later", 2
		}
		check := func(what string, l *Log) {
			st := l.State()
			if st.Last != to || st.LastEpoch != epoch || st.History != history {
				t.Errorf("cut to %d, %s: %+v", to, what, st)
			}
			if got := readAllEntries(t, l, 1); len(got) != int(to) {
				t.Errorf("cut to %d, %s: %d entries", to, what, len(got))
			}
		}
		check("running", l)
		// As if no file had been removed: all old ones, and the new one.
		name := segmentName(l.segs[len(l.segs)-1].seq)
		must(t, vfs.Copy(fs, "log/"+name, "log/copy"))
		from, err := fs.Open("log/" + name)
		must(t, err)
		b, err := io.ReadAll(from)
		must(t, errors.Join(err, from.Close()))
		w, err := before.Create("log/"+name, vfs.WriteCategoryUnspecified)
		must(t, err)
		_, err = w.Write(b)
		must(t, errors.Join(err, w.Close()))
		must(t, l.Close())
		l, err = Open(testOptions(before))
		must(t, err)
		check("nothing removed", l)
		appendN(t, l, 5, 250)
		must(t, l.Close())
		l, err = Open(testOptions(before))
		must(t, err)
		if got := len(readAllEntries(t, l, 1)); got != int(to)+5 {
			t.Errorf("cut to %d: %d entries after going on", to, got)
		}
		must(t, l.Close())
	}
}

// TestHistoryOfAReplica: entries are appended long before they are applied, so the log learns the
// history from them.
func TestHistoryOfAReplica(t *testing.T) {
	fs := vfs.NewMem()
	l := newTestLog(t, fs)
	appendN(t, l, 3, 1)
	must(t, l.Append(record(4, 9, "second", nil)))
	appendN(t, l, 60, 250)
	must(t, l.Sync())
	must(t, l.Close())
	l, err := Open(testOptions(fs))
	must(t, err)
	if h := l.State().History; h != "second" {
		t.Errorf("history %q, want that of the entry", h)
	}
	must(t, l.Close())
}

func TestRetention(t *testing.T) {
	fs := vfs.NewMem()
	makeDir(t, fs)
	o := testOptions(fs)
	o.RetainBytes = 20 << 10
	l, err := Create(o, Start{History: "h"})
	must(t, err)
	appendN(t, l, 100, 250)
	slow, err := l.NewReader(1)
	must(t, err)
	_, err = slow.Next()
	must(t, err)
	must(t, l.Sync())
	pin, err := l.Pin(0)
	must(t, err)
	must(t, l.Retire(100))
	if first := l.State().First; first != 1 {
		t.Errorf("first entry %d, although it was pinned", first)
	}
	pin.Move(40)
	must(t, l.Retire(100))
	first := l.State().First
	if first <= 1 || first > 41 {
		t.Errorf("first entry %d, entries after 40 are pinned", first)
	}
	pin.Release()
	must(t, l.Retire(60))
	if f := l.State().First; f <= first || f > 61 {
		t.Errorf("first entry %d after retiring up to 60", f)
	}
	if _, err := l.Pin(1); !errors.Is(err, ErrGone) {
		t.Errorf("pin of dropped entries: %v", err)
	}
	if _, err := l.NewReader(1); !errors.Is(err, ErrGone) {
		t.Errorf("reader of dropped entries: %v", err)
	}
	if _, err := slow.Next(); !errors.Is(err, ErrGone) {
		t.Errorf("overtaken reader: %v", err)
	}
	must(t, l.Close())
	l, err = Open(o)
	must(t, err)
	readAllEntries(t, l, l.State().First)
	must(t, l.Close())
}

// TestReadersAgainstRetention: a segment closed under a reader is ErrGone, never damage. On disk, since
// there a closed file is an error of its own.
func TestReadersAgainstRetention(t *testing.T) {
	o := testOptions(vfs.Default)
	o.Dir, o.RetainBytes = t.TempDir(), 16<<10
	l, err := Create(o, Start{History: "h"})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 3)
	for range cap(done) {
		go func() { done <- follow(ctx, l) }()
	}
	for range 100 {
		appendN(t, l, 10, 200)
		must(t, l.Sync())
		must(t, l.Retire(l.State().Last))
	}
	cancel()
	for range cap(done) {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	must(t, l.Close())
}

// follow reads from the oldest entry on, and again whenever retention overtakes it.
func follow(ctx context.Context, l *Log) error {
	for {
		r, err := l.NewReader(l.State().First)
		for err == nil {
			if _, err = r.Next(); errors.Is(err, io.EOF) {
				err = l.Wait(ctx, r.next)
			}
		}
		if !errors.Is(err, ErrGone) {
			return err
		}
	}
}

func TestReaderThatACutOvertook(t *testing.T) {
	l := newTestLog(t, vfs.NewMem())
	appendN(t, l, 10, 1)
	ahead, err := l.NewReader(9)
	must(t, err)
	behind, err := l.NewReader(3)
	must(t, err)
	must(t, l.Cut(4))
	appendN(t, l, 10, 1)
	if _, err := ahead.Next(); !errors.Is(err, ErrGone) {
		t.Errorf("reader past the cut: %v", err)
	}
	for want := uint64(3); want <= 14; want++ {
		body, err := behind.Next()
		must(t, err)
		if bodyIndex(body) != want {
			t.Fatalf("entry %d, want %d", bodyIndex(body), want)
		}
	}
	must(t, l.Close())
}

func TestWaitAndClose(t *testing.T) {
	l := newTestLog(t, vfs.NewMem())
	got := make(chan error, 2)
	go func() { got <- l.Wait(t.Context(), 1) }()
	appendN(t, l, 1, 1)
	must(t, <-got)
	go func() { got <- l.Wait(context.Background(), 2) }()
	must(t, l.Close())
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Errorf("wait on a closed log: %v", err)
	}
}
