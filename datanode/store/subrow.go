package store

import (
	"bytes"
	"iter"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
)

// Sub is a kind of sub row.
type Sub uint8

// The kinds of sub rows.
const (
	SubMember Sub = 1 // member, field, or a list's index (8, big endian) -> value
	SubScore  Sub = 2 // order-preserving score | member -> nothing
	SubEntry  Sub = 3 // a stream entry's id (16, big endian) -> its fields
	SubGroup  Sub = 4 // a row of a stream's consumer groups, as datatype names it
)

func (s Sub) kind() byte {
	switch s {
	case SubScore:
		return kindScore
	case SubEntry:
		return kindEntry
	case SubGroup:
		return kindGroup
	}
	return kindMember
}

// Bounds limit a range of sub rows by their names, bytewise: From inclusive, To exclusive, nil is open.
type Bounds struct {
	From, To []byte
	Reverse  bool
}

func (tx *Tx) subKey(db DB, key []byte, version uint64, s Sub, name []byte) []byte {
	tx.key = append(appendSubPrefix(tx.key[:0], db.ks.prefix, s.kind(), key, version), name...)
	return tx.key
}

// GetSub returns the value of a sub row as the transaction sees it, valid until End.
func (tx *Tx) GetSub(db DB, key []byte, version uint64, s Sub, name []byte) ([]byte, bool) {
	k := tx.subKey(db, key, version, s, name)
	h := xxhash.Sum64(k)
	if p := tx.others.find(h, k); p != nil {
		return p.value, p.here
	}
	if s != SubMember {
		if tx.inRange(k) {
			return nil, false
		}
		return tx.fetch(&tx.others, k)
	}
	return tx.member(h, k)
}

// SizeMember returns how long the value of a member is, if that is there, as the transaction sees it: more of them
// are in memory than values.
func (tx *Tx) SizeMember(db DB, key []byte, version uint64, name []byte) (int, bool) {
	k := tx.subKey(db, key, version, SubMember, name)
	h := xxhash.Sum64(k)
	if p := tx.others.find(h, k); p != nil {
		return len(p.value), p.here
	}
	return tx.memberSize(h, k)
}

// PutSub sets a sub row; name and value are copied.
func (tx *Tx) PutSub(db DB, key []byte, version uint64, s Sub, name, value []byte) {
	tx.write(tx.subKey(db, key, version, s, name), value)
}

// DeleteSub removes a sub row.
func (tx *Tx) DeleteSub(db DB, key []byte, version uint64, s Sub, name []byte) {
	tx.remove(tx.subKey(db, key, version, s, name))
}

// DeleteSubs removes all sub rows from a name on to before another, both not nil, in constant time but for what the
// run has written itself. They must not be of a kind that caches hold. A run ends at MaxRanges of
// them, as Size says.
func (tx *Tx) DeleteSubs(db DB, key []byte, version uint64, s Sub, from, to []byte) {
	if s == SubMember {
		panic("store: DeleteSubs of members")
	}
	prefix := appendSubPrefix(nil, db.ks.prefix, s.kind(), key, version)
	n := len(prefix)
	r := span{append(prefix[:n:n], from...), append(prefix[:n:n], to...)}
	for i := range tx.others.rows {
		if p := &tx.others.rows[i]; p.dirty && bytes.Compare(p.key, r.from) >= 0 && bytes.Compare(p.key, r.to) < 0 {
			p.value, p.here = nil, false
		}
	}
	tx.ranges = append(tx.ranges, r)
}

// inRange says whether the transaction has removed a row as one of a range, and not written it since.
func (tx *Tx) inRange(key []byte) bool {
	for _, r := range tx.ranges {
		if bytes.Compare(key, r.from) >= 0 && bytes.Compare(key, r.to) < 0 {
			return true
		}
	}
	return false
}

// Subs yields name and value of the sub rows in bounds, as they were when the iteration began, the
// transaction's own writes included. The slices are valid for one step.
func (tx *Tx) Subs(db DB, key []byte, version uint64, s Sub, b Bounds) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		prefix := appendSubPrefix(nil, db.ks.prefix, s.kind(), key, version)
		n := len(prefix)
		lower, upper := append(prefix[:n:n], b.From...), prefixEnd(prefix)
		if b.To != nil {
			upper = append(prefix[:n:n], b.To...)
		}
		for k, v := range tx.merged(&tx.others, lower, upper, b.Reverse) {
			if !yield(k[n:], v) {
				return
			}
		}
	}
}

// KeyBounds limit a walk over keys: From inclusive, nil is the start; only keys that start with Prefix.
type KeyBounds struct{ From, Prefix []byte }

