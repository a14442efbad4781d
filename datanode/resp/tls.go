package resp

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/atolldb/atoll/rpc/tlsfiles"
)

const (
	// handshakeBytes is what a peer may send before its handshake is done, and handshakeChainBytes if its
	// certificates are part of it.
	handshakeBytes      = 16 << 10
	handshakeChainBytes = 64 << 10
)

var errHandshakeBytes = errors.New("the handshake is too long")

// meter bounds what is read from a peer before its handshake is done.
type meter struct {
	net.Conn
	left int // bytes; below 0: any number
}

func (m *meter) Read(b []byte) (int, error) {
	if m.left < 0 {
		return m.Conn.Read(b)
	}
	if m.left == 0 {
		return 0, errHandshakeBytes
	}
	n, err := m.Conn.Read(b[:min(len(b), m.left)])
	m.left -= n
	return n, err
}

// wrap makes c one that speaks TLS.
func (c *conn) wrap(certificates *tlsfiles.Certificates) {
	config := certificates.Current()
	c.meter = &meter{c.raw, handshakeBytes}
	if config.ClientAuth != tls.NoClientCert {
		c.meter.left = handshakeChainBytes
	}
	c.nc = tls.Server(c.meter, config)
}

// handshake opens a TLS connection, in the time that a peer has to authenticate.
func (c *conn) handshake() error {
	t, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	if err := c.raw.SetDeadline(time.Now().Add(c.server.Limits.AuthTimeout)); err != nil {
		return err
	}
	if c.server.draining.Load() { // its deadline was overwritten
		return errors.New("the server is stopping")
	}
	if err := t.Handshake(); err != nil {
		return err
	}
	c.meter.left = -1
	return c.raw.SetDeadline(time.Time{}) // the caller looks whether the server is draining
}
