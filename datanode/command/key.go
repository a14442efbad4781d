package command

import (
	"math"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

func keySpecs() []Spec {
	many := KeySpec{First: 1, Last: -1, Step: 1}
	two := KeySpec{First: 1, Last: 2, Step: 1}
	return []Spec{
		{Name: "copy", Arity: -3, Flags: flagsGrow, Keys: KeySpec{First: 1, Last: 2, Step: 1, Hashes: copyHashes}, Since: "6.2.0", Summary: "Copies the value of a key to a new key.", Run: onData(copyCommand), Unsent: copyUnsent},
		{Name: "del", Arity: -2, Flags: flagsWrite | FlagShort, Keys: many, Since: "1.0.0", Summary: "Deletes one or more keys.", Run: onData(delCommand)},
		{Name: "exists", Arity: -2, Flags: flagsReadFast, Keys: many, Since: "1.0.0", Summary: "Determines whether one or more keys exist.", Run: onData(existsCommand)},
		{Name: "expire", Arity: -3, Flags: flagsWriteFast, Keys: oneKey, Since: "1.0.0", Summary: "Sets the expiration time of a key in seconds.", Run: onData(expireCommand)},
		{Name: "expireat", Arity: -3, Flags: flagsWriteFast, Keys: oneKey, Since: "1.2.0", Summary: "Sets the expiration time of a key to a Unix timestamp.", Run: onData(expireatCommand)},
		{Name: "expiretime", Arity: 2, Flags: flagsReadFast, Keys: oneKey, Since: "7.0.0", Summary: "Returns the expiration time of a key as a Unix timestamp.", Run: onData(expiretimeCommand)},
		{Name: "move", Arity: 3, Flags: flagsWriteFast &^ FlagShort, Keys: KeySpec{First: 1, Last: 1, Step: 1, Hashes: moveHashes}, Since: "1.0.0", Summary: "Moves a key to another database.", Run: onData(moveCommand)},
		{Name: "object", Arity: -2, Since: "2.2.3", Summary: "A container for object introspection commands.", Subs: objectSpecs()},
		{Name: "persist", Arity: 2, Flags: flagsWriteFast, Keys: oneKey, Since: "2.2.0", Summary: "Removes the expiration time of a key.", Run: onData(persistCommand)},
		{Name: "pexpire", Arity: -3, Flags: flagsWriteFast, Keys: oneKey, Since: "2.6.0", Summary: "Sets the expiration time of a key in milliseconds.", Run: onData(pexpireCommand)},
		{Name: "pexpireat", Arity: -3, Flags: flagsWriteFast, Keys: oneKey, Since: "2.6.0", Summary: "Sets the expiration time of a key to a Unix milliseconds timestamp.", Run: onData(pexpireatCommand)},
		{Name: "pexpiretime", Arity: 2, Flags: flagsReadFast, Keys: oneKey, Since: "7.0.0", Summary: "Returns the expiration time of a key as a Unix milliseconds timestamp.", Run: onData(pexpiretimeCommand)},
		{Name: "pttl", Arity: 2, Flags: flagsReadFast, Keys: oneKey, Since: "2.6.0", Summary: "Returns the expiration time in milliseconds of a key.", Run: onData(pttlCommand)},
		{Name: "rename", Arity: 3, Flags: flagsWrite, Keys: two, Since: "1.0.0", Summary: "Renames a key and overwrites the destination.", Run: onData(renameCommand)},
		{Name: "renamenx", Arity: 3, Flags: flagsWriteFast, Keys: two, Since: "1.0.0", Summary: "Renames a key only when the target key name doesn't exist.", Run: onData(renamenxCommand)},
		{Name: "touch", Arity: -2, Flags: flagsReadFast, Keys: many, Since: "3.2.1", Summary: "Returns the number of existing keys out of those specified.", Run: onData(existsCommand)},
		{Name: "ttl", Arity: 2, Flags: flagsReadFast, Keys: oneKey, Since: "1.0.0", Summary: "Returns the expiration time in seconds of a key.", Run: onData(ttlCommand)},
		{Name: "type", Arity: 2, Flags: flagsReadFast, Keys: oneKey, Since: "1.0.0", Summary: "Determines the type of value stored at a key.", Run: onData(typeCommand)},
		{Name: "unlink", Arity: -2, Flags: flagsWriteFast, Keys: many, Since: "4.0.0", Summary: "Asynchronously deletes one or more keys.", Run: onData(delCommand)},
	}
}

func delCommand(c *Ctx, w *work) {
	var deleted int64
	for _, key := range c.Args[1:] {
		deleted += bit(w.Tx.Delete(w.DB, key))
	}
	c.Out.Int(deleted)
}

func existsCommand(c *Ctx, w *work) {
	var there int64
	for _, key := range c.Args[1:] {
		there += bit(w.Exists(key))
	}
	c.Out.Int(there)
}

func typeCommand(c *Ctx, w *work) {
	row, _ := w.Row(c.Args[1])
	c.Out.Simple(datatype.TypeName(row.Type))
}

// parseConditions reads the options of EXPIRE behind the time, or answers with the error.
func parseConditions(c *Ctx) (when datatype.Condition, ok bool) {
	for _, arg := range c.Args[3:] {
		switch {
		case is(arg, "NX"):
			when |= datatype.IfAbsent
		case is(arg, "XX"):
			when |= datatype.IfPresent
		case is(arg, "GT"):
			when |= datatype.IfGreater
		case is(arg, "LT"):
			when |= datatype.IfLess
		default:
			c.Out.Error("ERR Unsupported option " + string(arg))
			return 0, false
		}
	}
	const exclusive = datatype.IfPresent | datatype.IfGreater | datatype.IfLess
	switch {
	case when&datatype.IfAbsent != 0 && when&exclusive != 0:
		c.fail("ERR NX and XX, GT or LT options at the same time are not compatible")
		return 0, false
	case when&datatype.IfGreater != 0 && when&datatype.IfLess != 0:
		c.fail("ERR GT and LT options at the same time are not compatible")
		return 0, false
	}
	return when, true
}

func expireCommand(c *Ctx, w *work)    { expire(c, w, expireEX) }
func pexpireCommand(c *Ctx, w *work)   { expire(c, w, expirePX) }
func expireatCommand(c *Ctx, w *work)  { expire(c, w, expireEXAT) }
func pexpireatCommand(c *Ctx, w *work) { expire(c, w, expirePXAT) }

func expire(c *Ctx, w *work, unit expireUnit) {
	when, ok := parseConditions(c)
	if !ok {
		return
	}
	at, ok := c.integer(2)
	if !ok {
		return
	}
	if unit == expireEX || unit == expireEXAT {
		if at > math.MaxInt64/1000 || at < math.MinInt64/1000 {
			c.failExpiry()
			return
		}
		at *= 1000
	}
	if unit == expireEX || unit == expirePX {
		if at > math.MaxInt64-c.Tx.Now() {
			c.failExpiry()
			return
		}
		at += c.Tx.Now()
	}
	c.Out.Int(bit(w.Expire(c.Args[1], at, when)))
}

func persistCommand(c *Ctx, w *work) { c.Out.Int(bit(w.Persist(c.Args[1]))) }

func ttlCommand(c *Ctx, w *work)         { replyExpiry(c, w, c.Tx.Now(), 1000) }
func pttlCommand(c *Ctx, w *work)        { replyExpiry(c, w, c.Tx.Now(), 1) }
func expiretimeCommand(c *Ctx, w *work)  { replyExpiry(c, w, 0, 1000) }
func pexpiretimeCommand(c *Ctx, w *work) { replyExpiry(c, w, 0, 1) }

// replyExpiry answers with the key's end after a time, in a unit of that many milliseconds; -1 for a key
// without end, -2 for no key.
func replyExpiry(c *Ctx, w *work, after, unit int64) {
	row, ok := w.Row(c.Args[1])
	switch {
	case !ok:
		c.Out.Int(-2)
	case row.ExpireMS == 0:
		c.Out.Int(-1)
	default:
		left := row.ExpireMS - after
		c.Out.Int(left/unit + bit(unit > 1 && left%unit >= unit/2))
	}
}

func renameCommand(c *Ctx, w *work)   { rename(c, w, false) }
func renamenxCommand(c *Ctx, w *work) { rename(c, w, true) }

func rename(c *Ctx, w *work, onlyNew bool) {
	from, to := c.Args[1], c.Args[2]
	if !w.Exists(from) {
		c.fail(errNoSuchKey)
		return
	}
	if onlyNew && w.Exists(to) {
		c.Out.Int(0)
		return
	}
	if string(from) != string(to) {
		if _, err := w.Rename(from, to); err != nil {
			c.Fail(err)
			return
		}
	}
	if onlyNew {
		c.Out.Int(1)
	} else {
		c.Out.OK()
	}
}

// copyOptions reads COPY's options; code is the error, or empty.
func copyOptions(args [][]byte, db int) (target int, replace bool, code Error) {
	target = db
	for i := 3; i < len(args); i++ {
		switch {
		case is(args[i], "REPLACE"):
			replace = true
		case is(args[i], "DB") && i+1 < len(args):
			i++
			if target, code = parseDB(args[i]); code != "" {
				return 0, false, code
			}
		default:
			return 0, false, errSyntax
		}
	}
	return target, replace, ""
}

// copyHashes names the source in the session's database and the target in the one that is asked for.
func copyHashes(db int, args [][]byte, dst []uint64) []uint64 {
	target, _, code := copyOptions(args, db)
	if code != "" {
		return dst
	}
	return append(dst, store.HashKey(db, args[1]), store.HashKey(target, args[2]))
}

// copyUnsent is what is copied, if it will be.
func copyUnsent(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	row, ok := tx.Get(tx.DB(db), args[1])
	target, replace, code := copyOptions(args, db)
	if !ok || code != "" {
		return 0, 0
	}
	_, taken := tx.Get(tx.DB(target), args[2])
	if taken && !replace {
		return 0, 0
	}
	return bit(!taken), int64(len(row.Data)) + int64(row.Bytes)
}

func copyCommand(c *Ctx, w *work) {
	target, replace, code := copyOptions(c.Args, c.Session.DB)
	from, to := c.Args[1], c.Args[2]
	switch {
	case code != "":
		c.fail(code)
		return
	case target == c.Session.DB && string(from) == string(to):
		c.fail(errSameObject)
		return
	}
	db := c.Tx.DB(target)
	there := w.reading(c).Exists(from)
	if there && !replace {
		_, taken := c.Tx.Get(db, to)
		there = !taken
	}
	if there {
		if _, err := w.Copy(from, db, to); err != nil {
			c.Fail(err)
			return
		}
	}
	c.Out.Int(bit(there))
}

// moveHashes names the key in the session's database and in the one that it is to move to.
func moveHashes(db int, args [][]byte, dst []uint64) []uint64 {
	target, code := parseDB(args[2])
	if code != "" {
		return dst
	}
	return append(dst, store.HashKey(db, args[1]), store.HashKey(target, args[1]))
}

func moveCommand(c *Ctx, w *work) {
	target, code := parseDB(c.Args[2])
	key := c.Args[1]
	switch {
	case code != "":
		c.fail(code)
		return
	case target == c.Session.DB:
		c.fail(errSameObject)
		return
	}
	db := c.Tx.DB(target)
	if _, taken := c.Tx.Get(db, key); taken {
		c.Out.Int(0)
		return
	}
	moved, err := w.Copy(key, db, key)
	if err != nil {
		c.Fail(err)
		return
	}
	if moved {
		c.Tx.Delete(w.DB, key)
	}
	c.Out.Int(bit(moved))
}
