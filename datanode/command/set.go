package command

import (
	"math"
	"slices"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

func setSpecs() []Spec {
	two := KeySpec{First: 1, Last: 2, Step: 1}
	return []Spec{
		{Name: "sadd", Arity: -3, Flags: flagsGrowFast, Keys: oneKey, Since: "1.0.0", Summary: "Adds one or more members to a set. Creates the key if it doesn't exist.", Run: onData(saddCommand)},
		{Name: "scard", Arity: 2, Flags: flagsReadFast, Keys: oneKey, Since: "1.0.0", Summary: "Returns the number of members in a set.", Run: onData(scardCommand)},
		{Name: "sismember", Arity: 3, Flags: flagsReadFast, Keys: oneKey, Since: "1.0.0", Summary: "Determines whether a member belongs to a set.", Run: onData(sismemberCommand)},
		{Name: "smembers", Arity: 2, Flags: flagsRead, Keys: oneKey, Since: "1.0.0", Summary: "Returns all members of a set.", Run: onData(sinterCommand)},
		{Name: "smismember", Arity: -3, Flags: flagsReadFast, Keys: oneKey, Since: "6.2.0", Summary: "Determines whether multiple members belong to a set.", Run: onData(smismemberCommand)},
		{Name: "smove", Arity: 4, Flags: flagsWriteFast, Keys: counted(two), Since: "1.0.0", Summary: "Moves a member from one set to another.", Run: onData(smoveCommand), Unsent: smoveUnsent},
		{Name: "spop", Arity: -2, Flags: flagsWriteMany, Keys: oneKey, Since: "1.0.0", Summary: "Returns one or more random members from a set after removing them. Deletes the set if the last member was popped.", Run: onData(spopCommand)},
		{Name: "srandmember", Arity: -2, Flags: flagsRead, Keys: oneKey, Since: "1.0.0", Summary: "Get one or multiple random members from a set", Run: onData(srandmemberCommand)},
		{Name: "srem", Arity: -3, Flags: flagsWriteFast, Keys: oneKey, Since: "1.0.0", Summary: "Removes one or more members from a set. Deletes the set if the last member was removed.", Run: onData(sremCommand)},
	}
}

// openSet opens the set at the command's key, or answers with the error.
func openSet(c *Ctx, w *work) (datatype.Set, bool) {
	s, err := w.Set(c.Args[1])
	if err != nil {
		c.Fail(err)
	}
	return s, err == nil
}

func saddCommand(c *Ctx, w *work) {
	s, ok := openSet(c, w)
	if !ok {
		return
	}
	var added int64
	for _, member := range c.Args[2:] {
		added += bit(s.Add(member))
	}
	s.Save()
	c.Out.Int(added)
}

func sremCommand(c *Ctx, w *work) {
	s, ok := openSet(c, w)
	if !ok {
		return
	}
	var removed int64
	for _, member := range c.Args[2:] {
		removed += bit(s.Delete(member))
	}
	s.Save()
	c.Out.Int(removed)
}

func scardCommand(c *Ctx, w *work) {
	if s, ok := openSet(c, w); ok {
		c.Out.Int(s.Len())
	}
}

func sismemberCommand(c *Ctx, w *work) {
	if s, ok := openSet(c, w); ok {
		c.Out.Int(bit(s.Has(c.Args[2])))
	}
}

func smismemberCommand(c *Ctx, w *work) {
	s, ok := openSet(c, w)
	if !ok {
		return
	}
	c.Out.Array(len(c.Args) - 2)
	for _, member := range c.Args[2:] {
		if c.Out.Overflowed() {
			return
		}
		c.Out.Int(bit(s.Has(member)))
	}
}

// smoveUnsent is the target, where there is none.
func smoveUnsent(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	_, from := tx.Get(tx.DB(db), args[1])
	_, to := tx.Get(tx.DB(db), args[2])
	return bit(from && !to), 0
}

// smoveCommand looks at the target only if there is a source, as Redis does.
func smoveCommand(c *Ctx, w *work) {
	from, ok := openSet(c, w)
	if !ok {
		return
	}
	if from.Len() == 0 {
		c.Out.Int(0)
		return
	}
	to, err := w.Set(c.Args[2])
	if err != nil {
		c.Fail(err)
		return
	}
	member := c.Args[3]
	if !from.Has(member) || string(c.Args[1]) == string(c.Args[2]) {
		c.Out.Int(bit(from.Has(member)))
		return
	}
	from.Delete(member)
	from.Save()
	to.Add(member)
	to.Save()
	c.Out.Int(1)
}

// popsBySeek is how many members SPOP takes out of a spread set one by one; for more it walks the set.
const popsBySeek = 16

func spopCommand(c *Ctx, w *work) {
	counted := len(c.Args) > 2
	count := int64(1)
	if len(c.Args) > 3 {
		c.fail(errSyntax)
		return
	}
	if counted {
		var ok bool
		if count, ok = datatype.ParseInt(c.Args[2]); !ok || count < 0 {
			c.fail(errNotPositive)
			return
		}
	}
	s, ok := openSet(c, w)
	if !ok {
		return
	}
	count = min(count, s.Len())
	if !c.Out.fitsBulks(count) {
		return
	}
	if counted && count > 0 && count == s.Len() {
		c.looks.Hits++ // as in Redis, which answers with the set's union with nothing
	}
	if !popInto(c, w, &s, count) {
		return // the connection ends at its output limit, and nothing was taken
	}
	switch {
	case counted:
		c.Out.Set(w.found.len())
	case count == 0:
		c.Out.Null()
	}
	for i := range w.found.len() {
		c.Out.Bulk(w.found.at(i))
	}
}

// popInto moves count random members into w.found, and reports whether a reply can hold them.
func popInto(c *Ctx, w *work, s *datatype.Set, count int64) bool {
	random := c.Env.Families.random
	switch {
	case count == 0:
		return true
	case count == s.Len():
		s.Each(func(member []byte) bool { return c.collect(w, member) })
		if w.found.len() == int(count) {
			w.Tx.Delete(w.DB, c.Args[1])
		}
		return w.found.len() == int(count)
	case s.Spread() && count <= popsBySeek:
		for range count {
			member, _ := s.Random(random)
			w.found.add(member)
			s.Delete(member)
		}
		if !c.Out.fits(len(w.found.bytes) + bulkFrame*w.found.len()) {
			for i := range w.found.len() {
				s.Add(w.found.at(i))
			}
			return false
		}
	default:
		gather(c, w, randomOptions{count: count}, s.Len(), count, func(fn func(name, value []byte) bool) {
			s.Each(func(member []byte) bool { return fn(member, nil) })
		})
		if w.found.len() < int(count) {
			return false
		}
		for i := range w.found.len() {
			s.Delete(w.found.at(i))
		}
	}
	s.Save()
	return true
}

func srandmemberCommand(c *Ctx, w *work) {
	o := randomOptions{count: 1}
	switch {
	case len(c.Args) > 3:
		c.fail(errSyntax)
		return
	case len(c.Args) == 3:
		o.counted = true
		var ok bool
		if o.count, ok = c.integer(2); !ok {
			return
		}
		if o.count == math.MinInt64 {
			c.fail(errCountRange)
			return
		}
	}
	s, ok := openSet(c, w)
	if !ok {
		return
	}
	if !o.counted && s.Spread() {
		member, _ := s.Random(c.Env.Families.random)
		c.Out.Bulk(member)
		return
	}
	replyRandom(c, w, o, s.Len(), func(fn func(name, value []byte) bool) {
		s.Each(func(member []byte) bool { return fn(member, nil) })
	}, nil)
}

// openSets opens the sets at some keys, or answers with the error.
func openSets(c *Ctx, w *work, keys [][]byte) ([]datatype.Set, bool) {
	sets, space := make([]datatype.Set, len(keys)), w.reading(c)
	for i, key := range keys {
		var err error
		if sets[i], err = space.Set(key); err != nil {
			c.Fail(err)
			return nil, false
		}
	}
	return sets, true
}

// bySize returns the sets with the smallest first.
func bySize(sets []datatype.Set) []datatype.Set {
	slices.SortStableFunc(sets, func(a, b datatype.Set) int { return int(min(max(a.Len()-b.Len(), -1), 1)) })
	return sets
}
