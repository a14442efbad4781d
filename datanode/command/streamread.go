package command

import (
	"math"
	"slices"
	"time"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

// streamKeys finds the keys of XREAD and XREADGROUP, which are the first half of what stands behind STREAMS.
func streamKeys(args [][]byte, dst []int) []int {
	at, _ := findStreams(args)
	if n := len(args) - at; at > 0 && n%2 == 0 {
		for i := range n / 2 {
			dst = append(dst, at+i)
		}
	}
	return dst
}

// streamsWait says whether XREAD or XREADGROUP are asked to wait.
func streamsWait(args [][]byte) bool {
	_, blocks := findStreams(args)
	return blocks
}

// findStreams returns where the keys start, 0 if nowhere, and whether BLOCK stands before them.
func findStreams(args [][]byte) (at int, blocks bool) {
	for i := 1; i < len(args); i++ {
		switch {
		case is(args[i], "BLOCK"):
			blocks = true
			i++
		case is(args[i], "COUNT"):
			i++
		case is(args[i], "GROUP"):
			i += 2
		case is(args[i], "NOACK"):
		case is(args[i], "STREAMS"):
			return i + 1, blocks
		default:
			return 0, blocks
		}
	}
	return 0, blocks
}

const (
	errUnbalanced = Error("ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.")
	errReadGroup  = Error("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
	errReadNoAck  = Error("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
	errReadNew    = Error("ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.")
	errReadLast   = Error("ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.")
	errNoGroupArg = Error("ERR Missing GROUP option for XREADGROUP")
)

// streamRead is one XREAD or XREADGROUP with its arguments read and its ids resolved: what it can answer at one time,
// and, did it wait, at a later one.
type streamRead struct {
	grouped         bool
	group, consumer []byte
	noAck           bool
	count           int64 // below 1: all
	blocks          bool
	blockMS         int64 // 0: for ever
	keys            [][]byte
	after           []datatype.StreamID // of each key; newEntries is >
}

// newEntries stands for the entries that nobody of a group has got. No entry comes behind the id that it is.
var newEntries = datatype.MaxStreamID

func xreadCommand(c *Ctx, w *work)      { readStreams(c, w, &streamRead{}) }
func xreadgroupCommand(c *Ctx, w *work) { readStreams(c, w, &streamRead{grouped: true}) }

// readStreams answers, or has the session wait if it is to. What $ stands for stays what it was when the call came.
func readStreams(c *Ctx, w *work, r *streamRead) {
	if waiter := c.Session.waiter.Load(); waiter != nil {
		c.Args = waiter.args // it tries again
	}
	at, ok := r.parse(c)
	if !ok || !r.resolve(c, w.reading(c), at) {
		return
	}
	switch {
	case r.answer(c, w):
	case r.blocks:
		c.block(blockOn{keys: r.keys, kind: store.TypeStream, timeout: time.Duration(nanoseconds(r.blockMS, time.Millisecond)), none: (*Reply).NullArray,
			args: r.resolved(c.Args, at), gone: r.grouped})
	default:
		c.Out.NullArray()
	}
}

// resolved returns a call's arguments with the ids that $ stands for, nil if there is none. The ids start at an argument.
func (r *streamRead) resolved(args [][]byte, at int) [][]byte {
	if !slices.ContainsFunc(args[at:], func(id []byte) bool { return cText(id) == "$" }) {
		return nil
	}
	args = slices.Clone(args)
	for i, id := range r.after {
		args[at+i] = id.AppendText(nil)
	}
	return args
}

// parse reads the options, and returns where the keys start, or answers with the error.
func (r *streamRead) parse(c *Ctx) (at int, ok bool) {
	for i := 1; i < len(c.Args); i++ {
		arg, more := c.Args[i], len(c.Args)-i-1
		switch {
		case more > 0 && is(arg, "BLOCK"):
			i++
			if r.blockMS, ok = c.blockTime(i); !ok {
				return 0, false
			}
			r.blocks = true
		case more > 0 && is(arg, "COUNT"):
			i++
			if r.count, ok = c.integer(i); !ok {
				return 0, false
			}
		case more > 0 && is(arg, "STREAMS"):
			if more%2 != 0 {
				c.fail(errUnbalanced)
				return 0, false
			}
			if r.grouped && r.group == nil {
				c.fail(errNoGroupArg)
				return 0, false
			}
			r.keys = c.Args[i+1 : i+1+more/2]
			return i + 1 + more/2, true
		case more > 1 && is(arg, "GROUP"):
			if !r.grouped {
				c.fail(errReadGroup)
				return 0, false
			}
			r.group, r.consumer = c.Args[i+1], c.Args[i+2]
			i += 2
		case is(arg, "NOACK"):
			if !r.grouped {
				c.fail(errReadNoAck)
				return 0, false
			}
			r.noAck = true
		default:
			c.fail(errSyntax)
			return 0, false
		}
	}
	c.fail(errSyntax)
	return 0, false
}

// blockTime reads how long to wait, in milliseconds, or answers with the error.
func (c *Ctx) blockTime(at int) (int64, bool) {
	n, ok := datatype.ParseInt(c.Args[at])
	switch {
	case !ok:
		c.fail("ERR timeout is not an integer or out of range")
	case n < 0:
		c.fail("ERR timeout is negative")
	case n > math.MaxInt64-c.Tx.Now():
		c.fail("ERR timeout is out of range")
	default:
		return n, true
	}
	return 0, false
}

// resolve reads the ids, which start at an argument, and finds what $ stands for and that all groups are there, or
// answers with the error.
func (r *streamRead) resolve(c *Ctx, space datatype.Space, at int) bool {
	r.after = make([]datatype.StreamID, len(r.keys))
	for i, key := range r.keys {
		if !c.ready(key) {
			continue
		}
		s, err := space.Stream(key)
		if err != nil && !r.passes(c) {
			c.Fail(err)
			return false
		}
		ok := false
		if r.grouped {
			if _, ok := s.Group(r.group); !ok {
				c.Out.Error("NOGROUP No such key '" + cText(key) + "' or consumer group '" + cText(r.group) + "' in XREADGROUP with GROUP option")
				return false
			}
		}
		switch word := cText(c.Args[at+i]); {
		case word == "$" && r.grouped:
			c.fail(errReadLast)
			return false
		case word == "$":
			r.after[i] = s.Last
		case word == ">" && !r.grouped:
			c.fail(errReadNew)
			return false
		case word == ">":
			r.after[i] = newEntries
		default:
			if r.after[i], ok = c.exactID(at + i); !ok {
				return false
			}
		}
	}
	return true
}

// passes reports whether a key of another type is none that the call waits for.
func (r *streamRead) passes(c *Ctx) bool { return !r.grouped && c.waited() }

// answer writes the reply if there is anything to answer with, and reports whether there was.
func (r *streamRead) answer(c *Ctx, w *work) bool {
	start, streams := c.Out.Len(), 0
	read := r.plain
	if r.grouped {
		if !r.fits(c, w) {
			return true
		}
		read = r.ofGroup
	}
	for i, key := range r.keys {
		if !c.ready(key) {
			continue
		}
		s, err := w.reading(c).Stream(key)
		if err != nil && r.passes(c) {
			continue
		}
		if err != nil {
			c.Fail(err)
			return true
		}
		from := c.Out.Len()
		if c.Out.Proto() < 3 {
			c.Out.Array(2)
		}
		c.Out.Bulk(key)
		if read(c, &s, r.after[i]) {
			streams++
		} else {
			c.Out.truncate(from)
		}
	}
	if streams == 0 {
		return false
	}
	if c.Out.Proto() < 3 {
		c.Out.insertArray(start, streams)
	} else {
		c.Out.insertMap(start, streams)
	}
	return true
}

// plain writes the entries behind an id, if there are any.
func (r *streamRead) plain(c *Ctx, s *datatype.Stream, after datatype.StreamID) bool {
	from, ok := after.Next()
	if !ok {
		return false
	}
	start := c.Out.Len()
	n := entries(c, s, from, datatype.MaxStreamID, false, r.count)
	c.Out.insertArray(start, n)
	return n > 0
}

// fits reports whether what may become pending can be written by one run, or answers with the error: nothing has been
// written yet. What it may be at most is nearly always little enough; else it is counted.
func (r *streamRead) fits(c *Ctx, w *work) bool {
	var sum uint64
	for i, key := range r.keys {
		if !c.ready(key) {
			continue
		}
		s, ok := openStream(c, w.Space, key)
		if !ok {
			return false
		}
		g, ok := s.Group(r.group)
		isNew := r.after[i] == newEntries
		if !ok || r.noAck && isNew {
			continue
		}
		n := g.Pending
		if isNew {
			n = uint64(s.Len())
		}
		if r.count > 0 {
			n = min(n, uint64(r.count))
		}
		if s.Room(sum+n) != nil && isNew {
			n = undelivered(&s, g, n)
		}
		sum += n
		if err := s.Room(sum); err != nil {
			c.Fail(err)
			return false
		}
	}
	return true
}

// undelivered counts up to limit entries that a group has not delivered.
func undelivered(s *datatype.Stream, g *datatype.Group, limit uint64) (n uint64) {
	if from, ok := g.Last.Next(); ok {
		s.Each(from, datatype.MaxStreamID, false, func(datatype.StreamID, datatype.Fields) bool {
			n++
			return n < limit
		})
	}
	return n
}

// ofGroup writes what the consumer gets of a stream, and reports whether that is anything; its history always is.
func (r *streamRead) ofGroup(c *Ctx, s *datatype.Stream, after datatype.StreamID) bool {
	g, ok := s.Group(r.group)
	if !ok || r.blocks && after == newEntries && undelivered(s, g, 1) == 0 {
		return false // it will wait, and must not have written
	}
	consumer := seenConsumer(g, r.consumer)
	start, n := c.Out.Len(), 0
	if after == newEntries {
		n = r.deliver(c, s, g, consumer)
	} else {
		n = r.history(c, s, g, consumer, after)
	}
	g.Save()
	s.Save()
	c.Out.insertArray(start, n)
	return n > 0 || after != newEntries
}

// seenConsumer returns a consumer, which it makes if there is none, as Redis 7.2 does whatever comes of it.
func seenConsumer(g *datatype.Group, name []byte) *datatype.Consumer {
	consumer, ok := g.Consumer(name)
	if !ok {
		return g.CreateConsumer(name)
	}
	consumer.Seen()
	return consumer
}

// deliver writes the entries that the group has not delivered yet, and makes them pending of the consumer.
func (r *streamRead) deliver(c *Ctx, s *datatype.Stream, g *datatype.Group, consumer *datatype.Consumer) (n int) {
	from, ok := g.Last.Next()
	if !ok {
		return 0
	}
	now := uint64(c.Tx.Now())
	s.Each(from, datatype.MaxStreamID, false, func(id datatype.StreamID, f datatype.Fields) bool {
		c.Out.entry(id, f)
		g.Advance(id)
		if !r.noAck {
			var old *datatype.Pending
			if p, ok := g.Get(id); ok { // the group was set back
				old = &p
			}
			g.Deliver(id, consumer, old, now, 1)
			consumer.Active()
		}
		n++
		return int64(n) != r.count && !c.Out.Overflowed()
	})
	return n
}

// history writes the entries behind an id that are pending of the consumer.
func (r *streamRead) history(c *Ctx, s *datatype.Stream, g *datatype.Group, consumer *datatype.Consumer, after datatype.StreamID) (n int) {
	from, ok := after.Next()
	if !ok {
		return 0
	}
	now := uint64(c.Tx.Now())
	consumer.Each(from, func(id datatype.StreamID) bool {
		if f, ok := s.Get(id); ok {
			c.Out.entry(id, f)
			p, _ := g.Get(id)
			g.Deliver(id, consumer, &p, now, p.Count+1)
		} else { // it was deleted
			c.Out.Array(2)
			c.Out.streamID(id)
			c.Out.NullArray()
		}
		n++
		return int64(n) != r.count && !c.Out.Overflowed()
	})
	return n
}
