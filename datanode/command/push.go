package command

import (
	"sync"
	"sync/atomic"
	"time"
)

// Beyond these bounds a session is cut, so that a peer that doesn't read costs others nothing. They are Redis' "pubsub
// 32mb 8mb 60" of client-output-buffer-limit.
const (
	// pushBytesHard is what may wait to be sent to one session out of turn, in bytes.
	pushBytesHard = 32 << 20
	// pushBytesSoft is what may wait for no longer than pushSoftFor.
	pushBytesSoft = 8 << 20
	pushSoftFor   = 60 * time.Second
	// pushShare of client-memory is what may wait for all sessions. Beyond it those are cut for which more than their
	// part of it waits, of the namespaces for which more than theirs does.
	pushShare = 4
	// messageFrame is what a message takes beside its bytes.
	messageFrame = 64
	// pushChunk is how much of small messages is sent at once.
	pushChunk = 16 << 10
)

// pushAccount is how much waits to be sent to the sessions of a namespace, or, where whole is nil, to all of a node.
type pushAccount struct {
	bytes  atomic.Int64 // of messages; one that waits for many sessions counts once
	queues atomic.Int64 // sessions
	parts  atomic.Int64 // of the whole: namespaces that have such sessions
	whole  *pushAccount
}

func (a *pushAccount) hold(bytes int) {
	a.bytes.Add(int64(bytes))
	a.whole.bytes.Add(int64(bytes))
}

// join counts a session in, or, with by -1, out.
func (a *pushAccount) join(by int64) {
	n := a.queues.Add(by)
	a.whole.queues.Add(by)
	switch {
	case by > 0 && n == 1:
		a.whole.parts.Add(1)
	case by < 0 && n == 0:
		a.whole.parts.Add(-1)
	}
}

// message is RESP that waits for any number of sessions, which share it.
type message struct {
	resp []byte
	of   *pushAccount
	refs atomic.Int32
}

// newMessage returns a message that is its maker's until it releases it.
func newMessage(of *pushAccount, resp []byte) *message {
	m := &message{resp: resp, of: of}
	m.refs.Store(1)
	of.hold(m.size())
	return m
}

func (m *message) size() int { return len(m.resp) + messageFrame }

func (m *message) release() {
	if m.refs.Add(-1) == 0 {
		m.of.hold(-m.size())
	}
}

// Pushes are messages to a session out of turn: not replies to what it has sent, but what others do. Any goroutine adds
// to them, and never waits; a goroutine beside the connection's own takes them. While the session executes commands they
// are held, so that each message stays on the side of a reply on which it came: from the begin of a run, which takes what
// waits before its replies, until these were sent.
type Pushes struct {
	proto atomic.Int32 // the session's protocol
	of    atomic.Pointer[pushAccount]
	size  atomic.Int64 // bytes that wait
	bound *atomic.Int64
	clock func() time.Time
	ready chan struct{} // holds an element while there may be something to take, or they are closed

	mu       sync.Mutex
	waiting  []*message
	first    int // of waiting
	held     bool
	overflow bool
	closed   bool
	since    time.Time // when more than pushBytesSoft began to wait
	sending  *message  // that Take has returned last
	chunk    []byte    // or this
}

// newPushes returns the pushes of a session that executes a command, so they are held. bound is client-memory.
func newPushes(of *pushAccount, bound *atomic.Int64, clock func() time.Time) *Pushes {
	p := &Pushes{ready: make(chan struct{}, 1), bound: bound, clock: clock, held: planted != seedEarlyMessage}
	p.of.Store(of)
	of.join(1)
	return p
}

// add appends a message, and reports false if more than most bytes wait then, too much of all sessions', or did before.
func (p *Pushes) add(m *message, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return true
	}
	if p.overflow || p.full(int64(m.size()), int64(most)) {
		p.overflow = true
		p.discard()
		return false
	}
	m.refs.Add(1)
	if p.first > 64 && p.first > len(p.waiting)/2 { // more room would be for what is gone
		n := copy(p.waiting, p.waiting[p.first:])
		clear(p.waiting[n:])
		p.waiting, p.first = p.waiting[:n], 0
	}
	p.waiting = append(p.waiting, m)
	p.size.Add(int64(m.size()))
	p.ring()
	return true
}

// full reports whether n bytes more are too much. The lock is held.
func (p *Pushes) full(n, most int64) bool {
	n += p.size.Load()
	switch {
	case n > most:
		return true
	case n <= pushBytesSoft:
		p.since = time.Time{}
	case p.since.IsZero():
		p.since = p.clock()
	case p.clock().Sub(p.since) > pushSoftFor:
		return true
	}
	share, of := p.bound.Load()/pushShare, p.of.Load()
	return of.whole.bytes.Load() > share && of.bytes.Load() > share/max(1, of.whole.parts.Load()) && n > share/max(1, of.whole.queues.Load())
}

