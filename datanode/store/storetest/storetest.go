// Package storetest makes stores for tests: in memory, small, and primary from the start.
package storetest

import (
	"log/slog"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options are small limits on fs, with the real clock. The block cache ends with the test.
func Options(tb testing.TB, fs vfs.FS, dir string) store.Options {
	cache := pebble.NewCache(8 << 20)
	tb.Cleanup(cache.Unref)
	return store.Options{
		FS: fs, Dir: dir, BlockCache: cache, RowCacheBytes: 4 << 20, MemTableBytes: 1 << 20,
		SegmentBytes: 4 << 20, RetainBytes: 16 << 20, RetainAge: time.Hour, SyncEvery: 100 * time.Millisecond,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		Fatal: func(err error) { panic(err) },
	}
}

// Open returns an empty store in memory, in epoch 1, closed when the test ends.
func Open(tb testing.TB) *store.Store {
	tb.Helper()
	return OpenWith(tb, Options(tb, vfs.NewMem(), "data"))
}

// OpenWith is Open with options of the caller's.
func OpenWith(tb testing.TB, o store.Options) *store.Store {
	tb.Helper()
	s, err := store.Create(o, replog.Start{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	if err := s.BeginEpoch(1, "history", 0); err != nil {
		tb.Fatal(err)
	}
	return s
}
