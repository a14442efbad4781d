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
func (s *Server) accept(ctx, commands context.Context, l Listener) error {
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
		s.start(commands, l, nc)
	}
}

// start serves nc, or turns it away when there are too many.
func (s *Server) start(commands context.Context, l Listener, nc net.Conn) {
	c := s.admit(l, nc)
	if c == nil {
		s.Sessions.Reject()
		if l.Certificates == nil { // else nothing can be said before a handshake
			_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = nc.Write([]byte("-ERR max number of clients reached\r\n")) // as a courtesy
		}
		_ = nc.Close()
		return
	}
	s.wg.Go(func() { c.serve(commands) })
}

// admit makes a connection of nc, and returns nil when there are MaxClients.
func (s *Server) admit(l Listener, nc net.Conn) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= s.Limits.MaxClients {
		return nil
	}
	peer := command.NewPeer(nc, l.Addr())
	c := &conn{server: s, raw: nc, nc: nc, trusted: peer.Loopback}
	if l.Certificates != nil {
		c.wrap(l.Certificates)
	}
	c.reader = NewReader(c, s.Limits.Reader)
	c.reader.grown = c.account
	c.newSession(peer)
	s.conns[c] = struct{}{}
	return c
}
