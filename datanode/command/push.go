package command

import "sync"

// pushBytesMax is what may wait to be sent to one session out of turn, in bytes. Beyond it the session is cut, so that
// a peer that doesn't read costs others nothing.
const pushBytesMax = 1 << 20

// Pushes are messages to a session out of turn: not replies to what it has sent, but what others do. Any goroutine adds
// to them, and never waits; the connection's own takes them.
type Pushes struct {
	mu      sync.Mutex
	waiting []byte
	closed  bool
	ready   chan struct{} // holds an element while there is something to take, or they are closed
}

func newPushes() *Pushes { return &Pushes{ready: make(chan struct{}, 1)} }

// add appends a message, and reports false if too much waits already.
func (p *Pushes) add(message []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return true
	}
	if len(p.waiting)+len(message) > pushBytesMax {
		p.waiting = nil
		return false
	}
	p.waiting = append(p.waiting, message...)
	p.ring()
	return true
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
	for range p.ready {
		p.mu.Lock()
		messages, closed := p.waiting, p.closed
		if p.waiting = nil; cap(used) <= replyRoom {
			p.waiting = used[:0]
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

// Close ends Take, and drops what waits.
func (p *Pushes) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.waiting = true, nil
	p.ring()
}

// drop drops what waits.
func (p *Pushes) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = nil
}

// Pushes returns what others send the session, nil if nobody ever does. The goroutine that executes its commands may
// ask; once there are some they stay the session's for good.
func (s *Session) Pushes() *Pushes { return s.pushes }
