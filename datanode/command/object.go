package command

import "github.com/atolldb/atoll/datanode/datatype"

func objectSpecs() []Spec {
	key := KeySpec{First: 2, Last: 2, Step: 1}
	return []Spec{
		{Name: "encoding", Arity: 3, Flags: flagsRead, Keys: key, Since: "2.2.3", Summary: "Returns the internal encoding of an object.", Run: onData(objectEncodingCommand)},
		{Name: "freq", Arity: 3, Flags: flagsRead, Keys: key, Since: "4.0.0", Summary: "Returns the logarithmic access frequency counter of an object.", Run: onData(objectFreqCommand)},
		{Name: "help", Arity: 2, Flags: FlagReadOnly | FlagLoading | FlagStale, Since: "6.2.0", Summary: "Returns helpful text about the different subcommands.", Run: objectHelpCommand},
		{Name: "idletime", Arity: 3, Flags: flagsRead, Keys: key, Since: "2.2.3", Summary: "Returns the time since the last access to an object.", Run: onData(objectIdletimeCommand)},
		{Name: "refcount", Arity: 3, Flags: flagsRead, Keys: key, Since: "2.2.3", Summary: "Returns the reference count of a value of a key.", Run: onData(objectRefcountCommand)},
	}
}

func objectEncodingCommand(c *Ctx, w *work) {
	if row, ok := w.Row(c.Args[2]); ok {
		c.Out.BulkString(datatype.Encoding(row))
	} else {
		c.Out.Null()
	}
}

// A value on disk is shared by nobody.
func objectRefcountCommand(c *Ctx, w *work) { replyIfThere(c, w, 1) }

// When a key was read last isn't kept: clients that ask learn that it was now.
func objectIdletimeCommand(c *Ctx, w *work) { replyIfThere(c, w, 0) }

func replyIfThere(c *Ctx, w *work, n int64) {
	if w.Exists(c.Args[2]) {
		c.Out.Int(n)
	} else {
		c.Out.Null()
	}
}

func objectFreqCommand(c *Ctx, w *work) {
	if !w.Exists(c.Args[2]) {
		c.Out.Null()
		return
	}
	c.fail("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
}

func objectHelpCommand(c *Ctx) {
	lines := []string{
		"OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
		"ENCODING <key>",
		"    Return the kind of internal representation used in order to store the value",
		"    associated with a <key>.",
		"FREQ <key>",
		"    Return the access frequency index of the <key>. The returned integer is",
		"    proportional to the logarithm of the recent access frequency of the key.",
		"IDLETIME <key>",
		"    Return the idle time of the <key>, that is the approximated number of",
		"    seconds elapsed since the last access to the key.",
		"REFCOUNT <key>",
		"    Return the number of references of the value associated with the specified",
		"    <key>.",
		"HELP",
		"    Prints this help.",
	}
	c.Out.Array(len(lines))
	for _, line := range lines {
		c.Out.Simple(line)
	}
}
