package command

import (
	"bytes"
	"math"
	"strconv"

	"github.com/tidwall/redcon"
)

// Reply writes RESP into a connection's output buffer, in the session's protocol. Past its limit it
// drops what is written and says so with Overflowed; the connection then ends.
type Reply struct {
	buf   []byte
	proto int // 2 or 3
	limit int // bytes; 0 is none
	room  int // bytes that need no asking
	grow  func() bool
	over  bool

	failed bool // errors holds something
	errors *[len(errorCodes)]uint32
}

// frameMax is more than RESP writes around a value, in bytes.
const frameMax = 32

const (
	// replyRoom is what a Reply may hold before it asks, in bytes.
	replyRoom = 64 << 10
	// replyLarge is from where on it asks for a quarter more instead of twice as much: else a reply of little more
	// than half of what there is room for would be refused.
	replyLarge = 16 << 20
)

// NewReply returns a Reply in RESP2 that keeps at most limit bytes (0: any number).
func NewReply(limit int) *Reply { return &Reply{proto: 2, limit: limit, room: firstRoom(limit)} }

func firstRoom(limit int) int {
	if limit > 0 {
		return min(limit, replyRoom)
	}
	return replyRoom
}

// OnGrow has ask called whenever the Reply is to hold much more than before, which Held then tells; if it
// answers false, the Reply has overflowed.
func (r *Reply) OnGrow(ask func() bool) { r.grow = ask }

// Held returns the size of the buffer, in bytes.
func (r *Reply) Held() int {
	if r.room > replyRoom {
		return r.room
	}
	return cap(r.buf)
}

// Proto returns the protocol's version, 2 or 3.
func (r *Reply) Proto() int { return r.proto }

// SetProto changes the protocol for what is written from now on.
func (r *Reply) SetProto(v int) { r.proto = v }

// Bytes returns what is buffered; valid until the next write.
func (r *Reply) Bytes() []byte { return r.buf }

// Len returns the number of buffered bytes.
func (r *Reply) Len() int { return len(r.buf) }

// Overflowed reports whether something was dropped at the limit since the last Reset.
func (r *Reply) Overflowed() bool { return r.over }

// Reset empties the buffer, and lets go of one that is larger than keep bytes.
func (r *Reply) Reset(keep int) {
	r.over, r.room = false, firstRoom(r.limit)
	if cap(r.buf) > keep {
		r.buf = nil
		return
	}
	r.buf = r.buf[:0]
}

// Skip drops the first n bytes, which were sent.
func (r *Reply) Skip(n int) { r.buf = r.buf[:copy(r.buf, r.buf[n:])] }

// truncate drops everything after the first n bytes.
func (r *Reply) truncate(n int) {
	if n < len(r.buf) {
		r.buf = r.buf[:n]
	}
}

// fits reports whether n more payload bytes stay within the limit.
func (r *Reply) fits(n int) bool {
	if !r.over && len(r.buf)+n <= r.room {
		return true
	}
	return r.extend(n)
}

// extend makes room for n more payload bytes.
func (r *Reply) extend(n int) bool {
	need := len(r.buf) + n
	if r.over || (r.limit > 0 && need > r.limit) {
		r.over = true
		return false
	}
	if r.room < replyLarge {
		r.room = max(2*r.room, need)
	} else {
		r.room = max(r.room+r.room/4, need)
	}
	if r.limit > 0 {
		r.room = min(r.room, r.limit)
	}
	if r.grow != nil && !r.grow() {
		r.over = true
		return false
	}
	larger := make([]byte, len(r.buf), r.room+frameMax) // append would take more than was asked for
	copy(larger, r.buf)
	r.buf = larger
	return true
}

// bulkFrame is the least that RESP writes around a bulk string, in bytes.
const bulkFrame = len("$0\r\n\r\n")

// fitsBulks reports whether n more bulk strings, if only empty ones, stay within the limit.
func (r *Reply) fitsBulks(n int64) bool {
	if r.limit > 0 && n > int64(r.limit/bulkFrame) {
		r.over = true
	}
	return !r.over
}

// OK writes +OK.
func (r *Reply) OK() { r.Simple("OK") }

// Simple writes a simple string; line breaks in it become spaces.
func (r *Reply) Simple(s string) {
	if r.fits(len(s)) {
		r.buf = redcon.AppendString(r.buf, s)
	}
}

// Error writes an error; text starts with its code. Line breaks in it become spaces.
func (r *Reply) Error(text string) {
	if r.fits(len(text)) {
		r.note(text)
		r.buf = redcon.AppendError(r.buf, text)
	}
}

// Int writes an integer.
func (r *Reply) Int(n int64) {
	if r.fits(0) {
		r.buf = redcon.AppendInt(r.buf, n)
	}
}

// Bulk writes a bulk string.
func (r *Reply) Bulk(b []byte) {
	if r.fits(len(b)) {
		r.buf = redcon.AppendBulk(r.buf, b)
	}
}

// BulkString writes a bulk string.
func (r *Reply) BulkString(s string) {
	if r.fits(len(s)) {
		r.buf = redcon.AppendBulkString(r.buf, s)
	}
}

// BulkInt writes an integer as a bulk string.
func (r *Reply) BulkInt(n int64) {
	var b [20]byte
	r.Bulk(strconv.AppendInt(b[:0], n, 10))
}

