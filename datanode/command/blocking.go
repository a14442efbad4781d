package command

import (
	"cmp"
	"container/list"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

const (
	errTimeoutFloat = Error("ERR timeout is not a float or out of range")
	errTimeoutRange = Error("ERR timeout is out of range")
	errTimeoutMinus = Error("ERR timeout is negative")
	errUnblockedBy  = Error("UNBLOCKED client unblocked via CLIENT UNBLOCK")
)

// A command that finds nothing to answer with enlists its session as a waiter for keys, under their locks. Whoever writes
// such a key serves its waiters within the same run, in the order in which they came: nobody sees the element in between, and
// both are one entry. What a waiter writes beside (BLMOVE's destination) is locked by that run too; where that isn't so, since
// the waiter came after the locks were planned, it is woken to try again by itself, and keeps its place.

// waiting are the waiters of a namespace.
type waiting struct {
	any  atomic.Int32 // how many there are: 0 is all that most runs look at
	mu   sync.Mutex
	last uint64
	keys map[dbKey]*waitQueue
}

// waitQueue are the waiters for one key, in the order in which they came, and how many of them are of a kind.
type waitQueue struct {
	list.List     // of *waiter
	movers    int // that write another key
	gone      int
	kinds     [store.TypesEnd]int
}

// count counts a waiter that comes or goes.
func (q *waitQueue) count(w *waiter, n int) {
	q.kinds[w.on.kind] += n
	if len(w.also) > 0 {
		q.movers += n
	}
	if w.on.gone {
		q.gone += n
	}
}

type dbKey struct {
	db  int
	key string
}

// waiter is a session that waits for keys. What isn't said to be guarded by the lock doesn't change.
type waiter struct {
	in       *waiting
	order    uint64
	session  *Session
	cmd      *command
	bytes    int
	args     [][]byte // in the buffer of the connection, which doesn't read on
	on       blockOn
	keys     []dbKey
	also     []dbKey // that serving it writes beside those
	places   map[dbKey]*list.Element
	deadline time.Time // zero: none
	// signal has it look at its state.
	signal chan struct{}

	out     *Reply // of whoever has claimed it
	index   uint64 // of the entry in which it was served
	state   waiterState
	wanted  bool  // while it is claimed: it would rather give up
	retry   bool  // try again by yourself: somebody has passed it, and those behind it
	solo    bool  // nobody else does: that has panicked
	refusal Error // of CLIENT UNBLOCK and the like
}

type waiterState uint8

const (
	stateWaiting  waiterState = iota
	stateClaimed              // a run serves it, which has not been committed
	stateAnswered             // and has its reply
	stateTrying               // it tries by itself
	stateServed
	stateEnded // nobody serves it any more
)

// blockOn is what a command waits for.
type blockOn struct {
	keys, also [][]byte
	kind       store.Type
	timeout    time.Duration // 0: without end
	none       func(*Reply)  // answers in a transaction, where nobody waits
	args       [][]byte      // for the next attempts; nil: the command's own
	// gone: an attempt makes sense where the key is gone or of another type, too.
	gone bool
}

// seconds reads a timeout in seconds, or writes Redis' refusal. It is rounded up to milliseconds.
func (c *Ctx) seconds(b []byte) (time.Duration, bool) {
	f, ok := datatype.ParseFloat(b)
	switch ms := math.Ceil(f * 1000); {
	case !ok:
		c.fail(errTimeoutFloat)
	case ms < 0:
		c.fail(errTimeoutMinus)
	case ms > math.MaxInt64/2:
		c.fail(errTimeoutRange)
	default:
		return time.Duration(nanoseconds(int64(ms), time.Millisecond)), true
	}
	return 0, false
}

// waited reports whether the command has waited already: then a key of another type is none that it waits for.
func (c *Ctx) waited() bool { return c.waiter != nil || c.Session.waiter.Load() != nil }

// ready reports whether a blocking command may look at a key: at any of its own, or, when it is served by another's run, at
// the one that was written.
func (c *Ctx) ready(key []byte) bool { return c.waiter == nil || c.readyKey == string(key) }

// block has the session wait, for a command that has found nothing and has written neither rows nor reply. In a
// transaction nobody waits.
func (c *Ctx) block(on blockOn) {
	s := c.Session
	switch {
	case c.waiter != nil:
		c.unready = true
	case s.multi.running || s.registry == nil:
		on.none(c.Out)
	case !c.lease.Primary():
		c.Fail(errReadOnly)
	case s.waiter.Load() != nil:
		s.again = true
		s.waiter.Load().rest()
	default:
		w := &waiter{
			in: &s.stats.waiting, session: s, cmd: find(c.ex.table.byName, c.Args[0]), args: c.Args, on: on,
			signal: make(chan struct{}, 1),
		}
		if on.args != nil {
			w.args = on.args
		}
		w.places = make(map[dbKey]*list.Element, len(on.keys))
		for _, key := range on.keys {
			k := dbKey{s.DB, string(key)}
			if _, twice := w.places[k]; !twice {
				w.places[k] = nil
				w.keys = append(w.keys, k)
			}
			w.bytes += len(key) + waiterFrame
		}
		for _, key := range on.also {
			w.also = append(w.also, dbKey{s.DB, string(key)})
		}
		if on.timeout > 0 {
			w.deadline = c.Env.Clock().Add(on.timeout)
		}
		s.again = true
		s.waiter.Store(w)
		w.in.enlist(w)
		c.ex.blocked.Add(1)
	}
}

// enlist puts a waiter at the end of its keys' queues. The locks of the keys are held.
func (b *waiting) enlist(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	w.order = b.last
	if b.keys == nil {
		b.keys = make(map[dbKey]*waitQueue)
	}
	for _, k := range w.keys {
		q := b.keys[k]
		if q == nil {
			q = new(waitQueue)
			b.keys[k] = q
		}
		w.places[k] = q.PushBack(w)
		q.count(w, 1)
	}
	b.any.Add(1)
}

// strike takes a waiter from the queues. Whoever has passed those behind it, since it was to try by itself, has left them to
// it: the next ones try. The lock is held.
func (b *waiting) strike(w *waiter, state waiterState) {
	pass := w.state == stateTrying || w.retry
	w.state = state
	for _, k := range w.keys {
		q := b.keys[k]
		q.Remove(w.places[k])
		q.count(w, -1)
		if q.Len() == 0 {
			delete(b.keys, k)
		}
		for el := q.Front(); pass && el != nil; el = el.Next() {
			next := el.Value.(*waiter)
			if next.again(); next.cmd.Flags&FlagWrite != 0 {
				break // its own run serves those behind it, as one that only reads does not
			}
		}
	}
	b.any.Add(-1)
	w.wake()
}

// again has a waiter try by itself. The lock is held.
func (w *waiter) again() {
	if w.retry = true; w.state == stateWaiting {
		w.wake()
	}
}

// end ends a waiter's waiting, unless it was or is being served. Should it not be in the end, own has it end then.
func (w *waiter) end(refusal Error, own bool) bool {
	b := w.in
	b.mu.Lock()
	defer b.mu.Unlock()
	switch w.state {
	case stateWaiting:
		w.refusal = refusal
		b.strike(w, stateEnded)
		return true
	case stateTrying:
		if own {
			b.strike(w, stateEnded)
		}
	case stateClaimed, stateAnswered:
		w.wanted = w.wanted || own
	}
	return false
}

// rest has others serve a waiter that has tried by itself. The locks of its keys are held.
func (w *waiter) rest() {
	w.in.mu.Lock()
	defer w.in.mu.Unlock()
	w.state = stateWaiting
}

// wake has the waiter look at its state.
func (w *waiter) wake() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// claim returns the next waiter for a key that nobody else serves, for a run of the session by alone; nil if there is none.
// after is the one that the run has claimed before, nil for the first. Nobody passes one that tries by itself: its own run
// serves those behind it.
func (b *waiting) claim(by *Session, k dbKey, after *waiter) *waiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.keys[k]
	if q == nil {
		return nil
	}
	el := q.Front()
	if after != nil {
		el = after.places[k].Next()
	}
	for ; el != nil; el = el.Next() {
		switch w := el.Value.(*waiter); {
		case w.session == by:
		case w.state == stateTrying && w.cmd.Flags&FlagWrite != 0:
			return nil
		case w.state == stateClaimed: // by a run on another key, which may have nothing for it
			w.retry = true
		case w.state == stateWaiting:
			w.state = stateClaimed
			return w
		}
	}
	return nil
}

