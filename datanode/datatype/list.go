package datatype

import (
	"encoding/binary"

	"github.com/atolldb/atoll/datanode/store"
)

// List is one list during a command: open, read and change, Save; Trim and Take are an only change. Spread over sub rows, an element's name is its
// index, 8 bytes in big endian. Neighbours have neighbouring indexes, and the key row knows the first: both ends
// move, and every place is found, without a look at what lies between.
type List struct{ collection }

const (
	indexSize = 8
	// listHead is the first index of a list that begins to spread: each end has room for 2^63 elements.
	listHead = 1 << 63
)

// List opens the list at key, an empty one when nothing is there.
func (s Space) List(key []byte) (List, error) {
	c, err := s.collection(key, store.TypeList)
	return List{c}, err
}

// appendIndex appends the name of the element at a position.
func (l *List) appendIndex(dst []byte, i int64) []byte {
	return binary.BigEndian.AppendUint64(dst, l.row.Head+uint64(i))
}

func (l *List) name(i int64) []byte {
	l.Buf.name = l.appendIndex(l.Buf.name[:0], i)
	return l.Buf.name
}

// Range turns a range from start to stop, both included, negative ones counting from the end, into the position
// of its first element and their number.
func (l *List) Range(start, stop int64) (from, n int64) {
	size := l.Len()
	if start < 0 {
		start = max(size+start, 0)
	}
	if stop < 0 {
		stop += size
	}
	stop = min(stop, size-1)
	return start, max(stop-min(start, size)+1, 0)
}

// position turns an index, which may count from the end, into a position, and reports whether there is one.
func (l *List) position(index int64) (int64, bool) {
	size := l.Len()
	if index < 0 {
		index += size
	}
	return index, index >= 0 && index < size
}

// Index returns the element at an index, negative ones counting from the end.
func (l *List) Index(index int64) ([]byte, bool) {
	i, ok := l.position(index)
	if !ok {
		return nil, false
	}
	if l.row.Spread {
		return l.element(i), true
	}
	return l.seek(i).data, true
}

// element returns the element of a spread list at a position where there is one.
func (l *List) element(i int64) []byte {
	value, ok := l.getSub(store.SubMember, l.name(i))
	if !ok {
		l.check(errCorrupt)
	}
	return value
}

// seek walks the packed form to a position where there is an element.
func (l *List) seek(i int64) items {
	w := walkItems(l.packed)
	for w.next() {
		if i == 0 {
			return w
		}
		i--
	}
	l.check(errCorrupt)
	return w
}

// Each calls fn for the n elements from a position on, from the last of them in reverse, until it returns false.
// They must be there. The slice is good for one call, and fn must not move elements.
func (l *List) Each(from, n int64, reverse bool, fn func(i int64, value []byte) bool) {
	switch {
	case n <= 0:
	case l.row.Spread:
		l.eachSub(from, n, reverse, fn)
	case reverse:
		l.eachBack(from, n, fn)
	default:
		w := l.seek(from)
		for i := from; fn(i, w.data); {
			if i++; i == from+n {
				return
			}
			if !w.next() {
				l.check(errCorrupt)
			}
		}
	}
}

func (l *List) eachSub(from, n int64, reverse bool, fn func(i int64, value []byte) bool) {
	l.Buf.from, l.Buf.to = l.appendIndex(l.Buf.from[:0], from), l.appendIndex(l.Buf.to[:0], from+n)
	b := store.Bounds{From: l.Buf.from, To: l.Buf.to, Reverse: reverse}
	i, step := from, int64(1)
	if reverse {
		i, step = from+n-1, -1
	}
	for name, value := range l.Tx.Subs(l.DB, l.key, l.row.Version, store.SubMember, b) {
		if len(name) != indexSize || binary.BigEndian.Uint64(name) != l.row.Head+uint64(i) {
			l.check(errCorrupt)
		}
		if !fn(i, value) {
			return
		}
		i += step
		n--
	}
	if n != 0 {
		l.check(errCorrupt) // the key row counts more elements than there are
	}
}

