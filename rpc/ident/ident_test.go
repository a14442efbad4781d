package ident

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, id := range []string{"a", "Node-1.b_c", "...", strings.Repeat("x", BytesMax)} {
		if err := Check(id); err != nil {
			t.Errorf("%q %v", id, err)
		}
	}
	for _, id := range []string{"", ".", "..", "a b", "a/b", "ü", "a\n", strings.Repeat("x", BytesMax+1)} {
		if Check(id) == nil {
			t.Errorf("%q was taken", id)
		}
	}
}