// unclaim gives a waiter back that was not served. retry has it try by itself.
func (b *waiting) unclaim(w *waiter, retry bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.state = stateWaiting
	switch w.retry = w.retry || retry; {
	case w.wanted:
		b.strike(w, stateEnded)
	case w.retry:
		w.wake()
	}
}

// written notes which of the keys that a command may have written somebody waits for.
func (b *waiting) written(sc *scratch, s *Session, p *planned, args [][]byte) {
	cmd := p.cmd
	if p.flags&FlagExclusive != 0 {
		b.everything(sc)
		return
	}
	sc.positions = cmd.Keys.Positions(args, sc.positions[:0])
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, at := range sc.positions {
		b.ready(sc, dbKey{s.DB, string(args[at])})
		if db, ok := otherDatabase(cmd, args); ok {
			b.ready(sc, dbKey{db, string(args[at])})
		}
	}
}

// otherDatabase returns the database that COPY and MOVE write to.
func otherDatabase(cmd *command, args [][]byte) (db int, ok bool) {
	switch cmd.Name {
	case "move":
		n, refusal := parseDB(args[2])
		return n, refusal == ""
	case "copy":
		n, _, refusal := copyOptions(args, -1)
		return n, refusal == "" && n >= 0
	}
	return 0, false
}

