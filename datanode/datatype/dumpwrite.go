package datatype

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/atolldb/atoll/datanode/store"
)

// Up to where Redis 7.0 keeps a collection in one piece, as it is configured without a word.
const (
	dumpHashMax     = 512
	dumpZSetMax     = 128
	dumpIntsetMax   = 512
	dumpPartMax     = 64      // bytes of a field, a value or a member
	dumpNodeBytes   = 8 << 10 // of a list's node
	dumpCompressMin = 20
)

// Dump appends a dump of the value at key, and reports whether there is one. more is asked with the length so far, and ends
// the writing when it answers false.
func (s Space) Dump(dst, key []byte, more func(n int) bool) ([]byte, bool, error) {
	row, ok := s.Row(key)
	if !ok {
		return dst, false, nil
	}
	s.Looks = nil
	start := len(dst)
	w := &dumpWriter{b: dst, more: more}
	switch row.Type {
	case store.TypeString:
		w.b = appendDumpString(append(w.b, dumpString), row.Data, &w.scratch)
	case store.TypeHash:
		h, _ := s.Hash(key)
		w.hash(&h)
	case store.TypeList:
		l, _ := s.List(key)
		w.list(&l)
	case store.TypeSet:
		set, _ := s.Set(key)
		w.set(&set)
	case store.TypeZSet:
		z, _ := s.ZSet(key)
		w.zset(&z)
	default:
		return dst, true, ErrNoDump
	}
	return appendFooter(w.b, start), true, nil
}

// dumpWriter writes one value.
type dumpWriter struct {
	b    []byte
	pack []byte // the listpack that is being made
	n    int    // its parts
	more func(n int) bool

	scratch []byte
}

func appendDumpLength(dst []byte, n uint64) []byte {
	switch {
	case n < 1<<6:
		return append(dst, byte(n))
	case n < 1<<14:
		return append(dst, 0x40|byte(n>>8), byte(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, 0x80), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, 0x81), n)
}

// appendDumpString writes a string: a number of up to four bytes as one, what gets shorter compressed, in scratch.
func appendDumpString(dst, text []byte, scratch *[]byte) []byte {
	if v, ok := ParseInt(text); ok && len(text) <= 11 {
		switch {
		case v >= -1<<7 && v < 1<<7:
			return append(dst, 0xc0, byte(v))
		case v >= -1<<15 && v < 1<<15:
			return append(dst, 0xc1, byte(v), byte(v>>8))
		case v >= -1<<31 && v < 1<<31:
			return append(dst, 0xc2, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
		}
	}
	if len(text) > dumpCompressMin {
		packed, ok := appendLZF((*scratch)[:0], text, len(text)-4)
		if *scratch = packed; ok {
			dst = appendDumpLength(append(dst, 0xc3), uint64(len(packed)))
			dst = appendDumpLength(dst, uint64(len(text)))
			return append(dst, packed...)
		}
	}
	return append(appendDumpLength(dst, uint64(len(text))), text...)
}

func (w *dumpWriter) text(b []byte) bool {
	w.b = appendDumpString(w.b, b, &w.scratch)
	return w.more(len(w.b))
}

// part adds to the listpack.
func (w *dumpWriter) part(text []byte) {
	if w.n == 0 {
		w.pack = append(w.pack[:0], 0, 0, 0, 0, 0, 0)
	}
	w.pack = appendPart(w.pack, text)
	w.n++
}

// packed writes the listpack as a string, and begins another.
func (w *dumpWriter) packed() bool {
	w.pack = append(w.pack, 0xff)
	binary.LittleEndian.PutUint32(w.pack, uint32(len(w.pack)))
	binary.LittleEndian.PutUint16(w.pack[4:], uint16(min(w.n, packedUnknown)))
	w.n = 0
	return w.text(w.pack)
}

func (w *dumpWriter) hash(h *Hash) {
	small := h.Len() <= dumpHashMax
	if small {
		h.Each(func(field, value []byte) bool {
			small = len(field) <= dumpPartMax && len(value) <= dumpPartMax
			return small
		})
	}
	if small {
		w.b = append(w.b, dumpHashListpack)
		h.Each(func(field, value []byte) bool {
			w.part(field)
			w.part(value)
			return true
		})
		w.packed()
		return
	}
	w.b = appendDumpLength(append(w.b, dumpHash), uint64(h.Len()))
	h.Each(func(field, value []byte) bool { return w.text(field) && w.text(value) })
}

func (w *dumpWriter) set(s *Set) {
	width := 0
	if s.Len() <= dumpIntsetMax {
		width = intsetWidth(s)
	}
	if width > 0 {
		w.b = appendDumpString(append(w.b, dumpSetIntset), intset(s, width), &w.scratch)
		return
	}
	w.b = appendDumpLength(append(w.b, dumpSet), uint64(s.Len()))
	s.Each(w.text)
}

// list writes nodes of some 8 KiB; their number is known in the end.
func (w *dumpWriter) list(l *List) {
	w.b = append(w.b, dumpListpacks)
	at, nodes, more := len(w.b), uint32(0), true
	w.b = append(w.b, 0x80, 0, 0, 0, 0)
	flush := func() {
		if w.n > 0 {
			w.b = append(w.b, nodePacked)
			more = w.packed()
			nodes++
		}
	}
	l.Each(0, l.Len(), false, func(_ int64, value []byte) bool {
		if w.n > 0 && len(w.pack)+len(value) > dumpNodeBytes {
			flush()
		}
		w.part(value)
		return more
	})
	flush()
	binary.BigEndian.PutUint32(w.b[at+1:], nodes)
}

func (w *dumpWriter) zset(z *ZSet) {
	small := z.Len() <= dumpZSetMax
	if small {
		z.Walk(z.All(), false, 0, -1, func(member []byte, _ float64) bool {
			small = len(member) <= dumpPartMax
			return small
		})
	}
	if small {
		w.b = append(w.b, dumpZSetListpack)
		z.Walk(z.All(), false, 0, -1, func(member []byte, score float64) bool {
			var text [32]byte
			w.part(member)
			w.part(appendScoreText(text[:0], score))
			return true
		})
		w.packed()
		return
	}
	w.b = appendDumpLength(append(w.b, dumpZSet), uint64(z.Len()))
	z.Walk(z.All(), true, 0, -1, func(member []byte, score float64) bool { // the highest first, as Redis reads fastest
		more := w.text(member)
		w.b = binary.LittleEndian.AppendUint64(w.b, math.Float64bits(score))
		return more
	})
}

func appendScoreText(dst []byte, score float64) []byte {
	switch {
	case math.IsInf(score, 1):
		return append(dst, "inf"...)
	case math.IsInf(score, -1):
		return append(dst, "-inf"...)
	case score == math.Trunc(score) && math.Abs(score) < 1<<53:
		return strconv.AppendInt(dst, int64(score), 10)
	}
	return strconv.AppendFloat(dst, score, 'g', 17, 64)
}
