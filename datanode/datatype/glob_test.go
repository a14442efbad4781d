package datatype

import (
	"bytes"
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"*", "anything", true}, {"", "", true}, {"", "a", false},
		{"h?llo", "hello", true}, {"h?llo", "hllo", false}, {"h*llo", "hllo", true}, {"h*llo", "heeeello", true},
		{"h[ae]llo", "hello", true}, {"h[ae]llo", "hillo", false}, {"h[^e]llo", "hello", false}, {"h[^e]llo", "hallo", true},
		{"h[a-c]llo", "hbllo", true}, {"h[c-a]llo", "hbllo", true}, {"h[a-c]llo", "hdllo", false},
		{`h\*llo`, "h*llo", true}, {`h\*llo`, "hello", false}, {`a\`, `a\`, true}, {`\[x]`, "[x]", true},
		{`[\]]`, "]", true}, {`[\-a]`, "-", true}, {"[]a]", "a]", false}, {"[^]", "x", true}, {"[^]a]", "xa]", true},
		{"[abc", "b", true}, {"[abc", "d", false}, {"[a-", "a", true}, {"[a-", "-", true}, {"[", "x", false}, {"[^", "x", true},
		{"a*b*c", "axxbyyc", true}, {"a*b*c", "axxbyy", false}, {"**a**", "bab", true}, {"*a", "ba", true}, {"*a", "ab", false},
		{"a**", "a", true}, {"*", "", true}, {"**", "", false}, {"", "", true}, {"***", "x", true}, {"user:*:name", "user:1:2:name", true}, {"\x00*", "\x00\xff", true}, {"[\x80-\xff]", "\xc3", true},
	} {
		if got := Glob([]byte(c.pattern), []byte(c.s)); got != c.want {
			t.Errorf("Glob(%q, %q) = %v, want %v", c.pattern, c.s, got, c.want)
		}
	}
}

// A pattern of many stars makes a recursive matcher take longer than the universe lasts.
func TestGlobBacktracking(t *testing.T) {
	pattern := []byte(strings.Repeat("a*", 200) + "b")
	if Glob(pattern, bytes.Repeat([]byte("a"), 5000)) {
		t.Fatal("matched without a b")
	}
}

func TestGlobPrefix(t *testing.T) {
	for _, c := range []struct {
		pattern, prefix string
		only            bool
	}{
		{"*", "", true}, {"user:*", "user:", true}, {"user:*x", "user:", false}, {"exact", "exact", false},
		{`a\*`, "a", false}, {"a?", "a", false}, {"a[b]", "a", false}, {"a**", "a", false},
	} {
		prefix, only := GlobPrefix([]byte(c.pattern))
		if string(prefix) != c.prefix || only != c.only {
			t.Errorf("GlobPrefix(%q) = %q, %v", c.pattern, prefix, only)
		}
	}
}

// slowGlob is the definition, by recursion over the elements of the pattern.
func slowGlob(pattern, s []byte) bool {
	if len(pattern) == 0 {
		return len(s) == 0
	}
	if pattern[0] == '*' {
		return slowGlob(pattern[1:], s) || len(s) > 0 && slowGlob(pattern, s[1:])
	}
	if len(s) == 0 {
		return false
	}
	next, ok := globOne(pattern, 0, s[0])
	return ok && slowGlob(pattern[next:], s[1:])
}

func FuzzGlob(f *testing.F) {
	for _, s := range []string{"a*b", "[a-c]*", `\**`, "[^x]?", "[", "*[", "a*a*b"} {
		f.Add([]byte(s), []byte("aabcab"))
	}
	f.Fuzz(func(t *testing.T, pattern, s []byte) {
		got := Glob(pattern, s)
		if len(pattern) <= 12 && len(s) > 0 && len(s) <= 12 && got != slowGlob(pattern, s) {
			t.Fatalf("Glob(%q, %q) = %v", pattern, s, got)
		}
		if prefix, only := GlobPrefix(pattern); got && !bytes.HasPrefix(s, prefix) || only && got != bytes.HasPrefix(s, prefix) {
			t.Fatalf("GlobPrefix(%q) = %q, %v, but Glob of %q is %v", pattern, prefix, only, s, got)
		}
	})
}

// TestGlobWithin holds that a pattern which is made to take long ends at the bound, and that the answer is Glob's within it.
func TestGlobWithin(t *testing.T) {
	bad, name := []byte("*"+strings.Repeat("a", 2000)+"b"), bytes.Repeat([]byte("a"), 4000)
	steps := 100_000
	if match, whole := GlobWithin(bad, name, &steps); match || whole || steps < -2100 {
		t.Errorf("match %v, whole %v, %d steps are left", match, whole, steps)
	}
	class, steps := []byte("*["+strings.Repeat("b", 2000)+"]"), 100_000
	if match, whole := GlobWithin(class, name, &steps); match || whole || steps < -2100 {
		t.Errorf("a class: match %v, whole %v, %d steps are left", match, whole, steps)
	}
	for range 10_000 { // ordinary ones
		steps := 200
		if match, whole := GlobWithin([]byte("news.*.sport.[a-f]?"), []byte("news.today.sport.cx"), &steps); !match || !whole {
			t.Fatalf("an ordinary pattern: match %v, whole %v", match, whole)
		}
	}
}
