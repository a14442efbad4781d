package replog

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestPinHoldsWithinItsBound: a pin keeps entries beyond the retention, but not without end.
func TestPinHoldsWithinItsBound(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("log", 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := Create(Options{FS: fs, Dir: "log", SegmentBytes: 1000, RetainBytes: 2000, RetainAge: time.Hour, Now: time.Now}, Start{})
	if err != nil {
		t.Fatal(err)
	}
	pin, err := l.Pin(0)
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Release()
	grow := func(to uint64) {
		for l.State().EndOffset < to {
			rec := append(AppendHeader(nil, &Entry{Kind: KindData, Epoch: 1, Index: l.State().Last + 1}), make([]byte, 400)...)
			if err := l.Append(rec); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := l.Retire(l.State().Last); err != nil {
			t.Fatal(err)
		}
	}
	grow(7000)
	if first := l.State().First; first != 1 {
		t.Errorf("the log begins at %d though entry 1 is pinned", first)
	}
	grow(20_000)
	if st := l.State(); st.First == 1 {
		t.Error("a pin held the log beyond its bound")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
