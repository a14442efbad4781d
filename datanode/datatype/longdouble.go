package datatype

import (
	"math"
	"math/big"
	"unsafe"
)

// The float commands of strings and hashes compute in x87 long doubles in Redis, and answer with 17 digits
// behind the point, so 10.5 + 0.1 is 10.6 there and not 10.59999999999999964. big.Float with a mantissa of
// 64 bits is the same arithmetic.
const (
	longDoublePrecision = 64
	longDoubleMaxExp    = 16384
	longDoubleMinExp    = -16445
	longDoubleMaxChars  = 5 * 1024
	longDoubleDecimals  = 17
)

// FloatSum adds two decimal texts and appends the sum as Redis prints it. The value may be absent (nil: 0).
// It returns ErrNotFloat if one of them isn't a number, and ErrNaN if the sum isn't finite.
func FloatSum(dst, value, increment []byte) ([]byte, error) {
	a, ok := new(big.Float).SetPrec(longDoublePrecision), true
	if value != nil {
		a, ok = parseLongDouble(value)
	}
	if !ok {
		return dst, ErrNotFloat
	}
	b, ok := parseLongDouble(increment)
	if !ok {
		return dst, ErrNotFloat
	}
	if a.IsInf() || b.IsInf() {
		return dst, ErrNaN
	}
	sum := new(big.Float).SetPrec(longDoublePrecision).Add(a, b)
	if sum.MantExp(nil) > longDoubleMaxExp {
		return dst, ErrNaN
	}
	return appendLongDouble(dst, sum), nil
}

// ValidLongDouble reports whether the float commands take b as an increment.
func ValidLongDouble(b []byte) bool {
	_, ok := parseLongDouble(b)
	return ok
}

func parseLongDouble(b []byte) (*big.Float, bool) {
	f := new(big.Float).SetPrec(longDoublePrecision)
	if n, ok := ParseInt(b); ok {
		return f.SetInt64(n), true
	}
	if len(b) >= longDoubleMaxChars {
		return nil, false
	}
	s, ok := floatText(b)
	if !ok {
		return nil, false
	}
	switch g, inf := ParseFloat(b); {
	case inf && math.IsInf(g, 0):
		return f.SetInf(g < 0), true
	case !decimalOrHex(b):
		return nil, false
	}
	if _, _, err := f.Parse(s, 0); err != nil {
		return nil, false
	}
	exp := f.MantExp(nil)
	if f.IsInf() || exp > longDoubleMaxExp || exp < longDoubleMinExp || f.Sign() == 0 && hasNonZeroDigit(b) {
		return nil, false
	}
	return f, true
}

// decimalOrHex refuses what big.Float would take beyond strtod: binary and octal prefixes, and words.
func decimalOrHex(b []byte) bool {
	if b[0] == '+' || b[0] == '-' {
		b = b[1:]
	}
	if len(b) == 0 {
		return false
	}
	if len(b) > 1 && b[0] == '0' && (b[1] == 'x' || b[1] == 'X') {
		return len(b) > 2
	}
	for _, c := range b {
		if (c < '0' || c > '9') && c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-' {
			return false
		}
	}
	return true
}

func appendLongDouble(dst []byte, f *big.Float) []byte {
	start := len(dst)
	dst = f.Append(dst, 'f', longDoubleDecimals)
	end := len(dst)
	for dst[end-1] == '0' {
		end--
	}
	if dst[end-1] == '.' {
		end--
	}
	text := dst[start:end]
	if unsafe.String(unsafe.SliceData(text), len(text)) == "-0" {
		return append(dst[:start], '0')
	}
	return dst[:end]
}
