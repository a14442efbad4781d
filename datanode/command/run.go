package command

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/tidwall/redcon"
)

// Execute runs the commands of one pipeline in order and writes their replies to s.Out. Whenever many
// bytes are buffered between two runs, it calls flush. It returns flush's error.
func (e *Executor) Execute(ctx context.Context, s *Session, cmds []redcon.Command, flush func() error) error {
	now := e.env.NowMS()
	defer func() { s.Touch(e.env.Clock()) }()
	s.count.Add(uint64(len(cmds)))
	s.flush, s.sent = flush, 0
	defer e.stopWaiting(s) // however it ends
	for len(cmds) > 0 && !s.closing && !s.drop {
		n := e.run(ctx, s, cmds, now)
		if n > 0 {
			e.stopWaiting(s)
		}
		e.tally(s)
		cmds = cmds[n:]
		if s.penalty > 0 {
			s.pause(ctx, s.penalty)
			s.penalty = 0
			e.guard.Waited(s.Peer.Remote)
		}
		e.dropOverflowed(s)
		if len(cmds) == 0 {
			break
		}
		if s.Out.Len() > e.limits.RunBytes/16 {
			if err := flush(); err != nil {
				return err
			}
		}
		now = e.env.NowMS() // the run may have waited for long, and the token be at its end
	}
	return nil
}

// dropOverflowed ends the session if its replies have met their limit.
func (e *Executor) dropOverflowed(s *Session) {
	if !s.Out.Overflowed() {
		return
	}
	if !s.closed.Load() {
		e.log.Warn("connection dropped: a reply exceeds the output limit", "session", s.ID, "peer", s.Peer.Remote)
	}
	s.drop = true
}

// run executes the longest start of cmds that makes one run, and returns its length; 0 after it has waited for something:
// they are planned anew.
func (e *Executor) run(ctx context.Context, s *Session, cmds []redcon.Command, nowMS int64) int {
	lease, err := e.node.Acquire()
	if err != nil {
		for i := range cmds {
			p := planned{refusal: ErrorText(err)}
			if s.multi.open {
				p.cmd = find(e.table.byName, cmds[i].Args[0])
			}
			s.refuse(&p)
		}
		return len(cmds)
	}
	if !e.hold(s, lease.View(), nowMS) {
		lease.Release()
		s.Out.Error(string(errRevoked))
		s.closing = true
		return len(cmds)
	}
	if p := s.Pushes(); p != nil {
		p.hold(s.Out) // what has come by now stands before the replies
	}
	sc := &s.scratch
	sc.shares[0].plan = e.plan(sc.shares[0].plan[:0], &sc.candidate, s, lease, cmds)
	plan := sc.shares[0].plan
	if e.pauses.any.Load() {
		n, wait := e.paused(s, plan)
		if n == 0 {
			lease.Release()
			s.sendFirst()
			s.releasePushes()
			wait(ctx)
			return 0
		}
		plan = plan[:n]
		sc.shares[0].plan = plan
	}
	if plan[0].waits(cmds[0].Args) && s.Out.Len() > s.sent {
		lease.Release()
		s.sendFirst()
		return 0
	}
	if plan[0].kind == kindAlone && plan[0].cmd.Flags&FlagBlocking != 0 {
		s.releasePushes()
	}
	n, start, reads := len(plan), s.Out.Len(), false
	for i := range plan {
		reads = reads || plan[i].kind == kindData
	}
	switch {
	case s.mustWait(lease) && (reads || s.executes(&plan[0])):
		lease.Release()
		n = e.await(ctx, s, plan)
	case plan[0].kind == kindAlone:
		e.alone(ctx, s, lease, &cmds[0], &plan[0])
	case plan[0].kind == kindForward:
		lease.Release()
		n = e.forward(ctx, s, cmds[:n])
	default:
		s.again = false
		if n = e.single(s, lease, cmds[:n], reads); s.again {
			n = e.waits(ctx, s)
		}
	}
	e.silence(s, start)
	return n
}

// mustWait reports whether the session's last forwarded write isn't to be seen here yet. The primary has
// every write of its history.
func (s *Session) mustWait(lease Lease) bool {
	if s.wait.index == 0 {
		return false
	}
	if lease.Primary() || lease.View().Group(groupID).GetHistoryId() != s.wait.history {
		s.wait = written{}
	}
	return lease.Store().Applied().Index < s.wait.index
}

// silence drops what was written since start as CLIENT REPLY asks.
func (e *Executor) silence(s *Session, start int) {
	switch s.replies {
	case replyOff:
		s.Out.truncate(start)
	case replySkipping:
		s.Out.truncate(start)
		s.replies = replyOn
	case replySkip:
		s.Out.truncate(start)
		s.replies = replySkipping
	}
}

