package command

import (
	"math"

	"github.com/atolldb/atoll/datanode/datatype"
)

func databaseSpecs() []Spec {
	return []Spec{
		// DBSIZE is a run of its own: counters don't show what an unfinished run has written.
		{Name: "dbsize", Arity: 1, Flags: flagsReadFast, Since: "1.0.0", Summary: "Returns the number of keys in the database.", Run: onData(dbsizeCommand)},
		{Name: "flushall", Arity: -1, Flags: FlagWrite | FlagExclusive, Since: "1.0.0", Summary: "Removes all keys from all databases of the namespace.", Run: onData(flushallCommand)},
		{Name: "flushdb", Arity: -1, Flags: FlagWrite | FlagExclusive, Since: "1.0.0", Summary: "Removes all keys from the current database.", Run: onData(flushdbCommand)},
		{Name: "swapdb", Arity: 3, Flags: FlagWrite | FlagFast | FlagExclusive, Since: "4.0.0", Summary: "Swaps two databases of the namespace.", Run: onData(swapdbCommand)},
	}
}

func dbsizeCommand(c *Ctx, w *work) { c.Out.Int(w.Tx.Counters(w.DB).Keys) }

func flushdbCommand(c *Ctx, w *work) {
	if flushOptions(c) {
		w.Tx.FlushDB(w.DB)
		c.Out.OK()
	}
}

func flushallCommand(c *Ctx, w *work) {
	if flushOptions(c) {
		w.Tx.FlushAll()
		c.Out.OK()
	}
}

// flushOptions takes ASYNC and SYNC, which mean the same: a flush takes constant time, and the rows go
// behind it.
func flushOptions(c *Ctx) bool {
	if len(c.Args) == 1 || len(c.Args) == 2 && (is(c.Args[1], "SYNC") || is(c.Args[1], "ASYNC")) {
		return true
	}
	c.fail(errSyntax)
	return false
}

func swapdbCommand(c *Ctx, w *work) {
	var dbs [2]int
	for i, which := range [...]Error{"ERR invalid first DB index", "ERR invalid second DB index"} {
		n, ok := datatype.ParseInt(c.Args[1+i])
		if !ok || n < math.MinInt32 || n > math.MaxInt32 {
			c.fail(which)
			return
		}
		dbs[i] = int(n)
	}
	for _, n := range dbs {
		if n < 0 || n >= databases {
			c.fail(errDBIndex)
			return
		}
	}
	w.Tx.SwapDB(w.Tx.DB(dbs[0]), w.Tx.DB(dbs[1]))
	c.Out.OK()
}
