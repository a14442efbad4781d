package command

import (
	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

// The sorted sets' commands that pop from the first one that isn't empty, and those that wait for one.

func zsetPopSpecs() []Spec {
	const pops = FlagWrite | FlagFast | FlagNoScript | FlagBlocking
	many := KeySpec{First: 1, Last: -2, Step: 1}
	return []Spec{
		{Name: "bzmpop", Arity: -5, Flags: FlagWrite | FlagBlocking, Keys: KeySpec{Find: numberedKeys(2)}, Since: "7.0.0", Summary: "Removes and returns a member by score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted set if the last element was popped.", Run: onData(bzmpopCommand)},
		{Name: "bzpopmax", Arity: -3, Flags: pops, Keys: many, Since: "5.0.0", Summary: "Removes and returns the member with the highest score from one or more sorted sets. Blocks until a member available otherwise.  Deletes the sorted set if the last element was popped.", Run: onData(bzpopmaxCommand)},
		{Name: "bzpopmin", Arity: -3, Flags: pops, Keys: many, Since: "5.0.0", Summary: "Removes and returns the member with the lowest score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted set if the last element was popped.", Run: onData(bzpopminCommand)},
	}
}

func bzpopminCommand(c *Ctx, w *work) { bzpop(c, w, false) }
func bzpopmaxCommand(c *Ctx, w *work) { bzpop(c, w, true) }

func bzpop(c *Ctx, w *work, reverse bool) {
	last := len(c.Args) - 1
	timeout, ok := c.seconds(c.Args[last])
	if !ok {
		return
	}
	z, key, ok := firstZSet(c, w, c.Args[1:last])
	switch {
	case !ok:
		return
	case key == nil:
		c.block(blockOn{keys: c.Args[1:last], kind: store.TypeZSet, timeout: timeout, none: (*Reply).NullArray})
		return
	}
	c.Out.Array(3)
	c.Out.Bulk(key)
	z.Walk(z.All(), reverse, 0, 1, func(member []byte, score float64) bool {
		c.Out.Bulk(member)
		c.Out.Double(score)
		return true
	})
	z.DeleteSpan(z.All(), reverse, 1)
	z.Save()
}

func bzmpopCommand(c *Ctx, w *work) { zmpop(c, w, 2, c.Args[1]) }

func zmpopCommand(c *Ctx, w *work) { zmpop(c, w, 1, nil) }

// zmpop pops from the first sorted set that isn't empty. The keys' number is at first; with a timeout, one is waited for.
func zmpop(c *Ctx, w *work, first int64, timeout []byte) {
	n, ok := c.above(int(first), 1, errNumKeys)
	if !ok {
		return
	}
	if n >= int64(len(c.Args))-first-1 {
		c.fail(errSyntax)
		return
	}
	keys, rest := c.Args[first+1:first+1+n], c.Args[first+1+n:]
	reverse := is(rest[0], "MAX")
	if !reverse && !is(rest[0], "MIN") {
		c.fail(errSyntax)
		return
	}
	count, counted := int64(1), false
	for rest = rest[1:]; len(rest) > 0; rest = rest[2:] {
		if counted || len(rest) == 1 || !is(rest[0], "COUNT") {
			c.fail(errSyntax)
			return
		}
		if count, counted = datatype.ParseInt(rest[1]); !counted || count <= 0 {
			c.fail(errCountPositive)
			return
		}
	}
	on := blockOn{keys: keys, kind: store.TypeZSet, none: (*Reply).NullArray}
	if timeout != nil {
		if on.timeout, ok = c.seconds(timeout); !ok {
			return
		}
	}
	z, key, ok := firstZSet(c, w, keys)
	switch {
	case !ok:
		return
	case key == nil && timeout != nil:
		c.block(on)
		return
	case key == nil:
		c.Out.NullArray()
		return
	}
	count = min(count, z.Len())
	c.Out.Array(2)
	c.Out.Bulk(key)
	c.Out.Array(int(count))
	z.Walk(z.All(), reverse, 0, count, func(member []byte, score float64) bool {
		c.Out.Array(2)
		c.Out.Bulk(member)
		c.Out.Double(score)
		return !c.Out.Overflowed()
	})
	if c.Out.Overflowed() {
		return // the connection ends, and nothing was taken
	}
	z.DeleteSpan(z.All(), reverse, count)
	z.Save()
}

// firstZSet opens the first of the sorted sets that isn't empty, or answers with an error; key is nil if there is none.
func firstZSet(c *Ctx, w *work, keys [][]byte) (z datatype.ZSet, key []byte, ok bool) {
	for _, key := range keys {
		if !c.ready(key) {
			continue
		}
		z, err := w.ZSet(key)
		if err != nil && c.waited() {
			continue
		}
		if err != nil {
			c.Fail(err)
			return z, nil, false
		}
		if z.Len() > 0 {
			return z, key, true
		}
	}
	return z, nil, true
}
