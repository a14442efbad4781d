package store_test

import (
	"fmt"
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

// TestPurgeSparesItsNeighbours fails each read of an sstable in turn while the space of a namespace is given
// back. Pebble's Excise takes such an error, at the edge of what it removes, for the end of the table's rows: with it,
// the rows of the namespace before were lost.
func TestPurgeSparesItsNeighbours(t *testing.T) {
	for k := int32(0); purgeWithFailingRead(t, k); k++ {
	}
}

func purgeWithFailingRead(t *testing.T, k int32) (failed bool) {
	const before, purged, after = 6, 7, 8
	var reads, hits atomic.Int32
	reads.Store(-1 << 20)
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpFileReadAt || !strings.HasSuffix(op.Path, ".sst") || reads.Add(1) != k+1 {
			return nil
		}
		hits.Add(1)
		return syscall.EIO
	}))
	options := func() store.Options { // each with a cold cache
		o := storetest.Options(t, disk, "data")
		o.MemTableBytes = 64 << 10
		return o
	}
	s, err := store.Create(options(), replog.Start{})
	begin := func(epoch uint64) {
		if err == nil {
			err = s.BeginEpoch(epoch, "history", 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	begin(1)
	for i := range 100 { // every table has rows of all three
		for ns := uint64(before); ns <= after; ns++ {
			v := make([]byte, 1000) // too random to compress: more than a memtable, so that it is worth a compaction
			for j := range v {
				v[j] = byte(rand.Uint32())
			}
			write(t, s, ns, func(tx *store.Tx) { tx.Put(tx.DB(0), fmt.Appendf(nil, "k%d", i), str(string(v))) })
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = store.Open(options())
	begin(2)
	reads.Store(0)
	if err := s.PurgeNamespace(purged, 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the purge or the error", func() bool { return len(s.Purged()) == 1 || hits.Load() > 0 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reads.Store(-1 << 20)
	if s, err = store.Open(options()); err != nil {
		t.Fatal(err)
	}
	for ns, want := range map[uint64]int{before: 100, purged: 0, after: 100} {
		if got := len(dump(s, ns, 0)); got != want {
			t.Errorf("read %d failed: namespace %d has %d keys, want %d", k, ns, got, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return hits.Load() > 0 && !t.Failed()
}

// TestPurgeGivesSpaceBack: what a namespace had on the disk is free soon after its purge.
func TestPurgeGivesSpaceBack(t *testing.T) {
	o := storetest.Options(t, vfs.NewMem(), "data")
	o.MemTableBytes = 256 << 10
	s := storetest.OpenWith(t, o)
	for i := range 100 {
		for _, ns := range []uint64{6, 7, 8} {
			write(t, s, ns, func(tx *store.Tx) {
				for j := range 100 {
					tx.Put(tx.DB(0), fmt.Appendf(nil, "k%d", i*100+j), str(fmt.Sprint(time.Now().UnixNano(), strings.Repeat("v", 300))))
				}
			})
		}
	}
	if _, err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.DiskBytes(7); n == 0 {
		t.Fatal("nothing is on the disk")
	}
	if err := s.PurgeNamespace(7, 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the space", func() bool { return len(s.Purged()) == 1 && s.DiskBytes(7) < 256<<10 })
}
