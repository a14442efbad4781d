package store

import "bytes"

// rowSet is a small set of rows by key, made for reuse: a run of a few commands touches a few rows, and
// none of them should cost an allocation. Keys and values live in one arena.
type rowSet struct {
	rows  []pending
	table []int32 // open addressing over hashes; entries are row number + 1; used from smallSet rows on
	arena []byte
	size  int // bytes kept since reset, those of replaced values too
}

// pending is one row that a run has read or written.
type pending struct {
	hash  uint64
	key   []byte // in the arena
	value []byte // now, if known; nil if deleted or absent
	known bool   // value is; else the row is there as it was before the run
	here  bool
	dirty bool
	quiet bool    // who watches the key sees no change
	old   rowMeta // key rows: before the run
}

const (
	smallSet = 12
	arenaMax = 1 << 20  // an arena that grew beyond it is given back after the run
	ownBytes = 64 << 10 // a value from this size on has memory of its own, which is exact and isn't moved
	rowsMax  = 4096
)

func (s *rowSet) reset() {
	if cap(s.arena) > arenaMax {
		s.arena = nil
	}
	if cap(s.rows) > rowsMax {
		s.rows, s.table = nil, nil
	}
	if len(s.rows) >= smallSet {
		clear(s.table)
	}
	clear(s.rows) // lets go of large values
	s.rows, s.arena, s.size = s.rows[:0], s.arena[:0], 0
}

// keep copies b into the arena. Earlier slices stay valid when the arena moves.
func (s *rowSet) keep(b []byte) []byte {
	s.size += len(b)
	if len(b) >= ownBytes {
		return append(make([]byte, 0, len(b)), b...)
	}
	n := len(s.arena)
	s.arena = append(s.arena, b...)
	return s.arena[n:len(s.arena):len(s.arena)]
}

// keepRow is keep for a row that is still to be encoded.
func (s *rowSet) keepRow(r *Row) []byte {
	if len(r.Data) >= ownBytes {
		b := appendRow(make([]byte, 0, len(r.Data)+rowHeaderMax), r)
		s.size += len(b)
		return b
	}
	n := len(s.arena)
	s.arena = appendRow(s.arena, r)
	s.size += len(s.arena) - n
	return s.arena[n:len(s.arena):len(s.arena)]
}

func (s *rowSet) find(hash uint64, key []byte) *pending {
	if len(s.rows) < smallSet {
		for i := range s.rows {
			if s.rows[i].hash == hash && bytes.Equal(s.rows[i].key, key) {
				return &s.rows[i]
			}
		}
		return nil
	}
	mask := uint64(len(s.table) - 1)
	for i := hash & mask; s.table[i] != 0; i = (i + 1) & mask {
		if p := &s.rows[s.table[i]-1]; p.hash == hash && bytes.Equal(p.key, key) {
			return p
		}
	}
	return nil
}

// add appends a row that find has not found. The pointer is valid until the next add.
func (s *rowSet) add(hash uint64, key []byte) *pending {
	s.rows = append(s.rows, pending{hash: hash, key: s.keep(key)})
	n := len(s.rows)
	switch {
	case n < smallSet:
	case n == smallSet || 2*n > len(s.table):
		s.rehash(max(64, 4*n))
	default:
		s.place(n - 1)
	}
	return &s.rows[n-1]
}

func (s *rowSet) rehash(size int) {
	want := 64
	for want < size {
		want *= 2
	}
	if len(s.table) < want {
		s.table = make([]int32, want)
	} else {
		clear(s.table)
	}
	for i := range s.rows {
		s.place(i)
	}
}

func (s *rowSet) place(row int) {
	mask := uint64(len(s.table) - 1)
	i := s.rows[row].hash & mask
	for s.table[i] != 0 {
		i = (i + 1) & mask
	}
	s.table[i] = int32(row + 1)
}
