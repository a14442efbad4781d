package store

import (
	"bytes"
	"sync"
)

// rowCache holds hot key rows. While it has room it takes every row that is read or applied; then it admits a
// row at its second miss within a while, since a fill at every miss costs more than it gives. Entries are
// written through where they are applied. A fill is dropped if its shard saw a write since the read began.
type rowCache struct {
	shards [cacheShards]cacheShard
}

const (
	cacheShards   = 64
	doorSlots     = 4096
	entryOverhead = 96 // bytes that an entry costs beside its key and value, about
	maxCachedRow  = 64 << 10
)

type cacheShard struct {
	mu      sync.Mutex
	index   map[uint64]int32
	entries []cacheEntry
	free    []int32
	hand    int
	size    int
	limit   int
	seq     uint64
	door    []uint32 // fingerprints of recent misses
}

type cacheEntry struct {
	hash  uint64
	key   []byte
	value []byte
	used  bool
	live  bool
}

func newRowCache(limit int) *rowCache {
	c := new(rowCache)
	for i := range c.shards {
		c.shards[i].limit = limit / cacheShards
		c.shards[i].index = make(map[uint64]int32)
		c.shards[i].door = make([]uint32, doorSlots)
	}
	return c
}

func (c *rowCache) shard(hash uint64) *cacheShard { return &c.shards[hash>>58] }

// get returns the cached value, or what fill wants to know later.
func (c *rowCache) get(hash uint64, key []byte) (value []byte, seen uint64, ok bool) {
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.index[hash]; ok {
		if e := &s.entries[i]; bytes.Equal(e.key, key) {
			e.used = true
			return e.value, 0, true
		}
	}
	return nil, s.seq, false
}

// fill offers a row that was read after a get that missed.
func (c *rowCache) fill(hash uint64, key, value []byte, seen uint64) {
	if len(value) > maxCachedRow {
		return
	}
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	need := len(key) + len(value) + entryOverhead
	if s.size+need > s.limit && !s.admit(hash) {
		return
	}
	if s.seq != seen && planted != seedStaleFill || need > s.limit {
		return
	}
	if i, ok := s.index[hash]; ok {
		s.remove(i)
	}
	for s.size+need > s.limit {
		s.evict()
	}
	s.insert(hash, key, value, need)
}

func (s *cacheShard) insert(hash uint64, key, value []byte, need int) {
	e := cacheEntry{hash: hash, live: true}
	e.key, e.value = pair(key, value)
	if n := len(s.free); n > 0 {
		s.index[hash] = s.free[n-1]
		s.entries[s.free[n-1]] = e
		s.free = s.free[:n-1]
	} else {
		s.index[hash] = int32(len(s.entries))
		s.entries = append(s.entries, e)
	}
	s.size += need
}

// admit says whether a row may push another out: at its second miss within a while.
func (s *cacheShard) admit(hash uint64) bool {
	door, mark := &s.door[hash%doorSlots], uint32(hash>>20)|1
	if *door == mark {
		return true
	}
	*door = mark
	return false
}

// pair copies key and value into one allocation.
func pair(key, value []byte) (k, v []byte) {
	kv := append(append(make([]byte, 0, len(key)+len(value)), key...), value...)
	return kv[:len(key):len(key)], kv[len(key):]
}

// update writes a row through that was applied.
func (c *rowCache) update(hash uint64, key, value []byte, set bool) {
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	i, ok := s.index[hash]
	if !ok {
		if need := len(key) + len(value) + entryOverhead; set && len(value) <= maxCachedRow && s.size+need <= s.limit {
			s.insert(hash, key, value, need)
		}
		return
	}
	if !bytes.Equal(s.entries[i].key, key) {
		return
	}
	if !set || len(value) > maxCachedRow {
		s.remove(i)
		return
	}
	e := &s.entries[i]
	s.size += len(value) - len(e.value)
	// New bytes, since readers may still hold the old value; for the key too, which would keep them alive.
	e.key, e.value = pair(key, value)
	for s.size > s.limit {
		s.evict()
	}
}

func (s *cacheShard) evict() {
	for {
		if s.hand++; s.hand >= len(s.entries) {
			s.hand = 0
		}
		e := &s.entries[s.hand]
		if !e.live {
			continue
		}
		if e.used {
			e.used = false
			continue
		}
		s.remove(int32(s.hand))
		return
	}
}

func (s *cacheShard) remove(i int32) {
	e := &s.entries[i]
	s.size -= len(e.key) + len(e.value) + entryOverhead
	delete(s.index, e.hash)
	*e = cacheEntry{}
	s.free = append(s.free, i)
}
