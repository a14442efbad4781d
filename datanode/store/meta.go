package store

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// metaCache knows of many key rows what an overwrite must know of the row that it replaces: whether it
// is there, what it counts for, when it expires. At 32 bytes a row it covers ten times the rows that the
// row cache does, so that a SET or a DEL seldom reads. Rows are told apart by 128 bits of hash, half of
// them under a key that is random in each process, so that nobody can make two of them meet.
//
// An entry is always true: readers and writers of a key hold its stripe, and every applied row passes
// through update. Spread collections have none.
type metaCache struct {
	seed   maphash.Seed
	locks  [metaLocks]sync.Mutex
	chunks []atomic.Pointer[metaChunk] // each made when the first row falls into it
	groups uint64                      // a power of two
}

// metaChunk is what is allocated at once. All at once would touch every page of a large cache before a
// node can serve, and of most caches for nothing.
type metaChunk [metaChunkGroups * metaWays]metaSlot

const (
	metaLocks       = 256
	metaWays        = 4
	metaBytes       = 32      // of a slot
	metaChunkGroups = 1 << 13 // 1 MiB
)

// rowMeta is what is kept of one key row.
type rowMeta struct {
	here   bool
	bytes  int64 // that the row counts for
	expire int64 // Unix milliseconds; 0: never
}

type metaSlot struct {
	a, b   uint64
	expire int64
	bytes  uint32
	state  metaState
	used   bool
}

type metaState uint8

const (
	metaFree metaState = iota
	metaHere
	metaAbsent
)

func newMetaCache(limit int) *metaCache {
	groups := uint64(1)
	for groups*2*metaWays*metaBytes <= uint64(limit) {
		groups *= 2
	}
	chunks := make([]atomic.Pointer[metaChunk], (groups+metaChunkGroups-1)/metaChunkGroups)
	return &metaCache{seed: maphash.MakeSeed(), chunks: chunks, groups: groups}
}

// group returns the slots that a row may be in, with their lock held; none if nothing is known there
// and fresh doesn't ask for them.
func (c *metaCache) group(b uint64, fresh bool) ([]metaSlot, *sync.Mutex) {
	g := b & (c.groups - 1)
	mu := &c.locks[g%metaLocks]
	mu.Lock()
	p := &c.chunks[g/metaChunkGroups]
	chunk := p.Load()
	if chunk == nil {
		if !fresh {
			return nil, mu
		}
		p.CompareAndSwap(nil, new(metaChunk)) // groups of one chunk have different locks
		chunk = p.Load()
	}
	at := g % metaChunkGroups * metaWays
	return chunk[at : at+metaWays], mu
}

// get returns what is known of a row; hash is the xxhash of its key.
func (c *metaCache) get(hash uint64, key []byte) (rowMeta, bool) {
	b := maphash.Bytes(c.seed, key)
	slots, mu := c.group(b, false)
	defer mu.Unlock()
	for i := range slots {
		if s := &slots[i]; s.b == b && s.a == hash && s.state != metaFree {
			s.used = true
			return rowMeta{here: s.state == metaHere, bytes: int64(s.bytes), expire: s.expire}, true
		}
	}
	return rowMeta{}, false
}

// put keeps what is known of a row, in place of what was used least of its group.
func (c *metaCache) put(hash uint64, key []byte, m rowMeta) {
	b := maphash.Bytes(c.seed, key)
	slots, mu := c.group(b, true)
	defer mu.Unlock()
	s := victim(slots, hash, b)
	*s = metaSlot{a: hash, b: b, expire: m.expire, bytes: uint32(m.bytes), state: metaAbsent}
	if m.here {
		s.state = metaHere
	}
}

func victim(slots []metaSlot, a, b uint64) *metaSlot {
	var pick *metaSlot
	for i := range slots {
		s := &slots[i]
		if s.b == b && s.a == a {
			return s
		}
		if pick == nil && (s.state == metaFree || !s.used) {
			pick = s
		}
	}
	if pick == nil {
		for i := range slots {
			slots[i].used = false
		}
		pick = &slots[a>>62]
	}
	return pick
}

// drop forgets a row.
func (c *metaCache) drop(hash uint64, key []byte) {
	b := maphash.Bytes(c.seed, key)
	slots, mu := c.group(b, false)
	defer mu.Unlock()
	for i := range slots {
		if s := &slots[i]; s.b == b && s.a == hash {
			*s = metaSlot{}
		}
	}
}

// update takes a key row that was applied. The bytes are those of account.
func (c *metaCache) update(hash uint64, key []byte, userKey int, value []byte, set bool) {
	if !set {
		c.put(hash, key, rowMeta{})
		return
	}
	r, err := decodeRow(value)
	if err != nil || r.Spread {
		c.drop(hash, key)
		return
	}
	c.put(hash, key, rowMeta{here: true, bytes: int64(userKey + len(value)), expire: r.ExpireMS})
}
