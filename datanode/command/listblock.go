package command

import "github.com/atolldb/atoll/datanode/store"

// The list commands that wait for an element.

func listBlockSpecs() []Spec {
	const pops = FlagWrite | FlagNoScript | FlagBlocking
	two := KeySpec{First: 1, Last: 2, Step: 1}
	many := KeySpec{First: 1, Last: -2, Step: 1}
	return []Spec{
		{Name: "blmove", Arity: 6, Flags: pops | FlagDenyOOM, Keys: two, Since: "6.2.0", Summary: "Pops an element from a list, pushes it to another list and returns it. Blocks until an element is available otherwise. Deletes the list if the last element was moved.", Run: onData(blmoveCommand)},
		{Name: "blmpop", Arity: -5, Flags: FlagWrite | FlagBlocking, Keys: KeySpec{Find: numberedKeys(2)}, Since: "7.0.0", Summary: "Pops the first element from one of multiple lists. Blocks until an element is available otherwise. Deletes the list if the last element was popped.", Run: onData(blmpopCommand)},
		{Name: "blpop", Arity: -3, Flags: pops, Keys: many, Since: "2.0.0", Summary: "Removes and returns the first element in a list. Blocks until an element is available otherwise. Deletes the list if the last element was popped.", Run: onData(blpopCommand)},
		{Name: "brpop", Arity: -3, Flags: pops, Keys: many, Since: "2.0.0", Summary: "Removes and returns the last element in a list. Blocks until an element is available otherwise. Deletes the list if the last element was popped.", Run: onData(brpopCommand)},
		{Name: "brpoplpush", Arity: 4, Flags: pops | FlagDenyOOM, Keys: two, Since: "2.2.0", Summary: "Pops an element from a list, pushes it to another list and returns it. Block until an element is available otherwise. Deletes the list if the last element was popped.", Run: onData(brpoplpushCommand)},
	}
}

func blpopCommand(c *Ctx, w *work) { bpop(c, w, true) }
func brpopCommand(c *Ctx, w *work) { bpop(c, w, false) }

func bpop(c *Ctx, w *work, front bool) {
	last := len(c.Args) - 1
	timeout, ok := c.seconds(c.Args[last])
	if !ok {
		return
	}
	l, key, ok := firstList(c, w, c.Args[1:last])
	switch {
	case !ok:
	case key == nil:
		c.block(blockOn{keys: c.Args[1:last], kind: store.TypeList, timeout: timeout, none: (*Reply).NullArray})
	default:
		c.Out.Array(2)
		c.Out.Bulk(key)
		value, _ := l.Pop(front)
		c.Out.Bulk(value)
		l.Save()
	}
}

func blmoveCommand(c *Ctx, w *work) {
	from, ok := c.end(3)
	if !ok {
		return
	}
	if to, ok := c.end(4); ok {
		move(c, w, from, to, c.Args[5])
	}
}

func brpoplpushCommand(c *Ctx, w *work) { move(c, w, false, true, c.Args[3]) }

func blmpopCommand(c *Ctx, w *work) { lmpop(c, w, 2, c.Args[1]) }
