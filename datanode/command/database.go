package command

func databaseSpecs() []Spec {
	return []Spec{
		// DBSIZE is a run of its own: counters don't show what an unfinished run has written.
		{Name: "dbsize", Arity: 1, Flags: flagsReadFast, Since: "1.0.0", Summary: "Returns the number of keys in the database.", Run: onData(dbsizeCommand)},
		{Name: "flushall", Arity: -1, Flags: FlagWrite | FlagExclusive, Since: "1.0.0", Summary: "Removes all keys from all databases of the namespace.", Run: onData(flushallCommand)},
		{Name: "flushdb", Arity: -1, Flags: FlagWrite | FlagExclusive, Since: "1.0.0", Summary: "Removes all keys from the current database.", Run: onData(flushdbCommand)},
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
