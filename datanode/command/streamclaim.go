package command

import (
	"math"

	"github.com/atolldb/atoll/datanode/datatype"
)

const (
	errClaimIdle    = Error("ERR Invalid min-idle-time argument for XCLAIM")
	errClaimIDLE    = Error("ERR Invalid IDLE option argument for XCLAIM")
	errClaimTIME    = Error("ERR Invalid TIME option argument for XCLAIM")
	errClaimRetries = Error("ERR Invalid RETRYCOUNT option argument for XCLAIM")
	errAutoIdle     = Error("ERR Invalid min-idle-time argument for XAUTOCLAIM")
	errAutoCount    = Error("ERR COUNT must be > 0")
)

// claim is what XCLAIM and XAUTOCLAIM do with one entry after the other.
type claim struct {
	s        *datatype.Stream
	g        *datatype.Group
	consumer *datatype.Consumer
	minIdle  int64
	at       uint64 // when it counts as delivered
	retries  int64  // how often it was, -1: once more
	justID   bool
}

// take makes an entry pending of the consumer, and writes it. old is nil if it wasn't pending.
func (o *claim) take(c *Ctx, id datatype.StreamID, old *datatype.Pending, f datatype.Fields) {
	count := uint64(1)
	if old != nil {
		count = old.Count
	}
	switch {
	case o.retries >= 0:
		count = uint64(o.retries)
	case !o.justID:
		count++
	}
	if o.justID {
		c.Out.streamID(id)
	} else {
		c.Out.entry(id, f)
	}
	o.g.Deliver(id, o.consumer, old, o.at, count)
	o.consumer.Active()
}

// claimOptions are the arguments of XCLAIM behind the ids.
type claimOptions struct {
	ids       int // how many arguments from 5 on are ids
	delivered int64
	timed     bool
	retries   int64
	force     bool
	justID    bool
	last      datatype.StreamID
}

func (o *claimOptions) parse(c *Ctx) (ok bool) {
	i := 5
	for ; i < len(c.Args); i++ {
		if _, ok := datatype.ParseExactStreamID(c.Args[i], 0); !ok {
			break
		}
	}
	o.ids, o.retries = i-5, -1
	number := func(e Error) (n int64) {
		if i++; i < len(c.Args) {
			n, ok = c.above(i, math.MinInt64, e)
		}
		return n
	}
	for ; i < len(c.Args); i++ {
		arg, more := c.Args[i], i+1 < len(c.Args)
		switch ok = true; {
		case is(arg, "FORCE"):
			o.force = true
		case is(arg, "JUSTID"):
			o.justID = true
		case more && is(arg, "IDLE"):
			o.delivered, o.timed = c.Tx.Now()-number(errClaimIDLE), true
		case more && is(arg, "TIME"):
			o.delivered, o.timed = number(errClaimTIME), true
		case more && is(arg, "RETRYCOUNT"):
			o.retries = number(errClaimRetries)
		case more && is(arg, "LASTID"):
			i++
			o.last, ok = c.exactID(i)
		default:
			c.Out.Error("ERR Unrecognized XCLAIM option '" + cText(arg) + "'")
			return false
		}
		if !ok {
			return false
		}
	}
	if now := c.Tx.Now(); !o.timed || o.delivered < 0 || o.delivered > now {
		o.delivered = now
	}
	return true
}

func xclaimCommand(c *Ctx, w *work) {
	s, ok := openStream(c, w.reading(c), c.Args[1])
	if !ok {
		return
	}
	g, ok := s.Group(c.Args[2])
	if !ok {
		c.failNoGroup()
		return
	}
	minIdle, ok := c.above(4, math.MinInt64, errClaimIdle)
	if !ok {
		return
	}
	var o claimOptions
	if !o.parse(c) {
		return
	}
	if g.Last.Less(o.last) {
		g.SetLast(o.last, g.Read())
	}
	cl := claim{s: &s, g: g, consumer: seenConsumer(g, c.Args[3]), minIdle: minIdle, at: uint64(o.delivered), retries: o.retries, justID: o.justID}
	start, n := c.Out.Len(), 0
	for _, arg := range c.Args[5 : 5+o.ids] {
		id, _ := datatype.ParseExactStreamID(arg, 0)
		n += int(bit(cl.one(c, id, o.force)))
	}
	c.Out.insertArray(start, n)
	g.Save()
	s.Save()
}

