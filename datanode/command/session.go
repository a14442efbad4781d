package command

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
)

// Session is what the server knows of one connection. Its plain fields belong to the goroutine that
// executes its commands; what other sessions may see is behind the mutex or atomic.
type Session struct {
	ID   int64
	DB   int // the selected database, 0-15
	Out  *Reply
	Peer Peer

	grant      tenant.Grant
	view       *tenant.View // that the grant was last renewed in
	ns         *store.Namespace
	nsStore    *store.Store // that ns belongs to
	durability store.Durability
	stats      *namespaceStats
	rules      *rules // nil: the namespace asks for nothing
	countedIn  uint64 // the namespace that counted this connection last
	replies    replyMode
	again      bool // its command waits, as before
	multi      transaction
	wait       written       // the last forwarded write: reads on a replica wait for it
	lastWrite  uint64        // the index of its last write here: WAIT waits for it
	closing    bool          // ends after what is buffered was sent
	drop       bool          // ends without sending anything
	penalty    time.Duration // that the reply to a failed authentication still has to wait
	scratch    scratch
	sent       int                    // the length that Out had when flush was called last in this batch: 0, but for a flush that keeps all
	flush      func() error           // sends the replies so far; Execute's
	pushes     atomic.Pointer[Pushes] // what others send it; nil until it asks for that
	subs       *subscriptions         // nil: there are none

	shared shared
	active atomic.Int64 // Unix milliseconds of what the peer or the executor did last
	last   atomic.Pointer[command]
	count  atomic.Uint64 // commands
	closer func()        // closes the connection; safe from any goroutine
	closed atomic.Bool
	waiter atomic.Pointer[waiter]
	onWait func() func()
	queued atomic.Int32 // commands between MULTI and EXEC, and one for MULTI
	// registry is what the session is in; nil of forwarded commands.
	registry *Registry
	in       *namespaceStats // that counts it, by its token
	token    string
	marker   *Executor // whose in is
	// monitoring says that it is shown what others do.
	monitoring atomic.Bool
	subscribed [subscriptionKinds]atomic.Int64 // subscriptions of each kind
	slow       atomic.Bool                     // it was cut since too much waited to be sent to it
	hurried    atomic.Bool
	wake       atomic.Pointer[chan struct{}] // closed to end a pause
	giveUp     atomic.Pointer[context.CancelFunc]
	created    time.Time
}

// written is where a forwarded write is in the log. An index means nothing in another history, such as the
// one that a forced promotion begins.
type written struct {
	index   uint64
	history string
}

// Peer is the two ends of a connection.
type Peer struct {
	Remote, Local string
	// Loopback says that both ends, and the listener, are on the loopback interface, or a unix socket.
	Loopback bool
	Socket   bool // a unix socket
	// SameHost says that both ends are on this machine, whatever the listener takes: a supervisor's, perhaps.
	SameHost bool
}

// NewPeer describes the ends of conn, accepted by listener. Both ends of a unix socket are its path, with
// port 0, as Redis shows them.
func NewPeer(conn net.Conn, listener net.Addr) Peer {
	if u, ok := listener.(*net.UnixAddr); ok {
		path := u.Name + ":0"
		return Peer{Remote: path, Local: path, Loopback: true, Socket: true, SameHost: true}
	}
	p := Peer{Remote: conn.RemoteAddr().String(), Local: conn.LocalAddr().String()}
	p.SameHost = loopback(conn.RemoteAddr()) && loopback(conn.LocalAddr())
	p.Loopback = p.SameHost && loopback(listener)
	return p
}

func loopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

// replyMode is CLIENT REPLY's.
type replyMode uint8

const (
	replyOn replyMode = iota
	replyOff
	replySkip     // nothing for the next command
	replySkipping // nothing for this one
)

// shared is what CLIENT LIST of another session reads.
type shared struct {
	mu              sync.Mutex
	name            string
	libName, libVer string
	grant           tenant.Grant
	namespace       string    // its name
	anonymousSince  time.Time // while there is no grant
	db, proto       int
	noEvict         bool
	noTouch         bool
}

// Name returns the connection's name, as CLIENT SETNAME gave it.
func (s *Session) Name() string {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	return s.shared.name
}

// Grant returns what the session may do, as of the last run.
func (s *Session) Grant() *tenant.Grant { return &s.grant }

// Authenticated reports whether the session belongs to a namespace.
func (s *Session) Authenticated() bool { return s.grant.Valid() }

// Closing reports whether the connection ends once its replies were sent; drop says that they aren't.
func (s *Session) Closing() (closing, drop bool) { return s.closing || s.drop, s.drop }

// Silenced reports whether CLIENT REPLY keeps what would be answered now from the peer.
func (s *Session) Silenced() bool { return s.replies != replyOn }

// LastActive returns when the peer last sent or took something, or the last batch ended.
func (s *Session) LastActive() time.Time { return time.UnixMilli(s.active.Load()) }

// Touch notes that the peer sent or took something. Any goroutine may call it.
func (s *Session) Touch(now time.Time) { s.active.Store(now.UnixMilli()) }

