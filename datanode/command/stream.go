package command

import (
	"bytes"
	"math"

	"github.com/atolldb/atoll/datanode/datatype"
)

func streamSpecs() []Spec {
	return []Spec{
		// An XADD that trims takes longer the first time, if there is much to trim.
		{Name: "xadd", Arity: -5, Flags: flagsGrowFast, Keys: oneKey, Since: "5.0.0", Summary: "Appends a new message to a stream. Creates the key if it doesn't exist.", Run: onData(xaddCommand)},
		{Name: "xdel", Arity: -3, Flags: flagsWriteFast, Keys: oneKey, Since: "5.0.0", Summary: "Returns the number of messages after removing them from a stream.", Run: onData(xdelCommand)},
		{Name: "xinfo", Arity: -2, Since: "5.0.0", Summary: "A container for stream introspection commands.", Subs: xinfoSpecs()},
		{Name: "xlen", Arity: 2, Flags: flagsReadFast, Keys: oneKey, Since: "5.0.0", Summary: "Return the number of messages in a stream.", Run: onData(xlenCommand)},
		{Name: "xrange", Arity: -4, Flags: flagsRead, Keys: oneKey, Since: "5.0.0", Summary: "Returns the messages from a stream within a range of IDs.", Run: onData(xrangeCommand)},
		{Name: "xread", Arity: -4, Flags: flagsRead | FlagBlocking, Keys: KeySpec{Find: streamKeys}, Since: "5.0.0", Summary: "Returns messages from multiple streams with IDs greater than the ones requested.", Run: onData(xreadCommand), Waits: streamsWait},
		{Name: "xrevrange", Arity: -4, Flags: flagsRead, Keys: oneKey, Since: "5.0.0", Summary: "Returns the messages from a stream within a range of IDs in reverse order.", Run: onData(xrevrangeCommand)},
		{Name: "xsetid", Arity: -3, Flags: flagsGrowFast, Keys: oneKey, Since: "5.0.0", Summary: "An internal command for replicating stream values.", Run: onData(xsetidCommand)},
		{Name: "xtrim", Arity: -4, Flags: flagsWrite, Keys: oneKey, Since: "5.0.0", Summary: "Deletes messages from the beginning of a stream.", Run: onData(xtrimCommand)},
	}
}

