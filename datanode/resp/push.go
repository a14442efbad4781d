package resp

import (
	"time"

	"github.com/atolldb/atoll/datanode/command"
)

// pushing reports whether others send the session something. Once they do, a goroutine beside the connection's own
// writes that until the connection ends: a session that waits for others is never parked.
func (c *conn) pushing() bool {
	p := c.session.Pushes()
	if p == nil {
		return false
	}
	if c.pushed == nil {
		c.pushed = make(chan struct{})
		go func() {
			defer close(c.pushed)
			for p.Wait() {
				if c.push(p) != nil {
					c.session.Close() // its own goroutine may wait for commands
					return
				}
			}
		}()
	}
	return true
}

// push writes what there is to be taken. Between two pieces replies may be written: none of them is older than what was
// taken.
func (c *conn) push(p *command.Pushes) error {
	for {
		c.writeMu.Lock()
		b := p.Take()
		err := c.write(b)
		c.writeMu.Unlock()
		if err != nil || b == nil {
			return err
		}
	}
}

// endPushing ends that goroutine, and waits for it. The connection is closed, so that it can't be writing for long.
func (c *conn) endPushing() {
	if p := c.session.Pushes(); p != nil && p.Close() {
		if suppressed, ok := c.server.pushLines.pass(time.Now()); ok {
			c.server.Log.Warn("connection cut: too much waited to be sent to it", "session", c.session.ID, "peer", c.session.Peer.Remote, "suppressed", suppressed)
		}
	}
	if c.pushed != nil {
		<-c.pushed
	}
}
