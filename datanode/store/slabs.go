package store

import (
	"bytes"
	"encoding/binary"
)

// slabs is a ring of slabs with records one behind the other. The oldest slab is written anew when all are full.
// A record is
//
//	b (8) | length of key (2) | size of the record in units (2) | length of value (4) | key | value
//
// and its place is its number of units from the first slab's start, plus one.
type slabs struct {
	limit int
	slabs [][]byte
	ends  []int // of what each slab holds
	head  int   // the slab that is written
}

const (
	slabBytes    = 128 << 10
	recordUnit   = 16
	recordHeader = 16
	recordMax    = 32 << 10 // larger rows aren't kept
	survivors    = slabBytes / 4 * 3
)

// full says that the next slab's rows would have to go.
func (s *slabs) full() bool {
	return len(s.slabs) == s.limit && s.ends[len(s.slabs)-1] > slabBytes-recordMax
}

func (s *slabs) place(slab, offset int) uint32 {
	return uint32((slab*slabBytes+offset)/recordUnit + 1)
}

func (s *slabs) at(place uint32) []byte {
	n := int(place-1) * recordUnit
	return s.slabs[n/slabBytes][n%slabBytes:]
}

func recordSize(r []byte) int { return int(binary.LittleEndian.Uint16(r[10:])) * recordUnit }

// read returns the parts of a record, as they lie there.
func (s *slabs) read(place uint32) (key, value []byte) {
	r := s.at(place)
	k, v := int(binary.LittleEndian.Uint16(r[8:])), int(binary.LittleEndian.Uint32(r[12:]))
	return r[recordHeader : recordHeader+k], r[recordHeader+k : recordHeader+k+v]
}

// overwrite replaces the value of a record that has room for it.
func (s *slabs) overwrite(place uint32, key, value []byte) bool {
	r := s.at(place)
	k := int(binary.LittleEndian.Uint16(r[8:]))
	if k != len(key) || recordHeader+k+len(value) > recordSize(r) || !bytes.Equal(r[recordHeader:recordHeader+k], key) {
		return false
	}
	binary.LittleEndian.PutUint32(r[12:], uint32(len(value)))
	copy(r[recordHeader+k:], value)
	return true
}

// append writes a record and returns its place, 0 if it is too large. turn is asked about each record of a slab
// that is about to be written anew: whether it moves from one place to another, 0 meaning that it can't.
func (s *slabs) append(b uint64, key, value []byte, turn func(b uint64, from, to uint32) bool) uint32 {
	need := (recordHeader + len(key) + len(value) + recordUnit - 1) / recordUnit * recordUnit
	if need > recordMax {
		return 0
	}
	if len(s.slabs) == 0 || s.ends[s.head]+need > slabBytes {
		s.next(turn)
	}
	at := s.ends[s.head]
	r := s.slabs[s.head][at:]
	binary.LittleEndian.PutUint64(r, b)
	binary.LittleEndian.PutUint16(r[8:], uint16(len(key)))
	binary.LittleEndian.PutUint16(r[10:], uint16(need/recordUnit))
	binary.LittleEndian.PutUint32(r[12:], uint32(len(value)))
	copy(r[recordHeader+copy(r[recordHeader:], key):], value)
	s.ends[s.head] += need
	return s.place(s.head, at)
}

// next goes to another slab: a new one while there may be more, else the oldest, whose records that were
// read lately move to its start.
func (s *slabs) next(turn func(b uint64, from, to uint32) bool) {
	if len(s.slabs) < s.limit {
		s.slabs, s.ends = append(s.slabs, make([]byte, slabBytes)), append(s.ends, 0)
		s.head = len(s.slabs) - 1
		return
	}
	s.head = (s.head + 1) % s.limit
	slab, kept := s.slabs[s.head], 0
	for at := 0; at < s.ends[s.head]; {
		size := recordSize(slab[at:])
		to := uint32(0)
		if kept+size <= survivors {
			to = s.place(s.head, kept)
		}
		if turn(binary.LittleEndian.Uint64(slab[at:]), s.place(s.head, at), to) {
			copy(slab[kept:], slab[at:at+size])
			kept += size
		}
		at += size
	}
	s.ends[s.head] = kept
}
