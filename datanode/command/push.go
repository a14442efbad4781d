package command

import (
	"sync"
	"sync/atomic"
)

// Beyond these bounds a session is cut, so that a peer that doesn't read costs others nothing.
const (
	// pushBytesMax is what may wait to be sent to one session out of turn, in bytes.
	pushBytesMax = 1 << 20
	// pushTotalMax is that of all sessions of a node, with what is being sent; one for which little waits may go on.
	pushTotalMax  = 64 << 20
	pushBytesFree = pushBytesMax / 8
)

// Pushes are messages to a session out of turn: not replies to what it has sent, but what others do. Any goroutine adds
// to them, and never waits; the connection's own takes them.
type Pushes struct {
	mu       sync.Mutex
	waiting  []byte
	sending  int // bytes that Take has returned last
	overflow bool
	closed   bool
	ready    chan struct{} // holds an element while there is something to take, or they are closed
	total    *atomic.Int64 // waiting and sending, of all sessions
}

func newPushes(total *atomic.Int64) *Pushes {
	return &Pushes{ready: make(chan struct{}, 1), total: total}
}

// add appends a message, and reports false if too much waits already, or did before.
func (p *Pushes) add(message []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return true
	}
	n := len(p.waiting) + len(message)
	if p.overflow || n > pushBytesMax || n > pushBytesFree && p.total.Load()+int64(len(message)) > pushTotalMax {
		p.overflow = true
		p.discard()
		return false
	}
	p.waiting = append(p.waiting, message...)
	p.total.Add(int64(len(message)))
	p.ring()
	return true
}

// discard drops what waits. The lock is held.
func (p *Pushes) discard() {
	p.total.Add(-int64(len(p.waiting)))
	p.waiting = nil
}

// sent notes that what Take has returned last needs no memory any more. The lock is held.
func (p *Pushes) sent() {
	p.total.Add(-int64(p.sending))
	p.sending = 0
}

func (p *Pushes) ring() {
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// Take waits for messages and returns them all; ok is false once there are no more. used, which an earlier call has
// returned, may be used again.
func (p *Pushes) Take(used []byte) (messages []byte, ok bool) {
	p.mu.Lock()
	p.sent()
	p.mu.Unlock()
	for range p.ready {
		p.mu.Lock()
		messages, closed := p.waiting, p.closed
		if p.waiting = nil; cap(used) <= replyRoom {
			p.waiting = used[:0]
		}
		if !closed {
			p.sending = len(messages)
		}
		p.mu.Unlock()
		if closed {
			return nil, false
		}
		if len(messages) > 0 {
			return messages, true
		}
		used = messages
	}
	return nil, false
}

// Close ends Take, and drops what waits. It reports whether too much has waited.
func (p *Pushes) Close() (overflow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.discard()
	p.sent()
	p.closed = true
	p.ring()
	return p.overflow
}

// drop drops what waits.
func (p *Pushes) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.discard()
}

// Pushes returns what others send the session, nil if nobody ever does. The goroutine that executes its commands may
// ask; once there are some they stay the session's for good.
func (s *Session) Pushes() *Pushes { return s.pushes }
