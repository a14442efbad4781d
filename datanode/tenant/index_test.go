package tenant

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

type item struct{ key, value int }

func compareItem(a, b *item) int { return cmp.Compare(a.key, b.key) }

// TestIndexEqualsMap changes an index at random, a few items or many at a time, and holds each index, the
// earlier ones too, against a map.
func TestIndexEqualsMap(t *testing.T) {
	type version struct {
		x    index[item]
		want map[int]int
	}
	rng := rand.New(rand.NewPCG(1, 2))
	now := version{want: map[int]int{}}
	var earlier []version
	for step := range 300 {
		next := version{want: maps.Clone(now.want)}
		var changed, removed []*item
		for range rng.IntN([]int{3, 40, 1500}[rng.IntN(3)]) {
			key := rng.IntN(5000)
			if rng.IntN(3) == 0 {
				removed = append(removed, &item{key: key})
			} else {
				changed = append(changed, &item{key, rng.IntN(1000)})
			}
		}
		if step%97 == 96 { // everything goes
			changed = nil
			for v := range now.x.all() {
				removed = append(removed, v)
			}
		}
		for _, v := range removed {
			delete(next.want, v.key)
		}
		for _, v := range changed { // wins over removed, the last of equal ones over the first
			next.want[v.key] = v.value
		}
		next.x = now.x.update(changed, removed, compareItem)
		checkIndex(t, step, next.x, next.want)
		now = next
		if earlier = append(earlier, next); len(earlier) > 20 {
			earlier = slices.Delete(earlier, 0, 1)
		}
	}
	for i, v := range earlier {
		checkIndex(t, -i, v.x, v.want)
	}
}

func checkIndex(t *testing.T, step int, x index[item], want map[int]int) {
	t.Helper()
	got := make(map[int]int)
	last := -1
	for v := range x.all() {
		if v.key <= last {
			t.Fatalf("step %d: %d follows %d", step, v.key, last)
		}
		last = v.key
		got[v.key] = v.value
	}
	if x.len != len(want) || !maps.Equal(got, want) {
		t.Fatalf("step %d: length %d, %d items, want %d", step, x.len, len(got), len(want))
	}
	for _, c := range x.chunks {
		if len(c) == 0 || len(c) > chunkItems {
			t.Fatalf("step %d: a chunk of %d items", step, len(c))
		}
	}
	for key := range 20 {
		v := x.find(func(v *item) int { return cmp.Compare(v.key, key) })
		if value, ok := want[key]; (v != nil) != ok || ok && v.value != value {
			t.Fatalf("step %d: found %v for key %d", step, v, key)
		}
	}
}

// BenchmarkIndexUpdate changes a large index by as much as arrives at once while namespaces are created.
func BenchmarkIndexUpdate(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	var all []*item
	for range 100_000 {
		all = append(all, &item{key: rng.Int()})
	}
	x := index[item]{}.update(all, nil, compareItem)
	for _, n := range []int{1, 40, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			changed := make([]*item, n)
			for i := range changed {
				changed[i] = &item{key: rng.Int()}
			}
			for b.Loop() {
				x.update(changed, nil, compareItem)
			}
		})
	}
}
