package command

import (
	"github.com/atolldb/atoll/datanode/datatype"
)

func streamGroupSpecs() []Spec {
	key := KeySpec{First: 2, Last: 2, Step: 1}
	return []Spec{
		{Name: "xack", Arity: -4, Flags: flagsWriteFast, Keys: oneKey, Since: "5.0.0", Summary: "Returns the number of messages that were successfully acknowledged by the consumer group member of a stream.", Run: onData(xackCommand)},
		{Name: "xautoclaim", Arity: -6, Flags: flagsWriteMany, Keys: oneKey, Since: "6.2.0", Summary: "Changes, or acquires, ownership of messages in a consumer group, as if the messages were delivered to as consumer group member.", Run: onData(xautoclaimCommand)},
		{Name: "xclaim", Arity: -6, Flags: flagsWriteFast, Keys: oneKey, Since: "5.0.0", Summary: "Changes, or acquires, ownership of a message in a consumer group, as if the message was delivered a consumer group member.", Run: onData(xclaimCommand)},
		{Name: "xgroup", Arity: -2, Since: "5.0.0", Summary: "A container for consumer groups commands.", Subs: []Spec{
			{Name: "create", Arity: -5, Flags: flagsGrow, Keys: key, Since: "5.0.0", Summary: "Creates a consumer group.", Run: onData(xgroupCreateCommand)},
			{Name: "createconsumer", Arity: 5, Flags: flagsGrow, Keys: key, Since: "6.2.0", Summary: "Creates a consumer in a consumer group.", Run: onData(xgroupCreateconsumerCommand)},
			{Name: "delconsumer", Arity: 5, Flags: flagsWrite, Keys: key, Since: "5.0.0", Summary: "Deletes a consumer from a consumer group.", Run: onData(xgroupDelconsumerCommand)},
			{Name: "destroy", Arity: 4, Flags: flagsWrite, Keys: key, Since: "5.0.0", Summary: "Destroys a consumer group.", Run: onData(xgroupDestroyCommand)},
			{Name: "help", Arity: 2, Flags: FlagReadOnly | FlagLoading | FlagStale, Since: "5.0.0", Summary: "Returns helpful text about the different subcommands.", Run: xgroupHelp},
			{Name: "setid", Arity: -5, Flags: flagsWrite, Keys: key, Since: "5.0.0", Summary: "Sets the last-delivered ID of a consumer group.", Run: onData(xgroupSetidCommand)},
		}},
		{Name: "xpending", Arity: -3, Flags: flagsRead, Keys: oneKey, Since: "5.0.0", Summary: "Returns the information and entries from a stream consumer group's pending entries list.", Run: onData(xpendingCommand)},
		{Name: "xreadgroup", Arity: -7, Flags: flagsWrite | FlagBlocking, Keys: KeySpec{Find: streamKeys}, Since: "5.0.0", Summary: "Returns new or historical messages from a stream for a consumer in a group.", Run: onData(xreadgroupCommand), Waits: streamsWait},
	}
}

const (
	errGroupKey  = Error("ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.")
	errGroupBusy = Error("BUSYGROUP Consumer Group name already exists")
	errGroupRead = Error("ERR value for ENTRIESREAD must be positive or -1")
)

// failNoGroup answers that a key or its group isn't there.
func (c *Ctx) failNoGroup() {
	c.Out.Error("NOGROUP No such key '" + cText(c.Args[1]) + "' or consumer group '" + cText(c.Args[2]) + "'")
}

// failNoGroupOf answers that there is no such group, to subcommands.
func (c *Ctx) failNoGroupOf() {
	c.Out.Error("NOGROUP No such consumer group '" + cText(c.Args[3]) + "' for key name '" + cText(c.Args[2]) + "'")
}

// failSubcommand answers that a subcommand's arguments make no sense.
func (c *Ctx) failSubcommand(container string) {
	c.Out.Error("ERR unknown subcommand or wrong number of arguments for '" + cText(c.Args[1]) + "'. Try " + container + " HELP.")
}

// groupOptions are those of XGROUP CREATE and SETID.
type groupOptions struct {
	make bool
	read int64
}

