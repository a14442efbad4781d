package store

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// encode turns the dirty rows into records of a Pebble batch, in key order, which is what a memtable
// takes fastest, and sums up what they change in the counters.
func (tx *Tx) encode() {
	tx.expired = 0
	for i := range tx.keys.rows {
		if tx.keys.rows[i].dirty {
			tx.account(&tx.keys.rows[i])
		}
	}
	for _, s := range [...]*rowSet{&tx.keys, &tx.others} {
		for i := range s.rows {
			if s.rows[i].dirty {
				tx.order = append(tx.order, &s.rows[i])
			}
		}
	}
	if len(tx.order) > 1 {
		slices.SortFunc(tx.order, func(a, b *pending) int { return bytes.Compare(a.key, b.key) })
	}
	b := tx.records
	size := 0
	for _, p := range tx.order {
		size += len(p.key) + len(p.value) + recordLengths
	}
	if size > arenaMax { // exact, where growing step by step would cost twice as much
		b = make([]byte, 0, size)
	}
	for _, r := range tx.ranges {
		b = appendRecord(b, byte(pebble.InternalKeyKindRangeDelete), r.from, r.to)
	}
	for _, p := range tx.order {
		if p.here {
			b = appendRecord(b, byte(pebble.InternalKeyKindSet), p.key, p.value)
		} else {
			b = append(b, byte(pebble.InternalKeyKindDelete))
			b = binary.AppendUvarint(b, uint64(len(p.key)))
			b = append(b, p.key...)
		}
	}
	tx.records, tx.count = b, uint32(len(tx.ranges)+len(tx.order))
}

// recordLengths is the most that kind and lengths of a record take.
const recordLengths = 1 + 2*binary.MaxVarintLen32

func appendRecord(b []byte, kind byte, key, value []byte) []byte {
	b = append(b, kind)
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

// account compares a key row before and after the run: counters, and the expiry index.
func (tx *Tx) account(p *pending) {
	k, _ := parseRowKey(p.key)
	key := k.rest
	ks := tx.ns.space(k.ks)
	d := tx.delta(ks)
	var c Counters
	c.add(p.old, -1)
	now := p.now(len(key))
	c.add(now, 1)
	d.Keys, d.Bytes, d.Expires = d.Keys+c.Keys, d.Bytes+c.Bytes, d.Expires+c.Expires
	before, after := p.old.expire, now.expire
	if before != 0 && before <= tx.now {
		tx.expired++
	}
	if before == after {
		return
	}
	if before != 0 {
		tx.key = appendExpiryRow(tx.key[:0], ks.prefix, before, key)
		tx.remove(tx.key)
	}
	if after != 0 {
		tx.key = appendExpiryRow(tx.key[:0], ks.prefix, after, key)
		tx.write(tx.key, nil)
	}
}

// rowBytes is what a key row counts for.
func rowBytes(userKey int, value []byte, r *Row) int64 {
	n := int64(userKey + len(value))
	if r.Spread {
		n += int64(r.Bytes)
	}
	return n
}