// Keys yields the live keys of a database in order, with their rows. Without an exclusive run it is
// no snapshot against other connections' writes beyond what Pebble gives one iterator.
func (tx *Tx) Keys(db DB, b KeyBounds) iter.Seq2[[]byte, Row] {
	return func(yield func(key []byte, r Row) bool) {
		prefix := append(append([]byte(nil), db.ks.prefix...), kindKey)
		n := len(prefix)
		lower := append(prefix[:n:n], b.Prefix...)
		upper := prefixEnd(lower)
		if from := append(prefix[:n:n], b.From...); bytes.Compare(from, lower) > 0 {
			lower = from
		}
		if bytes.Compare(lower, upper) >= 0 {
			return
		}
		for k, v := range tx.merged(&tx.keys, lower, upper, false) {
			r := mustDecode(v)
			if !r.expired(tx.now) && !yield(k[n:], r) {
				return
			}
		}
	}
}

// overlay copies the dirty rows of s in [lower, upper), in order.
func overlay(s *rowSet, lower, upper []byte, reverse bool) []pending {
	var rows []pending
	for i := range s.rows {
		p := &s.rows[i]
		if p.dirty && bytes.Compare(p.key, lower) >= 0 && bytes.Compare(p.key, upper) < 0 {
			rows = append(rows, *p)
		}
	}
	slices.SortFunc(rows, func(a, b pending) int {
		if reverse {
			a, b = b, a
		}
		return bytes.Compare(a.key, b.key)
	})
	return rows
}

// merged yields the rows in [lower, upper) of Pebble under those that s has written.
func (tx *Tx) merged(s *rowSet, lower, upper []byte, reverse bool) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		own := overlay(s, lower, upper, reverse)
		it, err := tx.store.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			broken("open iterator", err)
		}
		defer func() { _ = it.Close() }() // a read error has surfaced through it.Error
		ok, step := it.First(), it.Next
		if reverse {
			ok, step = it.Last(), it.Prev
		}
		for ok || len(own) > 0 {
			c := -1 // own row first
			if len(own) == 0 {
				c = 1
			} else if ok {
				if c = bytes.Compare(own[0].key, it.Key()); reverse {
					c = -c
				}
			}
			if c == 0 {
				ok = step()
			}
			if c <= 0 {
				p := own[0]
				own = own[1:]
				if p.here && !yield(p.key, p.value) {
					return
				}
				continue
			}
			v, err := it.ValueAndErr()
			if err != nil {
				broken("read row", err)
			}
			if !tx.inRange(it.Key()) && !yield(it.Key(), v) {
				return
			}
			ok = step()
		}
		if err := it.Error(); err != nil {
			broken("walk rows", err)
		}
	}
}

// FlushDB empties a database in constant time, in an exclusive run: it gets a new keyspace number, and
// the rows of the old one are swept behind.
func (tx *Tx) FlushDB(db DB) {
	if !tx.run.Exclusive {
		panic("store: FlushDB outside an exclusive run")
	}
	tx.touch(db)
	old := db.ks
	for _, s := range [...]*rowSet{&tx.keys, &tx.others} {
		for i := range s.rows {
			if p := &s.rows[i]; p.dirty && bytes.HasPrefix(p.key, old.prefix) {
				*p = pending{hash: p.hash, key: p.key, known: true, old: p.old}
			}
		}
	}
	d := tx.delta(old)
	d.Keys, d.Bytes, d.Expires, d.Garbage = -old.keys.Load(), -old.bytes.Load(), -old.expires.Load(), -old.garbage.Load()
	if d.Keys == 0 && d.Garbage == 0 {
		return // nothing to leave behind
	}
	fresh := tx.ns.space(Databases + tx.NewVersion())
	tx.write(systemRow(sysMapping, tx.ns.id, uint64(db.i)), appendNumber(nil, fresh.number))
	tx.write(systemRow(sysDropped, tx.ns.id, old.number), nil)
	tx.remap = append(slices.DeleteFunc(tx.remap, func(r remap) bool { return r.db == db.i }), remap{db.i, fresh})
}

// SwapDB has two databases change places in constant time, in an exclusive run: each gets the other's keyspace.
func (tx *Tx) SwapDB(a, b DB) {
	if !tx.run.Exclusive {
		panic("store: SwapDB outside an exclusive run")
	}
	if a.i == b.i {
		return
	}
	tx.touch(a, b)
	tx.touch(b, a)
	for _, r := range [...]remap{{a.i, b.ks}, {b.i, a.ks}} {
		tx.write(systemRow(sysMapping, tx.ns.id, uint64(r.db)), appendNumber(nil, r.ks.number))
		tx.remap = append(slices.DeleteFunc(tx.remap, func(old remap) bool { return old.db == r.db }), r)
	}
}

// FlushAll empties every database of the namespace, in an exclusive run.
func (tx *Tx) FlushAll() {
	for i := range Databases {
		if db := tx.DB(i); db.ks.keys.Load() != 0 || db.ks.garbage.Load() != 0 || len(tx.keys.rows) > 0 {
			tx.FlushDB(db)
		}
	}
}
