package mtls

import (
	"errors"
	"net"
	"sync"
	"time"
)

// What a client may that has shown no certificate: an enrolment takes about a KiB and a second.
const (
	strangerBytes = 64 << 10
	strangerLife  = 20 * time.Second
	strangersMax  = 256 // at once
)

var (
	errEnded     = errors.New("the peer's certificate has ended")
	errStranger  = errors.New("the client has shown no certificate, and sends more than an enrolment takes")
	errStrangers = errors.New("too many clients without a certificate at once: try again")
)

// certConn is a connection that is closed once its peer's certificate has ended: a certificate is looked at in the
// handshake alone, and connections stay for months. The next one is made with the renewed certificate. It notices when
// it is read, which keepalives and heartbeats see to.
type certConn struct {
	net.Conn
	until time.Time
	now   func() time.Time
}

// Read implements net.Conn.
func (c *certConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.now().After(c.until) {
		return 0, errors.Join(errEnded, c.Close())
	}
	return n, err
}

// strangerConn is a connection of a client without a certificate.
type strangerConn struct {
	net.Conn
	left int // bytes that it may still send

	mu    sync.Mutex
	timer *time.Timer // closes it, whoever else has lost sight of it
	leave func()      // nil once it has left
}

// stranger takes a client in that has shown no certificate.
func (i *Identity) stranger(conn net.Conn) (net.Conn, error) {
	select {
	case i.strangers <- struct{}{}:
	default:
		return nil, errStrangers
	}
	c := &strangerConn{Conn: conn, left: strangerBytes, leave: func() { <-i.strangers }}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(strangerLife, func() { _ = c.Close() })
	return c, nil
}

// Read implements net.Conn.
func (c *strangerConn) Read(b []byte) (int, error) {
	if c.left == 0 {
		return 0, errors.Join(errStranger, c.Close())
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// Close implements net.Conn.
func (c *strangerConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leave != nil {
		c.timer.Stop()
		c.leave()
		c.leave = nil
	}
	return c.Conn.Close()
}
