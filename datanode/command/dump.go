package command

import (
	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

func dumpSpecs() []Spec {
	return []Spec{
		{Name: "dump", Arity: 2, Flags: flagsRead, Keys: oneKey, Since: "2.6.0", Summary: "Returns a serialized representation of the value stored at a key.", Run: onData(dumpCommand)},
		{Name: "restore", Arity: -4, Flags: flagsGrow, Keys: oneKey, Since: "2.6.0", Summary: "Creates a key from the serialized representation of a value.", Run: onData(restoreCommand), Unsent: restoreUnsent},
	}
}

func dumpCommand(c *Ctx, w *work) {
	dump, ok, err := w.Dump(nil, c.Args[1], func(n int) bool {
		w.Tx.Hold(n)
		return c.Out.fits(n)
	})
	switch {
	case err != nil:
		c.Fail(err)
	case ok:
		c.Out.Bulk(dump)
	default:
		c.Out.Null()
	}
}

// restoreUnsent is what a dump has compressed.
func restoreUnsent(_ *store.Tx, _ int, args [][]byte) (keys, bytes int64) {
	d, err := datatype.OpenDump(args[3])
	if err != nil {
		return 0, 0
	}
	return 0, max(0, d.Bytes()-int64(len(args[3])))
}

// restoreOptions are the words behind the dump; how long a key was idle and how often it was used is read, and not kept.
type restoreOptions struct {
	replace, absolute bool
	idle, frequency   bool
}

// parse reads the options, or answers with the error.
func (o *restoreOptions) parse(c *Ctx) bool {
	for i := 4; i < len(c.Args); i++ {
		arg, more := c.Args[i], i+1 < len(c.Args)
		switch {
		case is(arg, "REPLACE"):
			o.replace = true
		case is(arg, "ABSTTL"):
			o.absolute = true
		case is(arg, "IDLETIME") && more && !o.frequency:
			i++
			n, ok := c.integer(i)
			if !ok {
				return false
			}
			if n < 0 {
				c.fail("ERR Invalid IDLETIME value, must be >= 0")
				return false
			}
			o.idle = true
		case is(arg, "FREQ") && more && !o.idle:
			i++
			n, ok := c.integer(i)
			if !ok {
				return false
			}
			if n < 0 || n > 255 {
				c.fail("ERR Invalid FREQ value, must be >= 0 and <= 255")
				return false
			}
			o.frequency = true
		default:
			c.fail(errSyntax)
			return false
		}
	}
	return true
}

func restoreCommand(c *Ctx, w *work) {
	var o restoreOptions
	if !o.parse(c) {
		return
	}
	key := c.Args[1]
	if !o.replace && w.Exists(key) {
		c.fail(errBusyKey)
		return
	}
	at, ok := c.integer(2)
	if !ok {
		return
	}
	if at < 0 {
		c.fail("ERR Invalid TTL value, must be >= 0")
		return
	}
	d, err := datatype.OpenDump(c.Args[3])
	if err != nil {
		c.Fail(err)
		return
	}
	if at != 0 && !o.absolute {
		at += c.Tx.Now() // which may run over, as in Redis: then it is past
	}
	past := at != 0 && at <= c.Tx.Now()
	if err := w.Restore(key, d, !past, at); err != nil {
		c.Fail(err)
		return
	}
	if past && o.replace {
		w.Tx.Delete(w.DB, key)
	}
	c.Out.OK()
}
