package resp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/atolldb/atoll/datanode/command"
)

const (
	// acceptBackoffMin and acceptBackoffMax bound the pause after a failed accept, e.g. without file
	// descriptors.
	acceptBackoffMin = 5 * time.Millisecond
	acceptBackoffMax = time.Second
)

// accept starts a goroutine for each connection until the listener is closed.
func (s *Server) accept(ctx context.Context, l Listener) error {
	backoff := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept: %w", err)
			}
			backoff = min(max(2*backoff, acceptBackoffMin), acceptBackoffMax)
			s.Log.Warn("accept failed", "addr", l.Addr().String(), "error", err, "retry_in", backoff)
			select {
			case <-time.After(backoff):
			case <-ctx.Done():
			}
			continue
		}
		backoff = 0
		s.start(l, nc)
	}
}

// start serves nc, or turns it away when there are too many.
func (s *Server) start(l Listener, nc net.Conn) {
	c, ousted := s.admit(l, nc)
	if ousted != nil {
		s.Sessions.Reject()
		ousted.session.Close()
	}
	if c == nil {
		s.Sessions.Reject()
		if l.Certificates == nil { // else nothing can be said before a handshake
			_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = nc.Write([]byte("-ERR max number of clients reached\r\n")) // as a courtesy
		}
		_ = nc.Close()
		return
	}
	s.wg.Add(1)
	go c.begin()
}

// admit makes a connection of nc. When there are MaxClients, the one in ousted has to end for it; where there is none
// that may, c is nil.
func (s *Server) admit(l Listener, nc net.Conn) (c, ousted *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(len(s.conns)) >= s.Executor.Edge().MaxClients.Load() {
		if ousted = s.oldestStranger(); ousted == nil {
			return nil, nil
		}
		delete(s.conns, ousted)
	}
	peer := command.NewPeer(nc, l.Addr())
	c = &conn{server: s, raw: nc, nc: nc, trusted: peer.Loopback}
	if l.Certificates != nil {
		c.wrap(l.Certificates)
	}
	c.reader = NewReader(c, s.Limits.Reader)
	c.reader.grown = c.account
	c.newSession(peer)
	s.conns[c] = struct{}{}
	if !c.trusted {
		c.stranger = s.strangers.PushBack(c)
	}
	return c, ousted
}

// oldestStranger returns the connection that has been open longest of those that have not authenticated, and
// needed to: outsiders who take every place must not keep tenants out. It is nil if there is none. One that has
// authenticated once is not looked at again, so that looking costs little even if every place is taken.
func (s *Server) oldestStranger() *conn {
	for e := s.strangers.Front(); e != nil; e = s.strangers.Front() {
		c := s.strangers.Remove(e).(*conn)
		if _, anonymous := c.session.AnonymousSince(); anonymous {
			return c
		}
	}
	return nil
}
