package mtls

import (
	"errors"
	"net"
	"sync"
	"time"
)

// What a connection without a certificate may do: Enroll takes a few messages of a few hundred bytes. Whatever else it
// sends is read into memory before anybody looks at it, so it has to be little.
const (
	guestsMax     = 64       // at once
	guestBytesMax = 64 << 10 // that one may send
	guestWait     = 30 * time.Second
)

var errGuests = errors.New("too many connections without a certificate")

// guests counts the connections without a certificate.
type guests struct {
	mu   sync.Mutex
	open int
}

// admit bounds a connection without a certificate, in bytes and in time; it is an error when there are too many.
func (g *guests) admit(conn net.Conn) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == guestsMax {
		return nil, errGuests
	}
	g.open++
	c := &guest{Conn: conn, left: guestBytesMax}
	c.leave = sync.OnceFunc(func() {
		g.mu.Lock()
		g.open--
		g.mu.Unlock()
	})
	c.timer = time.AfterFunc(guestWait, func() { _ = c.Close() })
	return c, nil
}

// guest is a connection without a certificate.
type guest struct {
	net.Conn
	left  int // bytes; of the reader alone
	leave func()
	timer *time.Timer
}

// Read implements net.Conn.
func (c *guest) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.Join(errors.New("a connection without a certificate has sent too much"), c.Close())
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// Close implements net.Conn.
func (c *guest) Close() error {
	c.timer.Stop()
	c.leave()
	return c.Conn.Close()
}
