package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// raftByte starts a Raft connection. A gRPC one starts with the 'P' of HTTP/2's preface.
const (
	raftByte = 0x52
	grpcByte = 'P'

	// firstByteWait bounds how long a fresh connection may keep silent, and muxPendingMax how many may
	// at once.
	firstByteWait = 5 * time.Second
	muxPendingMax = 1024
)

// Part is one of the two services behind a cluster port.
type Part int

// The parts.
const (
	PartGRPC Part = iota + 1
	PartRaft
)

// Mux splits the connections of one listener, so that one port carries Raft and gRPC. A connection that doesn't say
// within five seconds which of them it is for is closed.
type Mux struct {
	which    func(context.Context, net.Conn) (net.Conn, Part, error)
	listener net.Listener
	grpc     *muxListener
	raft     *muxListener
	done     chan struct{}
	once     sync.Once
	wg       sync.WaitGroup
	pending  chan struct{}
}

// Split takes a listener of plain text over, and tells its connections by their first byte. It accepts until Close.
func Split(l net.Listener) *Mux { return SplitBy(l, byFirstByte) }

// SplitBy is Split with another way to tell a fresh connection's part, such as a handshake of TLS. The connection
// that which returns is handed on; after an error the one that it got is closed. What which reads and writes ends
// after five seconds, its context at Close, and at most 1,024 run at once.
func SplitBy(l net.Listener, which func(context.Context, net.Conn) (net.Conn, Part, error)) *Mux {
	m := &Mux{which: which, listener: l, done: make(chan struct{}), pending: make(chan struct{}, muxPendingMax)}
	m.grpc, m.raft = newMuxListener(l.Addr()), newMuxListener(l.Addr())
	m.wg.Go(m.accept)
	return m
}

// GRPC returns the listener of the gRPC connections. Closing it leaves the other one open.
func (m *Mux) GRPC() net.Listener { return m.grpc }

// Raft returns the listener of the Raft connections. Closing it leaves the other one open.
func (m *Mux) Raft() net.Listener { return m.raft }

// Close closes the listener and both of its parts, and waits for its goroutines. Connections that were
// accepted stay open.
func (m *Mux) Close() error {
	var err error
	m.once.Do(func() {
		close(m.done)
		err = m.listener.Close()
		_ = m.grpc.Close()
		_ = m.raft.Close()
	})
	m.wg.Wait()
	return err
}

func (m *Mux) accept() {
	for {
		conn, err := m.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			_ = m.grpc.Close()
			_ = m.raft.Close()
			return
		}
		if err != nil { // such as too many open files: let some close
			select {
			case <-m.done:
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		select {
		case m.pending <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		m.wg.Go(func() {
			m.route(conn)
			<-m.pending
		})
	}
}

// route finds out the connection's part and hands it on.
func (m *Mux) route(conn net.Conn) {
	ctx := closedContext{m.done}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(firstByteWait))
	told, part, err := m.which(ctx, conn)
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	switch {
	case err == nil && part == PartRaft:
		m.raft.give(told)
	case err == nil && part == PartGRPC:
		m.grpc.give(told)
	default:
		_ = conn.Close()
	}
}

// byFirstByte tells the part of a connection in plain text.
func byFirstByte(_ context.Context, conn net.Conn) (net.Conn, Part, error) {
	var first [1]byte
	if _, err := conn.Read(first[:]); err != nil {
		return nil, 0, err
	}
	switch first[0] {
	case raftByte:
		return conn, PartRaft, nil
	case grpcByte:
		return &prefixedConn{Conn: conn, prefix: first[:]}, PartGRPC, nil
	}
	return nil, 0, errors.New("neither Raft nor gRPC")
}

// closedContext is a context that ends when a channel closes.
type closedContext struct{ done <-chan struct{} }

func (closedContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c closedContext) Done() <-chan struct{}     { return c.done }
func (closedContext) Value(any) any               { return nil }
func (c closedContext) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

// prefixedConn gives back the byte that was read to route it.
type prefixedConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixedConn) Read(b []byte) (int, error) {
	if len(c.prefix) > 0 && len(b) > 0 {
		n := copy(b, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// muxListener is one part of a split listener.
type muxListener struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMuxListener(addr net.Addr) *muxListener {
	return &muxListener{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *muxListener) give(conn net.Conn) {
	select {
	case l.conns <- conn:
	case <-l.done:
		_ = conn.Close()
	}
}

// Accept implements net.Listener.
func (l *muxListener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *muxListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *muxListener) Addr() net.Addr { return l.addr }

// DialRaft connects to the Raft part of a metadata node's cluster port.
func DialRaft(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial raft: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetWriteDeadline(deadline)
	}
	_, err = conn.Write([]byte{raftByte})
	if err == nil {
		err = conn.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("dial raft: %w", err)
	}
	return conn, nil
}
