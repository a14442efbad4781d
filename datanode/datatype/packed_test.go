package datatype

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sort"
	"testing"

	"pgregory.net/rapid"
)

// The packed hash behaves as an insertion-ordered map, and its encoding parses at every step.
func TestPackedHashModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := make([]byte, packedHeader)
		model, order := map[string]string{}, []string{}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				f, v := drawName(t), bytes.Repeat([]byte("v"), rapid.SampledFrom([]int{0, 1, 5, 127, 128, 300}).Draw(t, "value"))
				var created bool
				var err error
				if p, created, err = putPair(p, f, v); err != nil {
					t.Fatal(err)
				}
				_, had := model[string(f)]
				if created == had {
					t.Fatalf("created %v", created)
				}
				if !had {
					order = append(order, string(f))
				}
				model[string(f)] = string(v)
			},
			"cut": func(t *rapid.T) {
				f := drawName(t)
				var removed bool
				var err error
				if p, removed, err = cutPair(p, f); err != nil {
					t.Fatal(err)
				}
				_, had := model[string(f)]
				if removed != had {
					t.Fatalf("removed %v", removed)
				}
				delete(model, string(f))
				order = slices.DeleteFunc(order, func(s string) bool { return s == string(f) })
			},
			"": func(t *rapid.T) {
				w := walkPairs(p)
				for _, f := range order {
					if !w.next() || string(w.field) != f || string(w.data) != model[f] {
						t.Fatalf("%q=%q, want %q=%q (%v)", w.field, w.data, f, model[f], w.err)
					}
				}
				if w.next() || w.err != nil {
					t.Fatal("more elements than the model has, or damage", w.err)
				}
			},
		})
	})
}

func drawName(t *rapid.T) []byte {
	n := rapid.SampledFrom([]int{0, 1, 2, 127, 128, 200}).Draw(t, "length")
	return append([]byte{byte('a' + rapid.IntRange(0, 3).Draw(t, "name"))}, bytes.Repeat([]byte{'x'}, n)...)
}

// The packed sorted set stays sorted and whole.
func TestPackedZSetModel(t *testing.T) {
	type element struct {
		member string
		score  float64
	}
	rapid.Check(t, func(t *rapid.T) {
		p := make([]byte, packedHeader)
		var model []element
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				m := string(drawName(t))
				score := rapid.SampledFrom([]float64{math.Inf(-1), -1.5, 0, 1, 1.5, math.Inf(1)}).Draw(t, "score")
				if i := slices.IndexFunc(model, func(e element) bool { return e.member == m }); i >= 0 {
					model = slices.Delete(model, i, i+1)
					w := walkScores(p)
					for w.next() && string(w.member) != m {
					}
					p = cutPacked(p, w.start, w.at, 1)
				}
				var err error
				if p, err = putScore(p, []byte(m), score); err != nil {
					t.Fatal(err)
				}
				model = append(model, element{m, score})
				sort.Slice(model, func(i, j int) bool {
					a, b := model[i], model[j]
					return a.score < b.score || a.score == b.score && a.member < b.member
				})
			},
			"": func(t *rapid.T) {
				w := walkScores(p)
				for _, e := range model {
					if !w.next() || string(w.member) != e.member || w.score != e.score {
						t.Fatalf("%q=%v, want %v (%v)", w.member, w.score, e, w.err)
					}
				}
				if w.next() || w.err != nil {
					t.Fatal("more elements than the model has, or damage", w.err)
				}
			},
		})
	})
}

