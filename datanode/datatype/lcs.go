package datatype

const (
	// lcsCellsMax bounds the time of LCS: the product of the lengths, as far as proto-max-bulk-len lets Redis' table grow.
	lcsCellsMax = MaxStringBytes / 4
	// lcsTableMax bounds the table, in bytes: who asks for the length alone needs none.
	lcsTableMax = 64 << 20
)

// LCS is the longest common subsequence of two strings: for each pair of their prefixes how long it is.
type LCS struct {
	a, b  []byte
	table []uint32
}

// LCSLen returns the length of the longest common subsequence, in time of the product of the lengths; ok is false where
// that is too large.
func LCSLen(a, b []byte) (n int, ok bool) {
	if (len(a)+1)*(len(b)+1) > lcsCellsMax {
		return 0, false
	}
	if len(a) < len(b) { // the rows are as long as the shorter one
		a, b = b, a
	}
	above, row := make([]uint32, len(b)+1), make([]uint32, len(b)+1)
	for i := range a {
		lcsRow(a[i], b, above, row)
		above, row = row, above
	}
	return int(above[len(b)]), true
}

// lcsRow fills the row of one more byte.
func lcsRow(c byte, b []byte, above, row []uint32) {
	for j := range b {
		if c == b[j] {
			row[j+1] = above[j] + 1
		} else {
			row[j+1] = max(above[j+1], row[j])
		}
	}
}

// LCS fills the table; nil if it would be too large.
func (s Space) LCS(a, b []byte) *LCS {
	columns := len(b) + 1
	cells := (len(a) + 1) * columns
	if cells > lcsTableMax/4 {
		return nil
	}
	s.Tx.Hold(4 * cells)
	l := &LCS{a, b, make([]uint32, cells)}
	for i := range a {
		lcsRow(a[i], b, l.row(i), l.row(i+1))
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
