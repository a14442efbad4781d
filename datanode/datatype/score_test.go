package datatype

import (
	"math"
	"testing"
)

func TestParseScoreRange(t *testing.T) {
	r, err := ParseScoreRange([]byte("(1.5"), []byte("+inf"))
	if err != nil || r != (ScoreRange{Min: 1.5, Max: math.Inf(1), MinOpen: true}) {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, bad := range [][2]string{{" ", "1"}, {"( ", "1"}, {"1 ", "2"}, {"1", "x"}, {"((1", "2"}, {"nan", "1"}, {"[1", "2"}} {
		if r, err := ParseScoreRange([]byte(bad[0]), []byte(bad[1])); err != ErrScoreRange {
			t.Errorf("%q: %+v, %v", bad, r, err)
		}
	}
	for _, c := range []struct {
		low, high string
		empty     bool
	}{{"1", "1", false}, {"(1", "1", true}, {"1", "(1", true}, {"2", "1", true}, {"-inf", "+inf", false}, {"-1e999", "1e999", false}, {"(0", "(", true}, {"0", "", false}, {" 1", "\t1\x00x", false}, {"1e-999", "-0x0", false}} {
		if r, _ := ParseScoreRange([]byte(c.low), []byte(c.high)); r.Empty() != c.empty {
			t.Errorf("%s %s: empty %v", c.low, c.high, r.Empty())
		}
	}
}

func TestParseLexRange(t *testing.T) {
	for _, c := range []struct {
		low, high string
		in, out   []string
	}{
		{"-", "+", []string{"", "a", "\xff"}, nil},
		{"[b", "(d", []string{"b", "c", "cz"}, []string{"a", "d"}},
		{"(b", "[d", []string{"ba", "d"}, []string{"b", "da"}},
		{"-", "[b", []string{"", "b"}, []string{"ba"}},
	} {
		r, err := ParseLexRange([]byte(c.low), []byte(c.high))
		if err != nil || r.Empty() {
			t.Fatal(c, err)
		}
		for _, m := range c.in {
			if r.below([]byte(m)) || r.above([]byte(m)) {
				t.Errorf("%s %s leaves out %q", c.low, c.high, m)
			}
		}
		for _, m := range c.out {
			if !r.below([]byte(m)) && !r.above([]byte(m)) {
				t.Errorf("%s %s takes in %q", c.low, c.high, m)
			}
		}
	}
	for _, bad := range [][2]string{{"", "+"}, {"a", "+"}, {"-", "b"}, {"-x", "+"}, {"-", "+x"}} {
		if _, err := ParseLexRange([]byte(bad[0]), []byte(bad[1])); err != ErrLexRange {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, empty := range [][2]string{{"+", "-"}, {"-", "-"}, {"+", "+"}, {"[b", "[a"}, {"(a", "[a"}} {
		if r, err := ParseLexRange([]byte(empty[0]), []byte(empty[1])); err != nil || !r.Empty() {
			t.Errorf("%q: %v, %v", empty, r.Empty(), err)
		}
	}
}

func FuzzParseLexRange(f *testing.F) {
	f.Add([]byte("[a"), []byte("(b"), []byte("a"))
	f.Fuzz(func(t *testing.T, low, high, member []byte) {
		r, err := ParseLexRange(low, high)
		if err == nil && r.Empty() && !r.below(member) && !r.above(member) {
			t.Fatalf("%q %q is empty and holds %q", low, high, member)
		}
	})
}
