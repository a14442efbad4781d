package datatype

import "math"

// LCSBytesMax bounds the table of LCS, as proto-max-bulk-len does in Redis.
const LCSBytesMax = MaxStringBytes

// LCS is the longest common subsequence of two strings: for each pair of their prefixes how long it is.
type LCS struct {
	a, b  []byte
	table []uint32
}

// NewLCS fills the table, in time and memory of the product of the lengths; nil if that is beyond LCSBytesMax.
func NewLCS(a, b []byte) *LCS {
	rows, columns := int64(len(a))+1, int64(len(b))+1
	if rows > math.MaxInt64/4/columns || rows*columns*4 > LCSBytesMax {
		return nil
	}
	l := &LCS{a, b, make([]uint32, rows*columns)}
	for i := 1; i < int(rows); i++ {
		above, row := l.row(i-1), l.row(i)
		for j := 1; j < int(columns); j++ {
			if a[i-1] == b[j-1] {
				row[j] = above[j-1] + 1
			} else {
				row[j] = max(above[j], row[j-1])
			}
		}
	}
	return l
}

func (l *LCS) row(i int) []uint32 {
	n := len(l.b) + 1
	return l.table[i*n : (i+1)*n]
}

// Len is the subsequence's length.
func (l *LCS) Len() int { return int(l.row(len(l.a))[len(l.b)]) }

// Match is a run of the subsequence that is whole in both strings, from its last run on.
type Match struct{ A, B, Length int }

// Walk returns the subsequence and its runs, the last one first.
func (l *LCS) Walk() (text []byte, matches []Match) {
	text = make([]byte, l.Len())
	at := len(text)
	for i, j := len(l.a), len(l.b); i > 0 && j > 0; {
		switch {
		case l.a[i-1] == l.b[j-1]:
			at--
			text[at] = l.a[i-1]
			i, j = i-1, j-1
			if n := len(matches); n > 0 && matches[n-1].A == i+1 && matches[n-1].B == j+1 {
				matches[n-1] = Match{i, j, matches[n-1].Length + 1}
			} else {
				matches = append(matches, Match{i, j, 1})
			}
		case l.row(i - 1)[j] > l.row(i)[j-1]:
			i--
		default:
			j--
		}
	}
	return text, matches
}
