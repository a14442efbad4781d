package tenant

import (
	"iter"
	"slices"
	"sort"
)

// chunkItems is the most items of one chunk: 4 KiB of pointers.
const chunkItems = 512

// index is a persistent ordered set of pointers: sorted chunks behind one slice. It holds eight bytes
// an item, where a persistent radix tree holds hundreds, and a change leaves the earlier index as it
// was. The zero value is empty.
type index[T any] struct {
	chunks [][]*T // none is empty; none is changed once an index holds it
	len    int
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

// update returns an index that lacks removed and holds changed in place of equal items. It copies the
// list of chunks and the chunks that it changes, whatever the index holds beside them. Of equal items in
// changed the last counts.
func (x index[T]) update(changed, removed []*T, compare func(a, b *T) int) index[T] {
	if len(changed)+len(removed) == 0 {
		return x
	}
	put, drop := sorted(changed, compare), sorted(removed, compare)
	if len(x.chunks) == 0 {
		x.chunks = [][]*T{nil}
	}
	out := index[T]{chunks: make([][]*T, 0, len(x.chunks)+1)}
	for i, c := range x.chunks {
		p, d := len(put), len(drop) // what sorts behind the last chunk belongs to it too
		if i < len(x.chunks)-1 {
			p, d = upTo(put, c[len(c)-1], compare), upTo(drop, c[len(c)-1], compare)
		}
		if p+d > 0 {
			c = mergeChunk(c, put[:p], drop[:d], compare)
			put, drop = put[p:], drop[d:]
		}
		out.append(c)
	}
	return out
}

// sorted returns the items in order, of equal ones the last.
func sorted[T any](items []*T, compare func(a, b *T) int) []*T {
	list := slices.Clone(items)
	slices.SortStableFunc(list, compare)
	n := 0
	for i, v := range list {
		if i+1 < len(list) && compare(v, list[i+1]) == 0 {
			continue
		}
		list[n] = v
		n++
	}
	return list[:n]
}

// upTo returns how many of the sorted items don't sort behind last.
func upTo[T any](items []*T, last *T, compare func(a, b *T) int) int {
	if len(items) == 0 || compare(items[0], last) > 0 {
		return 0
	}
	return sort.Search(len(items), func(i int) bool { return compare(items[i], last) > 0 })
}

// mergeChunk returns a chunk that holds put, and of c what is in neither put nor drop. All are sorted.
func mergeChunk[T any](c, put, drop []*T, compare func(a, b *T) int) []*T {
	out := make([]*T, 0, len(c)+len(put))
	for _, v := range c {
		for len(put) > 0 && compare(put[0], v) < 0 {
			out, put = append(out, put[0]), put[1:]
		}
		for len(drop) > 0 && compare(drop[0], v) < 0 {
			drop = drop[1:]
		}
		switch {
		case len(put) > 0 && compare(put[0], v) == 0: // put replaces it
		case len(drop) > 0 && compare(drop[0], v) == 0:
		default:
			out = append(out, v)
		}
	}
	return append(out, put...)
}

// append adds a chunk behind the others, in parts if it is too long.
func (x *index[T]) append(c []*T) {
	x.len += len(c)
	last := len(x.chunks) - 1
	switch {
	case len(c) == 0:
		return
	case last >= 0 && len(x.chunks[last])+len(c) <= chunkItems/2: // what removals have left small
		x.chunks[last] = slices.Concat(x.chunks[last], c)
		return
	case len(c) <= chunkItems:
		x.chunks = append(x.chunks, slices.Clip(c))
		return
	}
	for part := range slices.Chunk(c, chunkItems/2) {
		x.chunks = append(x.chunks, slices.Clone(part))
	}
}
