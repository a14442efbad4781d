package command

import (
	"math"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

func listSpecs() []Spec {
	two := KeySpec{First: 1, Last: 2, Step: 1}
	return []Spec{
		{Name: "lindex", Arity: 3, Flags: flagsRead | FlagShort, Keys: oneKey, Since: "1.0.0", Summary: "Returns an element from a list by its index.", Run: onData(lindexCommand)},
		{Name: "linsert", Arity: 5, Flags: flagsGrow, Keys: oneKey, Since: "2.2.0", Summary: "Inserts an element before or after another element in a list.", Run: onData(linsertCommand)},
		{Name: "llen", Arity: 2, Flags: flagsReadFast, Keys: oneKey, Since: "1.0.0", Summary: "Returns the length of a list.", Run: onData(llenCommand)},
		{Name: "lmove", Arity: 5, Flags: flagsGrowShort, Keys: two, Since: "6.2.0", Summary: "Returns an element after popping it from one list and pushing it to another. Deletes the list if the last element was moved.", Run: onData(lmoveCommand)},
		{Name: "lmpop", Arity: -4, Flags: flagsWrite, Keys: KeySpec{Find: numberedKeys(1)}, Since: "7.0.0", Summary: "Returns multiple elements from a list after removing them. Deletes the list if the last element was popped.", Run: onData(lmpopCommand)},
		{Name: "lpop", Arity: -2, Flags: flagsWriteMany, Keys: oneKey, Since: "1.0.0", Summary: "Returns the first elements in a list after removing it. Deletes the list if the last element was popped.", Run: onData(lpopCommand)},
		{Name: "lpos", Arity: -3, Flags: flagsRead, Keys: oneKey, Since: "6.0.6", Summary: "Returns the index of matching elements in a list.", Run: onData(lposCommand)},
		{Name: "lpush", Arity: -3, Flags: flagsGrowFast, Keys: oneKey, Since: "1.0.0", Summary: "Prepends one or more elements to a list. Creates the key if it doesn't exist.", Run: onData(lpushCommand)},
		{Name: "lpushx", Arity: -3, Flags: flagsGrowFast, Keys: oneKey, Since: "2.2.0", Summary: "Prepends one or more elements to a list only when the list exists.", Run: onData(lpushxCommand)},
		{Name: "lrange", Arity: 4, Flags: flagsRead, Keys: oneKey, Since: "1.0.0", Summary: "Returns a range of elements from a list.", Run: onData(lrangeCommand)},
		{Name: "lrem", Arity: 4, Flags: flagsWrite, Keys: oneKey, Since: "1.0.0", Summary: "Removes elements from a list. Deletes the list if the last element was removed.", Run: onData(lremCommand)},
		{Name: "lset", Arity: 4, Flags: flagsGrowShort, Keys: oneKey, Since: "1.0.0", Summary: "Sets the value of an element in a list by its index.", Run: onData(lsetCommand)},
		{Name: "ltrim", Arity: 4, Flags: flagsWrite, Keys: oneKey, Since: "1.0.0", Summary: "Removes elements from both ends a list. Deletes the list if all elements were trimmed.", Run: onData(ltrimCommand)},
		{Name: "rpop", Arity: -2, Flags: flagsWriteMany, Keys: oneKey, Since: "1.0.0", Summary: "Returns and removes the last elements of a list. Deletes the list if the last element was popped.", Run: onData(rpopCommand)},
		{Name: "rpoplpush", Arity: 3, Flags: flagsGrowShort, Keys: two, Since: "1.2.0", Summary: "Returns the last element of a list after removing and pushing it to another list. Deletes the list if the last element was popped.", Run: onData(rpoplpushCommand)},
		{Name: "rpush", Arity: -3, Flags: flagsGrowFast, Keys: oneKey, Since: "1.0.0", Summary: "Appends one or more elements to a list. Creates the key if it doesn't exist.", Run: onData(rpushCommand)},
		{Name: "rpushx", Arity: -3, Flags: flagsGrowFast, Keys: oneKey, Since: "2.2.0", Summary: "Appends an element to a list only when the list exists.", Run: onData(rpushxCommand)},
	}
}

// openList opens the list at the command's key, or answers with the error.
func openList(c *Ctx, w *work) (datatype.List, bool) {
	l, err := w.List(c.Args[1])
	if err != nil {
		c.Fail(err)
	}
	return l, err == nil
}

func lpushCommand(c *Ctx, w *work)  { push(c, w, true, true) }
func rpushCommand(c *Ctx, w *work)  { push(c, w, false, true) }
func lpushxCommand(c *Ctx, w *work) { push(c, w, true, false) }
func rpushxCommand(c *Ctx, w *work) { push(c, w, false, false) }

func push(c *Ctx, w *work, front, create bool) {
	l, ok := openList(c, w)
	if !ok {
		return
	}
	if !create && l.Len() == 0 {
		c.Out.Int(0)
		return
	}
	l.Push(front, c.Args[2:]...)
	c.Out.Int(l.Len())
	l.Save()
}

func lpopCommand(c *Ctx, w *work) { pop(c, w, true) }
func rpopCommand(c *Ctx, w *work) { pop(c, w, false) }

func pop(c *Ctx, w *work, front bool) {
	count, counted := int64(0), len(c.Args) > 2
	if len(c.Args) > 3 {
		c.failArity()
		return
	}
	if counted {
		var ok bool
		if count, ok = datatype.ParseInt(c.Args[2]); !ok || count < 0 {
			c.fail(errNotPositive)
			return
		}
	}
	l, ok := openList(c, w)
	switch {
	case !ok:
	case l.Len() == 0 && counted:
		c.Out.NullArray()
	case l.Len() == 0:
		c.Out.Null()
	case counted:
		take(c, &l, front, count)
	default:
		value, _ := l.Pop(front)
		c.Out.Bulk(value)
		l.Save()
	}
}

// take answers with up to count elements from an end, and removes them.
func take(c *Ctx, l *datatype.List, front bool, count int64) {
	count = min(count, l.Len())
	c.Out.Array(int(count))
	l.Take(front, count, func(value []byte) bool {
		c.Out.Bulk(value)
		return !c.Out.Overflowed()
	})
	l.Save()
}

// end reads LEFT or RIGHT, or answers with the error.
func (c *Ctx) end(at int) (front, ok bool) {
	switch {
	case is(c.Args[at], "LEFT"):
		return true, true
	case is(c.Args[at], "RIGHT"):
		return false, true
	}
	c.fail(errSyntax)
	return false, false
}

// above reads an integer of at least least, or answers with the error.
func (c *Ctx) above(at int, least int64, e Error) (int64, bool) {
	n, ok := datatype.ParseInt(c.Args[at])
	if !ok || n < least {
		c.fail(e)
		return 0, false
	}
	return n, true
}

func lmpopCommand(c *Ctx, w *work) { lmpop(c, w, 1, nil) }

// lmpop pops from the first list that isn't empty. The keys' number is at first; with a timeout, one is waited for.
func lmpop(c *Ctx, w *work, first int, timeout []byte) {
	n, ok := c.above(first, 1, errNumKeys)
	if !ok {
		return
	}
	if n > int64(len(c.Args)-first-2) {
		c.fail(errSyntax)
		return
	}
	at := first + 1 + int(n)
	front, ok := c.end(at)
	if !ok {
		return
	}
	count := int64(1)
	switch rest := c.Args[at+1:]; {
	case len(rest) == 0:
	case len(rest) == 1 || !is(rest[0], "COUNT"):
		c.fail(errSyntax)
		return
	default:
		if count, ok = c.above(at+2, 1, errCountPositive); !ok {
			return
		}
		if len(rest) > 2 {
			c.fail(errSyntax)
			return
		}
	}
	on := blockOn{keys: c.Args[first+1 : at], kind: store.TypeList, none: (*Reply).NullArray}
	if timeout != nil {
		if on.timeout, ok = c.seconds(timeout); !ok {
			return
		}
	}
	l, key, ok := firstList(c, w, on.keys)
	switch {
	case !ok:
	case key != nil:
		c.Out.Array(2)
		c.Out.Bulk(key)
		take(c, &l, front, count)
	case timeout != nil:
		c.block(on)
	default:
		c.Out.NullArray()
	}
}

// firstList opens the first of the lists that isn't empty, or answers with an error; key is nil if there is none.
func firstList(c *Ctx, w *work, keys [][]byte) (l datatype.List, key []byte, ok bool) {
	for _, key := range keys {
		if !c.ready(key) {
			continue
		}
		l, err := w.List(key)
		if err != nil && c.waited() {
			continue
		}
		if err != nil {
			c.Fail(err)
			return l, nil, false
		}
		if l.Len() > 0 {
			return l, key, true
		}
	}
	return l, nil, true
}

func lmoveCommand(c *Ctx, w *work) {
	from, ok := c.end(3)
	if !ok {
		return
	}
	if to, ok := c.end(4); ok {
		move(c, w, from, to, nil)
	}
}

func rpoplpushCommand(c *Ctx, w *work) { move(c, w, false, true, nil) }

// move takes an element off an end of one list, and puts it on an end of another or of the same. With a timeout, one is
// waited for.
func move(c *Ctx, w *work, from, to bool, timeout []byte) {
	on := blockOn{keys: c.Args[1:2], also: c.Args[2:3], kind: store.TypeList, none: (*Reply).Null}
	if timeout != nil {
		var ok bool
		if on.timeout, ok = c.seconds(timeout); !ok {
			return
		}
	}
	source, err := w.List(c.Args[1])
	switch {
	case err != nil && c.waited():
		c.block(on)
		return
	case err != nil:
		c.Fail(err)
		return
	case source.Len() == 0 && timeout != nil:
		c.block(on)
		return
	case source.Len() == 0:
		c.Out.Null()
		return
	}
	if string(c.Args[1]) == string(c.Args[2]) {
		value, _ := source.Pop(from)
		c.Out.Bulk(value)
		source.Push(to, value)
		source.Save()
		return
	}
	target, err := w.List(c.Args[2])
	if err != nil {
		c.Fail(err)
		return
	}
	value, _ := source.Pop(from) // it lies where it was read: the first change copies what it changes
	c.Out.Bulk(value)
	source.Save()
	target.Push(to, value)
	target.Save()
}

func llenCommand(c *Ctx, w *work) {
	if l, ok := openList(c, w); ok {
		c.Out.Int(l.Len())
	}
}

// lindexCommand looks at the index only where there is a list, as Redis does.
func lindexCommand(c *Ctx, w *work) {
	l, ok := openList(c, w)
	if !ok {
		return
	}
	if l.Len() == 0 {
		c.Out.Null()
		return
	}
	index, ok := c.integer(2)
	if !ok {
		return
	}
	if value, there := l.Index(index); there {
		c.Out.Bulk(value)
	} else {
		c.Out.Null()
	}
}

func lsetCommand(c *Ctx, w *work) {
	l, ok := openList(c, w)
	if !ok {
		return
	}
	if l.Len() == 0 {
		c.fail(errNoSuchKey)
		return
	}
	index, ok := c.integer(2)
	if !ok {
		return
	}
	if !l.Set(index, c.Args[3]) {
		c.fail(errIndexRange)
		return
	}
	l.Save()
	c.Out.OK()
}

// listRange reads the range of LRANGE and LTRIM and opens the list, or answers with the error.
func listRange(c *Ctx, w *work) (l datatype.List, from, n int64, ok bool) {
	start, ok := c.integer(2)
	if !ok {
		return l, 0, 0, false
	}
	stop, ok := c.integer(3)
	if !ok {
		return l, 0, 0, false
	}
	if l, ok = openList(c, w); ok {
		from, n = l.Range(start, stop)
	}
	return l, from, n, ok
}

func lrangeCommand(c *Ctx, w *work) {
	l, from, n, ok := listRange(c, w)
	if !ok {
		return
	}
	c.Out.Array(int(n))
	l.Each(from, n, false, func(_ int64, value []byte) bool {
		c.Out.Bulk(value)
		return !c.Out.Overflowed()
	})
}

func ltrimCommand(c *Ctx, w *work) {
	if l, from, n, ok := listRange(c, w); ok {
		l.Trim(from, n)
		l.Save()
		c.Out.OK()
	}
}

func linsertCommand(c *Ctx, w *work) {
	behind := is(c.Args[2], "AFTER")
	if !behind && !is(c.Args[2], "BEFORE") {
		c.fail(errSyntax)
		return
	}
	l, ok := openList(c, w)
	if !ok {
		return
	}
	if l.Len() == 0 {
		c.Out.Int(0)
		return
	}
	found, err := l.Insert(c.Args[3], c.Args[4], behind)
	switch {
	case err != nil:
		c.Fail(err)
	case !found:
		c.Out.Int(-1)
	default:
		c.Out.Int(l.Len())
		l.Save()
	}
}

func lremCommand(c *Ctx, w *work) {
	count, ok := c.integer(2)
	if !ok {
		return
	}
	reverse := count < 0
	if reverse {
		count = -max(count, -math.MaxInt64)
	}
	l, ok := openList(c, w)
	if !ok {
		return
	}
	n, err := l.Remove(c.Args[3], reverse, count)
	if err != nil {
		c.Fail(err)
		return
	}
	l.Save()
	c.Out.Int(n)
}

// intFrame is the least that RESP takes for an integer, in bytes.
const intFrame = len(":0\r\n")

// posOptions are LPOS' options.
type posOptions struct {
	reverse bool  // RANK is negative
	skip    int64 // matches before the first that counts
	counted bool
	count   int64 // matches; 0: all
	most    int64 // elements to look at; 0: all
}

// parsePos reads the options, or answers with the error.
func parsePos(c *Ctx) (o posOptions, ok bool) {
	for at := 3; at < len(c.Args); at += 2 {
		arg := c.Args[at]
		switch {
		case at+1 == len(c.Args):
			c.fail(errSyntax)
			return o, false
		case is(arg, "RANK"):
			rank, ok := c.integer(at + 1)
			switch {
			case !ok:
				return o, false
			case rank == math.MinInt64:
				c.fail(errCountRange)
				return o, false
			case rank == 0:
				c.fail("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list")
				return o, false
			}
			o.reverse, o.skip = rank < 0, max(rank, -rank)-1
		case is(arg, "COUNT"):
			if o.count, ok = c.above(at+1, 0, "ERR COUNT can't be negative"); !ok {
				return o, false
			}
			o.counted = true
		case is(arg, "MAXLEN"):
			if o.most, ok = c.above(at+1, 0, "ERR MAXLEN can't be negative"); !ok {
				return o, false
			}
		default:
			c.fail(errSyntax)
			return o, false
		}
	}
	return o, true
}

func lposCommand(c *Ctx, w *work) {
	o, ok := parsePos(c)
	if !ok {
		return
	}
	l, ok := openList(c, w)
	if !ok {
		return
	}
	from, n := int64(0), l.Len()
	if o.most > 0 && o.most < n {
		if o.reverse {
			from = n - o.most
		}
		n = o.most
	}
	if !o.counted {
		o.count = 1
	}
	var found []int64
	l.Each(from, n, o.reverse, func(i int64, value []byte) bool {
		if string(value) != string(c.Args[2]) {
			return true
		}
		if o.skip--; o.skip >= 0 {
			return true
		}
		found = append(found, i)
		return int64(len(found)) != o.count && c.Out.fits(intFrame*len(found))
	})
	switch {
	case o.counted:
		c.Out.Array(len(found))
		for _, i := range found {
			c.Out.Int(i)
		}
	case len(found) == 0:
		c.Out.Null()
	default:
		c.Out.Int(found[0])
	}
}