// one claims an entry if it may, and reports whether it did. One that was deleted is no longer pending.
func (o *claim) one(c *Ctx, id datatype.StreamID, force bool) bool {
	p, pending := o.g.Get(id)
	f, there := o.s.Get(id)
	switch {
	case !there:
		if pending {
			o.g.Acknowledge(id, p)
		}
		return false
	case !pending && force:
		o.take(c, id, nil, f)
		return true
	case !pending || p.IdleMS(c.Tx.Now()) < o.minIdle:
		return false
	}
	o.take(c, id, &p, f)
	return true
}

// autoClaimDefault is COUNT of XAUTOCLAIM, which looks at up to ten times as many entries.
const (
	autoClaimDefault = 100
	autoClaimLooks   = 10
)

func xautoclaimCommand(c *Ctx, w *work) {
	s, err := w.reading(c).Stream(c.Args[1])
	minIdle, ok := c.above(4, math.MinInt64, errAutoIdle)
	if !ok {
		return
	}
	from, ok := c.intervalFrom(5)
	if !ok {
		return
	}
	count, justID := int64(autoClaimDefault), false
	for i := 6; i < len(c.Args); i++ {
		switch {
		case is(c.Args[i], "COUNT") && i+1 < len(c.Args):
			i++
			if count, ok = c.above(i, 1, errAutoCount); !ok {
				return
			}
			if count > math.MaxInt64/autoClaimUnit {
				c.fail(errAutoCount)
				return
			}
		case is(c.Args[i], "JUSTID"):
			justID = true
		default:
			c.fail(errSyntax)
			return
		}
	}
	if err != nil {
		c.Fail(err)
		return
	}
	g, ok := s.Group(c.Args[2])
	if !ok {
		c.failNoGroup()
		return
	}
	if err := s.Room(min(uint64(count), g.Pending)); err != nil {
		c.Fail(err)
		return
	}
	cl := claim{s: &s, g: g, consumer: seenConsumer(g, c.Args[3]), minIdle: minIdle, at: uint64(c.Tx.Now()), retries: -1, justID: justID}
	cl.auto(c, w, from, count)
	g.Save()
	s.Save()
}

// autoClaimUnit is what Redis divides the largest count by: the size of an id.
const autoClaimUnit = 16

// auto claims what has been pending for long enough from an entry on.
func (o *claim) auto(c *Ctx, w *work, from datatype.StreamID, count int64) {
	looks := count * autoClaimLooks
	if count > math.MaxInt64/autoClaimLooks {
		looks = math.MaxInt64
	}
	now := c.Tx.Now()
	var next datatype.StreamID
	c.Out.Array(3)
	start, n := c.Out.Len(), 0
	o.g.EachPending(from, datatype.MaxStreamID, false, func(id datatype.StreamID, p datatype.Pending) bool {
		if looks == 0 || count == 0 || c.Out.Overflowed() {
			next = id
			return false
		}
		looks--
		f, there := o.s.Get(id)
		switch {
		case !there:
			o.g.Acknowledge(id, p)
			w.found.add(id.AppendText(nil))
			count--
		case p.IdleMS(now) >= o.minIdle:
			o.take(c, id, &p, f)
			n++
			count--
		}
		return true
	})
	c.Out.insertArray(start, n)
	end := c.Out.Len()
	c.Out.streamID(next)
	c.Out.putBefore(start, end)
	c.Out.Array(w.found.len())
	for i := range w.found.len() {
		c.Out.Bulk(w.found.at(i))
	}
}
