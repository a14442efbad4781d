package store

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
)

// rowTable keeps in memory what commands ask most often about rows: the values of hot key rows and of hot
// members of spread collections, and of many more what an overwrite must know of the row that it replaces
// (rowMeta), so that a SET, an HSET or a DEL seldom reads. Neither costs the garbage collector anything: slots hold
// no pointers, and values lie in slabs that are reused. A value of a few bytes, such as a counter or a score, lies
// in the slot.
//
// An entry is always true. Who reads a row and then keeps it here holds the row's stripe, or is refused
// because the shard has seen a write meanwhile; every applied row passes through update.
//
// A row is known by 96 bits of hash, 64 of them under a key that is random in each process, so that nobody
// can make two rows meet.
type rowTable struct {
	seed   maphash.Seed
	shift  uint
	shards []rowShard
}

const (
	rowShards    = 128 // at most
	rowWays      = 8   // of a table that is half full, one row in a hundred finds no slot
	rowSlotBytes = 32
	rowInline    = 8 // bytes of a value that fit into its slot
	rowGroups    = 8 // of a shard at first
	doorSlots    = 4096
)

// What is known of a slot's row.
const (
	rowUsed   = 1 << iota // asked for since the hand last came by
	rowHot                // its value was
	rowHere               // the row is there
	rowAbsent             // it isn't
	rowValued             // known only as long as the value is: key rows of spread collections
	rowSmall              // its value is in the slot
)

// rowMeta is what is kept of a row without its value.
type rowMeta struct {
	here   bool
	bytes  int64 // that a key row counts for; of a member, its value's
	expire int64 // Unix milliseconds; 0: never
}

// rowSlot is what is known of one row; the zero value is free.
type rowSlot struct {
	b     uint64
	word  [rowInline]byte // the value (rowSmall), else when the row expires
	a     uint32
	at    uint32 // where the value's record is, 0: nowhere
	bytes uint32
	flags uint16
	small uint16 // bytes of word that are the value
}

func (e *rowSlot) meta() rowMeta {
	m := rowMeta{here: e.flags&rowHere != 0, bytes: int64(e.bytes)}
	if e.flags&rowSmall == 0 {
		m.expire = int64(binary.LittleEndian.Uint64(e.word[:]))
	}
	return m
}

// fits says whether a row's value goes into its slot.
func (m rowMeta) fits(value []byte) bool { return len(value) <= rowInline && m.expire == 0 }

// rowName is a row's name in the table.
type rowName struct {
	b uint64
	a uint32
}

// rowShard has slots in groups of rowWays, and the slabs of their values.
type rowShard struct {
	mu     sync.Mutex
	seq    uint64 // writes seen
	groups uint64 // a power of two; 0 before the first row
	limit  uint64 // of groups
	taken  uint64 // slots in use
	slots  []rowSlot
	door   []uint32 // fingerprints of rows that were lately refused
	slabs  slabs

	hits, misses uint64 // of get
}

// newRowTable makes a table with so many bytes for values and for slots.
func newRowTable(values, slots int) *rowTable {
	n, shift := 1, uint(64)
	for n < rowShards && values/(2*n) >= 4*slabBytes {
		n, shift = 2*n, shift-1
	}
	t := &rowTable{seed: maphash.MakeSeed(), shift: shift, shards: make([]rowShard, n)}
	for i := range t.shards {
		s := &t.shards[i]
		s.limit = 1
		for s.limit*2*rowWays*rowSlotBytes <= uint64(slots/n) {
			s.limit *= 2
		}
		s.slabs.limit = max(values/n/slabBytes, 2)
	}
	return t
}

// lock returns the shard that a row is in, locked. hash is the xxhash of its key.
func (t *rowTable) lock(hash uint64, key []byte) (*rowShard, rowName) {
	n := rowName{b: maphash.Bytes(t.seed, key), a: uint32(hash)}
	s := &t.shards[n.b>>t.shift]
	s.mu.Lock()
	return s, n
}

func (s *rowShard) group(b uint64) []rowSlot {
	if s.slots == nil {
		s.groups = min(rowGroups, s.limit)
		s.slots = make([]rowSlot, s.groups*rowWays)
		s.door = make([]uint32, doorSlots)
	}
	at := b & (s.groups - 1) * rowWays
	return s.slots[at : at+rowWays : at+rowWays]
}

func (s *rowShard) find(n rowName) *rowSlot {
	group := s.group(n.b)
	for i := range group {
		if e := &group[i]; e.b == n.b && e.a == n.a && e.flags != 0 {
			return e
		}
	}
	return nil
}

// grow doubles the groups. The last time takes one to two milliseconds where the table has 128 MiB for slots.
func (s *rowShard) grow() {
	old := s.slots
	s.groups *= 2
	s.slots = make([]rowSlot, s.groups*rowWays)
	for i := range old {
		if e := &old[i]; e.flags != 0 {
			group := s.group(e.b) // takes from one old group alone, so there is room
			group[slices.IndexFunc(group, func(e rowSlot) bool { return e.flags == 0 })] = *e
		}
	}
}

// claim returns the row's slot: its own, a free one, or that of a row that nobody asked for lately.
func (s *rowShard) claim(n rowName) *rowSlot {
	if s.taken > uint64(len(s.slots)/2) && s.groups < s.limit {
		s.grow()
	}
	group := s.group(n.b)
	var free, stale *rowSlot
	for i := range group {
		switch e := &group[i]; {
		case e.flags == 0:
			free = e
		case e.b == n.b && e.a == n.a:
			return e
		case e.flags&rowUsed == 0:
			stale = e
		}
	}
	if free != nil {
		s.taken++
	} else {
		if free = stale; free == nil {
			for i := range group {
				group[i].flags &^= rowUsed
			}
			free = &group[n.a%rowWays]
		}
	}
	*free = rowSlot{b: n.b, a: n.a}
	return free
}

