package store_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// BenchmarkCold reads keys at random from rows of many times the memory that the caches have: those that are there, and
// those that aren't. blocks/op is how many blocks a read takes that no cache has, each one read of the disk;
// bytes/row what a row of 1,000 bytes takes on the disk, and amplification how often it was written there in all.
func BenchmarkCold(b *testing.B) {
	const keys, size = 100_000, 1000
	o := storetest.Options(b, vfs.Default, b.TempDir())
	o.BlockCache = pebble.NewCache(8<<20 + store.MemTables<<20)
	b.Cleanup(o.BlockCache.Unref)
	o.MemTableBytes, o.SegmentBytes, o.RetainBytes, o.RowCacheBytes = 1<<20, 64<<20, 256<<20, 1<<20
	s, err := store.Create(o, replog.Start{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.BeginEpoch(1, "history", 0); err != nil {
		b.Fatal(err)
	}
	value := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{})
	order := rand.New(rng).Perm(keys)
	for from := 0; from < keys; from += 1000 {
		write(b, s, tenant, func(tx *store.Tx) {
			for _, i := range order[from : from+1000] {
				_, _ = rng.Read(value) // which never fails
				tx.Put(tx.DB(0), fmt.Appendf(nil, "key:%012d", i), store.Row{Type: store.TypeString, Data: value})
			}
		})
	}
	if _, err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	disk, written := s.Written()
	for _, c := range []struct {
		name   string
		format string
	}{{"present", "key:%012d"}, {"absent", "key:%012dx"}} {
		b.Run(c.name, func(b *testing.B) {
			before := s.BlocksRead()
			for b.Loop() {
				read(s, tenant, func(tx *store.Tx) { tx.Get(tx.DB(0), fmt.Appendf(nil, c.format, rand.IntN(keys))) })
			}
			b.ReportMetric(float64(s.BlocksRead()-before)/float64(b.N), "blocks/op")
			b.ReportMetric(float64(disk)/keys, "bytes/row")
			b.ReportMetric(float64(written)/keys/size, "amplification")
		})
	}
}

// BenchmarkTable measures the table of rows: overwrites and reads of rows that it knows.
func BenchmarkTable(b *testing.B) {
	const keys = 1 << 20
	c := store.NewTable(256<<20, 64<<20)
	value := make([]byte, 100)
	key := func(i int) []byte { return fmt.Appendf(nil, "key:%012d", i) }
	for i := range keys {
		c.Update(store.HashKey(0, key(i)), key(i), value, 0)
	}
	b.Run("update", func(b *testing.B) {
		for b.Loop() {
			k := key(rand.IntN(keys))
			c.Update(store.HashKey(0, k), k, value, 0)
		}
	})
	b.Run("get", func(b *testing.B) {
		into := store.NewRowSet()
		for b.Loop() {
			k := key(rand.IntN(keys))
			c.GetInto(store.HashKey(0, k), k, into)
		}
	})
}
