package datatype

import (
	"fmt"

	"github.com/atolldb/atoll/datanode/store"
)

// ExpireMSMax is the latest expiry in Unix milliseconds that is taken.
const ExpireMSMax = 1<<63 - 1

// Condition limits when an expiry is set.
type Condition uint8

// The conditions of EXPIRE; Greater and Less may stand with Present.
const (
	IfAbsent  Condition = 1 << iota // NX: the key has no expiry
	IfPresent                       // XX: it has one
	IfGreater                       // GT: the new one is later; a key without expiry never ends
	IfLess                          // LT: the new one is sooner
)

// Expire sets when the key ends, in Unix milliseconds, if the conditions hold, and reports whether it did. A
// time that has passed deletes the key.
func (s Space) Expire(key []byte, at int64, when Condition) bool {
	row, ok := s.Tx.Get(s.DB, key)
	if !ok {
		return false
	}
	has := row.ExpireMS != 0
	switch {
	case when&IfAbsent != 0 && has,
		when&IfPresent != 0 && !has,
		when&IfGreater != 0 && (!has || at <= row.ExpireMS),
		when&IfLess != 0 && has && at >= row.ExpireMS:
		return false
	}
	if at <= s.Tx.Now() {
		s.Tx.Delete(s.DB, key)
		return true
	}
	if at == row.ExpireMS {
		s.Tx.Touch(s.DB, key)
		return true
	}
	row.ExpireMS = at
	s.Tx.Put(s.DB, key, row)
	return true
}

// Persist takes the expiry away and reports whether there was one.
func (s Space) Persist(key []byte) bool {
	row, ok := s.Tx.Get(s.DB, key)
	if !ok || row.ExpireMS == 0 {
		return false
	}
	row.ExpireMS = 0
	s.Tx.Put(s.DB, key, row)
	return true
}

// Exists reports whether the key is there.
func (s Space) Exists(key []byte) bool {
	_, ok := s.Row(key)
	return ok
}

// Rename moves a key with its expiry onto another, which it replaces, and reports whether it was there. A
// spread collection's sub rows are written anew, so it costs its size; if they are more than one run may write, nothing
// has changed, and the error is store.ErrTooLarge.
func (s Space) Rename(from, to []byte) (bool, error) {
	ok, err := s.Copy(from, s.DB, to)
	if ok {
		s.Tx.Delete(s.DB, from)
	}
	return ok, err
}

// Copy copies a key with its expiry to a key of a database, replacing what is there, and reports whether it
// was there. Its bound is Rename's.
func (s Space) Copy(from []byte, db store.DB, to []byte) (bool, error) {
	row, ok := s.Tx.Get(s.DB, from)
	if !ok {
		return false, nil
	}
	if row.Spread {
		rows, err := s.rowsOf(from, row)
		if err != nil {
			return false, err
		}
		if each := uint64(copiedRow + len(to)); row.Bytes > store.MaxRunBytes || rows > (store.MaxRunBytes-row.Bytes)/each {
			return false, fmt.Errorf("%w: %d bytes in %d rows", store.ErrTooLarge, row.Bytes, rows)
		}
	}
	s.copyRow(from, row, db, to)
	return true, nil
}

// copiedRow is about what a row takes of a run's memory beside its name and value, and the key's name.
const copiedRow = 256

// rowsOf counts the sub rows of a spread collection.
func (s Space) rowsOf(key []byte, row store.Row) (uint64, error) {
	rows := row.Count
	switch {
	case row.Type == store.TypeZSet:
		rows *= 2 // by member and by score
	case row.Type == store.TypeStream && row.Groups > 0:
		st, err := s.Stream(key)
		if err != nil {
			return 0, err
		}
		st.EachGroup(func(g *Group) bool {
			rows += 1 + 2*(g.Consumers+g.Pending)
			return rows <= store.MaxRunBytes/copiedRow
		})
	}
	return rows, nil
}

func (s Space) copyRow(from []byte, row store.Row, db store.DB, to []byte) {
	old := row.Version
	if row.Spread {
		row.Version = s.Tx.NewVersion()
		for _, kind := range subsOf(row.Type) {
			for name, value := range s.Tx.Subs(s.DB, from, old, kind, store.Bounds{}) {
				s.Tx.PutSub(db, to, row.Version, kind, name, value)
			}
		}
	}
	s.Tx.Put(db, to, row)
}

// subsOf names the kinds of sub rows that a type has.
func subsOf(t store.Type) []store.Sub {
	switch t {
	case store.TypeZSet:
		return []store.Sub{store.SubMember, store.SubScore}
	case store.TypeStream:
		return []store.Sub{store.SubEntry, store.SubGroup}
	}
	return []store.Sub{store.SubMember}
}

// TypeName is what TYPE answers.
func TypeName(t store.Type) string {
	switch t {
	case store.TypeString:
		return "string"
	case store.TypeHash:
		return "hash"
	case store.TypeZSet:
		return "zset"
	case store.TypeList:
		return "list"
	case store.TypeSet:
		return "set"
	case store.TypeStream:
		return "stream"
	}
	return "none"
}

// embeddedMax is the longest string that Redis calls "embstr".
const embeddedMax = 44

// Encoding is what OBJECT ENCODING answers: Redis' word for the form that comes closest.
func Encoding(row store.Row) string {
	switch row.Type {
	case store.TypeString:
		if _, ok := ParseInt(row.Data); ok {
			return "int"
		}
		if len(row.Data) <= embeddedMax {
			return "embstr"
		}
		return "raw"
	case store.TypeHash:
		if row.Spread {
			return "hashtable"
		}
		return "listpack"
	case store.TypeList:
		if row.Spread {
			return "quicklist"
		}
		return "listpack"
	case store.TypeSet:
		switch {
		case row.Spread:
			return "hashtable"
		case onlyIntegers(row.Data):
			return "intset"
		}
		return "listpack"
	case store.TypeZSet:
		if row.Spread {
			return "skiplist"
		}
		return "listpack"
	case store.TypeStream:
		return "stream"
	}
	return "unknown"
}

// onlyIntegers reports whether all members of a packed set are what Redis would keep as numbers.
func onlyIntegers(packed []byte) bool {
	w := walkItems(packed)
	for w.next() {
		if _, ok := ParseInt(w.data); !ok {
			return false
		}
	}
	return true
}
