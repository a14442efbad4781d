package command

import (
	"maps"
	"slices"

	"github.com/atolldb/atoll/datanode/datatype"
)

// Channels and patterns are the namespace's own. A message goes to those who have subscribed on this node, and, as well as
// it can, to those on the other nodes of the group. Nothing of it is in the log.

const (
	errChannelLong  = Error("LIMIT channel: the name of a channel or a pattern may have 4096 bytes")
	errManyOwn      = Error("LIMIT subscriptions: a connection may have 65536, nothing was subscribed to")
	errManyAll      = Error("LIMIT subscriptions: a namespace may have 1048576 on a node, nothing was subscribed to")
	errManyPatterns = Error("LIMIT patterns: those of a namespace may have 1048576 bytes on a node, nothing was subscribed to")
)

// publishes are the flags of what sends messages. As in Redis, a pause of writes holds it up.
const publishes = FlagPubSub | FlagLoading | FlagStale | FlagFast | FlagSession | FlagShared

func pubsubSpecs() []Spec {
	// Between MULTI and EXEC a confirmation would stand among the replies of EXEC's, and be none.
	const subscribes = FlagPubSub | FlagNoScript | FlagLoading | FlagStale | FlagSession | FlagSubscribed | FlagNoMulti
	const looks = FlagPubSub | FlagLoading | FlagStale | FlagSession
	shards, shard := KeySpec{First: 1, Last: -1, Step: 1, NotKey: true}, KeySpec{First: 1, Last: 1, Step: 1, NotKey: true}
	return family("pubsub", []Spec{
		{Name: "subscribe", Arity: -2, Flags: subscribes, Since: "2.0.0", Summary: "Listens for messages of channels.", Run: subscribing(toChannel)},
		{Name: "unsubscribe", Arity: -1, Flags: subscribes, Since: "2.0.0", Summary: "Stops listening for messages of channels.", Run: unsubscribing(toChannel)},
		{Name: "psubscribe", Arity: -2, Flags: subscribes, Since: "2.0.0", Summary: "Listens for messages of channels that fit patterns.", Run: subscribing(toPattern)},
		{Name: "punsubscribe", Arity: -1, Flags: subscribes, Since: "2.0.0", Summary: "Stops listening for messages of patterns.", Run: unsubscribing(toPattern)},
		{Name: "ssubscribe", Arity: -2, Flags: subscribes, Keys: shards, Since: "7.0.0", Summary: "Listens for messages of shard channels.", Run: subscribing(toShard)},
		{Name: "sunsubscribe", Arity: -1, Flags: subscribes, Keys: shards, Since: "7.0.0", Summary: "Stops listening for messages of shard channels.", Run: unsubscribing(toShard)},
		{Name: "publish", Arity: 3, Flags: publishes, Since: "2.0.0", Summary: "Posts a message to a channel.", Run: publish},
		{Name: "spublish", Arity: 3, Flags: publishes, Keys: shard, Since: "7.0.0", Summary: "Posts a message to a shard channel.", Run: publish},
		{Name: "pubsub", Arity: -2, Since: "2.8.0", Summary: "A container for what is known of channels.", Subs: []Spec{
			{Name: "channels", Arity: -2, Flags: looks, Since: "2.8.0", Summary: "Lists the channels that somebody listens to.", Run: listChannels(toChannel)},
			{Name: "numsub", Arity: -2, Flags: looks, Since: "2.8.0", Summary: "Returns how many listen to channels.", Run: countSubscribers(toChannel)},
			{Name: "numpat", Arity: 2, Flags: looks, Since: "2.8.0", Summary: "Returns how many patterns somebody listens to.", Run: countPatterns},
			{Name: "shardchannels", Arity: -2, Flags: looks, Since: "7.0.0", Summary: "Lists the shard channels that somebody listens to.", Run: listChannels(toShard)},
			{Name: "shardnumsub", Arity: -2, Flags: looks, Since: "7.0.0", Summary: "Returns how many listen to shard channels.", Run: countSubscribers(toShard)},
			{Name: "help", Arity: 2, Flags: FlagLoading | FlagStale | FlagSession, Since: "6.2.0", Summary: "Lists the subcommands.",
				Run: func(c *Ctx) { writeHelp(c, "PUBSUB") }},
		}},
	})
}

