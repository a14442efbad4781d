package command

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/tidwall/redcon"
)

// What may be subscribed to. Names are on the account of client-memory beside.
const (
	// channelBytesMax bounds the name of a channel and a pattern.
	channelBytesMax = 4096
	// matchStepsMax is how many bytes of patterns one message is held against, some 20 ms: a bad pattern takes its length times
	// the channel's, and others wait meanwhile. 10,000 ordinary ones take a tenth of that.
	matchStepsMax = 4 << 20
	// patternBytesMax is what the patterns of a namespace take together on a node, each counted once.
	patternBytesMax = 1 << 20
	// subscriptionsMax is how many subscriptions a session may have.
	subscriptionsMax = 65_536
	// namespaceSubscriptionsMax is how many those of a namespace may have on a node.
	namespaceSubscriptionsMax = 1 << 20
	// subscriptionFrame is what a subscription takes beside its name, about, in bytes.
	subscriptionFrame = 256
)

// The kinds of subscriptions.
const (
	toChannel = iota
	toPattern
	toShard
	subscriptionKinds
)

// Message is something published in a namespace.
type Message struct {
	Namespace uint64
	Channel   []byte
	Payload   []byte
	Shard     bool // by SPUBLISH
}

// hub is who has subscribed to what in a namespace. Its zero value is ready, but for the account's whole. No lock of it is
// held while another is waited for, but a topic's for those of its sessions' pushes.
type hub struct {
	account pushAccount
	live    atomic.Int64 // subscriptions
	mu      sync.RWMutex
	topics  [subscriptionKinds]map[string]*topic
	// patternBytes is the length of all patterns.
	patternBytes int
	// starved are messages that were not held against all patterns, since a Deliver looked.
	starved atomic.Uint64
}

// topic is a channel or a pattern that somebody has subscribed to.
type topic struct {
	name string
	// mu makes the order of messages the same for all.
	mu   sync.Mutex
	subs []*subscription
	gone bool // nobody had subscribed to it any more
}

// subscription is that of one session to one topic.
type subscription struct {
	session *Session
	pushes  *Pushes
	topic   *topic
	at      int // in the topic's list
}

// subscriptions are a session's, by kind and name. They belong to the goroutine that executes its commands.
type subscriptions struct {
	hub   *hub
	by    [subscriptionKinds]map[string]*subscription
	bytes int
}

// find returns the topic of a name, which it makes if that is asked for; nil if there is none.
func (h *hub) find(kind int, name []byte, create bool) *topic {
	h.mu.RLock()
	t := h.topics[kind][string(name)]
	h.mu.RUnlock()
	if t != nil || !create {
		return t
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if t = h.topics[kind][string(name)]; t == nil {
		if h.topics[kind] == nil {
			h.topics[kind] = make(map[string]*topic)
		}
		t = &topic{name: string(name)}
		h.topics[kind][t.name] = t
		if kind == toPattern {
			h.patternBytes += len(t.name)
		}
	}
	return t
}

// forget takes a topic that is gone out of the hub.
func (h *hub) forget(kind int, t *topic) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topics[kind][t.name] != t {
		return
	}
	delete(h.topics[kind], t.name)
	if kind == toPattern {
		h.patternBytes -= len(t.name)
	}
	if len(h.topics[kind]) == 0 {
		h.topics[kind] = nil // with the room that it had
	}
}

// add makes s one of the topic's, unless that is gone.
func (t *topic) add(s *subscription) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone {
		return false
	}
	s.topic, s.at = t, len(t.subs)
	t.subs = append(t.subs, s)
	return true
}

// remove takes s out, and reports whether the topic is gone with it.
func (t *topic) remove(s *subscription) (gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := len(t.subs) - 1
	t.subs[s.at] = t.subs[last]
	t.subs[s.at].at = s.at
	t.subs[last] = nil
	t.subs = t.subs[:last]
	t.gone = last == 0
	return t.gone
}

func (t *topic) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.subs)
}

