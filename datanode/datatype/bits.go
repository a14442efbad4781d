package datatype

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// MaxBitOffset is the highest offset of a bit in a string.
const MaxBitOffset = MaxStringBytes*8 - 1

// Bit returns a bit of a string, counted from the highest of its first byte; 0 behind its end.
func Bit(value []byte, offset int64) byte {
	at := offset >> 3
	if at >= int64(len(value)) {
		return 0
	}
	return value[at] >> (7 - offset&7) & 1
}

func putBit(value []byte, offset int64, bit byte) {
	shift := 7 - offset&7
	value[offset>>3] = value[offset>>3]&^(1<<shift) | bit<<shift
}

// SetBit sets a bit of the string at key, which grows with zero bytes up to there and keeps its expiry, and returns what
// the bit was.
func (s Space) SetBit(key []byte, offset int64, bit byte) (old byte, err error) {
	if row, _, err := s.StringRow(key); err != nil || offset>>3 < int64(len(row.Data)) && Bit(row.Data, offset) == bit {
		return bit, err // nothing is written
	}
	value, err := s.EditString(key, int(offset>>3)+1)
	if err != nil {
		return 0, err
	}
	old = Bit(value.Data, offset)
	putBit(value.Data, offset, bit)
	value.Save()
	return old, nil
}

// StringEdit is a string that is being changed in place.
type StringEdit struct {
	Space
	key    []byte
	expire int64
	was    []byte
	Data   []byte
}

// EditString returns a copy of the string at key, with zero bytes up to a length.
func (s Space) EditString(key []byte, length int) (StringEdit, error) {
	row, _, err := s.StringRow(key)
	if err != nil {
		return StringEdit{}, err
	}
	s.Tx.Hold(length)
	s.Buf.edit = append(s.Buf.edit[:0], row.Data...)
	if more := length - len(s.Buf.edit); more > 0 {
		s.Buf.edit = append(s.Buf.edit, make([]byte, more)...)
	}
	return StringEdit{Space: s, key: key, expire: row.ExpireMS, was: row.Data, Data: s.Buf.edit}, nil
}

// Changed reports whether it is another string now.
func (e *StringEdit) Changed() bool { return !bytes.Equal(e.Data, e.was) }

// Save writes the string back. It keeps its expiry.
func (e *StringEdit) Save() { e.SetString(e.key, e.Data, e.expire) }

// CountBits returns how many bits from start to end, both included and within the string, are set.
func CountBits(value []byte, start, end int64) int64 {
	n := int64(0)
	for ; start <= end && start&7 != 0; start++ {
		n += int64(Bit(value, start))
	}
	for ; end >= start && end&7 != 7; end-- {
		n += int64(Bit(value, end))
	}
	if start > end {
		return n
	}
	b := value[start>>3 : end>>3+1]
	for ; len(b) >= 8; b = b[8:] {
		n += int64(bits.OnesCount64(binary.LittleEndian.Uint64(b)))
	}
	for _, v := range b {
		n += int64(bits.OnesCount8(v))
	}
	return n
}

// FindBit returns the first offset from start to end, both included and within the string, at which the bit is; -1 if
// there is none.
func FindBit(value []byte, bit byte, start, end int64) int64 {
	skip := byte(0) // a byte without the bit
	if bit == 0 {
		skip = 0xff
	}
	for start <= end {
		if start&7 == 0 && end-start >= 7 && value[start>>3] == skip {
			start += 8
			continue
		}
		if Bit(value, start) == bit {
			return start
		}
		start++
	}
	return -1
}

// BitField is a number of some bits in a string, the highest first.
type BitField struct {
	Signed bool
	Width  int // bits: 1 to 64, or 63 unsigned
	Offset int64
}

// Get returns the number, whose bits behind the string's end are 0. An unsigned one fits.
func (f BitField) Get(value []byte) int64 {
	var n uint64
	for i := range int64(f.Width) {
		n = n<<1 | uint64(Bit(value, f.Offset+i))
	}
	if f.Signed {
		shift := 64 - f.Width
		return int64(n<<shift) >> shift
	}
	return int64(n)
}

// Put sets the number, whose higher bits are left out, in a string that is long enough.
func (f BitField) Put(value []byte, n int64) {
	for i := range int64(f.Width) {
		putBit(value, f.Offset+i, byte(uint64(n)>>(int64(f.Width)-1-i)&1))
	}
}

// Overflow says what becomes of a number that doesn't fit.
type Overflow uint8

// The ways of BITFIELD's OVERFLOW.
const (
	OverflowWrap Overflow = iota
	OverflowSaturate
	OverflowFail
)

// Add returns the sum of the number and delta as the field can hold it; ok is false where it can't, and that fails. The
// number itself may lie outside of the field, as BITFIELD SET's does: a negative one for an unsigned field is too large.
func (f BitField) Add(n, delta int64, how Overflow) (sum int64, ok bool) {
	low, high := int64(0), int64(uint64(1)<<(f.Width-1)-1)
	over, under := false, false
	if f.Signed {
		low = -high - 1
		// As in Redis, where the differences wrap around: the lowest number of all is too large for a narrow field.
		up, down := high-n, low-n
		over = n > high || delta > up && (f.Width < 64 || n >= 0 && delta > 0)
		under = !over && (n < low || delta < down && (f.Width < 64 || n < 0 && delta < 0))
	} else {
		high = int64(uint64(1)<<f.Width - 1)
		over = uint64(n) > uint64(high) || delta > 0 && delta > high-n
		under = !over && delta < 0 && delta < -n
	}
	sum = int64(uint64(n) + uint64(delta))
	switch {
	case !over && !under:
		return sum, true
	case how == OverflowFail:
		return 0, false
	case how == OverflowSaturate && over:
		return high, true
	case how == OverflowSaturate:
		return low, true
	}
	shift := 64 - f.Width
	if f.Signed {
		return sum << shift >> shift, true
	}
	return int64(uint64(sum) << shift >> shift), true
}