// ready notes a key that somebody waits for, if it is there to be served from. The lock is held.
func (b *waiting) ready(sc *scratch, k dbKey) {
	q := b.keys[k]
	if q == nil || slices.Contains(sc.ready[sc.begun:], k) { // one that was served from may be written again
		return
	}
	if q.gone > 0 || q.fits(sc, k) {
		sc.ready = append(sc.ready, k)
	}
}

// fits reports whether the key is there, and one of the waiters for it could take from it.
func (q *waitQueue) fits(sc *scratch, k dbKey) bool {
	row, here := sc.tx.Get(sc.tx.DB(k.db), []byte(k.key))
	return here && q.kinds[row.Type] > 0
}

// everything notes all keys that somebody waits for, those first whose waiters came first.
func (b *waiting) everything(sc *scratch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k := range b.keys {
		b.ready(sc, k)
	}
	slices.SortStableFunc(sc.ready[sc.begun:], func(x, y dbKey) int { return cmp.Compare(b.first(x), b.first(y)) })
}

// first returns the order of the first waiter for a key, 0 where the last one has left meanwhile. The lock is held.
func (b *waiting) first(k dbKey) uint64 {
	if q := b.keys[k]; q != nil {
		return q.Front().Value.(*waiter).order
	}
	return 0
}

