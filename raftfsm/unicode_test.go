package raftfsm

import (
	"testing"
	"unicode"
)

// What a Go release adds to its tables is noticed here. It must not simply be taken over: nodes of another
// build would decide otherwise about a name.
func TestFrozenTablesAreThoseOfThisBuild(t *testing.T) {
	for r := range rune(unicode.MaxRune + 1) {
		if got, want := isFormat(r), unicode.Is(unicode.Cf, r); got != want {
			t.Errorf("format character %U: %v, Unicode %s says %v", r, got, unicode.Version, want)
		}
		if got, want := isSpace(r), unicode.IsSpace(r); got != want {
			t.Errorf("space %U: %v, Unicode %s says %v", r, got, unicode.Version, want)
		}
	}
}
