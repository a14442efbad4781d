package mtls

import (
	"errors"
	"net"
	"time"
)

var errEnded = errors.New("the peer's certificate has ended")

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
