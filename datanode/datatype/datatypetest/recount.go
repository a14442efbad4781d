// Package datatypetest checks what types keep about themselves against the rows they have written.
package datatypetest

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/atolldb/atoll/datanode/store"
)

// Recount walks all live rows of a database, checks every spread collection's count and size against its sub
// rows, and returns the counters that the database should have.
func Recount(tx *store.Tx, db store.DB) (store.Counters, error) {
	var c store.Counters
	for key, row := range tx.Keys(db, store.KeyBounds{}) {
		c.Keys++
		c.Bytes += int64(len(key) + rowSize(row))
		if row.ExpireMS != 0 {
			c.Expires++
		}
		if !row.Spread {
			continue
		}
		c.Bytes += int64(row.Bytes)
		if row.Type == store.TypeStream {
			if err := recountStream(tx, db, key, row); err != nil {
				return c, fmt.Errorf("stream %q: %w", key, err)
			}
			continue
		}
		var sum uint64
		members, scores := uint64(0), uint64(0)
		for name, value := range tx.Subs(db, key, row.Version, store.SubMember, store.Bounds{}) {
			if index := binary.BigEndian.AppendUint64(nil, row.Head+members); row.Type == store.TypeList && !bytes.Equal(name, index) {
				return c, fmt.Errorf("element %d of list %q is at %x, want %x", members, key, name, index)
			}
			sum += store.SubSize(name, value)
			members++
		}
		for name, value := range tx.Subs(db, key, row.Version, store.SubScore, store.Bounds{}) {
			sum += store.SubSize(name, value)
			scores++
		}
		if members != row.Count || sum != row.Bytes || row.Type == store.TypeZSet && scores != members || row.Type != store.TypeZSet && scores != 0 {
			return c, fmt.Errorf("%q says %d members of %d bytes, and has %d and %d scores of %d bytes", key, row.Count, row.Bytes, members, scores, sum)
		}
		if row.Count == 0 {
			return c, fmt.Errorf("%q is empty and there", key)
		}
	}
	return c, nil
}

// rowSize is the length of a key row's value.
func rowSize(r store.Row) int {
	n := 1
	if r.ExpireMS != 0 {
		n += 8
	}
	if !r.Spread {
		return n + len(r.Data)
	}
	switch r.Type {
	case store.TypeList:
		n += 8 // where it starts
	case store.TypeStream:
		n += len(binary.AppendUvarint(nil, r.Groups)) + len(r.Data)
	}
	return n + 8 + len(binary.AppendUvarint(binary.AppendUvarint(nil, r.Count), r.Bytes))
}

// Check compares a database's counters with the rows.
func Check(s *store.Store, namespace uint64, db int) error {
	var tx store.Tx
	s.Namespace(namespace).Begin(&tx, store.Run{})
	defer tx.End()
	want, err := Recount(&tx, tx.DB(db))
	if err != nil {
		return err
	}
	if got := tx.Counters(tx.DB(db)); got != want {
		return fmt.Errorf("counters of database %d are %+v, and a recount says %+v", db, got, want)
	}
	return nil
}
