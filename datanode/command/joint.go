package command

import (
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/tidwall/redcon"
)

// Joint executes what has arrived on many connections as few runs: one for the reads of each namespace, and one for
// its writes. Begin, any number of Add, Execute, End, and again; it belongs to one goroutine, but for Execute, which
// others may call, too, while the first one does.
type Joint struct {
	ex        *Executor
	lease     Lease
	nowMS     int64
	candidate candidate
	groups    []group // that make runs; the rest of the slice is kept for reuse
	added     int     // sessions
	next      atomic.Int32
}

// group is the shares of a batch that one run can take.
type group struct {
	ns      *store.Namespace
	write   bool
	shares  []share
	numbers []int              // of their sessions
	rests   [][]redcon.Command // of each, what was not executed
	// commands are there altogether.
	commands int
}

// JointScratch is what one goroutine in Execute reuses.
type JointScratch struct{ scratch }

const (
	// jointCommands ends a common run. What it holds waits for all of it.
	jointCommands = 512
	// coldShare: a run of which one command in so many has waited for the disk is cold.
	coldShare = 8
	// A Joint keeps room for so many groups, shares of one, and commands of one.
	keepGroups   = 16
	keepShares   = 128
	keepCommands = 32
	// jointKeep is the most that a JointScratch keeps, in bytes.
	jointKeep = 4 << 20
)

// NewJoint returns a Joint of the executor's.
func (e *Executor) NewJoint() *Joint { return &Joint{ex: e} }

// Begin starts a batch. It reports false while the node serves nothing; then Execute of the Executor says so.
func (j *Joint) Begin() bool {
	lease, err := j.ex.node.Acquire()
	if err != nil {
		return false
	}
	j.lease, j.nowMS = lease, j.ex.env.NowMS()
	j.next.Store(0)
	return true
}

// Add takes a session's commands into the batch, if all of them are short, and need nothing but rows at hand: no wait
// for a disk, for another process or for another client. Otherwise nothing has happened.
func (j *Joint) Add(s *Session, cmds []redcon.Command) bool {
	// What was read after a newer view had come, which may have been told, is not executed by an older one.
	if newest := j.lease.Newest() == j.lease.View() || planted == seedStaleGrant; !newest || s.replies != replyOn || s.wait.index != 0 ||
		s.closed.Load() || !j.ex.hold(s, j.lease.View(), j.nowMS) ||
		!s.grant.Valid() || s.durability != store.Async || j.ex.pauses.any.Load() && j.ex.pauses.holds(s, j.nowMS) {
		return false
	}
	n := len(j.groups)
	sh := j.room(n) // decided upon once the commands are known
	sh.plan = j.ex.plan(sh.plan[:0], &j.candidate, s, j.lease, cmds)
	write, ok := joins(sh.plan, len(cmds))
	if !ok {
		return false
	}
	s.count.Add(uint64(len(cmds)))
	ns := s.namespaceIn(j.lease.Store())
	to := sh
	for i := n - 1; i >= 0; i-- {
		if g := &j.groups[i]; g.ns == ns && g.write == write {
			to = j.room(i)
			to.plan, sh.plan = sh.plan, to.plan
			n = i
			break
		}
	}
	to.session, to.cmds = s, cmds
	if n == len(j.groups) {
		j.groups = j.groups[:n+1]
		j.groups[n].ns, j.groups[n].write = ns, write
	}
	g := &j.groups[n]
	g.shares = g.shares[:len(g.shares)+1]
	g.numbers = append(g.numbers, j.added)
	g.commands += len(cmds)
	j.added++
	return true
}

// room returns the next free share of group i, which may be the first one that isn't in use.
func (j *Joint) room(i int) *share {
	if i == cap(j.groups) {
		j.groups = append(j.groups, group{})[:i]
	}
	g := &j.groups[:i+1][i]
	n := len(g.shares)
	if n == cap(g.shares) {
		g.shares = append(g.shares, share{})[:n]
	}
	return &g.shares[:n+1][n]
}

