package command

import (
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/tidwall/redcon"
)

// What a namespace's settings refuse. Nothing of a refused command was executed.
const (
	errSuspended  = Error("NSSUSPENDED the namespace is suspended")
	errNSReadOnly = Error("NSREADONLY the namespace is read-only, nothing was written")
	errViewStale  = Error("STALEVIEW this node has not heard from the metadata service for longer than view-stale-max, and takes no new sessions")
	errLimitKeys  = Error("LIMIT keys: the namespace may hold no more, nothing was written; delete some or have the limit raised")
	errLimitBytes = Error("LIMIT bytes: the namespace may hold no more, nothing was written; delete some or have the limit raised")
	errLimitConns = Error("LIMIT connections: the namespace has as many on this node as it may; close some or have the limit raised")
	errLimitCalls = Error("LIMIT commands per second: the command was not executed; try again later or have the limit raised")
	errLimitIn    = Error("LIMIT request bytes per second: the command was not executed; try again later or have the limit raised")
	errLimitOut   = Error("LIMIT reply bytes per second: the command was not executed; try again later or have the limit raised")
	errLimitValue = Error("LIMIT value bytes: an argument is larger than the namespace allows, nothing was written")
	noRefusal     = Error("")
)

const (
	argumentFrame = 32 // bytes that a row may take beside an argument's own
	limitBurst    = int64(time.Second)
	// limitDebt is the most that one large command or reply makes those after it wait.
	limitDebt = int64(time.Minute)
	// freeGroup is the group of the commands that no rate is asked of, unless they are larger than freeBytes.
	freeGroup = "connection"
	freeBytes = 1 << 10
)

// rules are what the settings of a namespace ask of each command. Where they ask nothing, its sessions have none.
type rules struct {
	of       *tenant.Namespace // that they were made of
	readOnly bool
	limits   tenant.Limits
	// counted says that keys or bytes are bounded.
	counted bool
}

// rulesOf returns the rules of a namespace, nil if there are none. All its sessions share them.
func (st *namespaceStats) rulesOf(ns *tenant.Namespace) *rules {
	if ns.Limits == nil && !ns.ReadOnly {
		return nil
	}
	if r := st.rules.Load(); r != nil && r.of == ns {
		return r
	}
	r := &rules{of: ns, readOnly: ns.ReadOnly}
	if ns.Limits != nil {
		r.limits = *ns.Limits
		r.counted = r.limits.Keys.Hard != 0 || r.limits.Bytes.Hard != 0
	}
	st.rules.Store(r)
	return r
}

// bucket is a rate with a second of burst: the time, in Unix nanoseconds, up to which what was let through is paid for.
type bucket struct{ paid atomic.Int64 }

// cost is how long n of rate a second take, at most what is remembered.
func cost(n int, rate uint64) int64 {
	return int64(min(float64(n)*float64(time.Second)/float64(rate), float64(limitDebt)))
}

// load returns up to when is paid. What is beyond the longest debt was paid before the clock was set back.
func (b *bucket) load(now int64) int64 {
	paid := b.paid.Load()
	if most := now + limitDebt; paid > most {
		b.paid.CompareAndSwap(paid, most)
		return most
	}
	return paid
}

// take reports whether n more may go now, which it then has paid for. When nothing is owed, anything may.
func (b *bucket) take(n int, rate uint64, now int64) bool {
	for {
		paid := b.load(now)
		next := max(paid, now) + cost(n, rate)
		if paid > now && next-now > limitBurst {
			return false
		}
		if b.paid.CompareAndSwap(paid, next) {
			return true
		}
	}
}

// owe notes n that have gone, whether or not they might. No debt takes longer than a minute.
func (b *bucket) owe(n int, rate uint64, now int64) {
	for {
		paid := b.paid.Load()
		if b.paid.CompareAndSwap(paid, min(max(paid, now)+cost(n, rate), now+limitDebt)) {
			return
		}
	}
}

// open reports whether no more is owed than the burst.
func (b *bucket) open(now int64) bool { return b.load(now)-now < limitBurst }

// reserved is what a run's commands may add, which no other run can count on until it has ended.
type reserved struct {
	stats       *namespaceStats
	keys, bytes int64
	// grown is how many bytes the run had added when it had taken this size.
	grown, size int64
}