func (o *groupOptions) parse(c *Ctx, create bool) bool {
	o.read = datatype.ReadUnknown
	for i := 5; i < len(c.Args); i++ {
		switch {
		case create && is(c.Args[i], "MKSTREAM"):
			o.make = true
		case is(c.Args[i], "ENTRIESREAD") && i+1 < len(c.Args):
			i++
			var ok bool
			if o.read, ok = c.integer(i); !ok {
				return false
			}
			if o.read < datatype.ReadUnknown {
				c.fail(errGroupRead)
				return false
			}
		default:
			c.failSubcommand("XGROUP")
			return false
		}
	}
	return true
}

// openGroup opens the stream and group of an XGROUP subcommand, which must be there, or answers with the error.
func openGroup(c *Ctx, w *work) (*datatype.Stream, *datatype.Group, bool) {
	s, ok := openStream(c, w.Space, c.Args[2])
	if !ok {
		return nil, nil, false
	}
	if !s.There() {
		c.fail(errGroupKey)
		return nil, nil, false
	}
	g, ok := s.Group(c.Args[3])
	if !ok {
		c.failNoGroupOf()
	}
	return &s, g, ok // the group has its stream's address
}

func xgroupCreateCommand(c *Ctx, w *work) {
	var o groupOptions
	if !o.parse(c, true) {
		return
	}
	s, ok := openStream(c, w.Space, c.Args[2])
	if !ok {
		return
	}
	if !s.There() && !o.make {
		c.fail(errGroupKey)
		return
	}
	last := s.Last
	if cText(c.Args[4]) != "$" {
		if last, ok = c.exactID(4); !ok {
			return
		}
	}
	if _, ok := s.Group(c.Args[3]); ok {
		c.fail(errGroupBusy)
		return
	}
	s.Create()
	s.CreateGroup(c.Args[3], last, o.read).Save()
	s.Save()
	c.Out.OK()
}

func xgroupSetidCommand(c *Ctx, w *work) {
	var o groupOptions
	if !o.parse(c, false) {
		return
	}
	s, g, ok := openGroup(c, w)
	if !ok {
		return
	}
	last := s.Last
	if cText(c.Args[4]) != "$" {
		if last, ok = datatype.ParseStreamID(c.Args[4], 0); !ok {
			c.fail(errStreamID)
			return
		}
	}
	g.SetLast(last, o.read)
	g.Save()
	s.Save()
	c.Out.OK()
}

func xgroupDestroyCommand(c *Ctx, w *work) {
	s, ok := openStream(c, w.Space, c.Args[2])
	switch {
	case !ok:
	case !s.There():
		c.fail(errGroupKey)
	default:
		g, ok := s.Group(c.Args[3])
		if ok {
			s.Destroy(g)
			s.Save()
		}
		c.Out.Int(bit(ok))
	}
}

func xgroupCreateconsumerCommand(c *Ctx, w *work) {
	s, g, ok := openGroup(c, w)
	if !ok {
		return
	}
	_, there := g.Consumer(c.Args[4])
	if !there {
		g.CreateConsumer(c.Args[4])
		g.Save()
		s.Save()
	}
	c.Out.Int(bit(!there))
}

func xgroupDelconsumerCommand(c *Ctx, w *work) {
	s, g, ok := openGroup(c, w)
	if !ok {
		return
	}
	consumer, ok := g.Consumer(c.Args[4])
	if !ok {
		c.Out.Int(0)
		return
	}
	pending := consumer.Pending
	if err := g.DeleteConsumer(consumer); err != nil {
		c.Fail(err)
		return
	}
	g.Save()
	s.Save()
	c.Out.Int(int64(pending))
}

func xgroupHelp(c *Ctx) {
	writeLines(c, "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
		"CREATE <key> <groupname> <id|$> [option]",
		"    Create a new consumer group. Options are:",
		"    * MKSTREAM",
		"      Create the empty stream if it does not exist.",
		"    * ENTRIESREAD entries_read",
		"      Set the group's entries_read counter (internal use).",
		"CREATECONSUMER <key> <groupname> <consumer>",
		"    Create a new consumer in the specified group.",
		"DELCONSUMER <key> <groupname> <consumer>",
		"    Remove the specified consumer.",
		"DESTROY <key> <groupname>",
		"    Remove the specified group.",
		"SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
		"    Set the current group ID and entries_read counter.",
		"HELP",
		"    Prints this help.")
}