// subscribe makes the session a subscriber, if it isn't one. The hub has counted it already.
func (s *Session) subscribe(h *hub, p *Pushes, kind int, name []byte) {
	if s.subs == nil {
		s.subs = &subscriptions{hub: h}
	}
	if s.subs.by[kind][string(name)] != nil {
		h.live.Add(-1)
		return
	}
	sub := &subscription{session: s, pushes: p}
	for {
		t := h.find(kind, name, true)
		if t.add(sub) {
			break
		}
		h.forget(kind, t)
	}
	if s.subs.by[kind] == nil {
		s.subs.by[kind] = make(map[string]*subscription)
	}
	s.subs.by[kind][sub.topic.name] = sub
	s.subs.bytes += len(name) + subscriptionFrame
	s.subscribed[kind].Add(1)
}

// unsubscribe ends one subscription, if there is one: nothing of it is added to the session's pushes any more.
func (s *Session) unsubscribe(kind int, name []byte) {
	if s.subs == nil {
		return
	}
	sub, h := s.subs.by[kind][string(name)], s.subs.hub
	if sub == nil {
		return
	}
	delete(s.subs.by[kind], sub.topic.name)
	if len(s.subs.by[kind]) == 0 {
		s.subs.by[kind] = nil
	}
	if sub.topic.remove(sub) {
		h.forget(kind, sub.topic)
	}
	h.live.Add(-1)
	s.subs.bytes -= len(name) + subscriptionFrame
	s.subscribed[kind].Add(-1)
}

// unsubscribeAll ends every subscription without a word. No command of the session is executed.
func (s *Session) unsubscribeAll() {
	if s.subs == nil {
		return
	}
	for kind := range s.subs.by {
		for name := range s.subs.by[kind] {
			s.unsubscribe(kind, []byte(name))
		}
	}
	s.subs = nil
}

// Subscribed reports whether the session has subscribed to anything. Any goroutine may ask.
func (s *Session) Subscribed() bool { return s.subscriptions() > 0 || s.subscribed[toShard].Load() > 0 }

// subscriptions is the number that SUBSCRIBE and PSUBSCRIBE tell.
func (s *Session) subscriptions() int64 {
	return s.subscribed[toChannel].Load() + s.subscribed[toPattern].Load()
}

// outgoing is a message on its way to those who have subscribed to one topic: it is encoded once for each protocol.
type outgoing struct {
	of    *pushAccount
	parts [4][]byte
	n     int // of parts
	resp  [2]*message
}

// in returns the message in a protocol.
func (o *outgoing) in(proto int32) *message {
	i := 0
	if proto >= 3 {
		i = 1
	}
	if o.resp[i] == nil {
		size := 16
		for _, b := range o.parts[:o.n] {
			size += len(b) + frameMax
		}
		o.resp[i] = newMessage(o.of, appendPush(make([]byte, 0, size), proto, o.parts[:o.n]...))
	}
	return o.resp[i]
}

func (o *outgoing) release() {
	for _, m := range o.resp {
		if m != nil {
			m.release()
		}
	}
}

// appendPush appends an out-of-band message, but for what isn't a bulk string of it.
func appendPush(dst []byte, proto int32, parts ...[]byte) []byte {
	kind := byte('*')
	if proto >= 3 {
		kind = '>'
	}
	dst = append(strconv.AppendInt(append(dst, kind), int64(len(parts)), 10), '\r', '\n')
	for _, b := range parts {
		dst = redcon.AppendBulk(dst, b)
	}
	return dst
}

// send adds a message to the pushes of all who have subscribed, and cuts those for which too much waits.
func (t *topic) send(o *outgoing, cut func(*Session)) (receivers, bytes int) {
	defer o.release()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, sub := range t.subs {
		m := o.in(sub.pushes.proto.Load())
		if !sub.pushes.add(m, pushBytesHard) {
			cut(sub.session)
			continue
		}
		bytes += len(m.resp)
	}
	return len(t.subs), bytes
}

var (
	wordMessage        = []byte("message")
	wordPatternMessage = []byte("pmessage")
	wordShardMessage   = []byte("smessage")
)

