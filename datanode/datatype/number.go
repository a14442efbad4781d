package datatype

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"unsafe"
)

// ParseInt reads a decimal integer of 64 bits exactly as Redis does: no sign but '-', no leading zeros, no
// spaces, and not "-0". It reports whether b is one. It does not allocate.
func ParseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	negative := b[0] == '-'
	digits := b
	if negative {
		digits = b[1:]
	}
	if len(digits) == 1 && digits[0] == '0' {
		return 0, !negative
	}
	if len(digits) == 0 || digits[0] < '1' || digits[0] > '9' {
		return 0, false
	}
	var v uint64
	for _, c := range digits {
		if c < '0' || c > '9' || v > math.MaxUint64/10 {
			return 0, false
		}
		next := v*10 + uint64(c-'0')
		if next < v*10 {
			return 0, false
		}
		v = next
	}
	if negative {
		if v > 1<<63 {
			return 0, false
		}
		return -int64(v), true // -(1<<63) wraps onto itself
	}
	return int64(v), v <= math.MaxInt64
}

// ParseFloat reads a number as strtod does in Redis: decimal or hexadecimal, "inf" and "infinity" with a
// sign and in any case; never NaN, no leading space, no overflow and no underflow to zero. It allocates
// only for what is refused and for hexadecimal numbers.
func ParseFloat(b []byte) (float64, bool) {
	f, fits, ok := parseFloat(b)
	return f, fits && ok
}

// parseFloat is ParseFloat where an overflow is infinity and an underflow zero; fits is false for those.
func parseFloat(b []byte) (f float64, fits, ok bool) {
	if n, ok := ParseInt(b); ok && n > -1<<53 && n < 1<<53 {
		return float64(n), true, true
	}
	s, ok := floatText(b)
	if !ok {
		return 0, false, false
	}
	f, err := strconv.ParseFloat(s, 64)
	overflow := errors.Is(err, strconv.ErrRange)
	if (err != nil && !overflow) || f != f {
		return 0, false, false
	}
	return f, !overflow && (f != 0 || !hasNonZeroDigit(b)), true
}

// parseBound reads a number where Redis takes whatever strtod makes of a C string: white space in front,
// what doesn't fit, and nothing at all, which is 0.
func parseBound(b []byte) (float64, bool) {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	if len(b) == 0 {
		return 0, true
	}
	f, _, ok := parseFloat(bytes.TrimLeft(b, " \t\n\v\f\r"))
	return f, ok
}

// ParseLoose is parseBound for what fits in a float: a number as SORT reads its weights.
func ParseLoose(b []byte) (float64, bool) {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	if len(b) == 0 {
		return 0, true
	}
	return ParseFloat(bytes.TrimLeft(b, " \t\n\v\f\r"))
}

// floatText returns b as the text that strconv takes for the same number: Go wants an exponent behind
// hexadecimal digits and would take underscores there.
func floatText(b []byte) (string, bool) {
	if len(b) == 0 {
		return "", false
	}
	hex, exponent := false, false
	for i, c := range b {
		switch {
		case c == '_':
			return "", false
		case c == 'x' || c == 'X':
			hex = true
			if i+1 == len(b) { // "0x": strtod reads the 0 and stops
				return "", false
			}
		case c == 'p' || c == 'P':
			exponent = true
		}
	}
	s := unsafe.String(unsafe.SliceData(b), len(b))
	if hex && !exponent {
		s += "p0"
	}
	return s, true
}

// hasNonZeroDigit reports whether the mantissa of a number has a digit other than 0.
func hasNonZeroDigit(b []byte) bool {
	hex := false
	for _, c := range b {
		switch {
		case c == 'x' || c == 'X':
			hex = true
		case c == 'p' || c == 'P', !hex && (c == 'e' || c == 'E'):
			return false
		case c >= '1' && c <= '9', hex && (c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'):
			return true
		}
	}
	return false
}
