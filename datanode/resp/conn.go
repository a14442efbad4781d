package resp

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/tidwall/redcon"
)

// conn is one connection. Its goroutine reads a pipeline, executes it, and answers with one write; while it is parked,
// a loop does.
type conn struct {
	server  *Server
	mu      sync.Mutex // guards raw, fd and ended against those who don't serve the connection
	raw     net.Conn   // closing it never blocks, as closing a TLS connection may
	fd      int        // while it is parked; else 0
	ended   bool
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
	wokenAt   time.Time   // the idle time for which shed has woken it

	loop   *loop
	tenant *loopTenant
	cost   int          // of what it has sent last, see turnCost; of who serves it
	state  atomic.Int32 // who serves it
	hup    atomic.Bool  // the peer has ended its side, or more
	woken  atomic.Bool  // by shed
	stay   int          // batches until it may be parked

	writeMu sync.Mutex    // of whoever writes to nc; taken before what others send it is
	pushed  chan struct{} // closed when what others send it isn't written any more; nil until it asks for that

	hasRead bool // in this turn of the loop

	busy    atomic.Bool  // executing
	writing atomic.Int64 // Unix milliseconds since when a write has waited; 0: none
}

// The states of a connection.
const (
	stateAway    = iota // it has a goroutine, or has ended
	stateIdle           // it is parked
	stateClaimed        // a worker of its loop serves it
	stateAgain          // that, and more has happened since
)

// claim takes a parked connection for the caller. Where a worker has it already, that is told to look again.
func (c *conn) claim() bool {
	for {
		switch c.state.Load() {
		case stateAway, stateAgain:
			return false
		case stateIdle:
			if c.state.CompareAndSwap(stateIdle, stateClaimed) {
				return true
			}
		case stateClaimed:
			if c.state.CompareAndSwap(stateClaimed, stateAgain) {
				return false
			}
		}
	}
}

// begin serves a new connection.
func (c *conn) begin() {
	if err := c.handshake(); err != nil {
		c.server.Log.Debug("no TLS handshake", "peer", c.session.Peer.Remote, "error", err)
		_ = c.nc.Close()
		c.finish()
		return
	}
	c.serve(nil)
}

// serve sends what is still to be sent, and executes cmds, if there are any, and what the peer sends, until one of them
// ends it or it is parked.
func (c *conn) serve(cmds []redcon.Command) {
	parked := false
	defer func() {
		if r := recover(); r != nil {
			c.server.Log.Error("connection panicked", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
		if !parked {
			_ = c.nc.Close()
			c.endPushing()
			c.finish()
		}
	}()
	if !c.settle() { // one that has to close may have sent all of its replies
		return
	}
	for len(cmds) > 0 || !c.server.draining.Load() { // what was read is answered, also at the end
		if len(cmds) == 0 {
			var ok bool
			if cmds, ok = c.next(); !ok {
				return
			}
		}
		c.busy.Store(true)
		if c.cut.Load() {
			return // the account has seen it idle, and forgotten what it holds
		}
		err := c.server.Executor.Execute(c.server.commands, c.session, cmds, c.flush)
		c.busy.Store(false)
		cmds = nil
		if err != nil || !c.settle() {
			return
		}
		if c.pushing() {
			continue
		}
		if parked = c.park(); parked {
			return
		}
	}
	c.hangUp()
}

// next returns the commands that come next. ok is false when the connection has to end.
func (c *conn) next() (cmds []redcon.Command, ok bool) {
	for {
		cmds, err := c.reader.Next(c.trusted || c.session.Authenticated())
		if err == nil {
			return cmds, true
		}
		if c.slim(err) {
			if c.server.draining.Load() {
				c.hangUp()
				return nil, false
			}
			continue
		}
		c.refuse(err)
		if c.server.draining.Load() {
			c.hangUp()
		}
		return nil, false
	}
}

// settle sends the replies of a batch, and reports whether the connection goes on.
func (c *conn) settle() bool {
	closing, drop := c.session.Closing()
	if drop || c.flush() != nil {
		return false
	}
	if closing {
		c.hangUp()
	}
	return !closing
}

// finish forgets a connection that has ended.
func (c *conn) finish() {
	s := c.server
	s.Sessions.Remove(c.session)
	s.release(c)
	s.mu.Lock()
	delete(s.conns, c)
	if c.stranger != nil {
		s.strangers.Remove(c.stranger) // if it is still there
	}
	s.mu.Unlock()
	s.wg.Done()
}

// end closes the connection, from any goroutine.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.fd > 0 {
		c.hangParked()
		return
	}
	_ = c.raw.Close()
}

// wake has the connection stop waiting for commands and look why, from any goroutine.
func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd > 0 {
		c.loop.post(c)
		return
	}
	_ = c.raw.SetReadDeadline(time.Unix(1, 0))
}

// Read reads from the peer for the reader. A command that takes its time to arrive is no idle connection.
func (c *conn) Read(b []byte) (int, error) {
	if c.fd > 0 {
		return c.readParked(b)
	}
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
	c.writeMu.Lock()
	err := c.write(c.session.Out.Bytes())
	c.writeMu.Unlock()
	if err != nil {
		return err
	}
	c.session.Out.Reset(keepOutput)
	if closing, _ := c.session.Closing(); !closing { // else that was its last word
		if p := c.session.Pushes(); p != nil {
			p.Release()
		}
	}
	return nil
}

// write writes b as one piece. writeMu is held.
func (c *conn) write(b []byte) error {
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
	if c.session.Waiting() && c.gone() {
		return "the peer is gone"
	}
	if view != nil && !c.session.Holds(view, now.UnixMilli()) {
		return "its token or namespace is gone"
	}
	// Also while it is busy: one that guesses tokens waits for its replies nearly all the time.
	since, anonymous := c.session.AnonymousSince()
	if anonymous && !c.trusted && view != nil && now.Sub(since) > limits.AuthTimeout {
		return "it did not authenticate"
	}
	if c.server.Executor.CutLate(c.session, now) {
		return "it does not read what it is sent"
	}
	if c.session.Subscribed() { // which it may be for as long as it likes
		return ""
	}
	if idle := time.Duration(c.server.Executor.Edge().IdleNanos.Load()); !c.busy.Load() && idle > 0 && now.Sub(c.session.LastActive()) > idle {
		return "idle"
	}
	return ""
}
