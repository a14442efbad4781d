package datatype

import (
	"strconv"

	"github.com/atolldb/atoll/datanode/store"
)

// Hash is one hash during a command: open, read and change, Save.
type Hash struct{ collection }

// Hash opens the hash at key, an empty one when nothing is there.
func (s Space) Hash(key []byte) (Hash, error) {
	c, err := s.collection(key, store.TypeHash)
	return Hash{c}, err
}

// Get returns a field's value, good until the hash is changed.
func (h *Hash) Get(field []byte) ([]byte, bool) {
	if h.row.Spread {
		return h.getSub(store.SubMember, field)
	}
	w := walkPairs(h.packed)
	for w.next() {
		if string(w.field) == string(field) {
			return w.data, true
		}
	}
	h.check(w.err)
	return nil, false
}

// Set gives a field a value and reports whether the field is new.
func (h *Hash) Set(field, value []byte) bool {
	if h.row.Spread {
		return h.setSub(field, value)
	}
	h.edit()
	p, created, err := putPair(h.packed, field, value)
	h.check(err)
	h.edited(p)
	if n, _ := packedCount(p); !h.Limits.fits(n, len(p)) {
		h.spread()
	}
	return created
}

func (h *Hash) setSub(field, value []byte) bool {
	size, ok := h.memberSize(field)
	if !ok {
		h.row.Count++
		h.changed = true
	}
	h.putSub(store.SubMember, field, value, size)
	return !ok
}

// spread moves the packed fields to rows of their own.
func (h *Hash) spread() {
	h.startSpread()
	w := walkPairs(h.packed)
	for w.next() {
		h.putSub(store.SubMember, w.field, w.data, 0)
		h.row.Count++
	}
	h.check(w.err)
}

// Delete removes a field and reports whether it was there.
func (h *Hash) Delete(field []byte) bool {
	if h.row.Spread {
		size, ok := h.memberSize(field)
		if ok {
			h.row.Count--
			h.deleteSub(store.SubMember, field, size)
		}
		return ok
	}
	if _, ok := h.Get(field); !ok {
		return false
	}
	h.edit()
	p, _, err := cutPair(h.packed, field)
	h.check(err)
	h.edited(p)
	return true
}

// Increment adds delta to the integer in a field, 0 when it isn't there.
func (h *Hash) Increment(field []byte, delta int64) (int64, error) {
	value, ok := h.Get(field)
	sum, err := add(value, ok, delta)
	if err != nil {
		return 0, err
	}
	var text [20]byte
	h.Set(field, strconv.AppendInt(text[:0], sum, 10))
	return sum, nil
}

// IncrementFloat adds increment to the number in a field and returns the text of the sum, good until the
// next change.
func (h *Hash) IncrementFloat(field, increment []byte) ([]byte, error) {
	value, ok := h.Get(field)
	if ok && value == nil {
		value = []byte{}
	}
	sum, err := FloatSum(h.Buf.name[:0], value, increment)
	if err != nil {
		return nil, err
	}
	h.Buf.name = sum
	h.Set(field, sum)
	return sum, nil
}

// Each calls fn for every field until it returns false: packed ones in the order they were made, spread ones
// in byte order. The slices are good for one call; fn must not change the hash.
func (h *Hash) Each(fn func(field, value []byte) bool) {
	if h.row.Spread {
		h.EachFrom(nil, fn)
		return
	}
	w := walkPairs(h.packed)
	for w.next() {
		if !fn(w.field, w.data) {
			return
		}
	}
	h.check(w.err)
}

// EachFrom is Each of a spread hash from a field on.
func (h *Hash) EachFrom(from []byte, fn func(field, value []byte) bool) {
	for field, value := range h.Tx.Subs(h.DB, h.key, h.row.Version, store.SubMember, store.Bounds{From: from}) {
		if !fn(field, value) {
			return
		}
	}
}