// cover adds to the run's locks those of what serving the waiters for its keys writes, and the waiters for that.
func (b *waiting) cover(sc *scratch, shares []share) {
	if planted == seedNoCover {
		return
	}
	var keys []dbKey
	for i := range shares {
		sh := &shares[i]
		db := sh.session.DB
		for k := range sh.plan {
			p, args := &sh.plan[k], sh.cmds[k].Args
			if p.kind != kindData {
				db = sh.selects(p, db, args)
				continue
			}
			sc.positions = p.cmd.Keys.Positions(args, sc.positions[:0])
			for _, at := range sc.positions {
				keys = append(keys, dbKey{db, string(args[at])})
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	keys = slices.DeleteFunc(keys, func(k dbKey) bool { return b.keys[k] == nil })
	looked := 0
	for i := 0; i < len(keys); i++ {
		q := b.keys[keys[i]]
		if q == nil || q.movers == 0 {
			continue
		}
		for el := q.Front(); el != nil && looked < coverMax; el = el.Next() {
			looked++
			for _, k := range el.Value.(*waiter).also {
				if !slices.Contains(keys, k) {
					keys = append(keys, k)
					sc.hashes = append(sc.hashes, store.HashKey(k.db, []byte(k.key)))
				}
			}
		}
	}
}

// waits reports whether a planned command may wait for others.
func (p *planned) waits(args [][]byte) bool {
	return (p.kind == kindAlone || p.kind == kindData) && p.cmd.blocks(args)
}

const (
	// coverMax is how many waiters a run plans locks for; others that need some try by themselves.
	coverMax = 64
	// waiterFrame is what a key takes that is waited for beside its bytes, about.
	waiterFrame = 256
)

// serve serves the waiters for what the run has written so far.
func (e *Executor) serve(sc *scratch, s *Session) {
	b := &s.stats.waiting
	for sc.begun < len(sc.ready) {
		k := sc.ready[sc.begun]
		sc.begun++
		for w := b.claim(s, k, nil); w != nil; {
			row, here := sc.tx.Get(sc.tx.DB(k.db), []byte(k.key))
			fits := (w.on.gone || here && row.Type == w.on.kind) && w.session.Holds(sc.ctx.lease.View(), sc.tx.Now())
			full := sc.servedBytes > e.limits.RunBytes
			if fits && (full || !w.covered(&sc.tx)) {
				takes := w.cmd.Flags&FlagWrite != 0
				var next *waiter
				if !takes {
					next = b.claim(s, k, w)
				}
				b.unclaim(w, true)
				w = next // nobody passes one that takes
				continue
			}
			served := fits && e.attempt(sc, b, w, k)
			var next *waiter
			if b.more(sc, k) {
				next = b.claim(s, k, w)
			}
			if !served {
				b.unclaim(w, false)
			}
			w = next
		}
	}
	sc.ready, sc.begun = sc.ready[:0], 0
}

// more reports whether there may be something left for those that wait for a key.
func (b *waiting) more(sc *scratch, k dbKey) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.keys[k]
	return q != nil && (q.gone > 0 || q.fits(sc, k))
}

// covered reports whether the run has locked what serving the waiter writes.
func (w *waiter) covered(tx *store.Tx) bool {
	if w.solo {
		return false
	}
	if planted == seedNoCover {
		return true
	}
	for _, k := range w.also {
		if !tx.Holds(store.HashKey(k.db, []byte(k.key))) {
			return false
		}
	}
	return true
}

// attempt calls a claimed waiter's command on one of its keys, and reports whether that has answered it.
func (e *Executor) attempt(sc *scratch, b *waiting, w *waiter, k dbKey) bool {
	s := w.session
	w.out = &Reply{proto: s.Out.proto, limit: s.Out.limit, room: firstRoom(s.Out.limit)}
	sc.served = append(sc.served, w) // before it is called: a panic must not leave it claimed
	c := sc.ctx
	c.Args, c.Spec, c.Out, c.Session = w.args, &w.cmd.Spec, w.out, s
	c.flags = w.cmd.Flags
	c.DB, c.waiter, c.readyKey = sc.tx.DB(k.db), w, k.key
	w.solo = true // should it panic: that isn't to happen to those who write
	w.cmd.Run(&c)
	w.solo = false
	if c.unready {
		sc.served = sc.served[:len(sc.served)-1]
		return false
	}
	sc.servedBytes += w.out.Len()
	b.mu.Lock()
	defer b.mu.Unlock()
	w.state = stateAnswered
	for _, also := range w.also {
		b.ready(sc, also)
	}
	return true
}

// settle tells the waiters that the run has served so, or, if it has failed, that nothing happened.
func (sc *scratch) settle(err error) {
	sc.ready, sc.begun, sc.servedBytes = sc.ready[:0], 0, 0
	for _, w := range sc.served {
		b := w.in
		if err != nil {
			if planted != seedNobodyTold {
				b.unclaim(w, true)
			}
			continue
		}
		b.mu.Lock()
		w.index = sc.tx.Index()
		b.strike(w, stateServed)
		b.mu.Unlock()
	}
	clear(sc.served)
	sc.served = sc.served[:0]
}
