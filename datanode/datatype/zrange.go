package datatype

import (
	"encoding/binary"
	"iter"
	"math"

	"github.com/atolldb/atoll/datanode/store"
)

// Span is a run of neighbours in a sorted set. It holds until the set, or another span of the same Space, is
// made or changed.
type Span struct {
	from, to int          // packed: positions in Buf.index, the second one exclusive
	bounds   store.Bounds // spread
	none     bool         // spread: nothing can be inside
	all      bool         // every member
}

func (z *ZSet) subs(b store.Bounds) iter.Seq2[[]byte, []byte] {
	return z.Tx.Subs(z.DB, z.key, z.row.Version, store.SubScore, b)
}

// indexPacked notes where each packed element starts, and the end, so that they can be walked backwards.
func (z *ZSet) indexPacked() int {
	index := z.Buf.index[:0]
	w := walkScores(z.packed)
	for w.next() {
		index = append(index, int32(w.start))
	}
	z.check(w.err)
	z.Buf.index = append(index, int32(len(z.packed)))
	return len(index)
}

// element returns the packed element at a position of the index.
func (z *ZSet) element(i int) (member []byte, score float64) {
	at := int(z.Buf.index[i])
	score, err := decodeScore(z.packed[at : at+scoreSize])
	z.check(err)
	member, _, err = readChunk(z.packed, at+scoreSize)
	z.check(err)
	return member, score
}

// splitName takes the name of a score row apart.
func (z *ZSet) splitName(name []byte) (member []byte, score float64) {
	if len(name) < scoreSize {
		z.check(errCorrupt)
	}
	score, err := decodeScore(name[:scoreSize])
	z.check(err)
	return name[scoreSize:], score
}

// All is the span of every member.
func (z *ZSet) All() Span {
	if z.row.Spread {
		return Span{all: true}
	}
	return Span{to: z.indexPacked(), all: true}
}

// ByScore is the span of the members whose scores are in r.
func (z *ZSet) ByScore(r ScoreRange) Span {
	if r.Empty() {
		return Span{none: true}
	}
	if z.row.Spread {
		b := z.bounds()
		b.From = binary.BigEndian.AppendUint64(b.From, after(r.Min, r.MinOpen))
		b.To = binary.BigEndian.AppendUint64(b.To, after(r.Max, !r.MaxOpen))
		z.Buf.from, z.Buf.to = b.From, b.To
		return Span{bounds: b}
	}
	n := z.indexPacked()
	from, to := 0, n
	for from < n {
		if _, score := z.element(from); !r.below(score) {
			break
		}
		from++
	}
	for to > from {
		if _, score := z.element(to - 1); !r.above(score) {
			break
		}
		to--
	}
	return Span{from: from, to: to}
}

// after is the encoded score, or the one behind it. The largest score is infinity, so it can't wrap.
func after(score float64, behind bool) uint64 {
	u := sortable(score)
	if behind {
		u++
	}
	return u
}

// bounds returns the buffers for a range of sub rows, emptied.
func (z *ZSet) bounds() store.Bounds {
	if z.Buf.from == nil {
		z.Buf.from, z.Buf.to = make([]byte, 0, 64), make([]byte, 0, 64)
	}
	return store.Bounds{From: z.Buf.from[:0], To: z.Buf.to[:0]}
}

// ByLex is the span of the members in r. As in Redis it means something only when all scores are equal; in
// a spread set it looks at the members with the lowest score alone.
func (z *ZSet) ByLex(r LexRange) Span {
	if r.Empty() {
		return Span{none: true}
	}
	if z.row.Spread {
		return z.spreadByLex(r)
	}
	n := z.indexPacked()
	from := 0
	for from < n {
		if member, _ := z.element(from); !r.below(member) {
			break
		}
		from++
	}
	to := from
	for to < n {
		if member, _ := z.element(to); r.above(member) {
			break
		}
		to++
	}
	return Span{from: from, to: to}
}

func (z *ZSet) spreadByLex(r LexRange) Span {
	score := math.Inf(1)
	for name := range z.subs(store.Bounds{}) {
		_, score = z.splitName(name)
		break
	}
	b := z.bounds()
	b.From = append(appendScore(b.From, score), r.min...)
	if r.minEnd == lexOpen {
		b.From = append(b.From, 0)
	}
	if r.maxEnd == lexPlus {
		b.To = binary.BigEndian.AppendUint64(b.To, after(score, true))
	} else {
		b.To = append(appendScore(b.To, score), r.max...)
		if r.maxEnd == lexClosed {
			b.To = append(b.To, 0)
		}
	}
	z.Buf.from, z.Buf.to = b.From, b.To
	return Span{bounds: b}
}