// eachBack walks a part of the packed form backwards, which takes a walk forwards before it.
func (l *List) eachBack(from, n int64, fn func(i int64, value []byte) bool) {
	index := l.Buf.index[:0]
	w := walkItems(l.packed)
	for w.next() {
		index = append(index, int32(w.start))
	}
	l.check(w.err)
	l.Buf.index = index
	for i := from + n - 1; i >= from; i-- {
		value, _, err := readChunk(l.packed, int(index[i]))
		l.check(err)
		if !fn(i, value) {
			return
		}
	}
}

// edit copies the packed form to where it may be changed; all of it is looked at first.
func (l *List) edit() {
	if !l.ours {
		w := walkItems(l.packed)
		for w.next() {
		}
		l.check(w.err)
	}
	l.collection.edit()
}

// stays reports whether the list stays packed with more elements, and more bytes.
func (l *List) stays(elements, bytes int) bool {
	return !l.row.Spread && l.Limits.fits(int(l.Len())+elements, len(l.packed)+bytes)
}

// Push puts values one after the other before the first element, or behind the last.
func (l *List) Push(front bool, values ...[]byte) {
	if l.stays(len(values), itemsSize(values)) {
		l.edit()
		at := len(l.packed)
		if front {
			at = packedHeader
		}
		l.edited(putItems(l.packed, at, front, values...))
		return
	}
	l.spread()
	for _, v := range values {
		if front {
			l.row.Head--
			l.putSub(store.SubMember, l.name(0), v, 0)
		} else {
			l.putSub(store.SubMember, l.name(int64(l.row.Count)), v, 0)
		}
		l.row.Count++
	}
}

// spread moves packed elements to rows of their own. What is too large for the packed form is never copied into it.
func (l *List) spread() {
	if l.row.Spread {
		return
	}
	l.startSpread()
	l.row.Head = listHead
	w := walkItems(l.packed)
	for w.next() {
		l.putSub(store.SubMember, l.name(int64(l.row.Count)), w.data, 0)
		l.row.Count++
	}
	l.check(w.err)
}

// Pop removes the first element, or the last, and returns it, good until the next change.
func (l *List) Pop(front bool) ([]byte, bool) {
	size := l.Len()
	if size == 0 {
		return nil, false
	}
	i := size - 1
	if front {
		i = 0
	}
	if l.row.Spread {
		value := l.element(i)
		l.deleteSub(store.SubMember, l.name(i), indexSize+uint64(len(value)))
		l.shrink(front, 1)
		return value, true
	}
	w := l.seek(i)
	if l.ours { // and the cut moves what is behind it
		l.Buf.from = append(l.Buf.from[:0], w.data...)
		w.data = l.Buf.from
	}
	l.edit()
	l.edited(cutPacked(l.packed, w.start, w.at, 1))
	return w.data, true
}

// shrink takes n elements, whose rows are gone, off an end.
func (l *List) shrink(front bool, n int64) {
	l.row.Count -= uint64(n)
	if front {
		l.row.Head += uint64(n)
	}
	l.changed = true
}

// Take removes n elements, which must be there, from the front or the end, and calls fn for one after the other
// until it returns false.
func (l *List) Take(front bool, n int64, fn func(value []byte) bool) {
	size, more := l.Len(), true
	from, rest := int64(0), n // where what is taken starts, and what stays
	if !front {
		from, rest = size-n, 0
	}
	if !l.row.Spread || n == size {
		l.Each(from, n, !front, func(_ int64, value []byte) bool { return fn(value) })
		l.Trim(rest, size-n)
		return
	}
	l.Each(from, n, !front, func(i int64, value []byte) bool {
		more = more && fn(value)
		l.deleteSub(store.SubMember, l.name(i), indexSize+uint64(len(value)))
		return true
	})
	l.shrink(front, n)
}

// Set replaces the element at an index, negative ones counting from the end, and reports whether there is one.
func (l *List) Set(index int64, value []byte) bool {
	i, ok := l.position(index)
	if !ok {
		return false
	}
	if !l.row.Spread {
		w := l.seek(i)
		if l.stays(0, chunkSize(len(value))-(w.at-w.start)) {
			l.edit()
			l.edited(setItem(l.packed, w.start, w.at, value))
			return true
		}
		l.spread()
	}
	size, ok := l.memberSize(l.name(i))
	if !ok {
		l.check(errCorrupt)
	}
	l.putSub(store.SubMember, l.name(i), value, size)
	return true
}
