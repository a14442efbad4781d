package command

import (
	"github.com/atolldb/atoll/datanode/datatype"
)

func xinfoSpecs() []Spec {
	key := KeySpec{First: 2, Last: 2, Step: 1}
	return []Spec{
		{Name: "consumers", Arity: 4, Flags: flagsRead, Keys: key, Since: "5.0.0", Summary: "Returns a list of the consumers in a consumer group.", Run: onData(xinfoConsumersCommand)},
		{Name: "groups", Arity: 3, Flags: flagsRead, Keys: key, Since: "5.0.0", Summary: "Returns a list of the consumer groups of a stream.", Run: onData(xinfoGroupsCommand)},
		{Name: "help", Arity: 2, Flags: FlagReadOnly | FlagLoading | FlagStale, Since: "5.0.0", Summary: "Returns helpful text about the different subcommands.", Run: xinfoHelp},
		{Name: "stream", Arity: -3, Flags: flagsRead, Keys: key, Since: "5.0.0", Summary: "Returns information about a stream.", Run: onData(xinfoStreamCommand)},
	}
}

// openInfo opens the stream that XINFO asks about, or answers with the error.
func openInfo(c *Ctx, w *work) (datatype.Stream, bool) {
	s, ok := openStream(c, w.Space, c.Args[2])
	if ok && !s.There() {
		c.fail(errNoSuchKey)
		ok = false
	}
	return s, ok
}

// field writes the name of a field of a map.
func (r *Reply) intField(name string, n int64) {
	r.BulkString(name)
	r.Int(n)
}

func (r *Reply) idField(name string, id datatype.StreamID) {
	r.BulkString(name)
	r.streamID(id)
}

// groupCounts writes how many entries a group has read, and how many it hasn't.
func groupCounts(c *Ctx, g *datatype.Group) {
	c.Out.BulkString("entries-read")
	if read := g.Read(); read != datatype.ReadUnknown {
		c.Out.Int(read)
	} else {
		c.Out.Null()
	}
	c.Out.BulkString("lag")
	if lag, ok := g.Lag(); ok {
		c.Out.Int(lag)
	} else {
		c.Out.Null()
	}
}

func xinfoGroupsCommand(c *Ctx, w *work) {
	s, ok := openInfo(c, w)
	if !ok {
		return
	}
	c.Out.Array(int(s.Groups))
	s.EachGroup(func(g *datatype.Group) bool {
		c.Out.Map(6)
		c.Out.BulkString("name")
		c.Out.Bulk(g.Name())
		c.Out.intField("consumers", int64(g.Consumers))
		c.Out.intField("pending", int64(g.Pending))
		c.Out.idField("last-delivered-id", g.Last)
		groupCounts(c, g)
		return !c.Out.Overflowed()
	})
}

// xinfoConsumersCommand answers as Redis 7.2, which tells apart when a consumer has asked and when it got something.
func xinfoConsumersCommand(c *Ctx, w *work) {
	s, ok := openInfo(c, w)
	if !ok {
		return
	}
	g, ok := s.Group(c.Args[3])
	if !ok {
		c.failNoGroupOf()
		return
	}
	now := c.Tx.Now()
	c.Out.Array(int(g.Consumers))
	g.EachConsumer(func(consumer *datatype.Consumer) bool {
		c.Out.Map(4)
		c.Out.BulkString("name")
		c.Out.Bulk(consumer.Name)
		c.Out.intField("pending", int64(consumer.Pending))
		c.Out.intField("idle", max(now-int64(consumer.SeenMS), 0))
		inactive := consumer.ActiveMS()
		if inactive >= 0 {
			inactive = max(now-inactive, 0)
		}
		c.Out.intField("inactive", inactive)
		return !c.Out.Overflowed()
	})
}

// fullDefault is how many entries XINFO STREAM FULL shows of each list.
const fullDefault = 10

