package raftfsm

import (
	"encoding/binary"
	"errors"
)

// stringBytesMax bounds one encoded string, and listLenMax one encoded list: a decoder never allocates
// more than its input justifies.
const (
	stringBytesMax = 64 << 10
	listLenMax     = 64 << 10
)

var errFields = errors.New("malformed fields")

// fields walks a record's fields in their order, either appending them to buf or taking them from it, so
// that one method per record describes both directions. Integers are varints; strings and byte slices
// carry their length before them. The first error sticks.
type fields struct {
	buf     []byte
	reading bool
	version uint64 // of the command whose payload is walked
	err     error
}

func (f *fields) fail() {
	if f.err == nil {
		f.err = errFields
	}
	f.buf = nil
}

// bound fails a record that could be written but not be read.
func (f *fields) bound(n, nMax int) {
	if n > nMax {
		f.fail()
	}
}

func (f *fields) u64(v *uint64) {
	if !f.reading {
		f.buf = binary.AppendUvarint(f.buf, *v)
		return
	}
	x, n := binary.Uvarint(f.buf)
	if n <= 0 || n > 1 && f.buf[n-1] == 0 { // not shortest: two encodings of one value
		f.fail()
		*v = 0
		return
	}
	*v, f.buf = x, f.buf[n:]
}

func (f *fields) i64(v *int64) {
	u := uint64(*v)<<1 ^ uint64(*v>>63)
	f.u64(&u)
	if f.reading { // else others may be reading *v, too
		*v = int64(u>>1) ^ -int64(u&1)
	}
}

func (f *fields) boolean(v *bool) {
	var u uint64
	if *v {
		u = 1
	}
	f.u64(&u)
	if u > 1 {
		f.fail()
	}
	if f.reading {
		*v = u == 1
	}
}

func (f *fields) bytes(v *[]byte) {
	if !f.reading {
		f.bound(len(*v), stringBytesMax)
		f.buf = binary.AppendUvarint(f.buf, uint64(len(*v)))
		f.buf = append(f.buf, *v...)
		return
	}
	var n uint64
	f.u64(&n)
	if n > stringBytesMax || n > uint64(len(f.buf)) {
		f.fail()
		*v = nil
		return
	}
	*v = append([]byte(nil), f.buf[:n]...)
	f.buf = f.buf[n:]
}

func (f *fields) str(v *string) {
	if !f.reading {
		f.bound(len(*v), stringBytesMax)
		f.buf = binary.AppendUvarint(f.buf, uint64(len(*v)))
		f.buf = append(f.buf, *v...)
		return
	}
	var b []byte
	f.bytes(&b)
	*v = string(b)
}

// digest walks a digest; the zero one takes a byte.
func (f *fields) digest(v *Digest) {
	var b []byte
	if *v != (Digest{}) {
		b = v[:]
	}
	f.bytes(&b)
	if !f.reading {
		return
	}
	*v = Digest{}
	if n := copy(v[:], b); n != len(b) || n != 0 && (n != len(v) || *v == Digest{}) {
		f.fail()
	}
}

// enum walks a protobuf enum or any other small number.
func enum[E ~int32 | ~uint32](f *fields, v *E) {
	u := uint64(*v)
	f.u64(&u)
	if u > 1<<31-1 {
		f.fail()
		u = 0
	}
	if f.reading {
		*v = E(u)
	}
}

// list walks a slice by its elements' walker.
func list[T any](f *fields, v *[]T, element func(*T)) {
	n := uint64(len(*v))
	f.u64(&n)
	if !f.reading {
		f.bound(len(*v), listLenMax)
		for i := range *v {
			element(&(*v)[i])
		}
		return
	}
	if n > listLenMax || n > uint64(len(f.buf)) { // an element takes a byte at least
		f.fail()
		n = 0
	}
	*v = nil
	for range n {
		var e T
		element(&e)
		if f.err != nil {
			return
		}
		*v = append(*v, e)
	}
}

// end checks that a decoded record took all of its bytes.
func (f *fields) end() error {
	if f.err == nil && len(f.buf) != 0 {
		f.fail()
	}
	return f.err
}
