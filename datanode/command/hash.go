package command

import (
	"errors"
	"math"

	"github.com/atolldb/atoll/datanode/datatype"
)

func hashSpecs() []Spec {
	return []Spec{
		{Name: "hdel", Arity: -3, Flags: flagsWriteFast, Keys: oneKey, Since: "2.0.0", Summary: "Deletes one or more fields and their values from a hash. Deletes the hash if no fields remain.", Run: onData(hdelCommand)},
		{Name: "hexists", Arity: 3, Flags: flagsReadFast, Keys: oneKey, Since: "2.0.0", Summary: "Determines whether a field exists in a hash.", Run: onData(hexistsCommand)},
		{Name: "hget", Arity: 3, Flags: flagsReadFast, Keys: oneKey, Since: "2.0.0", Summary: "Returns the value of a field in a hash.", Run: onData(hgetCommand)},
		{Name: "hgetall", Arity: 2, Flags: flagsRead, Keys: oneKey, Since: "2.0.0", Summary: "Returns all fields and values in a hash.", Run: onData(hgetallCommand)},
		{Name: "hincrby", Arity: 4, Flags: flagsGrowFast, Keys: oneKey, Since: "2.0.0", Summary: "Increments the integer value of a field in a hash by a number. Uses 0 as initial value if the field doesn't exist.", Run: onData(hincrbyCommand)},
		{Name: "hincrbyfloat", Arity: 4, Flags: flagsGrowFast, Keys: oneKey, Since: "2.6.0", Summary: "Increments the floating point value of a field by a number. Uses 0 as initial value if the field doesn't exist.", Run: onData(hincrbyfloatCommand)},
		{Name: "hkeys", Arity: 2, Flags: flagsRead, Keys: oneKey, Since: "2.0.0", Summary: "Returns all fields in a hash.", Run: onData(hkeysCommand)},
		{Name: "hlen", Arity: 2, Flags: flagsReadFast, Keys: oneKey, Since: "2.0.0", Summary: "Returns the number of fields in a hash.", Run: onData(hlenCommand)},
		{Name: "hmget", Arity: -3, Flags: flagsReadFast, Keys: oneKey, Since: "2.0.0", Summary: "Returns the values of all fields in a hash.", Run: onData(hmgetCommand)},
		{Name: "hmset", Arity: -4, Flags: flagsGrowFast, Keys: oneKey, Since: "2.0.0", Summary: "Sets the values of multiple fields.", Run: onData(hmsetCommand)},
		{Name: "hrandfield", Arity: -2, Flags: flagsRead, Keys: oneKey, Since: "6.2.0", Summary: "Returns one or more random fields from a hash.", Run: onData(hrandfieldCommand)},
		{Name: "hset", Arity: -4, Flags: flagsGrowFast, Keys: oneKey, Since: "2.0.0", Summary: "Creates or modifies the value of a field in a hash.", Run: onData(hsetCommand)},
		{Name: "hsetnx", Arity: 4, Flags: flagsGrowFast, Keys: oneKey, Since: "2.0.0", Summary: "Sets the value of a field in a hash only when the field doesn't exist.", Run: onData(hsetnxCommand)},
		{Name: "hstrlen", Arity: 3, Flags: flagsReadFast, Keys: oneKey, Since: "3.2.0", Summary: "Returns the length of the value of a field.", Run: onData(hstrlenCommand)},
		{Name: "hvals", Arity: 2, Flags: flagsRead, Keys: oneKey, Since: "2.0.0", Summary: "Returns all values in a hash.", Run: onData(hvalsCommand)},
	}
}

// openHash opens the hash at the command's key, or answers with the error.
func openHash(c *Ctx, w *work) (datatype.Hash, bool) {
	h, err := w.Hash(c.Args[1])
	if err != nil {
		c.Fail(err)
	}
	return h, err == nil
}

func hsetCommand(c *Ctx, w *work) {
	if created, ok := setFields(c, w); ok {
		c.Out.Int(created)
	}
}

func hmsetCommand(c *Ctx, w *work) {
	if _, ok := setFields(c, w); ok {
		c.Out.OK()
	}
}

func setFields(c *Ctx, w *work) (created int64, ok bool) {
	if len(c.Args)%2 != 0 {
		c.failArity()
		return 0, false
	}
	h, ok := openHash(c, w)
	if !ok {
		return 0, false
	}
	for i := 2; i < len(c.Args); i += 2 {
		created += bit(h.Set(c.Args[i], c.Args[i+1]))
	}
	h.Save()
	return created, true
}

