package datatype

import (
	"bytes"
	"encoding/binary"
	"math"
)

// scoreSize is the length of an encoded score in bytes.
const scoreSize = 8

// sortable maps a score to a number that orders as the score does. Zero has one form: -0 becomes 0.
func sortable(score float64) uint64 {
	if score == 0 {
		score = 0
	}
	bits := math.Float64bits(score)
	if bits>>63 != 0 {
		return ^bits
	}
	return bits | 1<<63
}

func unsortable(u uint64) float64 {
	if u>>63 != 0 {
		return math.Float64frombits(u &^ (1 << 63))
	}
	return math.Float64frombits(^u)
}

// appendScore writes 8 bytes whose order is the order of the scores.
func appendScore(dst []byte, score float64) []byte {
	return binary.BigEndian.AppendUint64(dst, sortable(score))
}

// decodeScore reads what appendScore wrote. It refuses what it never writes: other lengths, NaN and -0.
func decodeScore(b []byte) (float64, error) {
	if len(b) != scoreSize {
		return 0, errCorrupt
	}
	u := binary.BigEndian.Uint64(b)
	f := unsortable(u)
	if f != f || sortable(f) != u {
		return 0, errCorrupt
	}
	return f, nil
}

// ScoreRange is an interval of scores.
type ScoreRange struct {
	Min, Max         float64
	MinOpen, MaxOpen bool // the bound itself is left out
}

// ParseScoreRange reads the two bounds of a score range, "(" in front of an open one.
func ParseScoreRange(low, high []byte) (r ScoreRange, err error) {
	var okLow, okHigh bool
	r.Min, r.MinOpen, okLow = parseScoreBound(low)
	r.Max, r.MaxOpen, okHigh = parseScoreBound(high)
	if !okLow || !okHigh {
		return ScoreRange{}, ErrScoreRange
	}
	return r, nil
}

func parseScoreBound(b []byte) (score float64, open, ok bool) {
	if len(b) > 0 && b[0] == '(' {
		open, b = true, b[1:]
	}
	score, ok = parseBound(b)
	return score, open, ok
}

// Empty reports whether no score can be inside.
func (r ScoreRange) Empty() bool {
	return r.Min > r.Max || r.Min == r.Max && (r.MinOpen || r.MaxOpen)
}

func (r ScoreRange) below(score float64) bool {
	return score < r.Min || r.MinOpen && score == r.Min
}

func (r ScoreRange) above(score float64) bool {
	return score > r.Max || r.MaxOpen && score == r.Max
}

// lexEnd says what a bound of a lexical range is.
type lexEnd uint8

const (
	lexMinus  lexEnd = iota // "-": before everything
	lexPlus                 // "+": behind everything
	lexClosed               // "[x"
	lexOpen                 // "(x"
)

// LexRange is an interval of members. It aliases the arguments it was parsed from.
type LexRange struct {
	min, max       []byte
	minEnd, maxEnd lexEnd
}

// ParseLexRange reads the two bounds of a lexical range: "-", "+", "[member" or "(member".
func ParseLexRange(low, high []byte) (r LexRange, err error) {
	var okLow, okHigh bool
	r.min, r.minEnd, okLow = parseLexBound(low)
	r.max, r.maxEnd, okHigh = parseLexBound(high)
	if !okLow || !okHigh {
		return LexRange{}, ErrLexRange
	}
	return r, nil
}

func parseLexBound(b []byte) ([]byte, lexEnd, bool) {
	if len(b) == 0 {
		return nil, 0, false
	}
	switch b[0] {
	case '-':
		return nil, lexMinus, len(b) == 1
	case '+':
		return nil, lexPlus, len(b) == 1
	case '[':
		return b[1:], lexClosed, true
	case '(':
		return b[1:], lexOpen, true
	}
	return nil, 0, false
}

// Empty reports whether no member can be inside.
func (r LexRange) Empty() bool {
	if r.minEnd == lexPlus || r.maxEnd == lexMinus {
		return true
	}
	if r.minEnd == lexMinus || r.maxEnd == lexPlus {
		return false
	}
	c := bytes.Compare(r.min, r.max)
	return c > 0 || c == 0 && (r.minEnd == lexOpen || r.maxEnd == lexOpen)
}

func (r LexRange) below(member []byte) bool {
	switch r.minEnd {
	case lexMinus:
		return false
	case lexPlus:
		return true
	}
	c := bytes.Compare(member, r.min)
	return c < 0 || c == 0 && r.minEnd == lexOpen
}

func (r LexRange) above(member []byte) bool {
	switch r.maxEnd {
	case lexMinus:
		return true
	case lexPlus:
		return false
	}
	c := bytes.Compare(member, r.max)
	return c > 0 || c == 0 && r.maxEnd == lexOpen
}
