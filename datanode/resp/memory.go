package resp

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/atolldb/atoll/datanode/command"
)

const (
	// anonymousShare of the memory is what connections that have not authenticated may hold together.
	anonymousShare = 8
	// shedAfter is how long a connection keeps the buffers that it doesn't use, beyond shedBytes.
	shedAfter = 2 * time.Second
	shedBytes = 4 << 10
)

// errCut ends a connection that was cut to make room for others.
var errCut = errors.New("the clients' buffers hold too much")

// memory is the account of what the connections' buffers hold: queries being read, batches, and replies
// waiting. The first startBytes of each are nobody's, since MaxClients bounds them.
type memory struct {
	mu        sync.Mutex
	total     int // bytes; of connections that were not cut
	anonymous int // of these, by peers that have not authenticated
	// dying is what those hold that were cut while they executed: a command that waits for a lock ends when it has it.
	dying int
}

// eviction is a connection that was cut to make room for others.
type eviction struct {
	session *command.Session
	freed   int // bytes
}

// account tells the server what the connection's buffers hold, if that has changed since it was told last. It
// returns errCut once the connection was cut.
func (c *conn) account() error {
	size := c.reader.held() - startBytes + c.session.Held()
	anonymous := !c.trusted && !c.session.Authenticated()
	if size == c.told && anonymous == c.toldAnonymous {
		return nil
	}
	c.told, c.toldAnonymous = size, anonymous
	return c.server.hold(c, size, anonymous)
}

// hold notes what c holds. Where that is more than there is room for, connections are cut.
func (s *Server) hold(c *conn, size int, anonymous bool) error {
	cut, err := s.note(c, size, anonymous)
	for _, e := range cut { // under no lock: the log may block
		if suppressed, ok := s.cutLines.pass(time.Now()); ok {
			s.Log.Warn("connection cut: the clients' buffers hold too much", "session", e.session.ID, "peer", e.session.Peer.Remote,
				"bytes", e.freed, "limit", s.Executor.Edge().MemoryBytes.Load(), "suppressed", suppressed)
		}
	}
	return err
}

// note is hold but for the log; it returns which connections it cut.
func (s *Server) note(c *conn, size int, anonymous bool) (cut []eviction, err error) {
	m := &s.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.cut.Load() {
		return nil, errCut
	}
	grown := size > c.held || anonymous != c.anonymous
	m.drop(c)
	c.held, c.anonymous = size, anonymous
	m.total += size
	if anonymous {
		m.anonymous += size
	}
	bound := int(s.Executor.Edge().MemoryBytes.Load())
	switch _, spared := c.session.Owner(); {
	case !grown:
	case m.dying > 0 && m.total+m.dying > bound && size > shedBytes && !spared:
		// Cutting others may free nothing while they execute, and would go on until nobody is left. Those that
		// hold no more than an idle connection may are still served.
		cut = append(cut, s.cut(c))
	case m.total > bound || m.anonymous > bound/anonymousShare:
		cut = s.reclaim()
	}
	if c.cut.Load() {
		return cut, errCut
	}
	return cut, nil
}

// drop takes what c holds off the account.
func (m *memory) drop(c *conn) {
	m.total -= c.held
	if c.anonymous {
		m.anonymous -= c.held
	}
	c.held, c.anonymous = 0, false
}

// release takes a connection that has ended off the account.
func (s *Server) release(c *conn) {
	m := &s.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(c)
	m.dying -= c.dying
	c.dying = 0
	c.cut.Store(true)
}

// reclaim cuts connections once the others are beyond a bound, until they are an eighth below it: looking at
// every connection must not be what each growth of one costs. Redis cuts the one that holds most; here it is
// that one of the namespace that holds most, so that a tenant with many connections can't have another's only
// one cut. The account's lock is held.
func (s *Server) reclaim() (cut []eviction) {
	m := &s.memory
	by := make(map[uint64][]*conn)
	sums := make(map[uint64]int)
	s.mu.Lock()
	for c := range s.conns {
		namespace, spared := c.session.Owner()
		if c.cut.Load() || c.held <= 0 || spared {
			continue
		}
		by[namespace] = append(by[namespace], c)
		sums[namespace] += c.held
	}
	s.mu.Unlock()
	bound := int(s.Executor.Edge().MemoryBytes.Load())
	if share := bound / anonymousShare; m.anonymous > share {
		for m.anonymous > share-share/8 {
			c := largest(by[0], func(c *conn) bool { return c.anonymous })
			if c == nil {
				break
			}
			sums[0] -= c.held
			cut = append(cut, s.cut(c))
		}
	}
	if m.total <= bound {
		return cut
	}
	for m.total > bound-bound/8 && len(sums) > 0 { // else what is left is spared
		most, sum := uint64(0), -1
		for namespace, n := range sums {
			if n > sum {
				most, sum = namespace, n
			}
		}
		c := largest(by[most], func(*conn) bool { return true })
		if c == nil {
			delete(sums, most)
			continue
		}
		sums[most] -= c.held
		cut = append(cut, s.cut(c))
	}
	return cut
}

// largest returns the connection that holds most of those that may be cut, nil if there is none.
func largest(list []*conn, may func(*conn) bool) *conn {
	var most *conn
	for _, c := range list {
		if !c.cut.Load() && may(c) && (most == nil || c.held > most.held) {
			most = c
		}
	}
	return most
}

// cut ends c, and takes it off the account but for what it goes on holding. The account's lock is held.
func (s *Server) cut(c *conn) eviction {
	e := eviction{c.session, c.held}
	s.memory.drop(c)
	c.cut.Store(true) // before it looks whether c executes: serve does these in the other order
	if c.busy.Load() {
		c.dying = e.freed
		s.memory.dying += e.freed
	}
	s.Sessions.Evict()
	c.session.Close()
	return e
}

// shed wakes connections that idle with large buffers, so that they let go of them.
func (s *Server) shed(list []*conn, now time.Time) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	for _, c := range list {
		last := c.session.LastActive()
		if c.held > shedBytes && !c.busy.Load() && now.Sub(last) > shedAfter && !last.Equal(c.wokenAt) {
			c.wokenAt = last // once, if the rest of a command doesn't come
			c.woken.Store(true)
			c.wake()
		}
	}
}

// slim lets go of unused buffers if err says that the server has woken the connection for that.
func (c *conn) slim(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || c.server.draining.Load() {
		return false
	}
	c.woken.Store(false)
	// The caller looks whether the server is draining: its deadline may be gone by this.
	return c.raw.SetReadDeadline(time.Time{}) == nil && c.letGo() == nil
}

// letGo lets go of unused buffers.
func (c *conn) letGo() error {
	c.reader.slim()
	c.session.Slim()
	return c.account()
}

// newSession registers c's session, with replies that are on the account.
func (c *conn) newSession(peer command.Peer) {
	c.session = c.server.Sessions.Open(peer, c.server.Limits.OutputBytes, time.Now(), c.end)
	c.session.OnWait(c.watchPeer)
	c.session.Out.OnGrow(func() bool { return c.account() == nil })
}
