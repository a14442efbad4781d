package command

import (
	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

func setOperationSpecs() []Spec {
	many := KeySpec{First: 1, Last: -1, Step: 1}
	return []Spec{
		{Name: "sdiff", Arity: -2, Flags: flagsRead, Keys: many, Since: "1.0.0", Summary: "Returns the difference of multiple sets.", Run: onData(sdiffCommand)},
		{Name: "sdiffstore", Arity: -3, Flags: flagsGrow, Keys: counted(many), Since: "1.0.0", Summary: "Stores the difference of multiple sets in a key.", Run: onData(sdiffstoreCommand), Unsent: storeFirst},
		{Name: "sinter", Arity: -2, Flags: flagsRead, Keys: many, Since: "1.0.0", Summary: "Returns the intersect of multiple sets.", Run: onData(sinterCommand)},
		{Name: "sintercard", Arity: -3, Flags: flagsRead, Keys: KeySpec{Find: numberedKeys(1)}, Since: "7.0.0", Summary: "Returns the number of members of the intersect of multiple sets.", Run: onData(sintercardCommand)},
		{Name: "sinterstore", Arity: -3, Flags: flagsGrow, Keys: counted(many), Since: "1.0.0", Summary: "Stores the intersect of multiple sets in a key.", Run: onData(sinterstoreCommand), Unsent: storeSmallest},
		{Name: "sunion", Arity: -2, Flags: flagsRead, Keys: many, Since: "1.0.0", Summary: "Returns the union of multiple sets.", Run: onData(sunionCommand)},
		{Name: "sunionstore", Arity: -3, Flags: flagsGrow, Keys: counted(many), Since: "1.0.0", Summary: "Stores the union of multiple sets in a key.", Run: onData(sunionstoreCommand), Unsent: storeAll},
	}
}

// setOperation calls fn for the members of a result until it returns false.
type setOperation func(sets []datatype.Set, fn func(member []byte) bool)

// intersect walks the smallest set. What the others are asked is in memory or a read each.
func intersect(sets []datatype.Set, fn func(member []byte) bool) {
	sets = bySize(sets)
	sets[0].Each(func(member []byte) bool {
		for i := range sets[1:] {
			if !sets[1+i].Has(member) {
				return true
			}
		}
		return fn(member)
	})
}

// union remembers what it has called fn with: as much as the result, which is in memory anyway.
func union(sets []datatype.Set, fn func(member []byte) bool) {
	seen, more := map[string]struct{}{}, true
	for i := 0; i < len(sets) && more; i++ {
		sets[i].Each(func(member []byte) bool {
			if _, ok := seen[string(member)]; !ok {
				if len(sets) > 1 {
					seen[string(member)] = struct{}{}
				}
				more = fn(member)
			}
			return more
		})
	}
}

func difference(sets []datatype.Set, fn func(member []byte) bool) {
	sets[0].Each(func(member []byte) bool {
		for i := range sets[1:] {
			if sets[1+i].Has(member) {
				return true
			}
		}
		return fn(member)
	})
}

func sinterCommand(c *Ctx, w *work) { replySets(c, w, intersect) }
func sunionCommand(c *Ctx, w *work) { replySets(c, w, union) }
func sdiffCommand(c *Ctx, w *work)  { replySets(c, w, difference) }

func replySets(c *Ctx, w *work, operation setOperation) {
	sets, ok := openSets(c, w, c.Args[1:])
	if !ok {
		return
	}
	operation(sets, func(member []byte) bool { return c.collect(w, member) })
	c.Out.Set(w.found.len())
	for i := range w.found.len() {
		c.Out.Bulk(w.found.at(i))
	}
}

func sinterstoreCommand(c *Ctx, w *work) { storeSets(c, w, intersect) }
func sunionstoreCommand(c *Ctx, w *work) { storeSets(c, w, union) }
func sdiffstoreCommand(c *Ctx, w *work)  { storeSets(c, w, difference) }

// storeSets collects the result before it writes: the target may be one of the sets, and what they return is good until
// something changes.
func storeSets(c *Ctx, w *work, operation setOperation) {
	sets, ok := openSets(c, w, c.Args[2:])
	if !ok {
		return
	}
	operation(sets, w.gather)
	if c.failGathered(w) {
		return
	}
	w.Tx.Delete(w.DB, c.Args[1])
	target, err := w.Set(c.Args[1])
	if err != nil {
		c.Fail(err)
		return
	}
	for i := range w.found.len() {
		target.Add(w.found.at(i))
	}
	target.Save()
	c.Out.Int(target.Len())
}

// gather collects a member of a result that is to be stored, up to what one run may write.
func (w *work) gather(member []byte) bool {
	w.found.add(member)
	w.Tx.Hold(len(w.found.bytes))
	return len(w.found.bytes) <= store.MaxRunBytes
}

// failGathered answers that what was gathered is too much, if it is.
func (c *Ctx) failGathered(w *work) bool {
	if len(w.found.bytes) <= store.MaxRunBytes {
		return false
	}
	c.Fail(store.ErrTooLarge)
	return true
}

// The most that a result can take: all sources, the smallest, or the first; and its key, where there is none.

func storeAll(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	for _, key := range args[2:] {
		bytes += heldBy(tx, db, key)
	}
	return absent(tx, db, args[1]), bytes
}

func storeSmallest(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	bytes = heldBy(tx, db, args[2])
	for _, key := range args[3:] {
		bytes = min(bytes, heldBy(tx, db, key))
	}
	return absent(tx, db, args[1]), bytes
}

func storeFirst(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	return absent(tx, db, args[1]), heldBy(tx, db, args[2])
}

func heldBy(tx *store.Tx, db int, key []byte) int64 {
	row, _ := tx.Get(tx.DB(db), key)
	return int64(len(row.Data)) + int64(row.Bytes)
}

func absent(tx *store.Tx, db int, key []byte) int64 {
	_, ok := tx.Get(tx.DB(db), key)
	return bit(!ok)
}

func sintercardCommand(c *Ctx, w *work) {
	n, ok := c.above(1, 1, errNumKeys)
	if !ok {
		return
	}
	if n > int64(len(c.Args)-2) {
		c.fail("ERR Number of keys can't be greater than number of args")
		return
	}
	limit := int64(0)
	for rest := c.Args[2+n:]; len(rest) > 0; rest = rest[2:] {
		if len(rest) == 1 || !is(rest[0], "LIMIT") {
			c.fail(errSyntax)
			return
		}
		if limit, ok = datatype.ParseInt(rest[1]); !ok || limit < 0 {
			c.fail(errLimitNegative)
			return
		}
	}
	sets, ok := openSets(c, w, c.Args[2:2+n])
	if !ok {
		return
	}
	found := int64(0)
	intersect(sets, func([]byte) bool {
		found++
		return found != limit
	})
	c.Out.Int(found)
}
