package command

import (
	"bytes"
	"math/big"
	"testing"
)

// FuzzCursor reads the number of a cursor: what it takes is that number, and nothing is taken for another one.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{"0", "", "+7", "-0", "-1", "007", "9007199254740993", "9223372036854775807", "9223372036854775808", "1x", " 1", "+", "--1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		number, ok := parseCursor(b)
		if !ok {
			return
		}
		digits := bytes.TrimPrefix(bytes.TrimPrefix(b, []byte("+")), []byte("-"))
		want, whole := new(big.Int).SetString("0"+string(digits), 10)
		if !whole || !want.IsInt64() || want.Int64() != number || bytes.IndexByte(digits, '_') >= 0 {
			t.Errorf("%q is cursor %d", b, number)
		}
		if n := testing.AllocsPerRun(1, func() { parseCursor(b) }); n != 0 {
			t.Errorf("%v allocations for %d bytes", n, len(b))
		}
	})
}

// FuzzCursorTable continues and opens scans in any order: a cursor is found by its own scan alone, and the table stays
// within its bounds.
func FuzzCursorTable(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5})
	f.Add(bytes.Repeat([]byte{0, 9}, 600))
	f.Fuzz(func(t *testing.T, steps []byte) {
		var tables cursorTables
		table, numbers := tables.of(1), []uint64{0}
		for i, step := range steps {
			if step%2 == 0 {
				numbers = append(numbers, table.add(position{kind: scanKind(step / 2 % 3), db: i % 16, last: make([]byte, int(step)*64)}))
			} else {
				n := numbers[int(step)*7%len(numbers)]
				p, ok := table.find(n, scanKind(step/2%3), i%16, 0)
				if ok && (p.kind != scanKind(step/2%3) || p.db != i%16) {
					t.Errorf("cursor %d is of another scan", n)
				}
			}
			if len(table.open) > cursorsMax || table.used.Len() > cursorsUsedMax || (table.bytes > cursorBytesMax && len(table.open) > 1) ||
				len(table.open) != table.used.Len()+table.fresh.Len() {
				t.Fatalf("after %d steps: %d cursors, %d used, %d bytes", i, len(table.open), table.used.Len(), table.bytes)
			}
		}
	})
}