func packedHash(t testing.TB, pairs ...string) []byte {
	p := make([]byte, packedHeader)
	for i := 0; i < len(pairs); i += 2 {
		var err error
		if p, _, err = putPair(p, []byte(pairs[i]), []byte(pairs[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// Every cut of a packed form, and every byte behind it, is damage.
func TestPackedDamage(t *testing.T) {
	whole := packedHash(t, "field", "value", "f2", string(bytes.Repeat([]byte("x"), 200)))
	check := func(p []byte) error {
		w := walkPairs(p)
		for w.next() {
		}
		return w.err
	}
	if check(whole) != nil {
		t.Fatal("the whole form is damaged")
	}
	for n := range whole {
		if check(whole[:n]) == nil {
			t.Errorf("cut at %d is not noticed", n)
		}
	}
	if check(append(bytes.Clone(whole), 0)) == nil {
		t.Error("a byte behind the end is not noticed")
	}
	if check([]byte{1, 0, 0x80, 0x00, 0}) == nil {
		t.Error("a length with a needless byte is not noticed")
	}
}

func FuzzPackedHash(f *testing.F) {
	f.Add(packedHash(f, "a", "1", "b", "2"))
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, p []byte) {
		w := walkPairs(p)
		again := make([]byte, packedHeader)
		n := 0
		for w.next() {
			again = appendChunk(appendChunk(again, w.field), w.data)
			n++
		}
		if w.err != nil {
			return
		}
		setPackedCount(again, n)
		if !bytes.Equal(again, p) {
			t.Fatalf("%x reads and is written as %x", p, again)
		}
		grown, created, err := putPair(bytes.Clone(p), []byte("a new field"), []byte("v"))
		if err != nil || !created {
			return
		}
		if cut, removed, err := cutPair(grown, []byte("a new field")); err != nil || !removed || !bytes.Equal(cut, p) {
			t.Fatalf("put and cut turn %x into %x", p, cut)
		}
	})
}

func FuzzPackedZSet(f *testing.F) {
	p, _ := putScore(make([]byte, packedHeader), []byte("m"), 1.5)
	p, _ = putScore(p, []byte("n"), -1)
	f.Add(p)
	f.Fuzz(func(t *testing.T, p []byte) {
		w := walkScores(p)
		again := make([]byte, packedHeader)
		n := 0
		for w.next() {
			again = appendChunk(appendScore(again, w.score), w.member)
			n++
		}
		if w.err != nil {
			return
		}
		setPackedCount(again, n)
		if !bytes.Equal(again, p) {
			t.Fatalf("%x reads and is written as %x", p, again)
		}
	})
}

func TestScoreOrder(t *testing.T) {
	list := []float64{math.Inf(-1), -math.MaxFloat64, -2, -1.5, -5e-324, 0, 5e-324, 1, 1.5, 2, math.MaxFloat64, math.Inf(1)}
	for i, a := range list {
		for j, b := range list {
			if got := bytes.Compare(appendScore(nil, a), appendScore(nil, b)); got != min(max(i-j, -1), 1) {
				t.Errorf("order of %g and %g is %d", a, b, got)
			}
		}
		if back, err := decodeScore(appendScore(nil, a)); err != nil || back != a {
			t.Errorf("%g reads back as %g, %v", a, back, err)
		}
	}
	if !bytes.Equal(appendScore(nil, math.Copysign(0, -1)), appendScore(nil, 0)) {
		t.Error("zero has two forms")
	}
	for _, bits := range []uint64{^uint64(0), 0, sortable(0) - 1} { // NaN, NaN, -0
		b := fmt.Appendf(nil, "%s", []byte{byte(bits >> 56), byte(bits >> 48), byte(bits >> 40), byte(bits >> 32), byte(bits >> 24), byte(bits >> 16), byte(bits >> 8), byte(bits)})
		if f, err := decodeScore(b); err == nil {
			t.Errorf("%x reads as %g", bits, f)
		}
	}
}

func TestReadingPackedAllocatesNothing(t *testing.T) {
	p := packedHash(t, "a", "1", "b", "2", "c", "3")
	if n := testing.AllocsPerRun(100, func() {
		w := walkPairs(p)
		for w.next() {
		}
	}); n != 0 {
		t.Errorf("a walk allocates %v times", n)
	}
}

func BenchmarkPackedHashPut(b *testing.B) {
	base := make([]byte, packedHeader)
	for i := range 64 {
		base, _, _ = putPair(base, fmt.Appendf(nil, "field%d", i), []byte("0123456789"))
	}
	buf := make([]byte, 0, 4096)
	field, value := []byte("field63"), []byte("value")
	b.ReportAllocs()
	for b.Loop() {
		putPair(append(buf[:0], base...), field, value)
	}
}