var subscribeWords = [subscriptionKinds][2][]byte{
	{[]byte("subscribe"), []byte("unsubscribe")},
	{[]byte("psubscribe"), []byte("punsubscribe")},
	{[]byte("ssubscribe"), []byte("sunsubscribe")},
}

func subscribing(kind int) func(*Ctx) {
	return func(c *Ctx) {
		names, h := c.Args[1:], &c.Session.stats.hub
		if planted == seedOneHub {
			h = &c.ex.namespaceStats(0).hub
		}
		if refusal := c.refuseSubscriptions(h, kind, names); refusal != "" {
			c.Fail(refusal)
			return
		}
		p := c.pushesFor()
		for _, name := range names {
			c.Session.subscribe(h, p, kind, name)
			c.confirm(p, kind, 0, name)
		}
	}
}

// refuseSubscriptions says why there may not be so many more subscriptions, or counts them in the hub.
func (c *Ctx) refuseSubscriptions(h *hub, kind int, names [][]byte) Error {
	bytes := 0
	for _, name := range names {
		if bytes += len(name); len(name) > channelBytesMax {
			return errChannelLong
		}
	}
	s := c.Session
	if have := s.subscriptions() + s.subscribed[toShard].Load(); have+int64(len(names)) > subscriptionsMax && have+s.fresh(kind, names) > subscriptionsMax {
		return errManyOwn
	}
	if kind == toPattern {
		h.mu.RLock()
		bytes += h.patternBytes
		h.mu.RUnlock()
		if bytes > patternBytesMax {
			return errManyPatterns
		}
	}
	if n := int64(len(names)); h.live.Add(n) > namespaceSubscriptionsMax {
		h.live.Add(-n)
		return errManyAll
	}
	return ""
}

// fresh is how many of the names the session has not subscribed to.
func (s *Session) fresh(kind int, names [][]byte) int64 {
	found := make(map[string]struct{}, len(names))
	for _, name := range names {
		if s.subs == nil || s.subs.by[kind][string(name)] == nil {
			found[string(name)] = struct{}{}
		}
	}
	return int64(len(found))
}

// confirm tells that the session has subscribed (end 0) or unsubscribed (1). What CLIENT REPLY keeps from the peer are
// replies: as in Redis, not this.
func (c *Ctx) confirm(p *Pushes, kind, end int, name []byte) {
	n := c.Session.subscriptions()
	if kind == toShard {
		n = c.Session.subscribed[toShard].Load()
	}
	if c.Session.replies == replyOn {
		writeConfirmation(c.Out, subscribeWords[kind][end], name, n)
		return
	}
	if p == nil {
		p = c.pushesFor()
	}
	r := NewReply(0)
	r.SetProto(c.Out.Proto())
	writeConfirmation(r, subscribeWords[kind][end], name, n)
	c.pushOwn(p, r.Bytes())
}

func writeConfirmation(r *Reply, word, name []byte, n int64) {
	r.Push(3)
	r.Bulk(word)
	if name == nil {
		r.Null()
	} else {
		r.Bulk(name)
	}
	r.Int(n)
}

// pushOwn adds what the session itself has caused to its pushes.
func (c *Ctx) pushOwn(p *Pushes, resp []byte) {
	m := newMessage(p.of.Load(), resp)
	defer m.release()
	if !p.add(m, pushBytesHard) {
		c.ex.cutSlow(c.Session)
	}
}

func unsubscribing(kind int) func(*Ctx) {
	return func(c *Ctx) {
		names := c.Args[1:]
		if len(names) == 0 && c.Session.subs != nil {
			for _, name := range slices.Sorted(maps.Keys(c.Session.subs.by[kind])) {
				names = append(names, []byte(name))
			}
		}
		if len(names) == 0 {
			c.confirm(c.Session.Pushes(), kind, 1, nil)
			return
		}
		c.unsubscribe(kind, names)
	}
}

