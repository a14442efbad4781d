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
	m := &s.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.cut {
		return errCut
	}
	grown := size > c.held || anonymous != c.anonymous
	m.drop(c)
	c.held, c.anonymous = size, anonymous
	m.total += size
	if anonymous {
		m.anonymous += size
	}
	if grown && (m.total > s.Limits.MemoryBytes || m.anonymous > s.Limits.MemoryBytes/anonymousShare) {
		s.reclaim()
	}
	if c.cut {
		return errCut
	}
	return nil
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
	c.cut = true
}

// reclaim cuts connections until the others are within the bounds. Redis cuts the one that holds most; here
// it is that one of the namespace that holds most, so that a tenant with many connections can't have
// another's only one cut. The account's lock is held.
func (s *Server) reclaim() {
	m := &s.memory
	by := make(map[uint64][]*conn)
	sums := make(map[uint64]int)
	s.mu.Lock()
	for c := range s.conns {
		namespace, spared := c.session.Owner()
		if c.cut || c.held <= 0 || spared {
			continue
		}
		by[namespace] = append(by[namespace], c)
		sums[namespace] += c.held
	}
	s.mu.Unlock()
	for m.anonymous > s.Limits.MemoryBytes/anonymousShare {
		if s.cutLargest(by[0], func(c *conn) bool { return c.anonymous }) == 0 {
			break
		}
	}
	for m.total > s.Limits.MemoryBytes {
		most := uint64(0)
		for namespace, sum := range sums {
			if sum > sums[most] {
				most = namespace
			}
		}
		freed := s.cutLargest(by[most], func(*conn) bool { return true })
		if freed == 0 {
			return // what is left is spared
		}
		sums[most] -= freed
	}
}

// cutLargest ends the connection that holds most of those that may be cut, and returns how much that was.
func (s *Server) cutLargest(list []*conn, may func(*conn) bool) int {
	var largest *conn
	for _, c := range list {
		if !c.cut && may(c) && (largest == nil || c.held > largest.held) {
			largest = c
		}
	}
	if largest == nil {
		return 0
	}
	freed := largest.held
	s.Log.Warn("connection cut: the clients' buffers hold too much", "session", largest.session.ID, "peer", largest.session.Peer.Remote,
		"bytes", freed, "limit", s.Limits.MemoryBytes)
	s.memory.drop(largest)
	largest.cut = true
	s.Sessions.Evict()
	largest.session.Close()
	return freed
}

// shed wakes connections that idle with large buffers, so that they let go of them.
func (s *Server) shed(list []*conn, now time.Time) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	for _, c := range list {
		last := c.session.LastActive()
		if c.held > shedBytes && !c.busy.Load() && now.Sub(last) > shedAfter && !last.Equal(c.woken) {
			c.woken = last // once, if the rest of a command doesn't come
			_ = c.raw.SetReadDeadline(time.Unix(1, 0))
		}
	}
}

// slim lets go of unused buffers if err says that the server has woken the connection for that.
func (c *conn) slim(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || c.server.draining.Load() {
		return false
	}
	c.reader.slim()
	c.session.Slim()
	// The caller looks whether the server is draining: its deadline may be gone by this.
	return c.raw.SetReadDeadline(time.Time{}) == nil && c.account() == nil
}

// newSession registers c's session, with replies that are on the account.
func (c *conn) newSession(peer command.Peer) {
	nc := c.raw
	c.session = c.server.Sessions.Open(peer, c.server.Limits.OutputBytes, time.Now(), func() { _ = nc.Close() })
	c.session.Out.OnGrow(func() bool { return c.account() == nil })
}
