package datatype

import (
	"math"

	"github.com/atolldb/atoll/datanode/store"
)

// rewriteShare is how many times as many elements must go as stay for those that stay to be written anew: it costs
// more than to remove as many.
const rewriteShare = 4

// Trim keeps the n elements from a position on, which must be there. What goes from a spread list goes row by row or,
// where little stays, by a new version, which leaves the old rows to the sweeper.
func (l *List) Trim(from, n int64) {
	size := l.Len()
	switch gone := size - n; {
	case gone == 0:
	case n == 0:
		l.clear()
	case !l.row.Spread:
		start := l.seek(from).start
		end := l.seek(from + n - 1).at
		l.edit()
		l.edited(cutPacked(l.packed, end, len(l.packed), int(size-from-n)))
		l.edited(cutPacked(l.packed, packedHeader, start, int(from)))
	case n*rewriteShare < gone:
		old := *l
		l.startSpread()
		l.row.Head = listHead
		old.Each(from, n, false, func(_ int64, value []byte) bool {
			l.putSub(store.SubMember, l.name(int64(l.row.Count)), value, 0)
			l.row.Count++
			return true
		})
	default:
		l.drop(false, size-from-n)
		l.drop(true, from)
	}
}

// clear drops all elements in constant time: the rows of a spread list go behind it.
func (l *List) clear() {
	l.changed = true
	if l.row.Spread {
		l.row.Count = 0
		return
	}
	l.packed, l.ours = emptyPacked[:], false
}

// drop removes n elements of a spread list, but not all, from the front or the end.
func (l *List) drop(front bool, n int64) {
	if n > 0 {
		l.Take(front, n, func([]byte) bool { return false })
	}
}

// Insert puts value before the first element that equals pivot, or behind it, and reports whether there is one. In a
// spread list the elements on the side with fewer bytes move by one; if they are more than one run may write,
// nothing has changed, and the error is store.ErrTooLarge.
func (l *List) Insert(pivot, value []byte, behind bool) (bool, error) {
	at, before := int64(-1), uint64(0) // bytes of the elements in front of the new one
	l.Each(0, l.Len(), false, func(i int64, v []byte) bool {
		if string(v) == string(pivot) {
			at = i
			if behind {
				at++
				before += indexSize + uint64(len(v))
			}
			return false
		}
		before += indexSize + uint64(len(v))
		return true
	})
	if at < 0 {
		return false, nil
	}
	if l.stays(1, chunkSize(len(value))) {
		start := len(l.packed)
		if at < l.Len() {
			start = l.seek(at).start
		}
		l.edit()
		l.edited(putItems(l.packed, start, false, value))
		return true, nil
	}
	l.spread()
	if min(before, l.row.Bytes-before) > store.MaxRunBytes {
		return false, store.ErrTooLarge
	}
	old, size := *l, l.Len()
	if before < l.row.Bytes-before {
		l.row.Head--
		old.Each(0, at, false, l.mover(0, 1))
	} else {
		old.Each(at, size-at, false, l.mover(at+1, 1))
	}
	l.row.Count++
	l.putSub(store.SubMember, l.name(at), value, 0)
	return true, nil
}

// mover writes one element after the other from a position on, upwards or downwards. What they count for has not
// changed when all are in place.
func (l *List) mover(to, step int64) func(int64, []byte) bool {
	return func(_ int64, value []byte) bool {
		l.Tx.PutSub(l.DB, l.key, l.row.Version, store.SubMember, l.name(to), value)
		to += step
		return true
	}
}

// matches are elements that equal a value.
type matches struct {
	n           int64
	first, last int64  // their positions
	before      uint64 // bytes of the elements before the first
	through     uint64 // and of those up to the last
}

// match finds the first limit elements that equal value, or in reverse the last.
func (l *List) match(value []byte, reverse bool, limit int64) matches {
	var m matches
	var seen uint64
	l.Each(0, l.Len(), reverse, func(i int64, v []byte) bool {
		if string(v) == string(value) {
			if m.n++; m.n == 1 {
				m.first, m.before = i, seen
			}
			m.last, m.through = i, seen+indexSize+uint64(len(v))
		}
		seen += indexSize + uint64(len(v))
		return m.n < limit
	})
	if reverse {
		m.first, m.last = m.last, m.first
		m.before, m.through = l.row.Bytes-m.through, l.row.Bytes-m.before
	}
	return m
}

// Remove removes up to limit elements (0: all) that equal value, the first ones or in reverse the last, and returns
// how many. In a spread list what lies on the side with fewer bytes moves together; if that is more than one run may
// write, nothing has changed, and the error is store.ErrTooLarge.
func (l *List) Remove(value []byte, reverse bool, limit int64) (int64, error) {
	if limit == 0 {
		limit = math.MaxInt64
	}
	if !l.row.Spread {
		return l.removePacked(value, reverse, limit), nil
	}
	m := l.match(value, reverse, limit)
	size, gone := l.Len(), uint64(m.n)*(indexSize+uint64(len(value)))
	up, down := m.through-gone, l.row.Bytes-m.before-gone // the bytes that move when the elements do so
	switch {
	case m.n == 0:
		return 0, nil
	case m.n == size:
		l.clear()
		return m.n, nil
	case min(up, down) > store.MaxRunBytes:
		return 0, store.ErrTooLarge
	}
	front := up < down
	from, n, to, step := m.first, size-m.first, m.first, int64(1)
	if front {
		from, n, to, step = 0, m.last+1, m.last, -1
	}
	move := l.mover(to, step)
	l.Each(from, n, front, func(i int64, v []byte) bool {
		if i < m.first || i > m.last || string(v) != string(value) {
			move(i, v)
		}
		return true
	})
	left := size - m.n // from where no element is any more
	if front {
		left = 0
	}
	for i := range m.n {
		l.Tx.DeleteSub(l.DB, l.key, l.row.Version, store.SubMember, l.name(left+i))
	}
	l.row.Bytes -= gone
	l.shrink(front, m.n)
	return m.n, nil
}

func (l *List) removePacked(value []byte, reverse bool, limit int64) int64 {
	n := l.match(value, false, math.MaxInt64).n
	if n == 0 {
		return 0
	}
	skip := int64(0)
	if reverse {
		skip = max(n-limit, 0)
	}
	l.edit()
	l.edited(cutItems(l.packed, value, skip, limit))
	return min(n, limit)
}