// plan passes the first commands through the gates, until one that can't join the run or a limit, and appends what is
// to be done with them to dst.
func (e *Executor) plan(dst []planned, c *candidate, s *Session, lease Lease, cmds []redcon.Command) []planned {
	bytes, primary, damaged := 0, lease.Primary(), lease.Store().Damaged() != nil
	for i := range cmds {
		*c = candidate{ex: e, session: s, args: cmds[i].Args, primary: primary, damaged: damaged}
		p := planned{refusal: e.pass(c), cmd: c.cmd}
		if c.cmd != nil {
			p.flags = c.flags(lease.Store())
		}
		switch {
		case p.refusal != "":
			p.kind = kindRefused
		case c.forward:
			p.kind = kindForward
		case s.multi.open && c.cmd.Flags&FlagInMulti == 0:
			p.kind = kindQueue
		case p.flags&(FlagSession|FlagNetwork) != 0:
			p.kind = kindAlone
		case !c.cmd.rows():
			p.kind = kindPlain
		default:
			p.kind = kindData
		}
		alone := p.kind == kindAlone || (p.kind == kindData && p.flags&FlagExclusive != 0)
		if s.executes(&p) && s.multi.flags&(FlagWrite|FlagPubSub) != 0 {
			p.flags |= FlagWrite // a pause of writes holds it up
		}
		// What WATCH watches changes with what its run has written; and what was answered is sent before one waits.
		first := p.waits(cmds[i].Args) || p.flags&FlagWatch != 0
		if i > 0 && (alone || first || (p.kind == kindForward) != (dst[0].kind == kindForward)) {
			break
		}
		dst = append(dst, p)
		bytes += len(cmds[i].Raw)
		if alone || p.waits(cmds[i].Args) || len(dst) >= e.limits.RunCommands || bytes >= e.limits.RunBytes || s.replies == replySkipping {
			break
		}
	}
	*c = candidate{} // lets go of the arguments, and so of the connection's buffer
	return dst
}

// single executes the planned commands of one session as a run, and returns how many were.
func (e *Executor) single(s *Session, lease Lease, cmds []redcon.Command, data bool) int {
	defer lease.Release()
	sc := &s.scratch
	sh := &sc.shares[0]
	sh.session, sh.cmds = s, cmds
	e.transact(sc, sc.shares[:], lease, data)
	sh.session, sh.cmds = nil, nil
	return sh.done
}

// errSplit says that a command of a run of several sessions panicked: each has to be tried alone.
var errSplit = errors.New("the run has to be split")

// transact executes the planned commands of sessions of one namespace as one transaction. It may end early: the
// shares tell how far it went.
func (e *Executor) transact(sc *scratch, shares []share, lease Lease, data bool) {
	began := e.elapsed()
	for i := range shares {
		if shares[i].session.rules != nil {
			sc.nowNS = e.env.Clock().UnixNano()
			break
		}
	}
	for i := range shares {
		shares[i].from, shares[i].done = shares[i].session.Out.Len(), 0
	}
	sc.ctx = Ctx{Env: e.env, ex: e, lease: lease}
	if data {
		sc.ctx.NS = shares[0].session.namespaceIn(lease.Store())
		sc.ctx.NS.Begin(&sc.tx, e.lockPlan(sc, shares, lease))
		sc.ctx.Tx = &sc.tx
	}
	err := e.callAll(sc, shares)
	if st := shares[0].session.stats; err == nil && st != nil {
		st.looked(&sc.ctx.looks)
	}
	if data {
		sc.settle(err)
		sc.waits += sc.tx.Waits()
		sc.tx.End()
		sc.reserved.release()
	}
	sc.ctx = Ctx{}
	if errors.Is(err, errSplit) {
		for i := range shares {
			shares[i].session.Out.truncate(shares[i].from)
			shares[i].session.Out.forget()
		}
		for i := range shares {
			e.transact(sc, shares[i:i+1], lease, data)
		}
		return
	}
	total := 0
	for i := range shares {
		total += shares[i].done
		if err == nil {
			e.publishAll(&shares[i].session.multi)
		} else {
			shares[i].session.again = false // it has its answer
		}
		if err != nil && shares[i].whole {
			shares[i].failed(err)
		} else if err != nil {
			e.replace(sc, &shares[i], err)
		} else if data && sc.tx.Index() > 0 {
			shares[i].session.lastWrite = sc.tx.Index()
		}
	}
	each := (e.elapsed() - began) / time.Duration(max(total, 1))
	for i := range shares {
		sh := &shares[i]
		e.account(sh.session, sh.plan[:sh.done], each)
		if sh.whole {
			continue // EXEC's reply is measured, and its commands were when they were queued
		}
		e.measure(sh.session, sh.cmds[:sh.done], sh.session.Out.Len()-sh.from, sh.refused())
	}
}

