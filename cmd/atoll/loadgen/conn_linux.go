package loadgen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// conn is one connection, with a socket that never blocks.
type conn struct {
	fd      int
	number  int32  // by which epoll names it
	out     []byte // of the pipeline; from written on, not yet sent
	written int
	in      []byte // received and not parsed
	waiting int    // replies that are still to come
	batch   int    // commands of the pipeline
	sent    time.Duration
	blocked bool // the socket took no more
}

// patience is how long a server may take to accept a connection and to answer what comes before the load.
const patience = 10 * time.Second

// open connects and authenticates.
func (l *Load) open(ctx context.Context) (net.Conn, error) {
	network := "tcp"
	if strings.Contains(l.Addr, "/") {
		network = "unix"
	}
	d := net.Dialer{Timeout: patience}
	nc, err := d.DialContext(ctx, network, l.Addr)
	if err != nil || l.Token == "" {
		return nc, err
	}
	reply, err := call(ctx, nc, "AUTH", l.Token)
	if err == nil && !strings.HasPrefix(reply, "+") {
		err = errors.New(strings.TrimSpace(reply[1:]))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("authenticate: %w", err), nc.Close())
	}
	return nc, nil
}

// dial opens a connection, and takes the socket out of Go's poller.
func dial(ctx context.Context, l *Load) (*conn, error) {
	nc, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close() // the duplicate lives on
	file, err := nc.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return nil, fmt.Errorf("take the socket: %w", err)
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("take the socket: %w", err)
	}
	return &conn{fd: fd, in: make([]byte, 0, 16<<10)}, unix.SetNonblock(fd, true)
}

// call sends one command and waits for its reply, as long as the context and patience last.
func call(ctx context.Context, nc net.Conn, args ...string) (string, error) {
	defer context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })()
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := nc.Write(appendCommand(nil, args...)); err != nil {
		return "", err
	}
	var in []byte
	for {
		n := 0
		if len(in) > 0 {
			n = replyLength(in)
		}
		if n < 0 {
			return "", fmt.Errorf("read a reply: unknown type %q", in[0])
		}
		if n > 0 {
			return string(in[:n]), nil
		}
		buf := make([]byte, 16<<10)
		n, err := nc.Read(buf)
		if err != nil {
			return "", errors.Join(err, ctx.Err())
		}
		in = append(in, buf[:n]...)
	}
}

// flush says whether everything is written.
func (c *conn) flush() (bool, error) {
	for c.written < len(c.out) {
		n, err := unix.Write(c.fd, c.out[c.written:])
		switch err {
		case nil:
			c.written += n
		case unix.EAGAIN:
			return false, nil
		case unix.EINTR:
		default:
			return false, fmt.Errorf("write: %w", err)
		}
	}
	c.written = 0
	c.out = c.out[:0]
	return true, nil
}

// receive reads once, and says whether the last reply of the pipeline has come.
func (c *conn) receive(r *Result) (bool, error) {
	if len(c.in) == cap(c.in) {
		c.in = append(make([]byte, 0, 2*cap(c.in)), c.in...)
	}
	free := c.in[len(c.in):cap(c.in)]
	n, err := unix.Read(c.fd, free)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read: %w", err)
	case n == 0:
		return false, ErrClosed
	}
	c.in = c.in[:len(c.in)+n]
	at := 0
	for c.waiting > 0 {
		n := replyLength(c.in[at:])
		if n == 0 {
			break
		}
		if n < 0 {
			return false, fmt.Errorf("read a reply: unknown type %q", c.in[at])
		}
		if c.in[at] == '-' {
			r.Errors++
			if r.Error == "" {
				r.Error = string(bytes.TrimSpace(c.in[at+1 : at+n]))
			}
		}
		c.waiting--
		at += n
	}
	c.in = append(c.in[:0], c.in[at:]...)
	return c.waiting == 0 && c.batch > 0, nil
}

// replyMax is the most bytes or elements that a part of a reply may have.
const replyMax = 1 << 30

// replyLength returns the length of the first reply of b: 0 if it isn't complete, -1 if it isn't one.
func replyLength(b []byte) int {
	end := bytes.IndexByte(b, '\n') + 1
	if end == 0 {
		return 0
	}
	switch b[0] {
	case '+', '-', ':', '_', '#', ',', '(':
		return end
	case '$', '=':
		n, err := strconv.Atoi(string(bytes.TrimSpace(b[1:end])))
		if err != nil || n > replyMax {
			return -1
		}
		if n >= 0 {
			end += n + 2
		}
		if end > len(b) {
			return 0
		}
		return end
	case '*', '~', '%':
		n, err := strconv.Atoi(string(bytes.TrimSpace(b[1:end])))
		if err != nil || n > replyMax {
			return -1
		}
		if b[0] == '%' {
			n *= 2
		}
		for range n {
			m := replyLength(b[end:])
			if m <= 0 {
				return m
			}
			end += m
		}
		return end
	}
	return -1
}