// joins says whether a session's planned commands may share a run, and whether it is a writing one.
func joins(plan []planned, all int) (write, ok bool) {
	if len(plan) < all {
		return false, false
	}
	for i := range plan {
		p := &plan[i]
		switch {
		case p.kind == kindRefused || p.kind == kindPlain:
		case p.kind == kindData && p.flags&(FlagShort|FlagExclusive) == FlagShort:
			write = write || p.flags&FlagWrite != 0
		default:
			return false, false
		}
	}
	return write, true
}

// Order puts the batch's short runs before its long ones. It comes before any Execute.
func (j *Joint) Order() {
	if len(j.groups) > 1 {
		slices.SortStableFunc(j.groups, func(a, b group) int { return a.commands - b.commands })
	}
}

// Execute executes the batch's runs, but for those that another goroutine in Execute has begun. After each it calls
// done with the numbers of its sessions, in the order of Add from 0: their replies are there. rests are the commands of
// each that were not executed, since its replies have to be sent first. cold says that so many of
// its commands have waited for the disk that they had better done so at the same time.
func (j *Joint) Execute(sc *JointScratch, done func(numbers []int, rests [][]redcon.Command, cold bool)) {
	for {
		i := int(j.next.Add(1)) - 1
		if i >= len(j.groups) {
			return
		}
		g := &j.groups[i]
		sc.waits = 0
		j.ex.guarded(&sc.scratch, g.shares, j.lease)
		for k := range g.shares {
			sh := &g.shares[k]
			j.ex.dropOverflowed(sh.session)
			g.rests = append(g.rests, sh.rest)
			sh.session.count.Add(-uint64(len(sh.rest))) // they are counted again
		}
		cold := sc.waits*coldShare > g.commands
		if sc.tx.Held() > jointKeep {
			sc.scratch = scratch{}
		}
		done(g.numbers, g.rests, cold)
	}
}

// End ends the batch. No goroutine may be in Execute any more.
func (j *Joint) End() {
	j.lease.Release()
	j.lease = nil
	for i := range j.groups {
		g := &j.groups[i]
		for k := range g.shares {
			sh := &g.shares[k]
			if *sh = (share{plan: sh.plan[:0]}); cap(sh.plan) > keepCommands {
				sh.plan = nil
			}
		}
		g.ns, g.commands = nil, 0
		clear(g.rests)
		g.shares, g.numbers, g.rests = g.shares[:0], g.numbers[:0], g.rests[:0]
		if cap(g.shares) > keepShares || i >= keepGroups {
			*g = group{}
		}
	}
	j.groups, j.added = j.groups[:0], 0
}

// guarded is joint, but for what panics outside of a command: nobody knows how far the run came, so its connections
// end without replies. A worker serves many, and the process all.
func (e *Executor) guarded(sc *scratch, shares []share, lease Lease) {
	defer func() {
		if r := recover(); r != nil {
			e.log.Error("run panicked", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			for i := range shares {
				shares[i].session.drop = true
			}
			sc.reserved.release()
			*sc = scratch{}
		}
	}()
	e.joint(sc, shares, lease)
}

// joint executes all commands of a group.
func (e *Executor) joint(sc *scratch, shares []share, lease Lease) {
	for len(shares) > 0 {
		n, commands, bytes := 0, 0, 0
		for n < len(shares) && commands < jointCommands && bytes < e.limits.RunBytes {
			sh := &shares[n]
			commands += len(sh.cmds)
			for i := range sh.cmds {
				bytes += len(sh.cmds[i].Raw)
			}
			n++
		}
		e.transact(sc, shares[:n], lease, true)
		for len(shares) > 0 && n > 0 && shares[0].done == len(shares[0].plan) {
			shares, n = shares[1:], n-1
		}
		for i := range shares[:n] { // a large run has ended early
			sh := &shares[i]
			sh.cmds, sh.plan = sh.cmds[sh.done:], sh.plan[sh.done:]
			s := sh.session
			if len(sh.cmds) > 0 && (s.closing || s.drop || s.Out.Len() > e.limits.RunBytes/16) {
				if !s.closing && !s.drop {
					sh.rest = sh.cmds
				}
				sh.cmds, sh.plan = nil, nil
			}
		}
	}
}
