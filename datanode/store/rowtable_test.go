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

// TestFillAfterWrite: what was read before a row was written, or deleted, doesn't come into the table behind that.
func TestFillAfterWrite(t *testing.T) {
	for kind := range store.TableKinds {
		for _, now := range [][]byte{[]byte("new"), nil} {
			c := store.NewTable(1<<20, 1<<20)
			key, hash, _ := tableKey(1)
			_, _, seen := c.Get(hash, key)
			c.Update(hash, key, now, kind)
			c.Keep(hash, key, []byte("old"), kind, true, seen)
			if value, known, _ := c.Get(hash, key); known && !bytes.Equal(value, now) || !known && (now != nil || kind < store.TableKinds-1) { // a member that is gone may be unknown
				t.Errorf("kind %d: %q, %v after a write of %q", kind, value, known, now)
			}
		}
	}
}

// TestTableNeverServesOldRows: readers fill from a "disk" that writers change, without a lock in common.
// What a reader is served is at least as new as what was applied when it asked.
func TestTableNeverServesOldRows(t *testing.T) {
	for _, room := range []struct {
		name          string
		values, slots int
		keys          int
	}{
		{"few slots", 1 << 20, 32 * 4 * 4, 50},
		{"few slabs", 1, 1 << 20, 400},
	} {
		t.Run(room.name, func(t *testing.T) { tableNeverServesOldRows(t, store.NewTable(room.values, room.slots), room.keys) })
	}
}

func tableNeverServesOldRows(t *testing.T, c store.Table, keys int) {
	const rounds = 20000
	disk, applied := make([]atomic.Uint64, keys), make([]atomic.Uint64, keys)
	var wg sync.WaitGroup
	var writing atomic.Int64
	writing.Store(2)
	for w := range 2 {
		wg.Go(func() {
			defer writing.Add(-1)
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for range rounds {
				i := rng.IntN(keys/2)*2 + w // each key has one writer, as stripes see to it
				key, hash, kind := tableKey(i)
				n := disk[i].Add(1)
				c.Update(hash, key, tableValue(i, n), kind)
				applied[i].Store(n)
			}
		})
	}
	var hits atomic.Uint64
	for w := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 2))
			for done := 0; done < rounds || writing.Load() > 0; done++ {
				i := rng.IntN(keys)
				key, hash, kind := tableKey(i)
				floor := applied[i].Load()
				if rng.IntN(4) == 0 {
					fits, known := c.Meta(hash, key, kind)
					if known && !oneOf(i, floor, disk[i].Load(), fits) {
						t.Errorf("%s: what is known fits no version from %d on", key, floor)
						return
					}
					continue
				}
				value, known, seen := c.Get(hash, key)
				if known {
					if value == nil {
						if !oneOf(i, floor, disk[i].Load(), func(v []byte) bool { return v == nil }) {
							t.Errorf("%s: absent, applied was version %d", key, floor)
							return
						}
						continue
					}
					hits.Add(1)
					if n := binary.BigEndian.Uint64(value); n < floor || !bytes.Equal(value, tableValue(i, n)) {
						t.Errorf("%s: version %d, %d was applied before", key, n, floor)
						return
					}
					continue
				}
				n := disk[i].Load() // as in Tx.fill: nothing between the two is locked
				c.Keep(hash, key, tableValue(i, n), kind, rng.IntN(2) == 0, seen)
			}
		})
	}
	wg.Wait()
	values, err := c.Check()
	if err != nil {
		t.Error(err)
	}
	if values == 0 || hits.Load() == 0 {
		t.Errorf("the table holds %d values and answered %d reads: nothing was tested", values, hits.Load())
	}
}

// oneOf says whether a version that a reader may see is like that.
func oneOf(i int, from, to uint64, like func(value []byte) bool) bool {
	for n := from; n <= to; n++ {
		if n == 0 || like(tableValue(i, n)) { // nothing was written before version 1
			return true
		}
	}
	return false
}

// tableKey returns a key and its row's kind.
func tableKey(i int) (key []byte, hash uint64, kind int) {
	key = fmt.Appendf(nil, "k%d", i)
	return key, xxhash.Sum64(key), i % store.TableKinds
}

// tableValue is a version's value: of many sizes, now and then too large to be kept, and nil every seventh.
func tableValue(i int, n uint64) []byte {
	switch {
	case n%7 == 0:
		return nil
	case n%50 == 1:
		return bytes.Repeat(binary.BigEndian.AppendUint64(nil, n), 5000)
	}
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, n), 1+int(n%9)*(1+i%20*8))
}

// TestTableKeepsWhatIsRead: rows that are read go on being served while many times the table's size passes
// through it.
func TestTableKeepsWhatIsRead(t *testing.T) {
	c := store.NewTable(1<<20, 1<<20)
	value := make([]byte, 100)
	served := 0
	for i := range 100_000 {
		key := fmt.Appendf(nil, "passing:%d", i)
		c.Update(xxhash.Sum64(key), key, value, 0)
		hot := fmt.Appendf(nil, "hot:%d", i%100)
		if i < 100 {
			c.Update(xxhash.Sum64(hot), hot, value, 0)
		}
		if _, known, _ := c.Get(xxhash.Sum64(hot), hot); known {
			served++
		}
	}
	if served < 99_000 {
		t.Errorf("%d of 100000 reads of 100 rows were served", served)
	}
	if _, err := c.Check(); err != nil {
		t.Error(err)
	}
}

// TestTableUsesItsSlots: a table that is half full still knows nearly every row.
func TestTableUsesItsSlots(t *testing.T) {
	const slots = 1 << 14
	c := store.NewTable(1, slots*32)
	for i := range slots / 2 {
		key := fmt.Appendf(nil, "k%d", i)
		c.Update(xxhash.Sum64(key), key, []byte("v"), i%store.TableKinds)
	}
	known := 0
	for i := range slots / 2 {
		key := fmt.Appendf(nil, "k%d", i)
		if value, ok, _ := c.Get(xxhash.Sum64(key), key); ok && string(value) == "v" {
			known++
		}
	}
	if known < slots/2*98/100 {
		t.Errorf("%d of %d rows are known", known, slots/2)
	}
}