func hsetnxCommand(c *Ctx, w *work) {
	h, ok := openHash(c, w)
	if !ok {
		return
	}
	if _, there := h.Get(c.Args[2]); there {
		c.Out.Int(0)
		return
	}
	h.Set(c.Args[2], c.Args[3])
	h.Save()
	c.Out.Int(1)
}

func hgetCommand(c *Ctx, w *work) {
	if h, ok := openHash(c, w); ok {
		replyField(c, &h, c.Args[2])
	}
}

func replyField(c *Ctx, h *datatype.Hash, field []byte) {
	if value, ok := h.Get(field); ok {
		c.Out.Bulk(value)
	} else {
		c.Out.Null()
	}
}

func hmgetCommand(c *Ctx, w *work) {
	h, ok := openHash(c, w)
	if !ok {
		return
	}
	c.Out.Array(len(c.Args) - 2)
	for _, field := range c.Args[2:] {
		if c.Out.Overflowed() {
			return // the same field may be asked for any number of times
		}
		replyField(c, &h, field)
	}
}

func hexistsCommand(c *Ctx, w *work) {
	if h, ok := openHash(c, w); ok {
		_, there := h.Get(c.Args[2])
		c.Out.Int(bit(there))
	}
}

func hstrlenCommand(c *Ctx, w *work) {
	if h, ok := openHash(c, w); ok {
		value, _ := h.Get(c.Args[2])
		c.Out.Int(int64(len(value)))
	}
}

func hlenCommand(c *Ctx, w *work) {
	if h, ok := openHash(c, w); ok {
		c.Out.Int(h.Len())
	}
}

func hdelCommand(c *Ctx, w *work) {
	h, ok := openHash(c, w)
	if !ok {
		return
	}
	var deleted int64
	for _, field := range c.Args[2:] {
		deleted += bit(h.Delete(field))
	}
	h.Save()
	c.Out.Int(deleted)
}

func hgetallCommand(c *Ctx, w *work) {
	if h, ok := openHash(c, w); ok {
		c.Out.Map(int(h.Len()))
		h.Each(func(field, value []byte) bool {
			c.Out.Bulk(field)
			c.Out.Bulk(value)
			return !c.Out.Overflowed()
		})
	}
}

func hkeysCommand(c *Ctx, w *work) {
	if h, ok := openHash(c, w); ok {
		c.Out.Array(int(h.Len()))
		h.Each(func(field, _ []byte) bool {
			c.Out.Bulk(field)
			return !c.Out.Overflowed()
		})
	}
}

func hvalsCommand(c *Ctx, w *work) {
	if h, ok := openHash(c, w); ok {
		c.Out.Array(int(h.Len()))
		h.Each(func(_, value []byte) bool {
			c.Out.Bulk(value)
			return !c.Out.Overflowed()
		})
	}
}

func hincrbyCommand(c *Ctx, w *work) {
	delta, ok := c.integer(3)
	if !ok {
		return
	}
	h, ok := openHash(c, w)
	if !ok {
		return
	}
	sum, err := h.Increment(c.Args[2], delta)
	if errors.Is(err, datatype.ErrNotInteger) {
		err = errHashInteger
	}
	if err == nil {
		h.Save()
	}
	c.replyInt(sum, err)
}

func hincrbyfloatCommand(c *Ctx, w *work) {
	if f, ok := datatype.ParseFloat(c.Args[3]); ok && math.IsInf(f, 0) {
		c.fail(errNotFinite)
		return
	}
	if !datatype.ValidLongDouble(c.Args[3]) {
		c.fail(errNotFloat)
		return
	}
	h, ok := openHash(c, w)
	if !ok {
		return
	}
	sum, err := h.IncrementFloat(c.Args[2], c.Args[3])
	switch {
	case errors.Is(err, datatype.ErrNotFloat):
		c.fail(errHashFloat)
	case err != nil:
		c.Fail(err)
	default:
		c.Out.Bulk(sum)
		h.Save()
	}
}

// hrandfieldCommand answers one field, up to count different ones, or -count ones that may repeat.
func hrandfieldCommand(c *Ctx, w *work) {
	o, ok := parseRandom(c, "WITHVALUES")
	if !ok {
		return
	}
	h, ok := openHash(c, w)
	if !ok {
		return
	}
	replyRandom(c, w, o, h.Len(), h.Each, c.Out.Bulk)
}