const (
	errStreamID     = Error("ERR Invalid stream ID specified as stream command argument")
	errIntervalFrom = Error("ERR invalid start ID for the interval")
	errIntervalTo   = Error("ERR invalid end ID for the interval")
	errXaddTop      = Error("ERR The ID specified in XADD is equal or smaller than the target stream top item")
	errXaddZero     = Error("ERR The ID specified in XADD must be greater than 0-0")
	errXaddFull     = Error("ERR The stream has exhausted the last possible ID, unable to add more items")
	errTrimTwice    = Error("ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
	errTrimMaxlen   = Error("ERR The MAXLEN argument must be >= 0.")
	errTrimLimit    = Error("ERR The LIMIT argument must be >= 0.")
	errTrimNoLimit  = Error("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
	errTrimExact    = Error("ERR syntax error, LIMIT cannot be used without the special ~ option")
	errTrimNone     = Error("ERR syntax error, XTRIM must be called with a trimming strategy")
)

// streamID writes an id as a bulk string.
func (r *Reply) streamID(id datatype.StreamID) {
	var b [2 * maxDigits]byte
	r.Bulk(id.AppendText(b[:0]))
}

const maxDigits = 21 // of an id's half, with what stands behind it

// entry writes an entry: its id, and its fields and values.
func (r *Reply) entry(id datatype.StreamID, f datatype.Fields) {
	r.Array(2)
	r.streamID(id)
	r.Array(f.Len())
	for f.Len() > 0 {
		r.Bulk(f.Next())
	}
}

// exactID reads an id, for which - and + don't stand, or answers with the error.
func (c *Ctx) exactID(at int) (datatype.StreamID, bool) {
	id, ok := datatype.ParseExactStreamID(c.Args[at], 0)
	if !ok {
		c.fail(errStreamID)
	}
	return id, ok
}

// exactIDs checks all arguments from one on, or answers with the error.
func (c *Ctx) exactIDs(at int) bool {
	for ; at < len(c.Args); at++ {
		if _, ok := c.exactID(at); !ok {
			return false
		}
	}
	return true
}

// intervalFrom reads the lower end of a range, with ( an open one, or answers with the error.
func (c *Ctx) intervalFrom(at int) (datatype.StreamID, bool) {
	return c.interval(at, 0, datatype.StreamID.Next, errIntervalFrom)
}

// intervalTo reads the upper end of a range.
func (c *Ctx) intervalTo(at int) (datatype.StreamID, bool) {
	return c.interval(at, math.MaxUint64, datatype.StreamID.Prev, errIntervalTo)
}

func (c *Ctx) interval(at int, missing uint64, inside func(datatype.StreamID) (datatype.StreamID, bool), e Error) (datatype.StreamID, bool) {
	b := c.Args[at]
	if len(b) < 2 || b[0] != '(' {
		id, ok := datatype.ParseStreamID(b, missing)
		if !ok {
			c.fail(errStreamID)
		}
		return id, ok
	}
	id, ok := datatype.ParseExactStreamID(b[1:], missing)
	if !ok {
		c.fail(errStreamID)
		return id, false
	}
	if id, ok = inside(id); !ok {
		c.fail(e)
	}
	return id, ok
}

// openStream opens the stream at the command's key, or answers with the error.
func openStream(c *Ctx, s datatype.Space, key []byte) (datatype.Stream, bool) {
	st, err := s.Stream(key)
	if err != nil {
		c.Fail(err)
	}
	return st, err == nil
}

// trimLimit is how many entries an approximate trimming takes at most, where nothing else is said.
const trimLimit = 100 * datatype.TrimStep

// additions are the options of XADD and XTRIM.
type additions struct {
	datatype.Trim
	trims, limited, onlyThere bool
	at                        int // of XADD's id
}

// parse reads the options, or answers with the error.
func (o *additions) parse(c *Ctx, add bool) bool {
	for o.at = 2; o.at < len(c.Args); o.at++ {
		arg, more := c.Args[o.at], len(c.Args)-o.at-1
		switch {
		case add && len(arg) == 1 && arg[0] == '*':
			return o.checked(c, add)
		case more > 0 && (is(arg, "MAXLEN") || is(arg, "MINID")):
			if !o.parseTrim(c) {
				return false
			}
		case more > 0 && is(arg, "LIMIT"):
			o.at++
			n, ok := c.integer(o.at)
			if !ok {
				return false
			}
			if n < 0 {
				c.fail(errTrimLimit)
				return false
			}
			o.Limit, o.limited = uint64(n), true
		case add && is(arg, "NOMKSTREAM"):
			o.onlyThere = true
		case add:
			if _, _, ok := datatype.ParseNewStreamID(arg); !ok {
				c.fail(errStreamID)
				return false
			}
			return o.checked(c, add)
		default:
			c.fail(errSyntax)
			return false
		}
	}
	return o.checked(c, add)
}

// parseTrim reads MAXLEN or MINID with what belongs to it.
func (o *additions) parseTrim(c *Ctx) bool {
	if o.trims {
		c.fail(errTrimTwice)
		return false
	}
	o.trims, o.ByLength = true, is(c.Args[o.at], "MAXLEN")
	o.at++
	if o.at+1 < len(c.Args) && len(c.Args[o.at]) == 1 && (c.Args[o.at][0] == '~' || c.Args[o.at][0] == '=') {
		o.Approx = c.Args[o.at][0] == '~'
		o.at++
	}
	if !o.ByLength {
		var ok bool
		o.Before, ok = c.exactID(o.at)
		return ok
	}
	n, ok := c.integer(o.at)
	if ok && n < 0 {
		c.fail(errTrimMaxlen)
		return false
	}
	o.Length = uint64(n)
	return ok
}

// checked reports whether the options go together, or answers with the error.
func (o *additions) checked(c *Ctx, add bool) bool {
	switch {
	case o.Limit != 0 && !o.trims:
		c.fail(errTrimNoLimit)
		return false
	case !add && !o.trims:
		c.fail(errTrimNone)
		return false
	case o.limited && !o.Approx:
		c.fail(errTrimExact)
		return false
	case !o.limited && o.Approx:
		o.Limit = trimLimit
	}
	return true
}

func xaddCommand(c *Ctx, w *work) {
	var o additions
	if !o.parse(c, true) {
		return
	}
	fields := c.Args[min(o.at+1, len(c.Args)):]
	if len(fields) == 0 || len(fields)%2 != 0 {
		c.failArity()
		return
	}
	word := c.Args[o.at]
	var id datatype.StreamID
	var auto bool
	given := string(word) != "*"
	if given {
		if id, auto, _ = datatype.ParseNewStreamID(word); !auto && id.Zero() {
			c.fail(errXaddZero)
			return
		}
	}
	s, ok := openStream(c, w.Space, c.Args[1])
	if !ok {
		return
	}
	if o.onlyThere && !s.There() {
		c.Out.Null()
		return
	}
	if s.Last == datatype.MaxStreamID {
		c.fail(errXaddFull)
		return
	}
	switch {
	case !given:
		id, ok = s.NextID(c.Tx.Now())
	case auto && id.MS == s.Last.MS:
		id, ok = s.Last.Next()
		ok = ok && id.MS == s.Last.MS
	}
	if !ok || !s.Last.Less(id) {
		c.fail(errXaddTop)
		return
	}
	s.Append(id, fields)
	if o.trims {
		s.Trim(o.Trim)
	}
	s.Save()
	c.Out.streamID(id)
}

func xtrimCommand(c *Ctx, w *work) {
	var o additions
	if !o.parse(c, false) {
		return
	}
	if s, ok := openStream(c, w.Space, c.Args[1]); ok {
		c.Out.Int(int64(s.Trim(o.Trim)))
		s.Save()
	}
}

func xdelCommand(c *Ctx, w *work) {
	s, ok := openStream(c, w.Space, c.Args[1])
	if !ok {
		return
	}
	if !s.There() {
		c.Out.Int(0)
		return
	}
	if !c.exactIDs(2) {
		return
	}
	var deleted int64
	for _, arg := range c.Args[2:] {
		id, _ := datatype.ParseExactStreamID(arg, 0)
		deleted += bit(s.Delete(id))
	}
	s.Save()
	c.Out.Int(deleted)
}

func xlenCommand(c *Ctx, w *work) {
	if s, ok := openStream(c, w.Space, c.Args[1]); ok {
		c.Out.Int(s.Len())
	}
}

func xrangeCommand(c *Ctx, w *work)    { streamRange(c, w, 2, 3) }
func xrevrangeCommand(c *Ctx, w *work) { streamRange(c, w, 3, 2) }

// streamRange answers with the entries between the ids in two arguments, backwards if the later one comes first.
func streamRange(c *Ctx, w *work, at, end int) {
	from, ok := c.intervalFrom(at)
	if !ok {
		return
	}
	to, ok := c.intervalTo(end)
	if !ok {
		return
	}
	count := int64(-1)
	for i := 4; i < len(c.Args); i += 2 {
		if i+1 == len(c.Args) || !is(c.Args[i], "COUNT") {
			c.fail(errSyntax)
			return
		}
		if count, ok = c.integer(i + 1); !ok {
			return
		}
		count = max(count, 0)
	}
	s, ok := openStream(c, w.Space, c.Args[1])
	switch {
	case !ok:
	case !s.There():
		c.Out.Array(0)
	case count == 0:
		c.Out.NullArray()
	default:
		start := c.Out.Len()
		c.Out.insertArray(start, entries(c, &s, from, to, at > end, count))
	}
}

// entries writes up to count entries (below 1: all) of a range, and returns how many.
func entries(c *Ctx, s *datatype.Stream, from, to datatype.StreamID, reverse bool, count int64) (n int) {
	s.Each(from, to, reverse, func(id datatype.StreamID, f datatype.Fields) bool {
		c.Out.entry(id, f)
		n++
		return int64(n) != count && !c.Out.Overflowed()
	})
	return n
}

func xsetidCommand(c *Ctx, w *work) {
	id, ok := c.exactID(2)
	if !ok {
		return
	}
	var added *uint64
	var deleted datatype.StreamID
	for i := 3; i < len(c.Args); i += 2 {
		switch {
		case i+1 == len(c.Args):
			c.fail(errSyntax)
			return
		case is(c.Args[i], "ENTRIESADDED"):
			n, ok := c.integer(i + 1)
			if !ok {
				return
			}
			if n < 0 {
				c.fail("ERR entries_added must be positive")
				return
			}
			u := uint64(n)
			added = &u
		case is(c.Args[i], "MAXDELETEDID"):
			if deleted, ok = c.exactID(i + 1); !ok {
				return
			}
			if id.Less(deleted) {
				c.fail("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
				return
			}
		default:
			c.fail(errSyntax)
			return
		}
	}
	s, ok := openStream(c, w.Space, c.Args[1])
	if !ok {
		return
	}
	top, some := s.Top()
	switch {
	case !s.There():
		c.fail(errNoSuchKey)
	case some && id.Less(top):
		c.fail("ERR The ID specified in XSETID is smaller than the target stream top item")
	case some && added != nil && uint64(s.Len()) > *added:
		c.fail("ERR The entries_added specified in XSETID is smaller than the target stream length")
	default:
		s.SetID(id, added, deleted)
		s.Save()
		c.Out.OK()
	}
}

// cText is what of an argument Redis prints in an error.
func cText(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
