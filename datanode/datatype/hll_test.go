package datatype

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestHLLSelf(t *testing.T) {
	if err := TestHLL(rand.Uint64); err != nil {
		t.Error(err)
	}
}

// TestMurmur holds the hash to what redis-server 7.0 made of elements of every length: their registers and values.
func TestMurmur(t *testing.T) {
	for _, c := range []struct {
		element  string
		register int
		value    byte
	}{
		{"", 5938, 2},
		{"a", 12711, 2},
		{"ab", 719, 1},
		{"abc", 9474, 1},
		{"abcd", 11070, 8},
		{"abcde", 3726, 4},
		{"abcdef", 13647, 2},
		{"abcdefg", 5634, 2},
		{"abcdefgh", 1383, 1},
		{"abcdefghi", 6903, 1},
		{"0123456789abcdef", 5949, 1},
		{"\xff", 10599, 1},
	} {
		if register, value := hllPlace([]byte(c.element)); register != c.register || value != c.value {
			t.Errorf("%q: register %d to %d, want %d to %d", c.element, register, value, c.register, c.value)
		}
	}
}

// FuzzHLL takes any bytes for a HyperLogLog: nothing panics, what is accepted has as many registers as there are, and all ways
// to read and change it agree.
func FuzzHLL(f *testing.F) {
	empty := appendEmptyHLL(nil)
	f.Add(empty, []byte("element"))
	f.Add(empty[:hllHeader], []byte("a"))
	f.Add(append(empty[:hllHeader:hllHeader], 0x7f), []byte("a")) // cut within a run
	f.Add(append(empty[:hllHeader:hllHeader], bytes.Repeat([]byte{0x7f, 0x83}, 200)...), []byte("a"))
	f.Add(append(empty[:hllHeader:hllHeader], bytes.Repeat([]byte{0x7f, 0xff}, 9)...), []byte("a"))
	dense := HLL{bytes.Clone(empty)}
	if _, err := dense.ToDense(); err != nil {
		f.Fatal(err)
	}
	f.Add(dense.b, []byte(strings.Repeat("x", 33)))
	f.Fuzz(func(t *testing.T, b, element []byte) {
		if !isHLL(b) {
			return
		}
		h, other := HLL{bytes.Clone(b)}, HLL{bytes.Clone(b)}
		var before, after, want HLLRegisters
		broken := h.Merge(&before)
		if _, err := h.Count(); err != broken {
			t.Fatalf("the count says %v, and a merge %v", err, broken)
		}
		if _, err := other.ToDense(); err != broken || err == nil && len(other.b) != HLLDenseBytes {
			t.Fatalf("dense: %d bytes, %v; a merge says %v", len(other.b), err, broken)
		}
		runs := 0
		if !h.Dense() {
			h.EachRun(func(string) bool { runs++; return true })
		}
		if runs > len(b) {
			t.Fatalf("%d runs in %d bytes", runs, len(b))
		}
		changed, err := h.Add(element)
		if !bytes.Equal(h.b[:hllCountAt-3], b[:hllCountAt-3]) && !h.Dense() || len(h.b) > max(len(b), HLLDenseBytes) {
			t.Fatalf("%d bytes after %d", len(h.b), len(b))
		}
		if broken != nil || err != nil {
			return // an element may still find its register, or not
		}
		if h.Merge(&after) != nil {
			t.Fatal("an element has broken it")
		}
		register, value := hllPlace(element)
		want = before
		want[register] = max(want[register], value)
		if after != want || changed != (want != before) {
			t.Fatalf("register %d to %d: it was %d and is %d", register, value, before[register], after[register])
		}
		if m, err := other.Add(element); m != changed || err != nil {
			t.Fatalf("dense it says %v, %v", m, err)
		}
		n, _ := h.Count()
		if m, _ := other.Count(); m != n || want.Count() != n {
			t.Fatalf("counts %d, dense %d, registers %d", n, m, want.Count())
		}
	})
}
