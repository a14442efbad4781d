package resp

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// gone reports whether the peer has ended its side, from any goroutine. Nobody reads from a connection whose command
// waits, so only this tells that nobody waits for the reply.
func (c *conn) gone() (gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sc, ok := c.raw.(syscall.Conn)
	if !ok || c.ended || c.fd > 0 {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) { gone = hungUp(fd) })
	return err == nil && gone
}

func hungUp(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}

// watchPeer ends the session as soon as the peer has ended its side, until end is called: what its command waits for must go
// to those that are still there.
func (c *conn) watchPeer() (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sc, ok := c.raw.(syscall.Conn)
	if !ok || c.ended || c.fd > 0 {
		return func() {}
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return func() {}
	}
	nc, done := c.raw, make(chan struct{})
	go func() {
		defer close(done)
		// Go's poller calls again whenever more has happened. An error is the end of the connection, or a deadline.
		if gone := false; raw.Read(func(fd uintptr) bool { gone = hungUp(fd); return gone }) == nil && gone {
			c.session.Close()
		}
	}()
	return func() {
		_ = nc.SetReadDeadline(time.Unix(1, 0))
		<-done
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.server.draining.Load() && !c.woken.Load() { // else somebody has set it, too
			_ = nc.SetReadDeadline(time.Time{})
		}
	}
}
