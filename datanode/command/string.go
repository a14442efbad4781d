package command

import (
	"math"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

func stringSpecs() []Spec {
	pairs := KeySpec{First: 1, Last: -1, Step: 2}
	many := KeySpec{First: 1, Last: -1, Step: 1}
	return []Spec{
		{Name: "append", Arity: 3, Flags: flagsGrowFast, Keys: oneKey, Since: "2.0.0", Summary: "Appends a string to the value of a key. Creates the key if it doesn't exist.", Run: onData(appendCommand)},
		{Name: "decr", Arity: 2, Flags: flagsGrowFast, Keys: oneKey, Since: "1.0.0", Summary: "Decrements the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.", Run: onData(decrCommand)},
		{Name: "decrby", Arity: 3, Flags: flagsGrowFast, Keys: oneKey, Since: "1.0.0", Summary: "Decrements a number from the integer value of a key. Uses 0 as initial value if the key doesn't exist.", Run: onData(decrbyCommand)},
		{Name: "get", Arity: 2, Flags: flagsReadFast, Keys: oneKey, Since: "1.0.0", Summary: "Returns the string value of a key.", Run: onData(getCommand)},
		{Name: "getdel", Arity: 2, Flags: flagsWriteFast, Keys: oneKey, Since: "6.2.0", Summary: "Returns the string value of a key after deleting the key.", Run: onData(getdelCommand)},
		{Name: "getex", Arity: -2, Flags: flagsWriteFast, Keys: oneKey, Since: "6.2.0", Summary: "Returns the string value of a key after setting its expiration time.", Run: onData(getexCommand)},
		{Name: "getrange", Arity: 4, Flags: flagsRead, Keys: oneKey, Since: "2.4.0", Summary: "Returns a substring of the string stored at a key.", Run: onData(getrangeCommand)},
		{Name: "getset", Arity: 3, Flags: flagsGrowFast, Keys: oneKey, Since: "1.0.0", Summary: "Returns the previous string value of a key after setting it to a new value.", Run: onData(getsetCommand)},
		{Name: "incr", Arity: 2, Flags: flagsGrowFast, Keys: oneKey, Since: "1.0.0", Summary: "Increments the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.", Run: onData(incrCommand)},
		{Name: "incrby", Arity: 3, Flags: flagsGrowFast, Keys: oneKey, Since: "1.0.0", Summary: "Increments the integer value of a key by a number. Uses 0 as initial value if the key doesn't exist.", Run: onData(incrbyCommand)},
		{Name: "incrbyfloat", Arity: 3, Flags: flagsGrowFast, Keys: oneKey, Since: "2.6.0", Summary: "Increments the floating point value of a key by a number. Uses 0 as initial value if the key doesn't exist.", Run: onData(incrbyfloatCommand)},
		{Name: "lcs", Arity: -3, Flags: flagsRead, Keys: KeySpec{First: 1, Last: 2, Step: 1}, Since: "7.0.0", Summary: "Finds the longest common substring.", Run: onData(lcsCommand)},
		{Name: "mget", Arity: -2, Flags: flagsReadFast, Keys: many, Since: "1.0.0", Summary: "Returns the string values of one or more keys.", Run: onData(mgetCommand)},
		{Name: "mset", Arity: -3, Flags: flagsGrowShort, Keys: pairs, Since: "1.0.1", Summary: "Creates or modifies the string values of one or more keys.", Run: onData(msetCommand)},
		{Name: "msetnx", Arity: -3, Flags: flagsGrowShort, Keys: pairs, Since: "1.0.1", Summary: "Modifies the string values of one or more keys only when none of the keys exist.", Run: onData(msetnxCommand)},
		{Name: "psetex", Arity: 4, Flags: flagsGrowShort, Keys: oneKey, Since: "2.6.0", Summary: "Sets both string value and expiration time in milliseconds of a key.", Run: onData(psetexCommand)},
		{Name: "set", Arity: -3, Flags: flagsGrowShort, Keys: oneKey, Since: "1.0.0", Summary: "Sets the string value of a key, ignoring its type. The key is created if it doesn't exist.", Run: onData(setCommand)},
		{Name: "setex", Arity: 4, Flags: flagsGrowShort, Keys: oneKey, Since: "2.0.0", Summary: "Sets the string value and expiration time of a key. Creates the key if it doesn't exist.", Run: onData(setexCommand)},
		{Name: "setnx", Arity: 3, Flags: flagsGrowFast, Keys: oneKey, Since: "1.0.0", Summary: "Sets the string value of a key only when the key doesn't exist.", Run: onData(setnxCommand)},
		{Name: "setrange", Arity: 4, Flags: flagsGrow, Keys: oneKey, Since: "2.2.0", Summary: "Overwrites a part of a string value with another by an offset. Creates the key if it doesn't exist.", Run: onData(setrangeCommand), Unsent: setrangeUnsent},
		{Name: "strlen", Arity: 2, Flags: flagsReadFast, Keys: oneKey, Since: "2.2.0", Summary: "Returns the length of a string value.", Run: onData(strlenCommand)},
		{Name: "substr", Arity: 4, Flags: flagsRead, Keys: oneKey, Since: "1.0.0", Summary: "Returns a substring from a string value.", Run: onData(getrangeCommand)},
	}
}

// replyValue writes the string at a key, or its absence, or the error, and says whether it was one of the
// first two.
func replyValue(c *Ctx, w *work, key []byte) bool {
	value, ok, err := w.reading(c).String(key)
	switch {
	case err != nil:
		c.Fail(err)
		return false
	case ok:
		c.Out.Bulk(value)
	default:
		c.Out.Null()
	}
	return true
}

func getCommand(c *Ctx, w *work) { replyValue(c, w, c.Args[1]) }

func getdelCommand(c *Ctx, w *work) {
	if replyValue(c, w, c.Args[1]) {
		w.Tx.Delete(w.DB, c.Args[1])
	}
}

func getsetCommand(c *Ctx, w *work) {
	if replyValue(c, w, c.Args[1]) {
		w.SetString(c.Args[1], c.Args[2], 0)
	}
}

func strlenCommand(c *Ctx, w *work) {
	value, _, err := w.String(c.Args[1])
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(int64(len(value)))
}

func getrangeCommand(c *Ctx, w *work) {
	start, ok := c.integer(2)
	if !ok {
		return
	}
	end, ok := c.integer(3)
	if !ok {
		return
	}
	value, _, err := w.String(c.Args[1])
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Bulk(datatype.Range(value, start, end))
}

// setrangeUnsent is the padding before the offset.
func setrangeUnsent(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	offset, _ := datatype.ParseInt(args[2])
	if offset > datatype.MaxStringBytes-int64(len(args[3])) || len(args[3]) == 0 {
		return 0, 0 // it pads nothing
	}
	row, _ := tx.Get(tx.DB(db), args[1])
	return 0, max(0, offset-int64(len(row.Data)))
}

func setrangeCommand(c *Ctx, w *work) {
	offset, ok := c.integer(2)
	if !ok {
		return
	}
	if offset < 0 {
		c.fail(errOffset)
		return
	}
	n, err := w.SetRange(c.Args[1], offset, c.Args[3])
	c.replyInt(int64(n), err)
}

// replyInt answers with a number or the error instead of it.
func (c *Ctx) replyInt(n int64, err error) {
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Int(n)
}

func appendCommand(c *Ctx, w *work) {
	n, err := w.Append(c.Args[1], c.Args[2])
	c.replyInt(int64(n), err)
}

func mgetCommand(c *Ctx, w *work) {
	c.Out.Array(len(c.Args) - 1)
	for _, key := range c.Args[1:] {
		if c.Out.Overflowed() {
			return // the same key may be asked for any number of times
		}
		if value, ok, err := w.String(key); ok && err == nil {
			c.Out.Bulk(value)
		} else {
			c.Out.Null()
		}
	}
}

func msetCommand(c *Ctx, w *work) {
	if len(c.Args)%2 == 0 {
		c.failArity()
		return
	}
	setPairs(c, w)
	c.Out.OK()
}

func msetnxCommand(c *Ctx, w *work) {
	if len(c.Args)%2 == 0 {
		c.failArity()
		return
	}
	for i := 1; i < len(c.Args); i += 2 {
		if w.Exists(c.Args[i]) {
			c.Out.Int(0)
			return
		}
	}
	setPairs(c, w)
	c.Out.Int(1)
}

func setPairs(c *Ctx, w *work) {
	for i := 1; i < len(c.Args); i += 2 {
		w.SetString(c.Args[i], c.Args[i+1], 0)
	}
}

func setnxCommand(c *Ctx, w *work) {
	if w.Exists(c.Args[1]) {
		c.Out.Int(0)
		return
	}
	w.SetString(c.Args[1], c.Args[2], 0)
	c.Out.Int(1)
}

func incrCommand(c *Ctx, w *work) { increment(c, w, 1) }
func decrCommand(c *Ctx, w *work) { increment(c, w, -1) }

func incrbyCommand(c *Ctx, w *work) {
	if delta, ok := c.integer(2); ok {
		increment(c, w, delta)
	}
}

func decrbyCommand(c *Ctx, w *work) {
	delta, ok := c.integer(2)
	switch {
	case !ok:
	case delta == math.MinInt64:
		c.fail(errDecrOverflow)
	default:
		increment(c, w, -delta)
	}
}

func increment(c *Ctx, w *work, delta int64) {
	n, err := w.Increment(c.Args[1], delta)
	c.replyInt(n, err)
}

func incrbyfloatCommand(c *Ctx, w *work) {
	sum, err := w.IncrementFloat(c.Args[1], c.Args[2])
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Bulk(sum)
}

// setOptions are what SET and GETEX take behind key and value.
type setOptions struct {
	absent, present  bool // NX, XX
	get              bool
	keepTTL, persist bool
	expire           expireUnit
	expireArg        int // where the time stands
}

// expireUnit says how a time is given.
type expireUnit uint8

const (
	expireNone    expireUnit = iota
	expireEX                 // seconds from now
	expirePX                 // milliseconds from now
	expireEXAT               // Unix seconds
	expirePXAT               // Unix milliseconds
	expireUnknown            // not a word of an expiry
)

func expireWord(arg []byte) expireUnit {
	switch {
	case is(arg, "EX"):
		return expireEX
	case is(arg, "PX"):
		return expirePX
	case is(arg, "EXAT"):
		return expireEXAT
	case is(arg, "PXAT"):
		return expirePXAT
	}
	return expireUnknown
}

// parseSetOptions reads the options from Args[at] on; set says whether they are SET's or GETEX's.
func parseSetOptions(args [][]byte, at int, set bool) (o setOptions, ok bool) {
	for ; at < len(args); at++ {
		arg := args[at]
		switch {
		case set && is(arg, "NX") && !o.present:
			o.absent = true
		case set && is(arg, "XX") && !o.absent:
			o.present = true
		case set && is(arg, "GET"):
			o.get = true
		case set && is(arg, "KEEPTTL") && o.expire == expireNone:
			o.keepTTL = true
		case !set && is(arg, "PERSIST") && o.expire == expireNone:
			o.persist = true
		default:
			unit := expireWord(arg)
			if unit == expireUnknown || o.keepTTL || o.persist || o.expire != expireNone && o.expire != unit || at+1 == len(args) {
				return o, false
			}
			at++
			o.expire, o.expireArg = unit, at
		}
	}
	return o, true
}

// expiry reads the time in Args[i] as Unix milliseconds, or answers with the error.
func (c *Ctx) expiry(i int, unit expireUnit) (int64, bool) {
	n, ok := c.integer(i)
	if !ok {
		return 0, false
	}
	seconds, relative := unit == expireEX || unit == expireEXAT, unit == expireEX || unit == expirePX
	switch {
	case n <= 0, seconds && n > math.MaxInt64/1000:
		return 0, c.failExpiry()
	case seconds:
		n *= 1000
	}
	if relative {
		if n > math.MaxInt64-c.Tx.Now() {
			return 0, c.failExpiry()
		}
		n += c.Tx.Now()
	}
	return n, true
}

func (c *Ctx) failExpiry() bool {
	c.Out.Error("ERR invalid expire time in '" + c.Spec.Name + "' command")
	return false
}

func setCommand(c *Ctx, w *work) {
	key := c.Args[1]
	if len(c.Args) == 3 { // by far the most frequent form
		w.SetString(key, c.Args[2], 0)
		c.Out.OK()
		return
	}
	o, ok := parseSetOptions(c.Args, 3, true)
	if !ok {
		c.fail(errSyntax)
		return
	}
	var expire int64
	if o.expire != expireNone {
		if expire, ok = c.expiry(o.expireArg, o.expire); !ok {
			return
		}
	}
	var old store.Row
	there := false
	if o.absent || o.present || o.keepTTL || o.get {
		old, there = w.Tx.Get(w.DB, key)
	}
	if o.get && !replyValue(c, w, key) {
		return
	}
	if o.absent && there || o.present && !there {
		if !o.get {
			c.Out.Null()
		}
		return
	}
	if o.keepTTL {
		expire = old.ExpireMS
	}
	w.SetString(key, c.Args[2], expire)
	if !o.get {
		c.Out.OK()
	}
}

func setexCommand(c *Ctx, w *work)  { setWithExpiry(c, w, expireEX) }
func psetexCommand(c *Ctx, w *work) { setWithExpiry(c, w, expirePX) }

func setWithExpiry(c *Ctx, w *work, unit expireUnit) {
	if at, ok := c.expiry(2, unit); ok {
		w.SetString(c.Args[1], c.Args[3], at)
		c.Out.OK()
	}
}

func getexCommand(c *Ctx, w *work) {
	o, ok := parseSetOptions(c.Args, 2, false)
	if !ok {
		c.fail(errSyntax)
		return
	}
	key := c.Args[1]
	row, there, err := w.reading(c).StringRow(key)
	switch {
	case err != nil:
		c.Fail(err)
		return
	case !there:
		c.Out.Null()
		return
	}
	var at int64
	if o.expire != expireNone {
		if at, ok = c.expiry(o.expireArg, o.expire); !ok {
			return
		}
	}
	c.Out.Bulk(row.Data)
	switch {
	case o.expire != expireNone:
		w.Expire(key, at, 0)
	case o.persist:
		w.Persist(key)
	}
}