// send adds a message to the pushes of all who have subscribed to its channel or, but for a shard's, to a pattern that fits,
// and returns how often it did. It waits for no peer; no other message of the same channel overtakes it.
func (h *hub) send(m *Message, cut func(*Session)) (receivers, bytes int) {
	word := wordMessage
	if m.Shard {
		word = wordShardMessage
	}
	exact, patterns, whole := h.audience(m)
	if !whole {
		h.starved.Add(1)
	}
	if exact != nil {
		receivers, bytes = exact.send(&outgoing{of: &h.account, parts: [4][]byte{word, m.Channel, m.Payload}, n: 3}, cut)
	}
	for _, t := range patterns {
		n, size := t.send(&outgoing{of: &h.account, parts: [4][]byte{wordPatternMessage, []byte(t.name), m.Channel, m.Payload}, n: 4}, cut)
		receivers, bytes = receivers+n, bytes+size
	}
	return receivers, bytes
}

// audience returns what a message is for: its channel, nil if nobody has subscribed to that, and the patterns that fit. whole
// says that it was held against all of them.
func (h *hub) audience(m *Message) (exact *topic, patterns []*topic, whole bool) {
	if h.live.Load() == 0 {
		return nil, nil, true
	}
	if m.Shard {
		return h.find(toShard, m.Channel, false), nil, true
	}
	exact = h.find(toChannel, m.Channel, false)
	h.mu.RLock()
	defer h.mu.RUnlock()
	steps := matchStepsMax
	for name, t := range h.topics[toPattern] {
		match, whole := datatype.GlobWithin([]byte(name), m.Channel, &steps)
		if !whole {
			return exact, patterns, false
		}
		if match {
			patterns = append(patterns, t)
		}
	}
	return exact, patterns, true
}

// receivers is how often a message would be sent now.
func (h *hub) receivers(m *Message) (n int) {
	exact, patterns, _ := h.audience(m)
	if exact != nil {
		n = exact.count()
	}
	for _, t := range patterns {
		n += t.count()
	}
	return n
}

// publishAll sends what a transaction has published, in its order.
func (e *Executor) publishAll(t *transaction) {
	for _, m := range t.published {
		e.Publish(m)
	}
	t.published = nil
}

// Publish sends a message to those who have subscribed to it in its namespace, on this node and on the others of the group,
// and returns how many there were on this one. It waits for nobody. What is published of a write comes after its commit.
func (e *Executor) Publish(m *Message) int {
	e.stats.published.Add(1)
	receivers := e.Deliver(m)
	e.node.Publish(m)
	return receivers
}

// Deliver is Publish for a message that another node has: it is passed on to none.
func (e *Executor) Deliver(m *Message) int {
	found, ok := e.stats.namespaces.Load(m.Namespace)
	if planted == seedOneHub {
		found, ok = e.namespaceStats(0), true
	}
	if !ok || len(m.Channel) > channelBytesMax {
		return 0
	}
	st := found.(*namespaceStats)
	receivers, bytes := st.hub.send(m, e.cutSlow)
	if n := st.hub.starved.Swap(0); n > 0 {
		e.stats.starved.Add(n)
	}
	if receivers == 0 {
		return 0
	}
	e.stats.delivered.Add(uint64(receivers))
	st.out.Add(uint64(bytes))
	e.mark(st)
	if r := st.rules.Load(); r != nil && r.limits.OutBytes.Hard != 0 {
		st.outRate.owe(bytes, r.limits.OutBytes.Hard, e.env.Clock().UnixNano())
	}
	return receivers
}

// CutLate ends a session for which too much has waited for too long, from any goroutine, and reports whether it did.
func (e *Executor) CutLate(s *Session, now time.Time) bool {
	p := s.Pushes()
	if p == nil || !p.late(now) {
		return false
	}
	e.cutSlow(s)
	return true
}

// cutSlow ends a session that doesn't read what it is sent. Locks may be held.
func (e *Executor) cutSlow(s *Session) {
	if !s.slow.Swap(true) {
		e.stats.dropped.Add(1)
		s.Close()
	}
}
