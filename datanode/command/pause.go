package command

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/datatype"
)

// pause is a CLIENT PAUSE that is under way.
type pause struct {
	untilMS int64 // Unix milliseconds
	all     bool  // else only what may write
}

// pauses are the paused namespaces of a node; operators' is for all of them. Whoever is paused waits under no lock and
// on no lease.
type pauses struct {
	any     atomic.Bool // false: nobody is paused, the usual case
	mu      sync.Mutex
	parts   map[uint64]pause
	nextMS  int64         // no pause is over before
	changed chan struct{} // closed at the next change
}

// set pauses a part. A longer pause, or one of more, that is under way stays, as in Redis.
func (p *pauses) set(part uint64, n pause, nowMS int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(nowMS)
	old := p.parts[part]
	n.untilMS, n.all = max(n.untilMS, old.untilMS), n.all || old.all
	if p.parts == nil {
		p.parts = make(map[uint64]pause)
	}
	p.parts[part] = n
	p.nextMS = min(p.nextMS, n.untilMS)
	p.any.Store(true)
	p.announce()
}

func (p *pauses) clear(part uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.parts, part)
	p.any.Store(len(p.parts) > 0)
	p.announce()
}

// forget forgets the pauses that are over, whosever they are: their own connections may never come back. The lock is
// held.
func (p *pauses) forget(nowMS int64) {
	if nowMS < p.nextMS {
		return
	}
	p.nextMS = math.MaxInt64
	for part, old := range p.parts {
		if old.untilMS <= nowMS {
			delete(p.parts, part)
		} else {
			p.nextMS = min(p.nextMS, old.untilMS)
		}
	}
	p.any.Store(len(p.parts) > 0)
}

// announce has those that wait look again. The lock is held.
func (p *pauses) announce() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// hold returns how long a session is still paused, and whether it is for all commands; and what is closed when that
// may have changed. A tenant's pause is none for admins.
func (p *pauses) hold(s *Session, nowMS int64) (left time.Duration, all bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	parts := [...]pause{p.parts[operators], {}}
	if !s.grant.Admin() && s.grant.NamespaceID != operators {
		parts[1] = p.parts[s.grant.NamespaceID]
	}
	var untilMS int64
	for _, part := range parts {
		if part.untilMS > nowMS {
			all = all || part.all
			if untilMS == 0 || part.untilMS < untilMS {
				untilMS = part.untilMS // and then it looks at the other one again
			}
		}
	}
	if untilMS == 0 {
		p.forget(nowMS)
		return 0, false, nil
	}
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return time.Duration(min(untilMS-nowMS, int64(math.MaxInt64/time.Millisecond))) * time.Millisecond, all, p.changed
}

// holds reports whether a session is paused, perhaps for writes alone.
func (p *pauses) holds(s *Session, nowMS int64) bool {
	left, _, _ := p.hold(s, nowMS)
	return left > 0
}

// paused returns how many of the planned commands a CLIENT PAUSE lets through, and how to wait if that is none.
func (e *Executor) paused(s *Session, plan []planned) (n int, wait func(context.Context)) {
	if s.hurried.Load() && !s.closed.Load() { // the node is shutting down: what was read is answered
		return len(plan), nil
	}
	left, all, changed := e.pauses.hold(s, e.env.NowMS())
	if left == 0 {
		return len(plan), nil
	}
	for n < len(plan) && !plan[n].pausable(all) {
		n++
	}
	if n > 0 {
		return n, nil
	}
	return 0, func(ctx context.Context) {
		s.waitFor(ctx, left, changed)
		if s.closed.Load() || ctx.Err() != nil {
			s.drop = true // nobody is there any more to have it executed
		}
	}
}

// pausable reports whether a pause holds a command up. CLIENT's subcommands about pauses are what ends one, and whoever
// is to send them must be able to authenticate; and a refusal has nothing to wait for.
func (p *planned) pausable(all bool) bool {
	if p.kind == kindRefused {
		return false
	}
	switch p.cmd.full {
	case "client|pause", "client|unpause", "auth", "hello":
		return false
	}
	return all || p.flags&FlagWrite != 0 || p.flags&publishes == publishes
}

// sendFirst sends the replies that are there before a command waits for others. No lease is held.
func (s *Session) sendFirst() {
	if s.Out.Len() > s.sent && s.flush() != nil {
		s.drop = true
	}
	s.sent = s.Out.Len()
}

// Waiting reports whether a command of the session waits for others or for time to pass, from any goroutine.
func (s *Session) Waiting() bool { return s.wake.Load() != nil }

// waitFor waits, under no lock, for d at most, until changed is closed, the session is hurried or closed, or ctx ends.
func (s *Session) waitFor(ctx context.Context, d time.Duration, changed <-chan struct{}) {
	wake := make(chan struct{})
	s.wake.Store(&wake)
	defer s.wake.Store(nil)
	if s.hurried.Load() {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-wake:
	case <-ctx.Done():
	}
}

// clientPause pauses the namespace's connections; an admin's pauses all namespaces' on this node.
func clientPause(c *Ctx) {
	all := true
	switch {
	case len(c.Args) > 4:
		c.Out.Error("ERR unknown subcommand or wrong number of arguments for 'PAUSE'. Try CLIENT HELP.")
		return
	case len(c.Args) == 3 || is(c.Args[3], "all"):
	case is(c.Args[3], "write"):
		all = false
	default:
		c.Out.Error("ERR CLIENT PAUSE mode must be WRITE or ALL")
		return
	}
	ms, ok := parseTimeout(c, c.Args[2])
	if !ok {
		return
	}
	now := c.Env.NowMS()
	until := now + ms
	if until < now {
		until = math.MaxInt64
	}
	c.ex.pauses.set(c.Session.partOf(), pause{until, all}, now)
	c.Out.OK()
}

func clientUnpause(c *Ctx) {
	c.ex.pauses.clear(c.Session.partOf())
	c.Out.OK()
}

// parseTimeout reads a number of milliseconds, or writes Redis' refusal.
func parseTimeout(c *Ctx, b []byte) (ms int64, ok bool) {
	ms, ok = datatype.ParseInt(b)
	switch {
	case !ok:
		c.Out.Error("ERR timeout is not an integer or out of range")
		return 0, false
	case ms < 0:
		c.Out.Error("ERR timeout is negative")
		return 0, false
	}
	return ms, true
}
