package tenant

import (
	"iter"
	"slices"
	"sort"
)

// chunkItems is the most items of one chunk. A change copies one chunk (4 KiB of pointers) and the
// list of chunks.
const chunkItems = 512

// index is a persistent ordered set of pointers: sorted chunks behind one slice. It holds eight bytes
// an item, where a persistent radix tree holds hundreds, and a change leaves the earlier index as it
// was. The zero value is empty.
type index[T any] struct {
	chunks [][]*T // none is empty; none is changed once an index holds it
	len    int
}

// newIndex sorts items, which it keeps, and builds an index of them. Equal ones must not occur.
func newIndex[T any](items []*T, compare func(a, b *T) int) index[T] {
	slices.SortFunc(items, compare)
	x := index[T]{len: len(items)}
	for part := range slices.Chunk(items, chunkItems/2) {
		x.chunks = append(x.chunks, slices.Clip(part))
	}
	return x
}

// find returns the item for which probe is 0. probe compares an item with what is sought: negative
// when the item sorts before it.
func (x index[T]) find(probe func(*T) int) *T {
	c, i, ok := x.seek(probe)
	if !ok {
		return nil
	}
	return x.chunks[c][i]
}

// seek returns the place of the first item that does not sort before what is sought, and whether it is
// that. The chunk may be len(chunks).
func (x index[T]) seek(probe func(*T) int) (chunk, item int, found bool) {
	chunk = sort.Search(len(x.chunks), func(i int) bool {
		c := x.chunks[i]
		return probe(c[len(c)-1]) >= 0
	})
	if chunk == len(x.chunks) {
		return chunk, 0, false
	}
	c := x.chunks[chunk]
	item = sort.Search(len(c), func(i int) bool { return probe(c[i]) >= 0 })
	return chunk, item, probe(c[item]) == 0
}

// from yields the items that do not sort before what is sought, in order.
func (x index[T]) from(probe func(*T) int) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		chunk, item, _ := x.seek(probe)
		for ; chunk < len(x.chunks); chunk++ {
			for _, v := range x.chunks[chunk][item:] {
				if !yield(v) {
					return
				}
			}
			item = 0
		}
	}
}

// all yields every item in order.
func (x index[T]) all() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for _, c := range x.chunks {
			for _, v := range c {
				if !yield(v) {
					return
				}
			}
		}
	}
}

// with returns an index that also holds v, in place of an equal item.
func (x index[T]) with(v *T, compare func(a, b *T) int) index[T] {
	probe := func(t *T) int { return compare(t, v) }
	chunk, item, found := x.seek(probe)
	out := index[T]{chunks: slices.Clone(x.chunks), len: x.len}
	switch {
	case found:
		c := slices.Clone(x.chunks[chunk])
		c[item] = v
		out.chunks[chunk] = c
		return out
	case len(x.chunks) == 0:
		out.chunks = [][]*T{{v}}
	case chunk == len(x.chunks): // beyond the last item
		last := len(x.chunks) - 1
		out.put(last, append(slices.Clip(x.chunks[last]), v))
	default:
		out.put(chunk, slices.Insert(slices.Clip(x.chunks[chunk]), item, v))
	}
	out.len++
	return out
}

// put places c, split when it is too long.
func (x *index[T]) put(chunk int, c []*T) {
	if len(c) <= chunkItems {
		x.chunks[chunk] = c
		return
	}
	half := len(c) / 2
	x.chunks[chunk] = slices.Clip(c[:half])
	x.chunks = slices.Insert(x.chunks, chunk+1, slices.Clip(c[half:]))
}

// without returns an index that lacks the item for which probe is 0.
func (x index[T]) without(probe func(*T) int) index[T] {
	chunk, item, found := x.seek(probe)
	if !found {
		return x
	}
	out := index[T]{len: x.len - 1}
	c := x.chunks[chunk]
	if len(c) == 1 {
		out.chunks = slices.Concat(x.chunks[:chunk], x.chunks[chunk+1:])
		return out
	}
	out.chunks = slices.Clone(x.chunks)
	out.chunks[chunk] = slices.Concat(c[:item], c[item+1:])
	return out
}

// fewItems is how many changes are made one by one; beyond it the index is built anew.
const fewItems = 32

// update returns an index that lacks removed and holds changed in place of equal items.
func (x index[T]) update(changed, removed []*T, compare func(a, b *T) int) index[T] {
	if len(changed)+len(removed) <= fewItems {
		for _, r := range removed {
			x = x.without(func(t *T) int { return compare(t, r) })
		}
		for _, c := range changed {
			x = x.with(c, compare)
		}
		return x
	}
	out := slices.Clone(changed)
	slices.SortFunc(out, compare)
	gone := slices.Clone(removed)
	slices.SortFunc(gone, compare)
	fresh := len(out)
	for t := range x.all() {
		if _, ok := slices.BinarySearchFunc(gone, t, compare); ok {
			continue
		}
		if _, ok := slices.BinarySearchFunc(out[:fresh], t, compare); ok {
			continue
		}
		out = append(out, t)
	}
	return newIndex(out, compare)
}
