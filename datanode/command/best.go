package command

import (
	"container/heap"
	"slices"
)

// best keeps the first n by an order of all that it is shown, or all. Until it is sorted, the last of them is in front.
type best[T any] struct {
	list    []T
	n       int64 // 0: all
	compare func(a, b T) int
}

// wants reports whether x belongs to the first n of what has been shown.
func (b *best[T]) wants(x T) bool { return !b.full() || b.compare(x, b.list[0]) < 0 }

func (b *best[T]) full() bool { return b.n > 0 && int64(len(b.list)) == b.n }

// add keeps x, which is wanted, in the place of the last one if there are n.
func (b *best[T]) add(x T) {
	switch {
	case b.full():
		b.list[0] = x
		heap.Fix(b, 0)
	case b.n > 0:
		heap.Push(b, x)
	default:
		b.list = append(b.list, x)
	}
}

// sort puts what is kept in order. Nothing is added after it.
func (b *best[T]) sort() { slices.SortFunc(b.list, b.compare) }

// The methods of a heap, whose first element is the last of the order.

func (b *best[T]) Len() int           { return len(b.list) }
func (b *best[T]) Less(i, j int) bool { return b.compare(b.list[i], b.list[j]) > 0 }
func (b *best[T]) Swap(i, j int)      { b.list[i], b.list[j] = b.list[j], b.list[i] }
func (b *best[T]) Push(x any)         { b.list = append(b.list, x.(T)) }
func (b *best[T]) Pop() any           { panic("command: nothing is popped from best") }
