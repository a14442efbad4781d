package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/atolldb/atoll/rpc"
)

// handshakeWait bounds how long a fresh Raft connection may take to say its cluster.
const handshakeWait = 5 * time.Second

// stream carries Raft's connections. Each starts with the dialer's version and its cluster id, followed by a slash and
// its metadata history if it knows that, a byte before them for their length, and the acceptor's answer with its
// own version. So no node of another cluster, or of another version, is ever listened to, nor one of before a
// restore, which would bring its log along.
type stream struct {
	listener  net.Listener
	addr      string // advertised
	clusterID func() string
	history   func() string // empty: not known yet
	connect   func(ctx context.Context, addr string) (net.Conn, error)

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

const (
	handshakeAccept = 1
	handshakeRefuse = 2
	handshakeOther  = 3 // another version

	handshakeRestored = 4 // another metadata history
)

// errRestored is of two nodes that a restore lies between.
var errRestored = fmt.Errorf("%w: its metadata history is another, so one of the two is of before a restore: start that one with an empty directory", ErrForeign)

func newStream(l net.Listener, addr string, clusterID func() string) *stream {
	return &stream{listener: l, addr: addr, clusterID: clusterID, history: func() string { return "" }, connect: rpc.DialRaft, conns: map[net.Conn]struct{}{}}
}

// Accept implements net.Listener.
func (s *stream) Accept() (net.Conn, error) {
	conn, err := s.listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.track(&acceptedConn{streamConn: streamConn{Conn: conn, stream: s}})
}

// track remembers a connection until it is closed: Close has to close what Raft leaves open.
func (s *stream) track(conn net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	var key net.Conn
	switch c := conn.(type) {
	case *acceptedConn:
		key = &c.streamConn
	case *streamConn:
		key = c
	}
	s.conns[key] = struct{}{}
	return conn, nil
}

// Close implements net.Listener; it closes the open connections too.
func (s *stream) Close() error {
	s.mu.Lock()
	s.closed = true
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	err := s.listener.Close()
	for conn := range conns {
		_ = conn.Close()
	}
	return err
}

// Addr implements net.Listener with the address that others dial.
func (s *stream) Addr() net.Addr { return advertised(s.addr) }

type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

// Dial implements raft.StreamLayer.
func (s *stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.dial(ctx, string(address))
}

func (s *stream) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := s.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	if err := s.introduce(ctx, conn); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("dial metadata node %s: %w", address, err)
	}
	return s.track(&streamConn{Conn: conn, stream: s})
}

// introduce says the cluster's id and waits for the answer.
func (s *stream) introduce(ctx context.Context, conn net.Conn) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(handshakeWait)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	id := s.clusterID()
	if history := s.history(); history != "" {
		id += "/" + history
	}
	if _, err := conn.Write(append([]byte{rpc.WireVersion, byte(len(id))}, id...)); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	switch answer[0] {
	case handshakeAccept:
	case handshakeOther:
		return rpc.CheckWire(uint32(answer[1]))
	case handshakeRestored:
		return errRestored
	default:
		return ErrForeign
	}
	return conn.SetDeadline(time.Time{})
}

// streamConn is a connection that its stream knows.
type streamConn struct {
	net.Conn
	stream *stream
}

// Close implements net.Conn.
func (c *streamConn) Close() error {
	c.stream.mu.Lock()
	delete(c.stream.conns, c)
	c.stream.mu.Unlock()
	return c.Conn.Close()
}

// acceptedConn checks the dialer's cluster before the first byte is read.
type acceptedConn struct {
	streamConn
	once sync.Once
	err  error
}

// Read implements net.Conn.
func (c *acceptedConn) Read(b []byte) (int, error) {
	c.once.Do(func() { c.err = c.handshake() })
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(b)
}

func (c *acceptedConn) handshake() error {
	if err := c.SetDeadline(time.Now().Add(handshakeWait)); err != nil {
		return err
	}
	var n [2]byte
	if _, err := io.ReadFull(c.Conn, n[:]); err != nil {
		return err
	}
	if other := rpc.CheckWire(uint32(n[0])); other != nil {
		_, err := c.Write([]byte{handshakeOther, rpc.WireVersion})
		return errors.Join(fmt.Errorf("raft connection of %s: %w", c.RemoteAddr(), other), err)
	}
	id := make([]byte, n[1])
	if _, err := io.ReadFull(c.Conn, id); err != nil {
		return err
	}
	cluster, history, _ := strings.Cut(string(id), "/")
	if own := c.stream.clusterID(); own == "" || own != cluster {
		_, err := c.Write([]byte{handshakeRefuse, rpc.WireVersion})
		return errors.Join(ErrForeign, err)
	}
	if own := c.stream.history(); own != "" && history != "" && own != history {
		_, err := c.Write([]byte{handshakeRestored, rpc.WireVersion})
		return errors.Join(fmt.Errorf("raft connection of %s: %w", c.RemoteAddr(), errRestored), err)
	}
	if _, err := c.Write([]byte{handshakeAccept, rpc.WireVersion}); err != nil {
		return err
	}
	return c.SetDeadline(time.Time{})
}
