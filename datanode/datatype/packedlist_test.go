package datatype

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func packedList(values ...string) []byte {
	p := make([]byte, packedHeader)
	for _, v := range values {
		p = putItems(p, len(p), false, []byte(v))
	}
	return p
}

// unpackList returns the elements of a packed list, and where each starts.
func unpackList(p []byte) (list []string, starts []int, err error) {
	w := walkItems(p)
	for w.next() {
		list, starts = append(list, string(w.data)), append(starts, w.start)
	}
	return list, append(starts, len(p)), w.err
}

// The packed list behaves as a slice, and its encoding parses at every step.
func TestPackedListModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := make([]byte, packedHeader)
		var model []string
		starts := []int{packedHeader}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				at, reverse := rapid.IntRange(0, len(model)).Draw(t, "at"), rapid.Bool().Draw(t, "reverse")
				var values [][]byte
				var list []string
				for range rapid.IntRange(1, 3).Draw(t, "values") {
					v := drawName(t)
					values, list = append(values, v), append(list, string(v))
				}
				p = putItems(p, starts[at], reverse, values...)
				if reverse {
					slices.Reverse(list)
				}
				model = slices.Insert(model, at, list...)
			},
			"set": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip("nothing to set")
				}
				at, v := rapid.IntRange(0, len(model)-1).Draw(t, "at"), drawName(t)
				p = setItem(p, starts[at], starts[at+1], v)
				model[at] = string(v)
			},
			"cut": func(t *rapid.T) {
				v, skip, limit := string(drawName(t)), rapid.Int64Range(0, 2).Draw(t, "skip"), rapid.Int64Range(0, 2).Draw(t, "limit")
				p = cutItems(p, []byte(v), skip, limit)
				model = slices.DeleteFunc(model, func(e string) bool {
					if e != v {
						return false
					}
					if skip--; skip >= 0 || limit == 0 {
						return false
					}
					limit--
					return true
				})
			},
			"": func(t *rapid.T) {
				var list []string
				var err error
				if list, starts, err = unpackList(p); err != nil || !slices.Equal(list, model) {
					t.Fatalf("%q, %v; want %q", list, err, model)
				}
			},
		})
	})
}

// Every cut of a packed list, and every byte behind it, is damage.
func TestPackedListDamage(t *testing.T) {
	whole := packedList("first", "", string(bytes.Repeat([]byte("x"), 200)))
	if _, _, err := unpackList(whole); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, _, err := unpackList(whole[:n]); err == nil {
			t.Errorf("cut at %d is not noticed", n)
		}
	}
	if _, _, err := unpackList(append(bytes.Clone(whole), 0)); err == nil {
		t.Error("a byte behind the end is not noticed")
	}
}

func FuzzPackedList(f *testing.F) {
	f.Add(packedList("a", "", "b"), []byte("b"))
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, []byte{})
	f.Fuzz(func(t *testing.T, p, value []byte) {
		list, starts, err := unpackList(p)
		if err != nil {
			return
		}
		if again := packedList(list...); !bytes.Equal(again, p) {
			t.Fatalf("%x reads and is written as %x", p, again)
		}
		if len(list) >= packedCountMax {
			return
		}
		middle := len(list) / 2
		grown := putItems(bytes.Clone(p), starts[middle], false, value)
		if got, _, err := unpackList(grown); err != nil || !slices.Equal(got, slices.Insert(slices.Clone(list), middle, string(value))) {
			t.Fatalf("%q with %q put at %d is %q, %v", list, value, middle, got, err)
		}
		cut := cutItems(grown, value, 0, 1<<20)
		if got, _, err := unpackList(cut); err != nil || !slices.Equal(got, slices.DeleteFunc(list, func(v string) bool { return v == string(value) })) {
			t.Fatalf("without %q it is %q, %v", value, got, err)
		}
	})
}
