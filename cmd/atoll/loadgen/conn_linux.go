package loadgen

import (
	"bytes"
	"context"
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

// dial connects and authenticates, then takes the socket out of Go's poller.
func dial(ctx context.Context, l *Load) (*conn, error) {
	network := "tcp"
	if strings.Contains(l.Addr, "/") {
		network = "unix"
	}
	d := net.Dialer{Timeout: 10 * time.Second}
	nc, err := d.DialContext(ctx, network, l.Addr)
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
	c := &conn{fd: fd, in: make([]byte, 0, 16<<10)}
	if l.Token != "" {
		if reply, err := c.call("AUTH", l.Token); err != nil {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("authenticate: %w", err)
		} else if !strings.HasPrefix(reply, "+") {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("authenticate: %s", strings.TrimSpace(reply[1:]))
		}
	}
	return c, unix.SetNonblock(fd, true)
}

// call sends one command and waits for its reply, on a socket that doesn't block yet or any more.
func (c *conn) call(args ...string) (string, error) {
	if err := unix.SetNonblock(c.fd, false); err != nil {
		return "", err
	}
	c.out = appendCommand(c.out[:0], args...)
	for at := 0; at < len(c.out); {
		n, err := unix.Write(c.fd, c.out[at:])
		if err != nil {
			return "", fmt.Errorf("write: %w", err)
		}
		at += n
	}
	var in []byte
	for {
		if n := replyLength(in); n > 0 {
			return string(in[:n]), unix.SetNonblock(c.fd, true)
		}
		buf := make([]byte, 16<<10)
		n, err := unix.Read(c.fd, buf)
		if err != nil {
			return "", fmt.Errorf("read: %w", err)
		}
		if n == 0 {
			return "", ErrClosed
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
