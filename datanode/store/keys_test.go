package store_test

import (
	"bytes"
	"cmp"
	"testing"

	"github.com/atolldb/atoll/datanode/store"
)

// FuzzKeys: keys parse back, order as their parts do, and their Split agrees with Compare, as Pebble
// demands: two keys of different prefixes compare as their prefixes do.
func FuzzKeys(f *testing.F) {
	f.Add(uint64(1), uint64(0), []byte("a"), uint64(1), []byte("f"), uint64(2), uint64(3), []byte("ab"), uint64(7), []byte(""))
	f.Add(uint64(240), uint64(241), []byte(""), uint64(0), []byte("\xff"), uint64(2287), uint64(2288), []byte("\xff\xff"), uint64(1)<<63, []byte("x"))
	f.Add(uint64(67823), uint64(67824), make([]byte, 200), uint64(1), []byte("m"), uint64(67823), uint64(67824), make([]byte, 127), uint64(1), []byte("m"))
	f.Fuzz(func(t *testing.T, ns1, ks1 uint64, key1 []byte, v1 uint64, name1 []byte, ns2, ks2 uint64, key2 []byte, v2 uint64, name2 []byte) {
		var c store.Codec
		ns1, ns2 = max(ns1, 1), max(ns2, 1)
		a, b := c.Key(ns1, ks1, key1), c.Key(ns2, ks2, key2)
		if ns, ks, kind, rest, ok := c.Parse(a); !ok || ns != ns1 || ks != ks1 || kind != 1 || !bytes.Equal(rest, key1) {
			t.Errorf("%x parses as %d, %d, %d, %x, %v", a, ns, ks, kind, rest, ok)
		}
		want := cmp.Or(cmp.Compare(ns1, ns2), cmp.Compare(ks1, ks2), bytes.Compare(key1, key2))
		if got := bytes.Compare(a, b); got != want {
			t.Errorf("%x and %x compare as %d, want %d", a, b, got, want)
		}
		p := c.Prefix(ns1, ks1)
		if end := c.PrefixEnd(p); end != nil && (bytes.Compare(a, p) < 0 || bytes.Compare(a, end) >= 0) {
			t.Errorf("%x is outside of its keyspace", a)
		}
		subs := [][]byte{a, b, p, c.Sub(ns1, ks1, key1, v1, false, name1), c.Sub(ns2, ks2, key2, v2, false, name2), c.Sub(ns1, ks1, key1, v1, true, name2),
			c.Row(ns1, ks1, store.SubEntry, key1, v1, name1), c.Row(ns2, ks2, store.SubGroup, key2, v2, name2)}
		if n := c.Split(subs[3]); n != len(subs[3])-len(name1) {
			t.Errorf("split of %x at %d, the member starts at %d", subs[3], n, len(subs[3])-len(name1))
		}
		for _, x := range subs {
			for _, y := range subs {
				px, py := x[:c.Split(x)], y[:c.Split(y)]
				if got := c.Split(px); got != len(px) {
					t.Errorf("split of the prefix %x at %d", px, got)
				}
				if !bytes.Equal(px, py) && bytes.Compare(x, y) != bytes.Compare(px, py) {
					t.Errorf("%x and %x compare unlike their prefixes", x, y)
				}
			}
		}
	})
}

// FuzzSplit: no bytes make the codec panic, and a prefix is its own prefix.
func FuzzSplit(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{7, 1, 2, 0xff, 0xff, 0xff})
	f.Add([]byte{7, 1, 2, 1, 'k', 0, 0, 0, 0, 0, 0, 0, 1, 'f'})
	f.Fuzz(func(t *testing.T, k []byte) {
		var c store.Codec
		n := c.Split(k)
		if n < 0 || n > len(k) {
			t.Fatalf("split at %d of %d", n, len(k))
		}
		if again := c.Split(k[:n]); again != n {
			t.Errorf("split of the prefix at %d, not %d", again, n)
		}
		c.Parse(k)
	})
}
