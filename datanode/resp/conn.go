package resp

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/tenant"
)

// conn is one connection. Its goroutine reads a pipeline, executes it, and answers with one write.
type conn struct {
	server  *Server
	raw     net.Conn // closing it never blocks, as closing a TLS connection may
	nc      net.Conn // raw, or TLS over it
	meter   *meter   // of a TLS connection
	session *command.Session
	reader  *Reader
	trusted bool // a local peer, which the open default namespace is for
	// stranger is its place in the server's list of them.
	stranger *list.Element

	// What the account of the memory was told; the connection's own.
	told          int
	toldAnonymous bool
	// Guarded by the account.
	held      int
	anonymous bool
	cut       atomic.Bool // set under the account's lock
	dying     int         // what it held when it was cut, if it was executing
	woken     time.Time   // the idle time for which shed has woken it

	busy    atomic.Bool  // executing
	writing atomic.Int64 // Unix milliseconds since when a write has waited; 0: none
}

// serve executes what the peer sends until one of them ends it.
func (c *conn) serve(ctx context.Context) {
	s := c.server
	defer func() {
		if r := recover(); r != nil {
			s.Log.Error("connection panicked", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
		_ = c.nc.Close()
		s.Sessions.Remove(c.session)
		s.release(c)
		s.mu.Lock()
		delete(s.conns, c)
		if c.stranger != nil {
			s.strangers.Remove(c.stranger) // if it is still there
		}
		s.mu.Unlock()
	}()
	if err := c.handshake(); err != nil {
		s.Log.Debug("no TLS handshake", "peer", c.session.Peer.Remote, "error", err)
		return
	}
	flush := c.flush
	for !s.draining.Load() {
		cmds, err := c.reader.Next(c.trusted || c.session.Authenticated())
		if err != nil {
			if c.slim(err) {
				continue
			}
			c.refuse(err)
			if s.draining.Load() {
				c.hangUp()
			}
			return
		}
		c.busy.Store(true)
		if c.cut.Load() {
			return // the account has seen it idle, and forgotten what it holds
		}
		err = s.Executor.Execute(ctx, c.session, cmds, flush)
		c.busy.Store(false)
		closing, drop := c.session.Closing()
		if err != nil || drop || c.flush() != nil {
			return
		}
		if closing {
			c.hangUp()
			return
		}
	}
	c.hangUp()
}

// Read reads from the peer for the reader. A command that takes its time to arrive is no idle connection.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.nc.Read(b)
	if n > 0 {
		c.session.Touch(time.Now())
	}
	return n, err
}

// flush writes what is buffered.
func (c *conn) flush() error {
	if err := c.account(); err != nil {
		return err
	}
	b := c.session.Out.Bytes()
	for len(b) > 0 {
		n := min(len(b), writeChunk)
		c.writing.Store(time.Now().UnixMilli())
		_, err := c.nc.Write(b[:n])
		c.writing.Store(0)
		if err != nil {
			return err
		}
		c.session.Touch(time.Now())
		b = b[n:]
	}
	c.session.Out.Reset(keepOutput)
	return nil
}

// refuse answers malformed input; for everything else the connection just ends.
func (c *conn) refuse(err error) {
	var p ProtocolError
	switch {
	case errors.As(err, &p):
		if !c.session.Silenced() {
			c.session.Out.Error(p.Error())
		}
		if c.flush() == nil {
			c.hangUp()
		}
	case errors.Is(err, ErrCrossProtocol):
		if suppressed, ok := c.server.crossLines.pass(time.Now()); ok {
			c.server.Log.Warn("connection closed: a possible cross-protocol attack", "peer", c.session.Peer.Remote, "suppressed", suppressed)
		}
	}
}

// hangUpWait is how long a connection that ends reads on.
const hangUpWait = 100 * time.Millisecond

// hangUp ends the writing side and reads away a little of what is still coming, so that the last reply
// isn't lost to a reset.
func (c *conn) hangUp() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	end := time.Now().Add(hangUpWait)
	for left := int64(256 << 10); left > 0 && time.Now().Before(end); {
		_ = c.nc.SetReadDeadline(end)
		n, err := io.CopyN(io.Discard, c.nc, left)
		if left -= n; !errors.Is(err, os.ErrDeadlineExceeded) { // of drain, which may come after ours
			return
		}
	}
}

// overdue says why the connection must end at now, empty when it may go on.
func (c *conn) overdue(view *tenant.View, now time.Time) string {
	limits := &c.server.Limits
	if since := c.writing.Load(); since != 0 && now.Sub(time.UnixMilli(since)) > limits.WriteTimeout {
		return "the peer does not read its replies"
	}
	if view != nil && !c.session.Holds(view, now.UnixMilli()) {
		return "its token or namespace is gone"
	}
	// Also while it is busy: one that guesses tokens waits for its replies nearly all the time.
	since, anonymous := c.session.AnonymousSince()
	if anonymous && !c.trusted && view != nil && now.Sub(since) > limits.AuthTimeout {
		return "it did not authenticate"
	}
	if !c.busy.Load() && limits.IdleTimeout > 0 && now.Sub(c.session.LastActive()) > limits.IdleTimeout {
		return "idle"
	}
	return ""
}