func xinfoStreamCommand(c *Ctx, w *work) {
	s, ok := openInfo(c, w)
	if !ok {
		return
	}
	full, count := len(c.Args) > 3, int64(fullDefault)
	if full {
		if n := len(c.Args); n != 4 && n != 6 || !is(c.Args[3], "FULL") || n == 6 && !is(c.Args[4], "COUNT") {
			c.failSubcommand("XINFO")
			return
		}
		if len(c.Args) == 6 {
			if count, ok = c.integer(5); !ok {
				return
			}
			if count < 0 {
				count = fullDefault
			}
		}
	}
	if full {
		c.Out.Map(9)
	} else {
		c.Out.Map(10)
	}
	streamFigures(c, &s)
	if full {
		streamFull(c, &s, count)
		return
	}
	c.Out.intField("groups", int64(s.Groups))
	for _, reverse := range [...]bool{false, true} {
		if reverse {
			c.Out.BulkString("last-entry")
		} else {
			c.Out.BulkString("first-entry")
		}
		if entries(c, &s, datatype.StreamID{}, datatype.MaxStreamID, reverse, 1) == 0 {
			c.Out.Null()
		}
	}
}

// streamFigures writes the seven fields that both forms have. There is no tree: its keys are how many nodes Redis
// would need at least.
func streamFigures(c *Ctx, s *datatype.Stream) {
	nodes := (s.Len() + datatype.TrimStep - 1) / datatype.TrimStep
	c.Out.intField("length", s.Len())
	c.Out.intField("radix-tree-keys", nodes)
	c.Out.intField("radix-tree-nodes", nodes+1)
	c.Out.idField("last-generated-id", s.Last)
	c.Out.idField("max-deleted-entry-id", s.MaxDeleted)
	c.Out.intField("entries-added", int64(s.Added))
	c.Out.idField("recorded-first-entry-id", s.First)
}

// streamFull writes up to count entries (0: all) of the stream and of each list of what is pending.
func streamFull(c *Ctx, s *datatype.Stream, count int64) {
	c.Out.BulkString("entries")
	start := c.Out.Len()
	c.Out.insertArray(start, entries(c, s, datatype.StreamID{}, datatype.MaxStreamID, false, count))
	c.Out.BulkString("groups")
	c.Out.Array(int(s.Groups))
	s.EachGroup(func(g *datatype.Group) bool {
		c.Out.Map(7)
		c.Out.BulkString("name")
		c.Out.Bulk(g.Name())
		c.Out.idField("last-delivered-id", g.Last)
		groupCounts(c, g)
		c.Out.intField("pel-count", int64(g.Pending))
		c.Out.BulkString("pending")
		start, n := c.Out.Len(), int64(0)
		g.EachPending(datatype.StreamID{}, datatype.MaxStreamID, false, func(id datatype.StreamID, p datatype.Pending) bool {
			c.Out.Array(4)
			c.Out.streamID(id)
			c.Out.Bulk(g.Owner(p).Name)
			c.Out.Int(int64(p.DeliveredMS))
			c.Out.Int(int64(p.Count))
			n++
			return n != count && !c.Out.Overflowed()
		})
		c.Out.insertArray(start, int(n))
		c.Out.BulkString("consumers")
		c.Out.Array(int(g.Consumers))
		g.EachConsumer(func(consumer *datatype.Consumer) bool {
			consumerFull(c, g, consumer, count)
			return !c.Out.Overflowed()
		})
		return !c.Out.Overflowed()
	})
}

func consumerFull(c *Ctx, g *datatype.Group, consumer *datatype.Consumer, count int64) {
	c.Out.Map(5)
	c.Out.BulkString("name")
	c.Out.Bulk(consumer.Name)
	c.Out.intField("seen-time", int64(consumer.SeenMS))
	c.Out.intField("active-time", consumer.ActiveMS())
	c.Out.intField("pel-count", int64(consumer.Pending))
	c.Out.BulkString("pending")
	start, n := c.Out.Len(), int64(0)
	consumer.Each(datatype.StreamID{}, func(id datatype.StreamID) bool {
		p, _ := g.Get(id)
		c.Out.Array(3)
		c.Out.streamID(id)
		c.Out.Int(int64(p.DeliveredMS))
		c.Out.Int(int64(p.Count))
		n++
		return n != count && !c.Out.Overflowed()
	})
	c.Out.insertArray(start, int(n))
}

func xinfoHelp(c *Ctx) {
	writeLines(c, "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
		"CONSUMERS <key> <groupname>",
		"    Show consumers of <groupname>.",
		"GROUPS <key>",
		"    Show the stream consumer groups.",
		"STREAM <key> [FULL [COUNT <count>]",
		"    Show information about the stream.",
		"HELP",
		"    Prints this help.")
}
