package replog

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// BenchmarkAppend measures entries of 2 KiB, as a pipeline of 16 SETs of 100 bytes makes them, on a real disk
// and without an fsync.
func BenchmarkAppend(b *testing.B) {
	o := testOptions(vfs.Default)
	o.Dir, o.SegmentBytes = b.TempDir(), 64<<20
	l, err := Create(o, Start{History: "h"})
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 2<<10)
	var rec []byte
	b.SetBytes(int64(len(payload)))
	for i := uint64(1); b.Loop(); i++ {
		rec = append(AppendHeader(rec[:0], &Entry{Kind: KindData, Epoch: 1, Index: i}), payload...)
		if err := l.Append(rec); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
