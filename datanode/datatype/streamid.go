package datatype

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"strconv"
)

// StreamID is the id of a stream's entry: Unix milliseconds, and a number within them.
type StreamID struct{ MS, Seq uint64 }

// MaxStreamID is the last id that there is.
var MaxStreamID = StreamID{math.MaxUint64, math.MaxUint64}

const (
	streamIDSize = 16
	// streamIDTextMax is the longest text that is read as an id, in bytes.
	streamIDTextMax = 127
)

// Compare returns -1, 0 or 1.
func (a StreamID) Compare(b StreamID) int {
	return cmp.Or(cmp.Compare(a.MS, b.MS), cmp.Compare(a.Seq, b.Seq))
}

// Less reports whether a comes before b.
func (a StreamID) Less(b StreamID) bool { return a.Compare(b) < 0 }

// Zero reports whether a is 0-0, which no entry has.
func (a StreamID) Zero() bool { return a == StreamID{} }

// Next returns the id behind a, and false behind the last.
func (a StreamID) Next() (StreamID, bool) {
	switch {
	case a.Seq < math.MaxUint64:
		return StreamID{a.MS, a.Seq + 1}, true
	case a.MS < math.MaxUint64:
		return StreamID{a.MS + 1, 0}, true
	}
	return StreamID{}, false
}

// Prev returns the id before a, and false before the first.
func (a StreamID) Prev() (StreamID, bool) {
	switch {
	case a.Seq > 0:
		return StreamID{a.MS, a.Seq - 1}, true
	case a.MS > 0:
		return StreamID{a.MS - 1, math.MaxUint64}, true
	}
	return MaxStreamID, false
}

// AppendText appends the id as clients read it.
func (a StreamID) AppendText(dst []byte) []byte {
	dst = strconv.AppendUint(dst, a.MS, 10)
	return strconv.AppendUint(append(dst, '-'), a.Seq, 10)
}

// appendName appends the id as a row's name has it: bytes in the order of ids.
func (a StreamID) appendName(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, a.MS)
	return binary.BigEndian.AppendUint64(dst, a.Seq)
}

func streamIDOf(name []byte) StreamID {
	return StreamID{binary.BigEndian.Uint64(name), binary.BigEndian.Uint64(name[8:])}
}

// ParseStreamID reads an id, with - and + for the first and the last; without a number within the milliseconds it
// has missing.
func ParseStreamID(b []byte, missing uint64) (StreamID, bool) {
	switch string(cString(b)) {
	case "-":
		return StreamID{}, true
	case "+":
		return MaxStreamID, true
	}
	return ParseExactStreamID(b, missing)
}

// ParseExactStreamID reads an id, for which - and + don't stand.
func ParseExactStreamID(b []byte, missing uint64) (StreamID, bool) {
	if len(b) > streamIDTextMax {
		return StreamID{}, false
	}
	ms, seq, both := bytes.Cut(cString(b), []byte{'-'})
	id := StreamID{Seq: missing}
	var ok bool
	if id.MS, ok = parseIDNumber(ms); !ok {
		return StreamID{}, false
	}
	if both {
		id.Seq, ok = parseIDNumber(seq)
	}
	return id, ok
}

// ParseNewStreamID reads an id for a new entry: one whose number within the milliseconds is *, and to be given, has
// auto.
func ParseNewStreamID(b []byte) (id StreamID, auto, ok bool) {
	if len(b) <= streamIDTextMax {
		if ms, seq, _ := bytes.Cut(cString(b), []byte{'-'}); string(seq) == "*" {
			id.MS, ok = parseIDNumber(ms)
			return id, true, ok
		}
	}
	id, ok = ParseExactStreamID(b, 0)
	return id, false, ok
}

// cString is what C sees of a string: up to the first zero byte.
func cString(b []byte) []byte {
	if before, _, ok := bytes.Cut(b, []byte{0}); ok {
		return before
	}
	return b
}

// parseIDNumber reads a number of an id as Redis does: what is no plain integer, by the rules of strtoull.
func parseIDNumber(b []byte) (uint64, bool) {
	if n, ok := ParseInt(b); ok {
		return uint64(n), n >= 0
	}
	b = bytes.TrimLeft(b, " \t\n\v\f\r")
	negative := false
	if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
		negative = b[0] == '-'
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		d := uint64(c) - '0'
		if d > 9 || n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	if negative {
		n = -n
	}
	return n, true
}