// cover reserves what the run's commands have added beyond what they were expected to, which is what they have made
// without being sent it. A run adds no more than its size, so that seldom has to be counted.
func (r *reserved) cover(tx *store.Tx) {
	size := int64(tx.Size())
	if r.grown+size-r.size <= r.bytes {
		return
	}
	r.grown, r.size = tx.Growth().Bytes, size
	if more := r.grown - r.bytes; more > 0 {
		r.stats.bytes.Add(more)
		r.bytes += more
	}
}

// release gives back what the run has reserved: its writes are in the counters, or never happened.
func (r *reserved) release() {
	if r.stats != nil {
		r.stats.keys.Add(-r.keys)
		r.stats.bytes.Add(-r.bytes)
		*r = reserved{}
	}
}

// ask holds a planned command against the rules of its session, and refuses it where they do.
func (e *Executor) ask(sc *scratch, s *Session, p *planned, cmd *redcon.Command) {
	refusal := noRefusal
	if !p.asked { // else a run that was split is at it again, and its rates are paid
		refusal, p.asked = s.rules.allows(s, p.cmd, cmd, sc.nowNS), true
	}
	if refusal == "" && s.rules.counted && p.kind == kindData && (p.cmd.Flags&FlagDenyOOM != 0 || p.cmd.Unsent != nil) {
		refusal = s.rules.reserve(sc, s, p.cmd, cmd.Args)
	}
	if refusal != "" {
		if refusal != errNSReadOnly {
			s.stats.limited.Add(1)
		}
		p.kind, p.refusal = kindRefused, string(refusal)
	}
}

// allows is ask without what only the primary knows: how much there is.
func (r *rules) allows(s *Session, cmd *command, c *redcon.Command, now int64) Error {
	if cmd.Flags&FlagWrite != 0 {
		if r.readOnly {
			return errNSReadOnly
		}
		if refusal := r.allowsValue(s.stats, c.Args); refusal != "" {
			return refusal
		}
	}
	if s.registry == nil || cmd.free(len(c.Raw)) { // a forwarded one was counted where its client is
		return noRefusal
	}
	l, st := &r.limits, s.stats
	switch {
	case l.OutBytes.Hard != 0 && !st.outRate.open(now):
		return errLimitOut
	case l.Commands.Hard != 0 && !st.callRate.take(1, l.Commands.Hard, now):
		return errLimitCalls
	case l.InBytes.Hard != 0 && !st.inRate.take(len(c.Raw), l.InBytes.Hard, now):
		return errLimitIn
	}
	return noRefusal
}

// free reports whether no rate is asked of a command of that size. What ECHO sends back is not for nothing; what anybody
// may send is no namespace's.
func (c *command) free(size int) bool {
	return c.Group == freeGroup && (size <= freeBytes || c.Scope == ScopeConnection)
}

func (r *rules) allowsValue(st *namespaceStats, args [][]byte) Error {
	bound := &r.limits.ValueBytes
	if *bound == (tenant.Limit{}) {
		return noRefusal
	}
	largest := uint64(0)
	for _, a := range args[1:] {
		largest = max(largest, uint64(len(a)))
	}
	if bound.Hard != 0 && largest > bound.Hard {
		return errLimitValue
	}
	if bound.Soft != 0 && largest > bound.Soft {
		st.largeValue.Store(true)
	}
	return noRefusal
}

