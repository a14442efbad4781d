package datatype

import (
	"fmt"

	"github.com/atolldb/atoll/datanode/store"
)

// MaxStringBytes bounds a string, as proto-max-bulk-len does in Redis.
const MaxStringBytes = 512 << 20

// Space is one database as one command sees it: the place where all types start.
type Space struct {
	Tx     *store.Tx
	DB     store.DB
	Limits Limits
	Buf    *Buffers
	// Looks counts the keys that are looked up; nil counts none.
	Looks *Looks
}

// Looks are how many keys were looked up to be read, and were there or not.
type Looks struct{ Hits, Misses uint64 }

// Row returns the row of a key.
func (s Space) Row(key []byte) (store.Row, bool) {
	row, ok := s.Tx.Get(s.DB, key)
	if s.Looks != nil {
		if ok {
			s.Looks.Hits++
		} else {
			s.Looks.Misses++
		}
	}
	return row, ok
}

// Buffers are memory that one command after the other uses again. The zero value is ready. What a type
// returns may point into them until the next call on the same Space that changes something.
type Buffers struct {
	edit  []byte  // a packed form that is being changed, or a new string
	name  []byte  // a sub row's name
	from  []byte  // where a range of sub rows starts
	to    []byte  // where it ends
	index []int32 // where the elements of a packed list or sorted set start
}

// keepBytes is the most that a buffer keeps from one command to the next.
const keepBytes = 64 << 10

// Trim lets go of what a large value has made large.
func (b *Buffers) Trim() {
	for _, p := range [...]*[]byte{&b.edit, &b.name, &b.from, &b.to} {
		if cap(*p) > keepBytes {
			*p = nil
		}
	}
	if cap(b.index) > keepBytes {
		b.index = nil
	}
}

// get returns the row of a key that must have that type if it is there.
func (s Space) get(key []byte, t store.Type) (store.Row, bool, error) {
	row, ok := s.Row(key)
	if ok && row.Type != t {
		return store.Row{}, false, ErrWrongType
	}
	return row, ok, nil
}

// collection is what all but strings have in common: a key row that is packed or spread.
type collection struct {
	Space
	key     []byte
	row     store.Row
	packed  []byte // the whole packed form, when not spread
	ours    bool   // packed lies in Buf.edit and may be changed
	changed bool   // the key row has to be written
}

// emptyPacked is the packed form of a collection that isn't there yet.
var emptyPacked = [packedHeader]byte{}

func (s Space) collection(key []byte, t store.Type) (collection, error) {
	row, ok, err := s.get(key, t)
	if err != nil {
		return collection{}, err
	}
	c := collection{Space: s, key: key, row: row}
	if !ok {
		c.row = store.Row{Type: t}
		c.packed = emptyPacked[:]
		return c, nil
	}
	if !row.Spread {
		c.packed = row.Data
	}
	return c, nil
}

// Len is the number of elements.
func (c *collection) Len() int64 {
	if c.row.Spread {
		return int64(c.row.Count)
	}
	n, err := packedCount(c.packed)
	c.check(err)
	return int64(n)
}

// Spread reports whether the elements have rows of their own.
func (c *collection) Spread() bool { return c.row.Spread }

// check panics with store.Damage when a packed form doesn't parse.
func (c *collection) check(err error) {
	if err != nil {
		panic(store.Damage{Err: fmt.Errorf("%w: %w", store.ErrDamage, err)})
	}
}

// edit copies the packed form to where it may be changed.
func (c *collection) edit() {
	c.changed = true
	if !c.ours {
		c.Buf.edit = append(c.Buf.edit[:0], c.packed...)
		c.packed, c.ours = c.Buf.edit, true
	}
}

// edited takes the packed form back after a change that may have moved it.
func (c *collection) edited(p []byte) { c.packed, c.Buf.edit = p, p }

// Save writes the key row if something has changed, and deletes the key when nothing is left.
func (c *collection) Save() {
	if !c.changed {
		return
	}
	if c.Len() == 0 {
		c.Tx.Delete(c.DB, c.key)
		return
	}
	if !c.row.Spread {
		c.row.Data = c.packed
	}
	c.Tx.Put(c.DB, c.key, c.row)
}

func (c *collection) getSub(s store.Sub, name []byte) ([]byte, bool) {
	return c.Tx.GetSub(c.DB, c.key, c.row.Version, s, name)
}

// memberSize returns what the row of a member counts for, if it is there.
func (c *collection) memberSize(name []byte) (uint64, bool) {
	n, ok := c.Tx.SizeMember(c.DB, c.key, c.row.Version, name)
	if !ok {
		return 0, false
	}
	return uint64(len(name) + n), true
}

// putSub writes a sub row that replaces one of oldSize bytes (0: a new one).
func (c *collection) putSub(s store.Sub, name, value []byte, oldSize uint64) {
	c.Tx.PutSub(c.DB, c.key, c.row.Version, s, name, value)
	if size := store.SubSize(name, value); size != oldSize {
		c.row.Bytes += size - oldSize
		c.changed = true
	}
}

func (c *collection) deleteSub(s store.Sub, name []byte, size uint64) {
	c.Tx.DeleteSub(c.DB, c.key, c.row.Version, s, name)
	c.row.Bytes -= size
	c.changed = true
}

// startSpread turns the key row into that of a spread collection without elements.
func (c *collection) startSpread() {
	c.row.Spread, c.row.Data = true, nil
	c.row.Version, c.row.Count, c.row.Bytes = c.Tx.NewVersion(), 0, 0
	c.changed = true
}
