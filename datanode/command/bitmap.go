package command

import (
	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

func bitmapSpecs() []Spec {
	return []Spec{
		{Name: "bitcount", Arity: -2, Flags: flagsRead, Keys: oneKey, Since: "2.6.0", Summary: "Counts the number of set bits (population counting) in a string.", Run: onData(bitcountCommand)},
		{Name: "bitfield", Arity: -2, Flags: flagsGrow, Keys: oneKey, Since: "3.2.0", Summary: "Performs arbitrary bitfield integer operations on strings.", Run: onData(bitfieldCommand), Unsent: bitfieldUnsent},
		{Name: "bitfield_ro", Arity: -2, Flags: flagsReadWalk, Keys: oneKey, Since: "6.0.0", Summary: "Performs arbitrary read-only bitfield integer operations on strings.", Run: onData(bitfieldCommand)},
		{Name: "bitop", Arity: -4, Flags: flagsGrow, Keys: KeySpec{First: 2, Last: -1, Step: 1}, Since: "2.6.0", Summary: "Performs bitwise operations on multiple strings, and stores the result.", Run: onData(bitopCommand), Unsent: bitopUnsent},
		{Name: "bitpos", Arity: -3, Flags: flagsRead, Keys: oneKey, Since: "2.8.7", Summary: "Finds the first set (1) or clear (0) bit in a string.", Run: onData(bitposCommand)},
		{Name: "getbit", Arity: 3, Flags: flagsReadFast, Keys: oneKey, Since: "2.2.0", Summary: "Returns a bit value by offset.", Run: onData(getbitCommand)},
		{Name: "setbit", Arity: 4, Flags: flagsGrow, Keys: oneKey, Since: "2.2.0", Summary: "Sets or clears the bit at offset of the string value. Creates the key if it doesn't exist.", Run: onData(setbitCommand), Unsent: setbitUnsent},
	}
}

const (
	errBitOffset = Error("ERR bit offset is not an integer or out of range")
	errBit       = Error("ERR bit is not an integer or out of range")
)

// bitOffset reads an offset; where a field's width is given, #n is the n-th field. ok is false when it is none.
func bitOffset(arg []byte, width int64) (offset int64, ok bool) {
	times := int64(1)
	if width > 0 && len(arg) > 0 && arg[0] == '#' {
		arg, times = arg[1:], width
	}
	offset, ok = datatype.ParseInt(arg)
	if !ok || offset < 0 || offset > datatype.MaxBitOffset/times {
		return 0, false
	}
	return offset * times, true
}

func getbitCommand(c *Ctx, w *work) {
	offset, ok := bitOffset(c.Args[2], 0)
	if !ok {
		c.fail(errBitOffset)
		return
	}
	value, _, err := w.String(c.Args[1])
	c.replyInt(int64(datatype.Bit(value, offset)), err)
}

func setbitCommand(c *Ctx, w *work) {
	offset, ok := bitOffset(c.Args[2], 0)
	if !ok {
		c.fail(errBitOffset)
		return
	}
	bit, ok := datatype.ParseInt(c.Args[3])
	if !ok || bit&^1 != 0 {
		c.fail(errBit)
		return
	}
	old, err := w.SetBit(c.Args[1], offset, byte(bit))
	c.replyInt(int64(old), err)
}

// grown is how many bytes a string gets longer when bits up to an offset are set.
func grown(tx *store.Tx, db int, key []byte, offset int64) (keys, bytes int64) {
	row, _ := tx.Get(tx.DB(db), key)
	return 0, max(0, offset/8+1-int64(len(row.Data)))
}

func setbitUnsent(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	offset, ok := bitOffset(args[2], 0)
	if !ok {
		return 0, 0
	}
	return grown(tx, db, args[1], offset)
}

// bitRange is the part of a string that BITCOUNT and BITPOS look at.
type bitRange struct {
	start, end int64
	bits       bool // they count bits, else bytes
}

// bound reads a bound, which is 0 or, for an end, -1 when it isn't given, or answers with the error.
func (r *bitRange) bound(c *Ctx, at int, bound *int64) (ok bool) {
	if at >= len(c.Args) {
		return true
	}
	*bound, ok = c.integer(at)
	return ok
}

// unit reads BIT or BYTE, if it is there.
func (r *bitRange) unit(c *Ctx, at int) bool {
	r.bits = at < len(c.Args) && is(c.Args[at], "BIT")
	if at < len(c.Args) && !r.bits && !is(c.Args[at], "BYTE") {
		c.fail(errSyntax)
		return false
	}
	return true
}

// within returns the first and the last bit of the range in a string of n bytes; the first is behind the last if there
// are none.
func (r *bitRange) within(n int64) (first, last int64) {
	unit := int64(8)
	if r.bits {
		n, unit = 8*n, 1
	}
	start, end := r.start, r.end
	if start < 0 {
		start = max(n+start, 0)
	}
	if end < 0 {
		end = max(n+end, 0)
	}
	end = min(end, n-1)
	if start > end {
		return 0, -1
	}
	return start * unit, end*unit + unit - 1
}

func bitcountCommand(c *Ctx, w *work) {
	value, ok, err := w.String(c.Args[1])
	switch {
	case err != nil:
		c.Fail(err)
		return
	case !ok: // as in Redis, before the range is looked at
		c.Out.Int(0)
		return
	case len(c.Args) == 3 || len(c.Args) > 5:
		c.fail(errSyntax)
		return
	}
	r := bitRange{end: -1}
	if !r.bound(c, 2, &r.start) || !r.bound(c, 3, &r.end) {
		return
	}
	if r.start < 0 && r.end < 0 && r.start > r.end {
		c.Out.Int(0)
		return
	}
	if !r.unit(c, 4) {
		return
	}
	first, last := r.within(int64(len(value)))
	c.Out.Int(datatype.CountBits(value, first, last))
}

func bitposCommand(c *Ctx, w *work) {
	bit, ok := c.integer(2)
	if !ok {
		return
	}
	if bit != 0 && bit != 1 {
		c.fail("ERR The bit argument must be 1 or 0.")
		return
	}
	value, ok, err := w.String(c.Args[1])
	switch {
	case err != nil:
		c.Fail(err)
		return
	case !ok: // all zeros, as far as one looks
		c.Out.Int(-bit)
		return
	case len(c.Args) > 6:
		c.fail(errSyntax)
		return
	}
	r := bitRange{end: -1}
	if !r.bound(c, 3, &r.start) || !r.unit(c, 5) || !r.bound(c, 4, &r.end) { // in Redis' order
		return
	}
	first, last := r.within(int64(len(value)))
	at := int64(-1)
	if first <= last {
		at = datatype.FindBit(value, byte(bit), first, last)
		if at < 0 && bit == 0 && len(c.Args) < 5 { // the string goes on with zeros
			at = last + 1
		}
	}
	c.Out.Int(at)
}

func bitopUnsent(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	for _, key := range args[3:] {
		row, _ := tx.Get(tx.DB(db), key)
		bytes = max(bytes, int64(len(row.Data)))
	}
	return 0, bytes
}

func bitopCommand(c *Ctx, w *work) {
	operation, not := bitOperation(c.Args[1])
	switch {
	case operation == nil:
		c.fail(errSyntax)
		return
	case not && len(c.Args) != 4:
		c.fail("ERR BITOP NOT must be called with a single source key.")
		return
	}
	length := 0
	sources, space := make([][]byte, len(c.Args)-3), w.reading(c)
	for i, key := range c.Args[3:] {
		var err error
		if sources[i], _, err = space.String(key); err != nil {
			c.Fail(err)
			return
		}
		length = max(length, len(sources[i]))
	}
	if length == 0 {
		w.Tx.Delete(w.DB, c.Args[2])
		c.Out.Int(0)
		return
	}
	result := make([]byte, length)
	copy(result, sources[0])
	if not {
		operation(result, result)
	}
	for _, source := range sources[1:] {
		operation(result, source)
	}
	w.SetString(c.Args[2], result, 0)
	c.Out.Int(int64(length))
}

// bitOperation returns what changes a result by a source, which goes on with zeros; nil if there is none of that name.
func bitOperation(name []byte) (operation func(result, source []byte), not bool) {
	switch {
	case is(name, "AND"):
		return func(result, source []byte) {
			for i, b := range source {
				result[i] &= b
			}
			clear(result[len(source):])
		}, false
	case is(name, "OR"):
		return func(result, source []byte) {
			for i, b := range source {
				result[i] |= b
			}
		}, false
	case is(name, "XOR"):
		return func(result, source []byte) {
			for i, b := range source {
				result[i] ^= b
			}
		}, false
	case is(name, "NOT"):
		return func(result, _ []byte) {
			for i := range result {
				result[i] = ^result[i]
			}
		}, true
	}
	return nil, false
}

// fieldCall is one of the calls of BITFIELD.
type fieldCall struct {
	field    datatype.BitField
	get, set bool // else it increments
	operand  int64
	overflow datatype.Overflow
}

// parseFields reads the calls, and returns how long the string has to be for what they write, 0 if they don't; code is
// the error, or empty.
func parseFields(args [][]byte, readOnly bool) (calls []fieldCall, length int, code Error) {
	overflow := datatype.OverflowWrap
	for i := 2; i < len(args); {
		left, call := len(args)-i-1, fieldCall{overflow: overflow}
		switch {
		case is(args[i], "GET") && left >= 2:
			call.get = true
		case is(args[i], "SET") && left >= 3:
			call.set = true
		case is(args[i], "INCRBY") && left >= 3:
		case is(args[i], "OVERFLOW") && left >= 1:
			switch {
			case is(args[i+1], "WRAP"):
				overflow = datatype.OverflowWrap
			case is(args[i+1], "SAT"):
				overflow = datatype.OverflowSaturate
			case is(args[i+1], "FAIL"):
				overflow = datatype.OverflowFail
			default:
				return nil, 0, "ERR Invalid OVERFLOW type specified"
			}
			i += 2
			continue
		default:
			return nil, 0, errSyntax
		}
		var ok bool
		if call.field, ok = fieldType(args[i+1]); !ok {
			return nil, 0, "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
		}
		if call.field.Offset, ok = bitOffset(args[i+2], int64(call.field.Width)); !ok {
			return nil, 0, errBitOffset
		}
		i += 3
		if !call.get {
			if call.operand, ok = datatype.ParseInt(args[i]); !ok {
				return nil, 0, errNotInteger
			}
			length = max(length, int((call.field.Offset+int64(call.field.Width)-1)>>3)+1)
			i++
		}
		calls = append(calls, call)
	}
	if readOnly && length > 0 {
		return nil, 0, "ERR BITFIELD_RO only supports the GET subcommand"
	}
	return calls, length, ""
}

// fieldType reads i or u and the number of bits.
func fieldType(arg []byte) (f datatype.BitField, ok bool) {
	if len(arg) < 2 || arg[0] != 'i' && arg[0] != 'u' {
		return f, false
	}
	n, ok := datatype.ParseInt(arg[1:])
	f.Signed = arg[0] == 'i'
	f.Width = int(min(max(n, 0), 65))
	return f, ok && f.Width >= 1 && f.Width <= 64 && (f.Signed || f.Width < 64)
}

func bitfieldUnsent(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	_, length, _ := parseFields(args, false)
	if length == 0 {
		return 0, 0
	}
	return grown(tx, db, args[1], int64(length)*8-1)
}

func bitfieldCommand(c *Ctx, w *work) {
	calls, length, code := parseFields(c.Args, c.Spec.Flags&FlagReadOnly != 0)
	if code != "" {
		c.fail(code)
		return
	}
	var edit datatype.StringEdit
	var value []byte
	var err error
	if length == 0 { // nothing is written, so nothing is copied
		value, _, err = w.reading(c).String(c.Args[1])
	} else {
		edit, err = w.EditString(c.Args[1], length)
		value = edit.Data
	}
	if err != nil {
		c.Fail(err)
		return
	}
	c.Out.Array(len(calls))
	for i := range calls {
		if n, ok := calls[i].call(value); ok {
			c.Out.Int(n)
		} else {
			c.Out.Null()
		}
		if c.Out.Overflowed() {
			return
		}
	}
	if length > 0 && edit.Changed() {
		edit.Save()
	}
}

// call returns what one call answers; ok is false where it overflows and fails.
func (f *fieldCall) call(value []byte) (n int64, ok bool) {
	old := f.field.Get(value)
	switch {
	case f.get:
		return old, true
	case f.set:
		if n, ok = f.field.Add(f.operand, 0, f.overflow); ok {
			f.field.Put(value, n)
		}
		return old, ok
	}
	if n, ok = f.field.Add(old, f.operand, f.overflow); ok {
		f.field.Put(value, n)
	}
	return n, ok
}