// lockPlan names the locks that the run needs.
func (e *Executor) lockPlan(sc *scratch, shares []share, lease Lease) store.Run {
	sc.hashes = sc.hashes[:0]
	r := store.Run{Revision: lease.View().Revision(), Gathered: len(shares) > 1}
	for i := range shares {
		sh := &shares[i]
		db := sh.session.DB
		if sh.whole {
			sc.hashes = sh.wholeLocks(sc.hashes)
		}
		for k := range sh.plan {
			p, args := &sh.plan[k], sh.cmds[k].Args
			r.Bytes += len(sh.cmds[k].Raw)
			if p.kind != kindData {
				db = sh.selects(p, db, args)
				continue
			}
			r.Write = r.Write || p.flags&FlagWrite != 0
			r.Exclusive = r.Exclusive || p.flags&FlagExclusive != 0
			if p.cmd.Keys.Hashes != nil {
				sc.hashes = p.cmd.Keys.Hashes(db, args, sc.hashes)
				continue
			}
			sc.positions = p.cmd.Keys.Positions(args, sc.positions[:0])
			for _, at := range sc.positions {
				sc.hashes = append(sc.hashes, store.HashKey(db, args[at]))
			}
		}
	}
	if b := &shares[0].session.stats.waiting; r.Write && !r.Exclusive && b.any.Load() > 0 {
		b.cover(sc, shares)
	}
	r.Hashes = sc.hashes
	return r
}

