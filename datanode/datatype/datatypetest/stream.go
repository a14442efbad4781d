package datatypetest

import (
	"errors"
	"fmt"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

// recountStream checks what a stream, its groups and their consumers say of themselves against the rows.
func recountStream(tx *store.Tx, db store.DB, key []byte, row store.Row) error {
	var buf datatype.Buffers
	s, err := datatype.Space{Tx: tx, DB: db, Buf: &buf}.Stream(key)
	if err != nil {
		return err
	}
	var size, groups, entries, rows uint64
	var first, last datatype.StreamID
	for name, value := range tx.Subs(db, key, row.Version, store.SubEntry, store.Bounds{}) {
		size += store.SubSize(name, value)
		entries++
	}
	for name, value := range tx.Subs(db, key, row.Version, store.SubGroup, store.Bounds{}) {
		groups += store.SubSize(name, value)
		rows++
	}
	seen := uint64(0)
	s.Each(datatype.StreamID{}, datatype.MaxStreamID, false, func(id datatype.StreamID, f datatype.Fields) bool {
		if seen++; seen == 1 {
			first = id
		}
		last = id
		return true
	})
	switch {
	case entries != row.Count || seen != entries || size != row.Bytes-row.Groups:
		return fmt.Errorf("it says %d entries in %d bytes, has %d in %d, and shows %d", row.Count, row.Bytes-row.Groups, entries, size, seen)
	case groups != row.Groups:
		return fmt.Errorf("it says %d bytes of groups, and has %d", row.Groups, groups)
	case first != s.First || s.Last.Less(last):
		return fmt.Errorf("it says entries from %v to %v, and has them from %v to %v", s.First, s.Last, first, last)
	}
	var named, found uint64
	var wrong error
	s.EachGroup(func(g *datatype.Group) bool {
		named++
		n, err := recountGroup(g)
		found += 1 + n
		wrong = errors.Join(wrong, err)
		return true
	})
	if named != s.Groups || found != rows {
		wrong = errors.Join(wrong, fmt.Errorf("it says %d groups, has %d, and %d rows of %d are theirs", s.Groups, named, found, rows))
	}
	return wrong
}

// recountGroup returns how many rows a group has beside its own.
func recountGroup(g *datatype.Group) (rows uint64, err error) {
	pending := map[datatype.StreamID]datatype.Pending{}
	g.EachPending(datatype.StreamID{}, datatype.MaxStreamID, false, func(id datatype.StreamID, p datatype.Pending) bool {
		pending[id] = p
		return true
	})
	var consumers, owned uint64
	g.EachConsumer(func(c *datatype.Consumer) bool {
		consumers++
		n := uint64(0)
		c.Each(datatype.StreamID{}, func(id datatype.StreamID) bool {
			n++
			if p, ok := g.Get(id); !ok || !c.Owns(p) {
				err = fmt.Errorf("group %q: %v is pending of %q, and %v in the group", g.Name(), id, c.Name, p)
			}
			return true
		})
		if owned += n; n != c.Pending {
			err = fmt.Errorf("group %q: %q says %d pending, and has %d", g.Name(), c.Name, c.Pending, n)
		}
		return true
	})
	if n := uint64(len(pending)); n != g.Pending || owned != n || consumers != g.Consumers {
		err = errors.Join(err, fmt.Errorf("group %q says %d pending and %d consumers, and has %d of %d", g.Name(), g.Pending, g.Consumers, n, consumers))
	}
	return 2*consumers + 2*owned, err
}