// meta returns what is known of a row, if that is enough for an overwrite.
func (t *rowTable) meta(hash uint64, key []byte) (rowMeta, bool) {
	s, n := t.lock(hash, key)
	defer s.mu.Unlock()
	e := s.find(n)
	if e == nil || e.flags&rowValued != 0 {
		return rowMeta{}, false
	}
	e.flags |= rowUsed
	return e.meta(), true
}

// rowFound is the answer to a read. If it isn't known, seen is what keep wants to know later.
type rowFound struct {
	value []byte
	here  bool
	known bool
	seen  uint64
}

// get copies a row's value into the arena of into.
func (t *rowTable) get(hash uint64, key []byte, into *rowSet) rowFound {
	s, n := t.lock(hash, key)
	defer s.mu.Unlock()
	e := s.find(n)
	switch {
	case e == nil:
	case e.flags&rowAbsent != 0:
		e.flags |= rowUsed
		s.hits++
		return rowFound{known: true}
	case e.flags&rowSmall != 0:
		e.flags |= rowUsed
		s.hits++
		return rowFound{value: into.keep(e.word[:e.small]), here: true, known: true}
	case e.at != 0:
		if k, v := s.slabs.read(e.at); bytes.Equal(k, key) {
			e.flags |= rowUsed | rowHot
			s.hits++
			return rowFound{value: into.keep(v), here: true, known: true}
		}
	}
	s.misses++
	return rowFound{seen: s.seq}
}

// rowKind is what the table must know of a row.
type rowKind uint8

const (
	keyRow    rowKind = iota
	spreadRow         // the key row of a spread collection
	memberRow
)

// rowFill is a row that was read after a get that didn't know it.
type rowFill struct {
	value []byte
	meta  rowMeta
	kind  rowKind
	write bool // by a run that writes: what it read it is about to replace
	seen  uint64
}

// keep offers what was read. While there is room it takes every value; then it takes one at its second miss
// within a while.
func (t *rowTable) keep(hash uint64, key []byte, f rowFill) {
	s, n := t.lock(hash, key)
	defer s.mu.Unlock()
	if s.seq != f.seen && planted != seedStaleFill {
		return
	}
	admitted := f.meta.here && (f.meta.fits(f.value) || !s.slabs.full() || s.admit(n))
	if !admitted && (!f.write || (f.kind == spreadRow && f.meta.here)) {
		return
	}
	e := s.claim(n)
	e.set(f.meta, f.kind)
	if admitted {
		s.store(e, key, f.value, f.meta)
	}
}

// set takes what is known of a row without its value. A record that its slot has is stored over, or is its value still.
func (e *rowSlot) set(m rowMeta, k rowKind) {
	e.flags &= rowUsed | rowHot
	switch {
	case !m.here:
		e.flags |= rowAbsent
		e.at = 0
	case k == spreadRow:
		e.flags |= rowHere | rowValued
	default:
		e.flags |= rowHere
	}
	e.bytes = uint32(m.bytes)
	binary.LittleEndian.PutUint64(e.word[:], uint64(m.expire))
}

// admit says whether a row may push another out.
func (s *rowShard) admit(n rowName) bool {
	door := &s.door[n.b/rowShards%doorSlots]
	if *door == n.a|1 {
		return true
	}
	*door = n.a | 1
	return false
}

// update takes a row that was applied, in whatever state the table knew it. It says whether the row was known to
// be there before. That a row is gone is kept of key rows; of others, only if they were known.
func (t *rowTable) update(hash uint64, key, value []byte, m rowMeta, k rowKind) (was bool) {
	s, n := t.lock(hash, key)
	defer s.mu.Unlock()
	s.seq++
	if !m.here && k == memberRow && s.find(n) == nil {
		return false
	}
	e := s.claim(n)
	was = e.flags&rowHere != 0
	e.set(m, k)
	if m.here {
		s.store(e, key, value, m)
	}
	return was
}

// drop forgets a row that was applied.
func (t *rowTable) drop(hash uint64, key []byte) {
	s, n := t.lock(hash, key)
	defer s.mu.Unlock()
	s.seq++
	if e := s.find(n); e != nil {
		*e = rowSlot{}
		s.taken--
	}
}

// store writes the value of a slot, over the old one if it fits there.
func (s *rowShard) store(e *rowSlot, key, value []byte, m rowMeta) {
	if m.fits(value) {
		e.at, e.small = 0, uint16(copy(e.word[:], value))
		e.flags |= rowSmall
		return
	}
	if e.at == 0 || !s.slabs.overwrite(e.at, key, value) {
		e.at = 0 // before others move
		e.at = s.slabs.append(e.b, key, value, s.turn)
	}
	if e.at == 0 {
		s.forget(e)
	}
}

// forget leaves of a slot what is true without the value.
func (s *rowShard) forget(e *rowSlot) {
	e.at = 0
	e.flags &^= rowHot
	if e.flags&rowValued != 0 {
		*e = rowSlot{}
		s.taken--
	}
}

// turn says where a record goes whose slab is about to be written anew: to its new place, if it was read since
// the last time and there is room, or away.
func (s *rowShard) turn(b uint64, from, to uint32) bool {
	group := s.group(b)
	for i := range group {
		e := &group[i]
		if e.at != from || e.b != b {
			continue
		}
		if to == 0 || e.flags&rowHot == 0 {
			s.forget(e)
			return false
		}
		e.at = to
		e.flags &^= rowHot
		return true
	}
	return false // overwritten elsewhere
}
