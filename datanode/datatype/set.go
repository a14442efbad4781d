package datatype

import (
	"bytes"

	"github.com/atolldb/atoll/datanode/store"
)

// Set is one set during a command: open, read and change, Save.
type Set struct{ collection }

// Set opens the set at key, an empty one when nothing is there.
func (s Space) Set(key []byte) (Set, error) {
	c, err := s.collection(key, store.TypeSet)
	return Set{c}, err
}

// Has reports whether a member is there.
func (s *Set) Has(member []byte) bool {
	if s.row.Spread {
		_, ok := s.memberSize(member)
		return ok
	}
	w := walkItems(s.packed)
	return s.find(&w, member)
}

// find walks the packed form up to a member.
func (s *Set) find(w *items, member []byte) bool {
	for w.next() {
		if string(w.data) == string(member) {
			return true
		}
	}
	s.check(w.err)
	return false
}

// Add puts a member in and reports whether it is new.
func (s *Set) Add(member []byte) bool {
	if s.Has(member) {
		return false
	}
	if s.row.Spread {
		s.row.Count++
		s.changed = true
		s.putSub(store.SubMember, member, nil, 0)
		return true
	}
	n, _ := packedCount(s.packed)
	if !s.Limits.fits(n+1, len(s.packed)+chunkSize(len(member))) {
		s.spread()
		return s.Add(member)
	}
	s.edit()
	p := appendChunk(s.packed, member)
	setPackedCount(p, n+1)
	s.edited(p)
	return true
}

// spread moves the packed members to rows of their own.
func (s *Set) spread() {
	s.startSpread()
	w := walkItems(s.packed)
	for w.next() {
		s.putSub(store.SubMember, w.data, nil, 0)
		s.row.Count++
	}
	s.check(w.err)
}

// Delete removes a member and reports whether it was there.
func (s *Set) Delete(member []byte) bool {
	if s.row.Spread {
		size, ok := s.memberSize(member)
		if ok {
			s.row.Count--
			s.deleteSub(store.SubMember, member, size)
		}
		return ok
	}
	w := walkItems(s.packed)
	ok := s.find(&w, member)
	if ok {
		s.edit()
		s.edited(cutPacked(s.packed, w.start, w.at, 1))
	}
	return ok
}

// Each calls fn for every member until it returns false: packed ones in the order in which they came, spread ones in
// byte order. The slice is good for one call; fn must not change the set.
func (s *Set) Each(fn func(member []byte) bool) {
	if s.row.Spread {
		s.EachFrom(nil, fn)
		return
	}
	w := walkItems(s.packed)
	for w.next() {
		if !fn(w.data) {
			return
		}
	}
	s.check(w.err)
}

// EachFrom is Each of a spread set from a member on.
func (s *Set) EachFrom(from []byte, fn func(member []byte) bool) {
	for member := range s.Tx.Subs(s.DB, s.key, s.row.Version, store.SubMember, store.Bounds{From: from}) {
		if !fn(member) {
			return
		}
	}
}

// Random returns some member, good until the set is changed; ok is false when there is none. Packed, each is equally
// likely. Spread, it is found by a walk down the tree of the members' bytes: of those that have the same first bytes, one at
// or behind a random next byte. So one with few neighbours is more likely than one of many, and every one can come up.
// random returns a number below its argument.
func (s *Set) Random(random func(int64) int64) (member []byte, ok bool) {
	n := s.Len()
	switch {
	case n == 0:
		return nil, false
	case s.row.Spread:
		return s.descend(random), true
	}
	at := random(n)
	s.Each(func(m []byte) bool {
		member = m
		at--
		return at >= 0
	})
	return member, true
}

// descend picks a member of a spread set, in three seeks for each step from one branch of the tree to the next.
func (s *Set) descend(random func(int64) int64) []byte {
	prefix := []byte{}
	for {
		first, last := s.edge(store.Bounds{From: prefix, To: prefixEnd(prefix)}), s.edge(store.Bounds{From: prefix, To: prefixEnd(prefix), Reverse: true})
		same := 0
		for same < len(first) && same < len(last) && first[same] == last[same] {
			same++
		}
		if same == len(last) { // it is the first one, too
			return last
		}
		low := -1 // the first one ends where the others go on
		if same < len(first) {
			low = int(first[same])
		}
		next := low + int(random(int64(int(last[same])-low+1)))
		if next < 0 {
			return first
		}
		from := append(first[:same:same], byte(next))
		found := s.edge(store.Bounds{From: from, To: prefixEnd(prefix)})
		prefix = found[:same+1]
	}
}

// edge returns a copy of the first member within bounds, or of the last; there is one, else the rows are damaged.
func (s *Set) edge(b store.Bounds) []byte {
	for member := range s.Tx.Subs(s.DB, s.key, s.row.Version, store.SubMember, b) {
		return append(make([]byte, 0, len(member)+1), member...)
	}
	s.check(errCorrupt)
	return nil
}

// prefixEnd is the smallest name behind all that start with prefix; nil if there is none.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for n := len(end); n > 0; n-- {
		if end[n-1]++; end[n-1] != 0 {
			return end[:n]
		}
	}
	return nil
}
