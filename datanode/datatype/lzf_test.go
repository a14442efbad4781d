package datatype

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzLZF compresses anything and takes it apart again, and takes anything apart.
func FuzzLZF(f *testing.F) {
	for _, s := range []string{"", "a", strings.Repeat("a", 300), strings.Repeat("abcdefgh", 5000), "\x00a\xe0\x0a\x00", "\x1f", "\xe0\xff\x00", strings.Repeat("x", 8192) + "abc" + strings.Repeat("y", 8192) + "abc"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if packed, ok := appendLZF([]byte("before"), b, len(b)); ok {
			if len(packed)-6 >= len(b) {
				t.Fatalf("%d bytes take %d", len(b), len(packed)-6)
			}
			got, ok := appendUnLZF([]byte("before"), packed[6:], len(b))
			if !ok || string(got) != "before"+string(b) {
				t.Fatalf("%q becomes %q", b, got)
			}
			if _, ok := appendUnLZF(nil, packed[6:], len(b)-1); ok {
				t.Fatal("it fits in fewer bytes")
			}
		} else if len(b) > 100 && len(bytes.TrimRight(b, "a")) == 0 {
			t.Fatalf("%d times the same isn't compressed", len(b))
		}
		for _, n := range []int{0, 1, len(b), lzfGrowth * len(b)} {
			if got, ok := appendUnLZF(nil, b, n); ok && len(got) != n || cap(got) > 4*max(n, 64) {
				t.Fatalf("%q: %d bytes of %d, %v", b, len(got), n, ok)
			}
		}
	})
}

// TestDumpSum is the check value of the checksum's authors.
func TestDumpSum(t *testing.T) {
	if got := dumpSum([]byte("123456789")); got != 0xe9c6d914c4b8d9ca {
		t.Errorf("%x", got)
	}
}

// FuzzListpack writes parts and reads them back, whatever they are.
func FuzzListpack(f *testing.F) {
	for _, s := range []string{"", "a,b,1", "127,128,-1,4095,-4096,32767,8388607,-8388609,2147483648,-9223372036854775808", strings.Repeat("x", 63) + "," + strings.Repeat("y", 64) + "," + strings.Repeat("z", 5000), "007,-0,+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<18 {
			return
		}
		parts := strings.Split(text, ",")
		w := dumpWriter{more: func(int) bool { return true }}
		for _, part := range parts {
			w.part([]byte(part))
		}
		w.packed()
		var got []string
		d := Dump{form: dumpSetListpack, body: w.b}
		if err := d.each(func(i *dumpItem) error { got = append(got, string(i.name)); return nil }); err != nil || strings.Join(got, ",") != text {
			t.Fatalf("%q becomes %q, %v", parts, got, err)
		}
	})
}
