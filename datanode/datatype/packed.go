package datatype

import (
	"encoding/binary"
	"slices"
)

// A packed collection is one key row:
//
//	count, 2 bytes little endian | element, count times
//	set element: uvarint len(member) | member
//	hash element: uvarint len(field) | field | uvarint len(value) | value
//	list element: uvarint len(element) | element
//	zset element: 8 bytes of score (appendScore) | uvarint len(member) | member, in the order of (score, member)
//
// Nothing follows the last element. The type's tag stands in the row's header, so the form itself carries
// none; another form would be another tag. Lengths are minimal uvarints, so equal content in equal order has
// one encoding.
const (
	packedHeader   = 2
	packedCountMax = 1<<16 - 1
)

// Limits say how long a collection stays one packed row.
type Limits struct {
	Members int // the largest number of fields or members, at most 65535
	Bytes   int // the largest packed form, in bytes
}

// DefaultLimits are those of a node without configuration.
var DefaultLimits = Limits{Members: 128, Bytes: 2 << 10}

func (l Limits) fits(count, size int) bool {
	return count <= min(l.Members, packedCountMax) && size <= l.Bytes
}

func packedCount(p []byte) (int, error) {
	if len(p) < packedHeader {
		return 0, errCorrupt
	}
	return int(binary.LittleEndian.Uint16(p)), nil
}

func setPackedCount(p []byte, count int) { binary.LittleEndian.PutUint16(p, uint16(count)) }

// readChunk reads a length and that many bytes at offset at, and returns the offset behind them.
func readChunk(p []byte, at int) (chunk []byte, next int, err error) {
	if at < len(p) && p[at] < 0x80 { // one byte of length: nearly always
		next = at + 1 + int(p[at])
		if next > len(p) {
			return nil, 0, errCorrupt
		}
		return p[at+1 : next : next], next, nil
	}
	n, width := binary.Uvarint(p[min(at, len(p)):])
	if width <= 0 || width > 1 && p[at+width-1] == 0 || n > uint64(len(p)-at-width) {
		return nil, 0, errCorrupt
	}
	at += width
	next = at + int(n)
	return p[at:next:next], next, nil
}

func appendChunk(dst, chunk []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(chunk)))
	return append(dst, chunk...)
}

func chunkSize(n int) int {
	size := 1
	for u := uint64(n); u >= 0x80; u >>= 7 {
		size++
	}
	return size + n
}

// splice replaces p[from:to] by room bytes, whose content the caller writes, and returns the grown or
// shrunk slice.
func splice(p []byte, from, to, room int) []byte {
	switch grow := room - (to - from); {
	case grow > 0:
		old := len(p)
		p = slices.Grow(p, grow)[:old+grow]
		copy(p[to+grow:], p[to:old])
	case grow < 0:
		copy(p[to+grow:], p[to:])
		p = p[:len(p)+grow]
	}
	return p
}

// items walks a packed list or set from front to back without allocating.
type items struct {
	p        []byte
	at, left int
	start    int // of the present element
	data     []byte
	err      error
}

func walkItems(p []byte) items {
	n, err := packedCount(p)
	return items{p: p, at: packedHeader, left: n, err: err}
}

// next steps to the next element and reports whether there is one. At the end err tells a damaged form.
func (w *items) next() bool {
	if w.err != nil {
		return false
	}
	if w.left == 0 {
		if w.at != len(w.p) {
			w.err = errCorrupt
		}
		return false
	}
	w.start = w.at
	if w.data, w.at, w.err = readChunk(w.p, w.at); w.err != nil {
		return false
	}
	w.left--
	return true
}

// pairs walks a packed hash from front to back without allocating.
type pairs struct {
	p           []byte
	at, left    int
	field, data []byte
	start       int // of the present element
	err         error
}

func walkPairs(p []byte) pairs {
	n, err := packedCount(p)
	return pairs{p: p, at: packedHeader, left: n, err: err}
}

// next steps to the next element and reports whether there is one. At the end err tells a damaged form.
func (w *pairs) next() bool {
	if w.err != nil {
		return false
	}
	if w.left == 0 {
		if w.at != len(w.p) {
			w.err = errCorrupt
		}
		return false
	}
	w.start = w.at
	if w.field, w.at, w.err = readChunk(w.p, w.at); w.err != nil {
		return false
	}
	if w.data, w.at, w.err = readChunk(w.p, w.at); w.err != nil {
		return false
	}
	w.left--
	return true
}

// scores walks a packed sorted set from front to back without allocating.
type scores struct {
	p        []byte
	at, left int
	start    int // of the present element
	member   []byte
	score    float64
	err      error
}

func walkScores(p []byte) scores {
	n, err := packedCount(p)
	return scores{p: p, at: packedHeader, left: n, err: err}
}

func (w *scores) next() bool {
	if w.err != nil {
		return false
	}
	if w.left == 0 {
		if w.at != len(w.p) {
			w.err = errCorrupt
		}
		return false
	}
	w.start = w.at
	if len(w.p)-w.at < scoreSize {
		w.err = errCorrupt
		return false
	}
	if w.score, w.err = decodeScore(w.p[w.at : w.at+scoreSize]); w.err != nil {
		return false
	}
	if w.member, w.at, w.err = readChunk(w.p, w.at+scoreSize); w.err != nil {
		return false
	}
	w.left--
	return true
}

// putPair sets a field of the packed hash in p, which is changed in place and grown, and reports whether
// the field is new.
func putPair(p, field, value []byte) (packed []byte, created bool, err error) {
	w := walkPairs(p)
	for w.next() {
		if string(w.field) == string(field) {
			from := w.at - chunkSize(len(w.data))
			room := chunkSize(len(value))
			p = splice(p, from, w.at, room)
			appendChunk(p[from:from:from+room], value)
			return p, false, nil
		}
	}
	if w.err != nil {
		return p, false, w.err
	}
	n, _ := packedCount(p)
	if n == packedCountMax {
		return p, false, errCorrupt // the limits keep it far below
	}
	p = appendChunk(appendChunk(p, field), value)
	setPackedCount(p, n+1)
	return p, true, nil
}

// cutPair removes a field from the packed hash in p.
func cutPair(p, field []byte) (packed []byte, removed bool, err error) {
	w := walkPairs(p)
	for w.next() {
		if string(w.field) == string(field) {
			p = splice(p, w.start, w.at, 0)
			n, _ := packedCount(p)
			setPackedCount(p, n-1)
			return p, true, nil
		}
	}
	return p, false, w.err
}

// putScore inserts a member into the packed sorted set in p, which doesn't hold it, at its place.
func putScore(p, member []byte, score float64) ([]byte, error) {
	w := walkScores(p)
	at := packedHeader
	for w.next() {
		if w.score > score || w.score == score && string(w.member) > string(member) {
			break
		}
		at = w.at
	}
	if w.err != nil {
		return p, w.err
	}
	n, _ := packedCount(p)
	if n == packedCountMax {
		return p, errCorrupt // the limits keep it far below
	}
	room := scoreSize + chunkSize(len(member))
	p = splice(p, at, at, room)
	appendChunk(appendScore(p[at:at:at+room], score), member)
	setPackedCount(p, n+1)
	return p, nil
}

// cutPacked removes count elements, which lie in p[from:to], from a packed collection.
func cutPacked(p []byte, from, to, count int) []byte {
	n, _ := packedCount(p)
	p = splice(p, from, to, 0)
	setPackedCount(p, n-count)
	return p
}