// unsubscribe ends subscriptions, and confirms each behind what had been published before.
func (c *Ctx) unsubscribe(kind int, names [][]byte) {
	s, p := c.Session, c.Session.Pushes()
	for _, name := range names {
		s.unsubscribe(kind, name)
		c.takePushes()
		c.confirm(p, kind, 1, name)
	}
}

// takePushes writes what has come for the session to the replies. Where CLIENT REPLY drops these it is sent after them.
func (c *Ctx) takePushes() {
	if p := c.Session.Pushes(); p != nil && c.Session.replies == replyOn {
		p.hold(c.Out)
	}
}

// publish answers how many have got the message on this node. As in Redis, one who sends it to itself gets it before that;
// but of a transaction it is sent behind the commit, and so behind EXEC's reply.
func publish(c *Ctx) {
	if len(c.Args[1]) > channelBytesMax {
		c.Fail(errChannelLong)
		return
	}
	m := &Message{Namespace: c.Session.grant.NamespaceID, Channel: c.Args[1], Payload: c.Args[2], Shard: c.Spec.Name == "spublish"}
	if t := &c.Session.multi; t.running {
		t.published = append(t.published, m)
		c.Out.Int(int64(c.Session.stats.hub.receivers(m)))
		return
	}
	n := c.ex.Publish(m)
	if c.Session.Subscribed() {
		c.takePushes()
	}
	c.Out.Int(int64(n))
}

func listChannels(kind int) func(*Ctx) {
	return func(c *Ctx) {
		if len(c.Args) > 3 {
			c.failSubcommand("PUBSUB")
			return
		}
		h := &c.Session.stats.hub
		h.mu.RLock()
		names := make([]string, 0, len(h.topics[kind]))
		for name := range h.topics[kind] {
			if len(c.Args) < 3 || datatype.Glob(c.Args[2], []byte(name)) {
				names = append(names, name)
			}
		}
		h.mu.RUnlock()
		c.Out.Array(len(names))
		for _, name := range names {
			c.Out.BulkString(name)
		}
	}
}

func countSubscribers(kind int) func(*Ctx) {
	return func(c *Ctx) {
		h := &c.Session.stats.hub
		c.Out.Array(2 * (len(c.Args) - 2))
		for _, name := range c.Args[2:] {
			n := 0
			if t := h.find(kind, name, false); t != nil {
				n = t.count()
			}
			c.Out.Bulk(name)
			c.Out.Int(int64(n))
		}
	}
}

func countPatterns(c *Ctx) { c.Out.Int(int64(c.Session.stats.hub.count(toPattern))) }

// count returns how many topics of a kind there are.
func (h *hub) count(kind int) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.topics[kind])
}

// checkSubscribed keeps a RESP2 connection, which can't tell a message from a reply, to what has none while it listens.
func checkSubscribed(c *candidate) string {
	if c.cmd.Flags&FlagSubscribed != 0 || !c.session.Subscribed() || c.session.Out.Proto() != 2 {
		return ""
	}
	return "ERR Can't execute '" + c.cmd.full + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
}

// listens reports whether PING answers as to one that listens for messages.
func (s *Session) listens() bool { return s.Out.Proto() == 2 && s.Subscribed() }

// leaveHub ends the subscriptions of a session that changes its namespace. RESP3, the only protocol in which that may
// happen, has its client told of each.
func (e *Executor) leaveHub(s *Session) {
	if s.subs == nil {
		return
	}
	c := Ctx{Out: s.Out, Session: s, Env: e.env, ex: e}
	for kind := range s.subs.by {
		var names [][]byte
		for _, name := range slices.Sorted(maps.Keys(s.subs.by[kind])) {
			names = append(names, []byte(name))
		}
		c.unsubscribe(kind, names)
	}
	s.subs = nil
}
