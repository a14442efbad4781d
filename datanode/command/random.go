package command

import (
	"math"
	"slices"
)

// randomOptions are the arguments behind the key of HRANDFIELD and ZRANDMEMBER.
type randomOptions struct {
	count   int64
	counted bool // a count was given: the reply is an array
	with    bool // values or scores too
}

// parseRandom reads them, or answers with the error. word is what asks for values or scores.
func parseRandom(c *Ctx, word string) (o randomOptions, ok bool) {
	if len(c.Args) == 2 {
		return randomOptions{count: 1}, true
	}
	o.counted = true
	if o.count, ok = c.integer(2); !ok {
		return o, false
	}
	o.with = len(c.Args) == 4 && is(c.Args[3], word)
	switch {
	case o.count == math.MinInt64:
		c.fail(errCountRange)
		return o, false
	case len(c.Args) > 3 && !o.with:
		c.fail(errSyntax)
		return o, false
	case o.with && (o.count < -math.MaxInt64/2 || o.count > math.MaxInt64/2):
		c.fail(errOutOfRange)
		return o, false
	}
	return o, true
}

// Picks that may repeat are made in batches, since a count of -9e18 is a legal argument. A batch walks the
// collection once, so it has as many picks as the collection has elements, within these bounds.
const (
	pickBatchMin = 1024
	pickBatchMax = 1 << 20
)

// replyRandom answers with random elements of a collection of n. walk calls its function for every element,
// always in the same order, and reply writes the second half of an element.
func replyRandom(c *Ctx, w *work, o randomOptions, n int64, walk func(func(name, value []byte) bool), reply func(value []byte)) {
	if n == 0 || o.count == 0 {
		if o.counted {
			c.Out.Array(0)
		} else {
			c.Out.Null()
		}
		return
	}
	total, batch := -o.count, min(max(n, pickBatchMin), pickBatchMax)
	if o.count > 0 {
		total = min(o.count, n)
		batch = total
	}
	if !c.Out.fitsBulks(total) {
		return
	}
	nested := o.with && c.Out.Proto() >= 3
	switch {
	case o.with && !nested:
		c.Out.Array(int(2 * total))
	case o.counted:
		c.Out.Array(int(total))
	}
	for ; total > 0 && !c.Out.Overflowed(); total -= batch {
		for _, at := range gather(c, w, o, n, min(batch, total), walk) {
			if c.Out.Overflowed() {
				return
			}
			if nested {
				c.Out.Array(2)
			}
			if !o.with {
				c.Out.Bulk(w.found.at(at))
				continue
			}
			c.Out.Bulk(w.found.at(2 * at))
			reply(w.found.at(2*at + 1))
		}
	}
}

// gather collects count elements in w.found, names and, if asked for, values in turn, and returns which of
// them to answer with, in order.
func gather(c *Ctx, w *work, o randomOptions, n, count int64, walk func(func(name, value []byte) bool)) []int {
	w.found.reset()
	var picks []int64
	if o.count > 0 {
		picks = sample(c, n, count)
	} else {
		picks = make([]int64, count)
		for i := range picks {
			picks[i] = c.Env.Families.random(n)
		}
	}
	wanted := slices.Clone(picks)
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
	var at int64
	next := 0
	walk(func(name, value []byte) bool {
		if at == wanted[next] {
			if !c.collect(w, name) || o.with && !c.collect(w, value) {
				return false
			}
			next++
		}
		at++
		return next < len(wanted)
	})
	order := make([]int, len(picks))
	for i, p := range picks {
		order[i], _ = slices.BinarySearch(wanted, p)
	}
	return order
}

// sample returns count different numbers below n, each set of them equally likely (Floyd's algorithm).
func sample(c *Ctx, n, count int64) []int64 {
	picks := make([]int64, 0, count)
	if count == n {
		for i := range n {
			picks = append(picks, i)
		}
		return picks
	}
	seen := make(map[int64]bool, count)
	for j := n - count; j < n; j++ {
		p := c.Env.Families.random(j + 1)
		if seen[p] {
			p = j
		}
		seen[p] = true
		picks = append(picks, p)
	}
	return picks
}
