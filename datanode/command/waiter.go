package command

import (
	"context"
	"time"
)

// The waiter's own side of blocking.go: its goroutine waits, and ends the waiting.

// waits has the session wait until it is served, and writes its reply; it returns 0 if its command is to be tried again.
// No lease is held.
func (e *Executor) waits(ctx context.Context, s *Session) int {
	w := s.waiter.Load()
	b := w.in
	wake := make(chan struct{})
	s.wake.Store(&wake)
	defer s.wake.Store(nil)
	s.releasePushes() // they don't wait with it
	if s.onWait != nil {
		defer s.onWait()()
	}
	var over <-chan time.Time
	if !w.deadline.IsZero() {
		t := time.NewTimer(w.deadline.Sub(e.env.Clock()))
		defer t.Stop()
		over = t.C
	}
	hurried, done := wake, ctx.Done()
	if s.hurried.Load() {
		w.end(noRefusal, true)
	}
	if w.bytes > keepWords && s.flush() != nil { // which has the memory counted
		w.end(noRefusal, true)
	}
	for {
		b.mu.Lock()
		state, retry := w.state, w.retry
		if state == stateWaiting && retry {
			w.retry, w.state = false, stateTrying
		}
		b.mu.Unlock()
		switch {
		case state == stateServed:
			s.lastWrite = max(s.lastWrite, w.index)
			s.Out.rawReply(w.out.Bytes())
			s.drop = s.drop || w.out.Overflowed()
			return 1
		case state == stateEnded:
			e.unserved(ctx, s, w)
			return 1
		case state == stateWaiting && retry:
			return 0
		}
		select {
		case <-w.signal:
		case <-over:
			over = nil
			w.end(noRefusal, true)
		case <-hurried:
			hurried = nil
			w.end(noRefusal, true)
		case <-done:
			done = nil
			w.end(noRefusal, true)
		}
	}
}

// unserved answers for a waiter that nobody has served.
func (e *Executor) unserved(ctx context.Context, s *Session, w *waiter) {
	switch {
	case w.refusal != "":
		s.Out.Error(string(w.refusal))
	case s.hurried.Load() || ctx.Err() != nil:
		s.drop = true // the connection ends, and its client has to ask another time
	default:
		s.Out.NullArray()
	}
}

// stopWaiting forgets the session's waiter, if it has one, after its command was answered or given up. A run that serves it
// reads what it was called with, and is waited for.
func (e *Executor) stopWaiting(s *Session) {
	w := s.waiter.Load()
	if w == nil {
		return
	}
	for w.end(noRefusal, true); w.busy(); {
		<-w.signal
	}
	s.waiter.Store(nil)
	e.blocked.Add(-1)
}

func (w *waiter) busy() bool {
	w.in.mu.Lock()
	defer w.in.mu.Unlock()
	return w.state == stateClaimed || w.state == stateAnswered
}

// ReleaseWaiters ends the waiting of all sessions where this node serves no writes any more: what they wait for comes to
// another one.
func (e *Executor) ReleaseWaiters() {
	if e.blocked.Load() == 0 {
		return
	}
	if lease, err := e.node.Acquire(); err == nil {
		primary := lease.Primary()
		lease.Release()
		if primary {
			return
		}
	}
	for _, s := range e.sessions.All() {
		if w := s.waiter.Load(); w != nil {
			w.end(errUnblocked, false)
		}
	}
}

// OnWait has begin called whenever a command of the session begins to wait for others, and what it returns when that is over.
func (s *Session) OnWait(begin func() (end func())) { s.onWait = begin }

// held returns the size of what a session that waits holds for that, in bytes.
func (w *waiter) held() int {
	if w == nil {
		return 0
	}
	return w.bytes
}