// ByRank is the span of the members from start to stop, both included, negative ones counting from the end;
// in reverse the highest score has rank 0.
func (z *ZSet) ByRank(start, stop int64, reverse bool) Span {
	n := z.Len()
	if start < 0 {
		start = max(n+start, 0)
	}
	if stop < 0 {
		stop = n + stop
	}
	stop = min(stop, n-1)
	if start > stop {
		return Span{none: true}
	}
	if reverse {
		start, stop = n-1-stop, n-1-start
	}
	if !z.row.Spread {
		z.indexPacked()
		return Span{from: int(start), to: int(stop) + 1}
	}
	if start == 0 && stop == n-1 {
		return Span{all: true}
	}
	b := z.bounds()
	b.From = z.nameAt(b.From, start)
	if stop == n-1 {
		b.To = nil
	} else {
		b.To = z.nameAt(b.To, stop+1)
		z.Buf.to = b.To
	}
	z.Buf.from = b.From
	return Span{bounds: b}
}

// nameAt appends the name of the score row of that rank, found from the nearer end.
func (z *ZSet) nameAt(dst []byte, rank int64) []byte {
	reverse := rank > z.Len()/2
	if reverse {
		rank = z.Len() - 1 - rank
	}
	for name := range z.subs(store.Bounds{Reverse: reverse}) {
		if rank == 0 {
			return append(dst, name...)
		}
		rank--
	}
	z.check(errCorrupt) // the key row counts more members than there are
	return dst
}

// Count is the number of members in a span.
func (z *ZSet) Count(s Span) int64 {
	switch {
	case s.none:
		return 0
	case s.all:
		return z.Len()
	case !z.row.Spread:
		return int64(s.to - s.from)
	}
	var n int64
	for range z.subs(s.bounds) {
		n++
	}
	return n
}

// Walk calls fn for the members of a span, from its end in reverse, without the first skip ones and at most
// limit of them (negative: all), until it returns false. The slices are good for one call, and fn must not
// change the set.
func (z *ZSet) Walk(s Span, reverse bool, skip, limit int64, fn func(member []byte, score float64) bool) {
	if s.none || limit == 0 || skip < 0 {
		return
	}
	if z.row.Spread {
		s.bounds.Reverse = reverse
		for name := range z.subs(s.bounds) {
			if skip > 0 {
				skip--
				continue
			}
			if !fn(z.splitName(name)) {
				return
			}
			if limit--; limit == 0 {
				return
			}
		}
		return
	}
	n := int64(s.to - s.from)
	for i := skip; i < n; i++ {
		at := s.from + int(i)
		if reverse {
			at = s.to - 1 - int(i)
		}
		if !fn(z.element(at)) {
			return
		}
		if limit--; limit == 0 {
			return
		}
	}
}

// DeleteSpan removes the members of a span, at most limit of them (negative: all) from its start, or from
// its end in reverse, and returns how many.
func (z *ZSet) DeleteSpan(s Span, reverse bool, limit int64) int64 {
	if s.none || limit == 0 {
		return 0
	}
	if z.row.Spread {
		if s.all && (limit < 0 || limit >= z.Len()) {
			n := z.Len()
			z.clear()
			return n
		}
		var n int64
		s.bounds.Reverse = reverse
		for name := range z.subs(s.bounds) { // yields the rows as they were before the first deletion
			z.deleteMember(z.splitName(name))
			if n++; n == limit {
				break
			}
		}
		return n
	}
	n := s.to - s.from
	if limit >= 0 && int64(n) > limit {
		n = int(limit)
		if reverse {
			s.from = s.to - n
		} else {
			s.to = s.from + n
		}
	}
	if n == 0 {
		return 0
	}
	z.edit()
	z.edited(cutPacked(z.packed, int(z.Buf.index[s.from]), int(z.Buf.index[s.to]), n))
	return int64(n)
}

// clear drops all members in constant time: Save deletes the key, and the rows go behind it.
func (z *ZSet) clear() {
	z.row.Count = 0
	z.changed = true
}