// Close ends the connection, from any goroutine. What it is executing is finished, but what it waits for from
// other nodes is given up; its replies may be lost.
func (s *Session) Close() {
	if s.closed.CompareAndSwap(false, true) && s.closer != nil {
		s.closer()
	}
	if cancel := s.giveUp.Load(); cancel != nil {
		(*cancel)()
	}
	s.Hurry()
}

// within returns a context that ends with ctx, after d, and when the session is closed, and what to call when
// the waiting is over.
func (s *Session) within(ctx context.Context, d time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(ctx, d)
	s.giveUp.Store(&cancel)
	if s.closed.Load() {
		cancel()
	}
	return ctx, func() {
		s.giveUp.Store(nil)
		cancel()
	}
}

// pause waits, under no lock, until the session is hurried or ctx ends, for d at most.
func (s *Session) pause(ctx context.Context, d time.Duration) {
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
	case <-wake:
	case <-ctx.Done():
	}
}

// Hurry ends the pause that the session is making, if any, and has it make no more, from any goroutine.
func (s *Session) Hurry() {
	s.hurried.Store(true)
	if w := s.wake.Swap(nil); w != nil {
		close(*w)
	}
}

// Holds reports whether the session may go on in v at nowMS: true for one that has not authenticated,
// false when its token or namespace is gone, or has expired. Any goroutine may ask.
func (s *Session) Holds(v *tenant.View, nowMS int64) bool {
	s.shared.mu.Lock()
	g := s.shared.grant
	s.shared.mu.Unlock()
	if !g.Valid() {
		return true
	}
	_, ok := v.Renew(g, nowMS)
	return ok
}

// Held returns the size of the session's buffers, in bytes: of the replies, of what runs reuse, and of its subscriptions. Only the
// goroutine that executes the session's commands may ask, also in the middle of a run: OnGrow's function does.
func (s *Session) Held() int {
	sc, names := &s.scratch, 0
	if s.subs != nil {
		names = s.subs.bytes
	}
	return names + s.Out.Held() + s.multi.held() + s.waiter.Load().held() + sc.tx.Held() + cap(sc.spare) + cap(sc.shares[0].plan)*int(unsafe.Sizeof(planned{})) +
		(cap(sc.hashes)+cap(sc.positions))*int(unsafe.Sizeof(0))
}

// Slim lets go of these buffers, between two batches.
func (s *Session) Slim() {
	s.Out.Reset(0)
	s.scratch = scratch{}
}

// Owner returns the namespace whose the session is, 0 before it has one, and whether its connection is spared
// when others' are cut to make room: an admin's that asked for it. Any goroutine may ask.
func (s *Session) Owner() (namespace uint64, spared bool) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	g := &s.shared.grant
	return g.NamespaceID, s.shared.noEvict && g.Admin()
}

// AnonymousSince reports since when the session has had no namespace; ok is false when it has one. Any
// goroutine may ask.
func (s *Session) AnonymousSince() (since time.Time, ok bool) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	return s.shared.anonymousSince, !s.shared.grant.Valid()
}

// Registry holds the sessions of a node.
type Registry struct {
	mu       sync.RWMutex
	sessions map[int64]*Session
	nextID   int64
	total    atomic.Uint64
	rejected atomic.Uint64
	evicted  atomic.Uint64
	monitors monitors
	pushed   pushAccount
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry { return &Registry{sessions: make(map[int64]*Session)} }

// Open registers a session for a connection between the ends of p; closer closes it. Out keeps at most
// outputBytes.
func (r *Registry) Open(p Peer, outputBytes int, now time.Time, closer func()) *Session {
	s := &Session{registry: r, Peer: p, Out: NewReply(outputBytes), closer: closer, created: now}
	s.shared.proto, s.shared.anonymousSince = 2, now
	s.Touch(now)
	r.total.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nextID++
	s.ID = r.nextID
	r.sessions[s.ID] = s
	return s
}

// Remove forgets a session that has ended.
func (r *Registry) Remove(s *Session) {
	s.unsubscribeAll()
	s.depart()
	s.discard()
	r.monitors.remove(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, s.ID)
}

// Pushed returns how many bytes wait to be sent to all sessions out of turn.
func (r *Registry) Pushed() int { return int(r.pushed.bytes.Load()) }

// Len returns the number of sessions.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.sessions)
}

// Total returns the number of sessions ever opened.
func (r *Registry) Total() uint64 { return r.total.Load() }

// Reject counts a connection that was turned away because there were too many.
func (r *Registry) Reject() { r.rejected.Add(1) }

// Evict counts a connection that was cut to make room for others.
func (r *Registry) Evict() { r.evicted.Add(1) }

// All returns the sessions in the order they were opened.
func (r *Registry) All() []*Session {
	r.mu.RLock()
	list := make([]*Session, 0, len(r.sessions))
	for _, s := range r.sessions {
		list = append(list, s)
	}
	r.mu.RUnlock()
	slices.SortFunc(list, func(a, b *Session) int { return int(a.ID - b.ID) })
	return list
}