// Null writes the absent value: $-1 in RESP2, _ in RESP3.
func (r *Reply) Null() {
	if !r.fits(0) {
		return
	}
	if r.proto >= 3 {
		r.buf = append(r.buf, '_', '\r', '\n')
		return
	}
	r.buf = redcon.AppendNull(r.buf)
}

// NullArray writes the absent array: *-1 in RESP2, _ in RESP3.
func (r *Reply) NullArray() {
	if r.proto >= 3 {
		r.Null()
		return
	}
	if r.fits(0) {
		r.buf = append(r.buf, '*', '-', '1', '\r', '\n')
	}
}

// Array starts an array of n elements.
func (r *Reply) Array(n int) { r.head('*', n) }

// Map starts a map of n pairs: a flat array of 2n in RESP2.
func (r *Reply) Map(n int) {
	if r.proto >= 3 {
		r.head('%', n)
		return
	}
	r.head('*', 2*n)
}

// Set starts a set of n elements: an array in RESP2.
func (r *Reply) Set(n int) {
	if r.proto >= 3 {
		r.head('~', n)
		return
	}
	r.head('*', n)
}

// Push starts an out-of-band message of n elements: an array in RESP2.
func (r *Reply) Push(n int) {
	if r.proto >= 3 {
		r.head('>', n)
		return
	}
	r.head('*', n)
}

// head writes the header of an aggregate.
func (r *Reply) head(kind byte, n int) {
	if !r.fits(0) {
		return
	}
	r.buf = append(r.buf, kind)
	r.buf = strconv.AppendInt(r.buf, int64(n), 10)
	r.buf = append(r.buf, '\r', '\n')
}

// insertArray puts the header of an array of n elements before what was written from at on: for those whose number is
// known when they are written. It moves them.
func (r *Reply) insertArray(at, n int) { r.insert(at, '*', n) }

// insertMap is insertArray for a map of n pairs.
func (r *Reply) insertMap(at, n int) {
	if r.proto >= 3 {
		r.insert(at, '%', n)
		return
	}
	r.insert(at, '*', 2*n)
}

func (r *Reply) insert(at int, kind byte, n int) {
	end := len(r.buf)
	r.head(kind, n)
	r.putBefore(at, end)
}

// putBefore moves what was written from end on, something short, to before what was written from at on.
func (r *Reply) putBefore(at, end int) {
	if r.over {
		return
	}
	var short [2 * frameMax]byte
	size := copy(short[:], r.buf[end:])
	copy(r.buf[at+size:], r.buf[at:end])
	copy(r.buf[at:], short[:size])
}

// Double writes a number as Redis 7.0 does: 17 significant digits, a bulk string in RESP2.
func (r *Reply) Double(f float64) {
	var b [32]byte
	text := AppendDouble(b[:0], f)
	if r.proto < 3 {
		r.Bulk(text)
		return
	}
	if r.fits(len(text)) {
		r.buf = append(r.buf, ',')
		r.buf = append(r.buf, text...)
		r.buf = append(r.buf, '\r', '\n')
	}
}

// Decimal writes a number without an exponent, with up to 17 digits behind the point: a bulk string in RESP2.
func (r *Reply) Decimal(f float64) {
	var b [64]byte
	text := bytes.TrimSuffix(bytes.TrimRight(strconv.AppendFloat(b[:0], f, 'f', 17, 64), "0"), []byte("."))
	if string(text) == "-0" {
		text = text[1:]
	}
	if r.proto < 3 {
		r.Bulk(text)
		return
	}
	if r.fits(len(text)) {
		r.buf = append(r.buf, ',')
		r.buf = append(r.buf, text...)
		r.buf = append(r.buf, '\r', '\n')
	}
}

// AppendDouble appends f as C's %.17g prints it, with inf, -inf and nan.
func AppendDouble(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	case math.IsNaN(f):
		return append(dst, "nan"...)
	}
	return strconv.AppendFloat(dst, f, 'g', 17, 64)
}

// Bool writes a boolean: an integer in RESP2.
func (r *Reply) Bool(v bool) {
	n, c := int64(0), byte('f')
	if v {
		n, c = 1, 't'
	}
	if r.proto < 3 {
		r.Int(n)
		return
	}
	if r.fits(0) {
		r.buf = append(r.buf, '#', c, '\r', '\n')
	}
}

// Verbatim writes text with its format ("txt", "mkd"): a bulk string in RESP2.
func (r *Reply) Verbatim(format, text string) {
	if r.proto < 3 {
		r.BulkString(text)
		return
	}
	if !r.fits(len(text)) {
		return
	}
	r.head('=', len(text)+4)
	r.buf = append(r.buf, format...)
	r.buf = append(r.buf, ':')
	r.buf = append(r.buf, text...)
	r.buf = append(r.buf, '\r', '\n')
}

// BigNumber writes a decimal number of any size: a bulk string in RESP2.
func (r *Reply) BigNumber(digits string) {
	if r.proto < 3 {
		r.BulkString(digits)
		return
	}
	if r.fits(len(digits)) {
		r.buf = append(r.buf, '(')
		r.buf = append(r.buf, digits...)
		r.buf = append(r.buf, '\r', '\n')
	}
}

// Raw writes bytes that are RESP of the session's protocol already.
func (r *Reply) Raw(b []byte) {
	if r.fits(len(b)) {
		r.buf = append(r.buf, b...)
	}
}
