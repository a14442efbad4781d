package resp

import (
	"syscall"

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
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0)
		gone = err == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return err == nil && gone
}
