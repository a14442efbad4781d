package store_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const benchKeys = 200_000

func benchStore(b *testing.B) *store.Store {
	o := storetest.Options(b, vfs.Default, b.TempDir())
	o.BlockCache = pebble.NewCache(128 << 20)
	b.Cleanup(o.BlockCache.Unref)
	o.MemTableBytes, o.SegmentBytes, o.RetainBytes, o.RowCacheBytes = 16<<20, 64<<20, 256<<20, 64<<20
	o.SyncEvery = time.Second
	s, err := store.Create(o, replog.Start{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	if err := s.BeginEpoch(1, "history", 0); err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkRun measures commands through Begin, Commit and End on a real disk, alone in their runs and
// 16 at a time. One operation is one command.
func BenchmarkRun(b *testing.B) {
	for _, size := range []int{1, 16} {
		for _, command := range []string{"set", "get", "incr"} {
			b.Run(fmt.Sprintf("%s/%d", command, size), func(b *testing.B) { benchRun(b, command, size) })
		}
	}
}

func benchRun(b *testing.B, command string, size int) {
	s := benchStore(b)
	n := s.Namespace(tenant)
	value := make([]byte, 100)
	for from := 0; from < benchKeys; from += 1000 {
		write(b, s, tenant, func(tx *store.Tx) {
			for i := from; i < from+1000; i++ {
				tx.Put(tx.DB(0), fmt.Appendf(nil, "key:%012d", i), store.Row{Type: store.TypeString, Data: value})
			}
		})
	}
	if _, err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		var tx store.Tx
		keys := make([][]byte, size)
		hashes := make([]uint64, size)
		for done := false; !done; {
			used := 0
			for ; used < size && !done; used++ {
				if done = !pb.Next(); done {
					break
				}
				keys[used] = fmt.Appendf(keys[used][:0], "key:%012d", rand.IntN(benchKeys))
				hashes[used] = store.HashKey(0, keys[used])
			}
			n.Begin(&tx, store.Run{Write: command != "get", Hashes: hashes[:used]})
			db := tx.DB(0)
			for _, key := range keys[:used] {
				switch command {
				case "set":
					tx.Put(db, key, store.Row{Type: store.TypeString, Data: value})
				case "get":
					tx.Get(db, key)
				case "incr":
					r, _ := tx.Get(db, key)
					var x [8]byte
					if len(r.Data) >= 8 {
						copy(x[:], r.Data)
					}
					binary.BigEndian.PutUint64(x[:], binary.BigEndian.Uint64(x[:])+1)
					tx.Put(db, key, store.Row{Type: store.TypeString, Data: x[:]})
				}
			}
			if err := tx.Commit(store.Async); err != nil {
				b.Error(err)
			}
			tx.End()
		}
	})
}