// late reports whether too much has waited for too long.
func (p *Pushes) late(now time.Time) bool {
	if p.size.Load() <= pushBytesSoft {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.since.IsZero() && now.Sub(p.since) > pushSoftFor {
		p.overflow = true
	}
	return p.overflow
}

// Held returns how many bytes wait. Any goroutine may ask.
func (p *Pushes) Held() int { return int(p.size.Load()) }

// pop takes the first message that waits. The lock is held.
func (p *Pushes) pop() *message {
	m := p.waiting[p.first]
	p.waiting[p.first] = nil
	if p.first++; p.first == len(p.waiting) {
		p.first = 0
		if p.waiting = p.waiting[:0]; cap(p.waiting) > 64 {
			p.waiting = nil
		}
	}
	if left := p.size.Add(-int64(m.size())); left <= pushBytesSoft {
		p.since = time.Time{}
	}
	return m
}

// discard drops what waits. The lock is held.
func (p *Pushes) discard() {
	for len(p.waiting) > 0 {
		p.pop().release()
	}
}

// sent lets go of what Take has returned last. The lock is held.
func (p *Pushes) sent() {
	if p.sending != nil {
		p.sending.release()
		p.sending = nil
	}
}

func (p *Pushes) ring() {
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// Wait waits until there may be something to take, and reports false once there never will be.
func (p *Pushes) Wait() bool {
	<-p.ready
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.closed
}

// Take returns what is to be sent next, nil if there is nothing: Wait waits for more. It is good until the next call. Whoever
// calls it keeps others from writing to the peer until that is sent.
func (p *Pushes) Take() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent()
	if p.held || p.closed || len(p.waiting) == 0 {
		p.chunk = nil
		return nil
	}
	m := p.pop()
	if len(p.waiting) == 0 || len(m.resp) >= pushChunk/2 {
		p.sending = m
		return m.resp
	}
	p.chunk = p.chunk[:0]
	for {
		p.chunk = append(p.chunk, m.resp...)
		m.release()
		if len(p.waiting) == 0 || len(p.chunk)+len(p.waiting[p.first].resp) > pushChunk {
			return p.chunk
		}
		m = p.pop()
	}
}

// hold keeps what is added from being taken, and writes to out what waits already.
func (p *Pushes) hold(out *Reply) {
	p.mu.Lock()
	if planted != seedEarlyMessage {
		p.held = true
	}
	list := p.waiting[p.first:]
	if len(list) > 0 {
		p.waiting, p.first, p.since = nil, 0, time.Time{}
	}
	p.mu.Unlock()
	for _, m := range list { // under no lock: out may ask for room, and so look at all sessions
		out.Raw(m.resp)
		p.size.Add(-int64(m.size()))
		m.release()
	}
}

// Release has what waits taken again: the replies before it were sent.
func (p *Pushes) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	if len(p.waiting) > 0 {
		p.ring()
	}
}

// releasePushes is for a session that may wait for long, and has no replies that aren't sent.
func (s *Session) releasePushes() {
	if p := s.Pushes(); p != nil {
		p.Release()
	}
}

// Close ends Wait and Take, and drops what waits. It reports whether too much has waited.
func (p *Pushes) Close() (overflow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		p.of.Load().join(-1)
	}
	p.discard()
	p.sent()
	p.ring()
	return p.overflow
}

// drop drops what waits.
func (p *Pushes) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.discard()
}

// move has what is added from now on be another namespace's.
func (p *Pushes) move(to *pushAccount) {
	if from := p.of.Load(); from != to {
		to.join(1)
		p.of.Store(to)
		from.join(-1)
	}
}

// Pushes returns what others send the session, nil if nobody ever does. Any goroutine may ask; once there are some they
// stay the session's for good.
func (s *Session) Pushes() *Pushes { return s.pushes.Load() }

// pushesFor returns the session's pushes, for messages of its namespace. The goroutine that executes its commands calls it.
func (c *Ctx) pushesFor() *Pushes {
	s := c.Session
	of := &s.stats.hub.account
	p := s.pushes.Load()
	if p == nil {
		p = newPushes(of, &c.ex.Edge().MemoryBytes, c.Env.Clock)
		p.proto.Store(int32(s.Out.Proto()))
		s.pushes.Store(p)
		return p
	}
	p.move(of)
	return p
}
