package mtls

import (
	"crypto/sha256"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

var errEnded = errors.New("the peer's certificate has ended")

// CutWait is how long a connection stays open, at most, once the authority of its peer's certificate isn't trusted any
// more: long enough for calls that are under way to end, whose next ones take a connection by the renewed certificate.
const CutWait = 2 * time.Second

// certConn is a connection that is closed once its peer's certificate has ended, or its authority was replaced: a
// certificate is looked at in the handshake alone, and connections stay for months. The next one is made with the renewed
// certificate. It notices an end when it is read, which keepalives and heartbeats see to.
type certConn struct {
	net.Conn
	peer  Peer
	now   func() time.Time
	conns *conns
}

// Read implements net.Conn.
func (c *certConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.now().After(c.peer.NotAfter) {
		return 0, errors.Join(errEnded, c.Close())
	}
	return n, err
}

// Close implements net.Conn.
func (c *certConn) Close() error {
	c.conns.mu.Lock()
	delete(c.conns.open, c)
	c.conns.mu.Unlock()
	return c.Conn.Close()
}

// conns are the open connections of a process whose peers have shown certificates.
type conns struct {
	mu   sync.Mutex
	open map[*certConn]struct{}
}

// keep makes a connection one that ends with its peer's certificate.
func (i *Identity) keep(conn net.Conn, p Peer) net.Conn {
	c := &certConn{conn, p, i.now, &i.conns}
	i.conns.mu.Lock()
	defer i.conns.mu.Unlock()
	if i.conns.open == nil {
		i.conns.open = map[*certConn]struct{}{}
	}
	i.conns.open[c] = struct{}{}
	return c
}

// cut closes the connections whose peers have shown a certificate of one of the authorities.
func (c *conns) cut(authorities [][sha256.Size]byte) {
	if planted == seedKeepOpen {
		return
	}
	var gone []*certConn
	c.mu.Lock()
	for conn := range c.open {
		if slices.Contains(authorities, conn.peer.Authority) {
			gone = append(gone, conn)
		}
	}
	c.mu.Unlock()
	for _, conn := range gone {
		_ = conn.Close() // its owner hears of it
	}
}