func xackCommand(c *Ctx, w *work) {
	s, ok := openStream(c, w.reading(c), c.Args[1])
	if !ok {
		return
	}
	g, ok := s.Group(c.Args[2])
	if !ok {
		c.Out.Int(0)
		return
	}
	if !c.exactIDs(3) {
		return
	}
	var acknowledged int64
	for _, arg := range c.Args[3:] {
		id, _ := datatype.ParseExactStreamID(arg, 0)
		if p, ok := g.Get(id); ok {
			g.Acknowledge(id, p)
			acknowledged++
		}
	}
	g.Save()
	s.Save()
	c.Out.Int(acknowledged)
}

// pendingQuery is what XPENDING asks for behind the group.
type pendingQuery struct {
	minIdle, count int64
	from, to       datatype.StreamID
	consumer       []byte
	ofConsumer     bool
}

// parse reads the arguments, or answers with the error.
func (q *pendingQuery) parse(c *Ctx) (ok bool) {
	n, at := len(c.Args), 3
	if n < 6 || n > 9 {
		c.fail(errSyntax)
		return false
	}
	if is(c.Args[3], "IDLE") {
		if q.minIdle, ok = c.integer(4); !ok {
			return false
		}
		if n < 8 {
			c.fail(errSyntax)
			return false
		}
		at = 5
	}
	if q.count, ok = c.integer(at + 2); !ok {
		return false
	}
	if q.from, ok = c.intervalFrom(at); !ok {
		return false
	}
	if q.to, ok = c.intervalTo(at + 1); !ok {
		return false
	}
	if at+3 < n {
		q.consumer, q.ofConsumer = c.Args[at+3], true
	}
	return true
}

func xpendingCommand(c *Ctx, w *work) {
	var q pendingQuery
	if len(c.Args) != 3 && !q.parse(c) {
		return
	}
	s, ok := openStream(c, w.Space, c.Args[1])
	if !ok {
		return
	}
	g, ok := s.Group(c.Args[2])
	switch {
	case !ok:
		c.failNoGroup()
	case len(c.Args) == 3:
		pendingSummary(c, g)
	default:
		q.answer(c, g)
	}
}

func pendingSummary(c *Ctx, g *datatype.Group) {
	c.Out.Array(4)
	c.Out.Int(int64(g.Pending))
	if g.Pending == 0 {
		c.Out.Null()
		c.Out.Null()
		c.Out.NullArray()
		return
	}
	for _, reverse := range [...]bool{false, true} {
		g.EachPending(datatype.StreamID{}, datatype.MaxStreamID, reverse, func(id datatype.StreamID, _ datatype.Pending) bool {
			c.Out.streamID(id)
			return false
		})
	}
	start, n := c.Out.Len(), 0
	g.EachConsumer(func(consumer *datatype.Consumer) bool {
		if consumer.Pending > 0 {
			c.Out.Array(2)
			c.Out.Bulk(consumer.Name)
			c.Out.BulkInt(int64(consumer.Pending))
			n++
		}
		return !c.Out.Overflowed()
	})
	c.Out.insertArray(start, n)
}

func (q *pendingQuery) answer(c *Ctx, g *datatype.Group) {
	start, n := c.Out.Len(), int64(0)
	write := func(id datatype.StreamID, p datatype.Pending) bool {
		idle := p.IdleMS(c.Tx.Now())
		if idle < q.minIdle {
			return true
		}
		c.Out.Array(4)
		c.Out.streamID(id)
		c.Out.Bulk(g.Owner(p).Name)
		c.Out.Int(idle)
		c.Out.Int(int64(p.Count))
		n++
		return n < q.count && !c.Out.Overflowed()
	}
	switch {
	case q.count <= 0:
	case !q.ofConsumer:
		g.EachPending(q.from, q.to, false, write)
	default:
		if consumer, ok := g.Consumer(q.consumer); ok {
			consumer.Each(q.from, func(id datatype.StreamID) bool {
				if q.to.Less(id) {
					return false
				}
				p, _ := g.Get(id)
				return write(id, p)
			})
		}
	}
	c.Out.insertArray(start, int(n))
}
