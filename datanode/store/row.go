package store

import (
	"encoding/binary"
	"fmt"
)

// Type is the tag of a value's type. Tags are part of the format and append-only.
type Type uint8

// The types.
const (
	TypeNone   Type = 0
	TypeString Type = 1
	TypeHash   Type = 2
	TypeZSet   Type = 3
	TypeList   Type = 4
	TypeSet    Type = 5
	TypeStream Type = 6

	TypesEnd = TypeStream + 1 // no type
)

// Row is the value of a key. A spread collection keeps its members in sub rows, named by Version.
type Row struct {
	Type     Type
	Spread   bool
	ExpireMS int64  // Unix milliseconds; 0: none
	Data     []byte // not Spread: the string, or the packed form; of a stream what it knows of itself. Datatype owns it
	Version  uint64 // Spread: names the sub rows
	Count    uint64 // Spread: members; datatype keeps it
	Bytes    uint64 // Spread: sum of SubSize of all sub rows; datatype keeps it
	Head     uint64 // a spread list: the index of its first element; datatype keeps it
	Groups   uint64 // a stream: the part of Bytes that its consumer groups take; datatype keeps it
}

// A key row's value is a tag byte (type, flags), the expiry if there is one (8, big endian), then the
// data, or of a spread collection version (8), count and bytes (varints), and of a list head (8, big endian). A
// stream is always spread, and has the bytes of its groups (varint) and its data behind these.
const (
	tagType   = 0x0f
	tagSpread = 0x10
	tagExpiry = 0x20
	tagKnown  = tagType | tagSpread | tagExpiry

	rowHeaderMax = 1 + 8 // what a row that isn't spread has before its data
	headSize     = 8     // of Head, and of an element's name
)

func appendRow(b []byte, r *Row) []byte {
	tag := byte(r.Type)
	if r.Spread {
		tag |= tagSpread
	}
	if r.ExpireMS != 0 {
		tag |= tagExpiry
	}
	b = append(b, tag)
	if r.ExpireMS != 0 {
		b = binary.BigEndian.AppendUint64(b, uint64(r.ExpireMS))
	}
	if !r.Spread {
		return append(b, r.Data...)
	}
	b = binary.BigEndian.AppendUint64(b, r.Version)
	b = binary.AppendUvarint(b, r.Count)
	b = binary.AppendUvarint(b, r.Bytes)
	switch r.Type {
	case TypeList:
		b = binary.BigEndian.AppendUint64(b, r.Head)
	case TypeStream:
		b = append(binary.AppendUvarint(b, r.Groups), r.Data...)
	}
	return b
}

// decodeRow parses a key row's value; Data points into v.
func decodeRow(v []byte) (Row, error) {
	if len(v) == 0 || v[0]&^byte(tagKnown) != 0 || v[0]&tagType == 0 {
		return Row{}, fmt.Errorf("%w: key row with an unknown tag", ErrDamage)
	}
	r := Row{Type: Type(v[0] & tagType), Spread: v[0]&tagSpread != 0}
	b := v[1:]
	if v[0]&tagExpiry != 0 {
		if len(b) < 8 {
			return Row{}, fmt.Errorf("%w: key row is cut short", ErrDamage)
		}
		r.ExpireMS, b = int64(binary.BigEndian.Uint64(b)), b[8:]
	}
	if !r.Spread {
		r.Data = b
		return r, nil
	}
	if len(b) < 10 {
		return Row{}, fmt.Errorf("%w: key row is cut short", ErrDamage)
	}
	r.Version, b = binary.BigEndian.Uint64(b), b[8:]
	var n int
	if r.Count, n = binary.Uvarint(b); n <= 0 {
		return Row{}, fmt.Errorf("%w: key row is cut short", ErrDamage)
	}
	b = b[n:]
	if r.Bytes, n = binary.Uvarint(b); n <= 0 {
		return Row{}, fmt.Errorf("%w: key row is cut short", ErrDamage)
	}
	b = b[n:]
	if r.Type == TypeStream {
		if r.Groups, n = binary.Uvarint(b); n <= 0 || r.Groups > r.Bytes {
			return Row{}, fmt.Errorf("%w: key row of a stream with groups of a wrong size", ErrDamage)
		}
		r.Data = b[n:]
		return r, nil
	}
	if r.Type == TypeList && len(b) == headSize {
		r.Head, b = binary.BigEndian.Uint64(b), nil
	} else if r.Type == TypeList || len(b) > 0 {
		return Row{}, fmt.Errorf("%w: key row of a wrong length", ErrDamage)
	}
	return r, nil
}

// expired says whether a row's time has come.
func (r *Row) expired(now int64) bool { return r.ExpireMS != 0 && r.ExpireMS <= now }

// SubSize is what a sub row counts for in Row.Bytes.
func SubSize(name, value []byte) uint64 { return uint64(len(name) + len(value)) }
