package replog

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestGrown: a follower that waits at the end is woken by the append, not by its own clock.
func TestGrown(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll("log", 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := Create(Options{FS: fs, Dir: "log", SegmentBytes: 1 << 20, RetainBytes: 1 << 20, RetainAge: time.Hour, Now: time.Now}, Start{})
	if err != nil {
		t.Fatal(err)
	}
	grown := l.Grown(0)
	select {
	case <-grown:
		t.Fatal("grown before an append")
	default:
	}
	if err := l.Append(AppendHeader(nil, &Entry{Kind: KindData, Epoch: 1, Index: 1})); err != nil {
		t.Fatal(err)
	}
	select {
	case <-grown:
	case <-time.After(10 * time.Second):
		t.Fatal("the append woke nobody")
	}
	select {
	case <-l.Grown(0):
	default:
		t.Error("entry 1 is there, and the channel is open")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