// reserve takes, from what the namespace may still hold, the most that a command is expected to add. It is called
// under the run's locks. A command may still add more bytes: a collection that spreads over rows of its own, which hold a
// sorted set's members twice. cover makes up for that.
func (r *rules) reserve(sc *scratch, s *Session, cmd *command, args [][]byte) Error {
	st, keys, bytes := s.stats, int64(0), int64(0)
	if cmd.Keys.Hashes == nil {
		sc.positions = cmd.Keys.Positions(args, sc.positions[:0])
		keys = int64(len(sc.positions))
	}
	for _, a := range args[1:] {
		bytes += int64(len(a)) + argumentFrame
	}
	if cmd.Unsent != nil {
		made, more := cmd.Unsent(&sc.tx, s.DB, args)
		keys, bytes = keys+made, bytes+more
	}
	if planted == seedNoReserve {
		return r.fits(sc.ctx.NS.Counters(), keys, bytes)
	}
	sc.reserved.stats = st
	sc.reserved.cover(&sc.tx)
	st.keys.Add(keys)
	st.bytes.Add(bytes)
	sc.reserved.keys += keys
	sc.reserved.bytes += bytes
	// The counters are read after what is reserved: a run gives back once its writes are counted, so they are in
	// one of the two.
	k, b := st.keys.Load(), st.bytes.Load()
	sum := sc.ctx.NS.Counters()
	if r.fits(sum, k, b) == noRefusal {
		return noRefusal
	}
	// What the run has done so far may take less than what it has reserved: the same key again, or fewer bytes.
	grown := sc.tx.Growth()
	others, more := k-sc.reserved.keys, b-sc.reserved.bytes+bytes+grown.Bytes
	refusal := r.fits(sum, others+keys+grown.Keys, more)
	if refusal == errLimitKeys { // keys that are there already are no more keys
		if cmd.Keys.Hashes == nil {
			there := keys - sc.missing(s.DB, args)
			st.keys.Add(-there)
			sc.reserved.keys -= there
			keys -= there
		}
		if keys > 0 {
			refusal = r.fits(sum, others+keys+grown.Keys, more)
		} else { // however many there are
			refusal = r.fitsBytes(sum, more)
		}
	}
	if refusal != noRefusal {
		st.keys.Add(-keys)
		st.bytes.Add(-bytes)
		sc.reserved.keys -= keys
		sc.reserved.bytes -= bytes
	}
	return refusal
}

// missing returns how many of a command's keys, at the positions that were found last, aren't there.
func (sc *scratch) missing(db int, args [][]byte) (n int64) {
	d := sc.tx.DB(db)
	for _, at := range sc.positions {
		if _, ok := sc.tx.Get(d, args[at]); !ok {
			n++
		}
	}
	return n
}

func (r *rules) fits(now store.Counters, keys, bytes int64) Error {
	if l := r.limits.Keys.Hard; l != 0 && exceeds(now.Keys, keys, l) {
		return errLimitKeys
	}
	return r.fitsBytes(now, bytes)
}

func (r *rules) fitsBytes(now store.Counters, bytes int64) Error {
	if l := r.limits.Bytes.Hard; l != 0 && exceeds(now.Bytes, bytes, l) {
		return errLimitBytes
	}
	return noRefusal
}

// exceeds reports whether there would be more than a bound allows.
func exceeds(now, more int64, bound uint64) bool { return now+more > 0 && uint64(now+more) > bound }

// affordable returns the first of a session's commands, all of them or up to one that its rules refuse. They are
// passed on to the primary, which bounds keys and bytes.
func (e *Executor) affordable(s *Session, plan []planned, cmds []redcon.Command) ([]redcon.Command, Error) {
	now := e.env.Clock().UnixNano()
	for i := range cmds {
		if refusal := s.rules.allows(s, plan[i].cmd, &cmds[i], now); refusal != "" {
			if i == 0 && refusal != errNSReadOnly {
				s.stats.limited.Add(1)
			}
			return cmds[:i], refusal
		}
	}
	return cmds, noRefusal
}

// refused is how many bytes of the replies are refusals, if there are rules that it matters to.
func (sh *share) refused() (n int) {
	if sh.session.rules == nil {
		return 0
	}
	from := sh.from
	for i := range sh.plan[:sh.done] {
		if p := &sh.plan[i]; p.kind == kindRefused {
			n += p.end - from
		}
		from = sh.plan[i].end
	}
	return n
}

// measure counts what a session's commands have taken and given. Refusals are given, but not owed for: who tries again
// too early must not have to wait longer for that.
func (e *Executor) measure(s *Session, cmds []redcon.Command, out, refused int) {
	e.tally(s)
	st := s.stats
	if st == nil {
		return
	}
	e.mark(st)
	if s.registry == nil {
		return
	}
	in := 0
	for i := range cmds {
		in += len(cmds[i].Raw)
	}
	st.in.Add(uint64(in))
	st.out.Add(uint64(out))
	if r := s.rules; r != nil && r.limits.OutBytes.Hard != 0 {
		st.outRate.owe(max(0, out-refused), r.limits.OutBytes.Hard, e.env.Clock().UnixNano())
	}
}
