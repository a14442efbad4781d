package store_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/cespare/xxhash/v2"
)

// TestFillAfterWrite: what was read before a row was written, or deleted, doesn't come into the cache behind that.
func TestFillAfterWrite(t *testing.T) {
	for _, set := range []bool{true, false} {
		c := store.NewCache(1 << 20)
		key, hash := cacheKey(1)
		_, seen, _ := c.Get(hash, key)
		c.Update(hash, key, []byte("new"), set)
		c.Fill(hash, key, []byte("old"), seen)
		if value, _, ok := c.Get(hash, key); ok != set || set && string(value) != "new" {
			t.Errorf("%q, %v after a write (%v)", value, ok, set)
		}
	}
}

// TestCacheNeverServesOldRows: readers fill from a "disk" that writers change, without a lock in common.
// What a reader is served is at least as new as what was applied when it asked.
func TestCacheNeverServesOldRows(t *testing.T) {
	const keys, rounds = 50, 20000
	c := store.NewCache(64 * 600) // little room: many evictions
	var disk, applied [keys]atomic.Uint64
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for range rounds {
				i := rng.IntN(keys/2)*2 + w // each key has one writer, as stripes see to it
				n := disk[i].Add(1)
				key, hash := cacheKey(i)
				if n%7 == 0 {
					c.Update(hash, key, nil, false)
				} else {
					c.Update(hash, key, cacheValue(n), true)
				}
				applied[i].Store(n)
			}
		})
	}
	for w := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 2))
			for range rounds {
				i := rng.IntN(keys)
				key, hash := cacheKey(i)
				floor := applied[i].Load()
				value, seen, ok := c.Get(hash, key)
				if ok {
					if n := binary.BigEndian.Uint64(value); n < floor || !bytes.Equal(value, cacheValue(n)) {
						t.Errorf("%s: version %d, %d was applied before", key, n, floor)
						return
					}
					continue
				}
				if n := disk[i].Load(); n%7 != 0 { // as in Tx.read: nothing between the two is locked
					c.Fill(hash, key, cacheValue(n), seen)
				}
			}
		})
	}
	wg.Wait()
	if counted, real := c.Size(); counted != real || counted > 64*600 {
		t.Errorf("%d bytes are counted, %d are held", counted, real)
	}
}

func cacheKey(i int) ([]byte, uint64) {
	key := fmt.Appendf(nil, "k%d", i)
	return key, xxhash.Sum64(key)
}

func cacheValue(n uint64) []byte {
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, n), 1+int(n%9))
}