// callAll calls the planned commands until the replies, or the rows that they hold, get large, then
// commits. Where a command panics, the run ends with it, and nothing was written.
func (e *Executor) callAll(sc *scratch, shares []share) (err error) {
	committing := false
	defer func() {
		r := recover()
		switch {
		case r == nil:
		case committing:
			e.log.Error("commit panicked", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			for i := range shares {
				shares[i].session.closing = true
			}
			err = errMaybe
		case len(shares) > 1:
			err = errSplit
		default:
			sh := &shares[0]
			err = e.panicked(sh.session, r)
			noteDamage(sc.ctx.lease, r)
			sh.plan[sh.done].kind = kindData // its reply is replaced too
			sh.plan[sh.done].end = sh.session.Out.Len()
			sh.done++
		}
	}()
	replies := 0
	for i := range shares {
		sh := &shares[i]
		more, err := e.call(sc, sh, e.limits.RunBytes-replies)
		if err != nil {
			return err
		}
		if replies += sh.session.Out.Len() - sh.from; !more {
			break
		}
	}
	if sc.ctx.Tx == nil {
		return nil
	}
	committing = true
	return sc.tx.Commit(shares[0].session.durability)
}

// call calls the commands of one share until there are more than room bytes of replies, or the run gets large. more says
// that the run may go on; an error, of a transaction alone, that nothing of it must happen.
func (e *Executor) call(sc *scratch, sh *share, room int) (more bool, err error) {
	c, s := &sc.ctx, sh.session
	c.Out, c.Session = s.Out, s
	if sh.whole {
		if c.Tx != nil && s.multi.watched.Changed(c.Tx) {
			return false, errChanged
		}
		s.Out.Array(len(sh.plan))
	}
	monitored := e.sessions.monitors.any.Load()
	// Each command's own time, of a clock that costs some 27 ns: the run's, shared evenly, would put what one slow command
	// took on all of them, and lose it among a hundred quick ones.
	watched, before := e.tunables.watched.Load(), time.Duration(0)
	if watched != notWatched {
		before = e.elapsed()
	}
	for i := range sh.plan {
		p := &sh.plan[i]
		if s.rules != nil && p.kind != kindRefused && p.kind != kindQueue {
			e.ask(sc, s, p, &sh.cmds[i])
			if sh.whole && p.kind == kindRefused {
				return false, Error(p.refusal)
			}
		}
		switch p.kind {
		case kindRefused:
			s.refuse(p)
		case kindQueue:
			s.queue(p.cmd, &sh.cmds[i])
		default:
			c.Args, c.Spec, c.flags = sh.cmds[i].Args, &p.cmd.Spec, p.flags
			if p.kind == kindData {
				c.DB = c.Tx.DB(s.DB)
			}
			p.cmd.Run(c)
			if watched != notWatched {
				now := e.elapsed()
				if took := now - before; int64(took) >= watched {
					e.late(s, p.cmd, c.Args, took)
				}
				before = now
			}
			if b := &s.stats.waiting; p.kind == kindData && b.any.Load() > 0 && p.flags&FlagWrite != 0 {
				b.written(sc, s, p, c.Args)
				if !sh.whole {
					e.serve(sc, s)
				}
			}
			if monitored {
				e.feed(s, p.cmd, c.Args)
			}
		}
		sh.done, p.end = i+1, s.Out.Len()
		if sh.whole {
			if c.Tx != nil && sc.tx.Size() > store.MaxRunBytes {
				return false, store.ErrTooLarge
			}
			continue
		}
		if p.end-sh.from > room || c.Tx != nil && sc.tx.Size() > e.limits.RunBytes {
			return false, nil
		}
	}
	if len(sc.ready) > 0 {
		e.serve(sc, s)
	}
	return true, nil
}

// panicked turns a panic of a command into an error. Damage is told apart; anything else is a broken
// invariant: it is logged with its stack, and the connection ends.
func (e *Executor) panicked(s *Session, r any) error {
	if d, ok := r.(store.Damage); ok {
		e.log.Error("what a command reads is damaged", "namespace_id", s.grant.NamespaceID, "error", d.Err)
		return d.Err
	}
	e.log.Error("command panicked", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	s.closing = true
	return errInternal
}

// noteDamage tells the store of damage that only its reader could see.
func noteDamage(lease Lease, r any) {
	if d, ok := r.(store.Damage); ok {
		lease.Store().NoteDamage(d.Err)
	}
}

// replace puts the error in place of the replies of a share's data commands: none of them happened,
// or, for ErrMaybe, nobody knows. Refusals and plain commands keep theirs.
func (e *Executor) replace(sc *scratch, sh *share, err error) {
	out, start := sh.session.Out, sh.from
	sc.spare = append(sc.spare[:0], out.buf[start:]...)
	text := ErrorText(err)
	out.truncate(start)
	out.forget()
	from := start
	for i := range sh.plan[:sh.done] {
		p := &sh.plan[i]
		if p.kind != kindData {
			out.rawReply(sc.spare[from-start : p.end-start])
		} else {
			out.Error(text)
		}
		from = p.end
	}
	if cap(sc.spare) > e.limits.RunBytes {
		sc.spare = nil
	}
}

// alone calls a command that works on the session or waits for another process.
func (e *Executor) alone(ctx context.Context, s *Session, lease Lease, call *redcon.Command, p *planned) {
	held, cmd := true, p.cmd
	began := e.env.Clock()
	if s.rules != nil {
		s.scratch.nowNS = began.UnixNano()
		if e.ask(&s.scratch, s, p, call); p.kind == kindRefused {
			lease.Release()
			s.refuse(p)
			e.stats.commands[cmd.order].rejected.Add(1)
			return
		}
	}
	c := Ctx{Args: call.Args, Out: s.Out, Session: s, Env: e.env, Spec: &cmd.Spec, ex: e, lease: lease, ctx: ctx}
	if cmd.Flags&FlagNetwork != 0 {
		lease.Release()
		held, c.lease = false, nil
	}
	start := s.Out.Len()
	func() {
		defer func() {
			if r := recover(); r != nil {
				s.Out.truncate(start)
				s.Out.forget()
				s.Out.Error(ErrorText(e.panicked(s, r)))
				if held {
					noteDamage(lease, r)
				}
			}
		}()
		cmd.Run(&c)
	}()
	if held {
		lease.Release()
	}
	took := e.env.Clock().Sub(began)
	// What waits for others isn't slow itself, and what EXEC executes is logged by itself.
	if int64(took) >= e.tunables.watched.Load() && cmd.Flags&FlagBlocking == 0 && cmd.Name != "exec" {
		e.late(s, cmd, call.Args, took)
	}
	if e.sessions.monitors.any.Load() {
		e.feed(s, cmd, call.Args)
	}
	e.count(s, cmd, 1, took)
	s.did(cmd, 1)
	e.measure(s, []redcon.Command{*call}, s.Out.Len()-start, 0)
}

// await waits, under no lock, until this replica has applied the session's forwarded write. It answers
// for the planned commands when that takes too long, else for none: they are planned again.
func (e *Executor) await(ctx context.Context, s *Session, plan []planned) int {
	ctx, done := s.within(ctx, e.limits.ApplyTimeout)
	defer done()
	if err := e.node.WaitApplied(ctx, s.wait.index); err == nil {
		s.wait = written{}
		return 0
	}
	for i := range plan {
		if plan[i].kind != kindRefused {
			plan[i].refusal = string(errNotApplied)
		}
		s.refuse(&plan[i])
	}
	return len(plan)
}
