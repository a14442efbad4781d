package store

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
)

// A row's key is
//
//	namespace id | keyspace number | kind | ...
//
// where both numbers are order-preserving varints, and what follows depends on the kind:
//
//	kindKey     user key
//	kindMember  length of user key (varint) | user key | version (8) | member or field
//	kindScore   length of user key (varint) | user key | version (8) | score (8) | member
//	kindExpiry  Unix milliseconds (8) | user key
//	kindGarbage version (8)
//	kindEntry   length of user key (varint) | user key | version (8) | a stream entry's id (16)
//	kindGroup   length of user key (varint) | user key | version (8) | a row of a stream's consumer groups
//
// Numbers of 8 bytes are big endian. Namespace 0 is the node's own: its rows are a kind and varints.
// The kinds are part of the format and append-only; a namespace sharded by slot will have kinds of its own.
const (
	kindKey     = 0x01
	kindMember  = 0x02
	kindScore   = 0x03
	kindExpiry  = 0x04
	kindGarbage = 0x05
	kindEntry   = 0x06
	kindGroup   = 0x07

	sysPosition = 0x01 // the position that the store holds at least
	sysMapping  = 0x02 // namespace, database -> keyspace number
	sysCounters = 0x03 // namespace, keyspace -> absolute counters at the position
	sysDropped  = 0x04 // namespace, keyspace: emptied by FLUSHDB, its rows not yet deleted
	sysPurged   = 0x05 // namespace: its rows are deleted for good
)

// comparer orders keys by their bytes. Its Split tells Pebble which part of a key the bloom filters
// hold: the whole of a key row, all but the member of a sub row. It is part of the format.
func comparer() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = "atoll.v1"
	c.Split = splitKey
	return &c
}

// isSub says whether a kind is one of sub rows.
func isSub(kind byte) bool {
	return kind == kindMember || kind == kindScore || kind == kindEntry || kind == kindGroup
}

func splitKey(k []byte) int {
	rest, ok := skipNumber(k)
	if !ok || len(k) == 0 || k[0] == 0 {
		return len(k)
	}
	if rest, ok = skipNumber(rest); !ok || len(rest) == 0 {
		return len(k)
	}
	if !isSub(rest[0]) {
		return len(k)
	}
	at := len(k) - len(rest) + 1
	n, w := binary.Uvarint(rest[1:])
	if w <= 0 || n > uint64(len(rest)) {
		return len(k)
	}
	end := uint64(at+w) + n + 8
	if end > uint64(len(k)) {
		return len(k)
	}
	return int(end)
}

// appendNumber appends v so that the bytes order as the numbers do: SQLite 4's varint.
func appendNumber(b []byte, v uint64) []byte {
	switch {
	case v <= 240:
		return append(b, byte(v))
	case v <= 2287:
		return append(b, byte((v-240)>>8+241), byte(v-240))
	case v <= 67823:
		return append(b, 249, byte((v-2288)>>8), byte(v-2288))
	}
	var be [8]byte
	binary.BigEndian.PutUint64(be[:], v)
	n := 8
	for be[8-n] == 0 {
		n--
	}
	return append(append(b, byte(247+n)), be[8-n:]...)
}

// number reads what appendNumber wrote.
func number(b []byte) (v uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	switch a := b[0]; {
	case a <= 240:
		return uint64(a), b[1:], true
	case a <= 248:
		if len(b) < 2 {
			return 0, nil, false
		}
		return 240 + uint64(a-241)<<8 + uint64(b[1]), b[2:], true
	case a == 249:
		if len(b) < 3 {
			return 0, nil, false
		}
		return 2288 + uint64(b[1])<<8 + uint64(b[2]), b[3:], true
	default:
		n := int(a) - 247
		if len(b) < 1+n {
			return 0, nil, false
		}
		for _, c := range b[1 : 1+n] {
			v = v<<8 | uint64(c)
		}
		return v, b[1+n:], true
	}
}

func skipNumber(b []byte) ([]byte, bool) {
	_, rest, ok := number(b)
	return rest, ok
}

// keyspacePrefix is what every row of a keyspace starts with.
func keyspacePrefix(ns, ks uint64) []byte {
	return appendNumber(appendNumber(nil, ns), ks)
}

func namespacePrefix(ns uint64) []byte { return appendNumber(nil, ns) }

// prefixEnd returns the first key after all that start with p.
func prefixEnd(p []byte) []byte {
	end := append([]byte(nil), p...)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func appendKeyRow(b, prefix, key []byte) []byte {
	return append(append(append(b, prefix...), kindKey), key...)
}

func appendSubPrefix(b, prefix []byte, kind byte, key []byte, version uint64) []byte {
	b = append(append(b, prefix...), kind)
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	return binary.BigEndian.AppendUint64(b, version)
}

func appendExpiryRow(b, prefix []byte, ms int64, key []byte) []byte {
	b = append(append(b, prefix...), kindExpiry)
	b = binary.BigEndian.AppendUint64(b, uint64(ms))
	return append(b, key...)
}

func appendGarbageRow(b, prefix []byte, version uint64) []byte {
	b = append(append(b, prefix...), kindGarbage)
	return binary.BigEndian.AppendUint64(b, version)
}

// rowKey is a key taken apart: the rest of a row of a namespace after its kind, or of a system row.
type rowKey struct {
	ns, ks uint64
	kind   byte
	prefix []byte // of the keyspace
	rest   []byte
}

func parseRowKey(k []byte) (r rowKey, ok bool) {
	var rest []byte
	if r.ns, rest, ok = number(k); !ok {
		return r, false
	}
	if r.ns != 0 {
		if r.ks, rest, ok = number(rest); !ok {
			return r, false
		}
	}
	if len(rest) == 0 {
		return r, false
	}
	r.prefix = k[:len(k)-len(rest)]
	r.kind, r.rest = rest[0], rest[1:]
	return r, true
}

// systemRow makes the key of one of the node's own rows.
func systemRow(kind byte, numbers ...uint64) []byte {
	b := []byte{0, kind}
	for _, n := range numbers {
		b = appendNumber(b, n)
	}
	return b
}
