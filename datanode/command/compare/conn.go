package compare

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Conn sends a pipeline of commands and returns one reply for each.
type Conn interface {
	Do(commands ...[]string) ([]Value, error)
}

// Require skips the test when the program isn't installed, or fails it when ATOLL_REQUIRE names it.
func Require(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	for _, name := range strings.FieldsFunc(os.Getenv("ATOLL_REQUIRE"), func(r rune) bool { return r == ',' || r == ' ' }) {
		if name == program {
			t.Fatalf("ATOLL_REQUIRE names %s, and it is not installed", program)
		}
	}
	t.Skipf("%s is not installed", program)
	return ""
}

// Redis is RedisDial, for one command after the other.
func Redis(t testing.TB, options ...string) func() Conn {
	t.Helper()
	dial := RedisDial(t, options...)
	return func() Conn { return NewConn(dial()) }
}

// RedisDial starts a redis-server without persistence on a Unix socket and returns a function that dials it. The
// test's end ends it.
func RedisDial(t testing.TB, options ...string) func() net.Conn {
	t.Helper()
	program := Require(t, "redis-server")
	dir, err := os.MkdirTemp("", "atoll-redis-") // a socket's path must be short, which t.TempDir's need not be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "redis.sock")
	args := append([]string{"--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir}, options...)
	// The server ends when this process does, however that comes: cat waits for the pipe to be closed.
	cmd := exec.Command("sh", append([]string{"-c", `"$0" "$@" >/dev/null & cat; kill $!; wait`, program}, args...)...)
	alive, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = alive.Close()
		_ = cmd.Wait() // the server's end, which was ordered
	})
	return func() net.Conn {
		deadline := time.Now().Add(10 * time.Second)
		for {
			c, err := net.Dial("unix", socket)
			if err == nil {
				t.Cleanup(func() { _ = c.Close() })
				return c
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond) // until the socket is there
		}
	}
}

type netConn struct {
	net.Conn
	r *bufio.Reader
}

// NewConn speaks RESP over c.
func NewConn(c net.Conn) Conn { return &netConn{c, bufio.NewReader(c)} }

func (c *netConn) Do(commands ...[]string) ([]Value, error) {
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := c.Write(Encode(commands...)); err != nil {
		return nil, err
	}
	replies := make([]Value, len(commands))
	for i := range replies {
		var err error
		if replies[i], err = Read(c.r); err != nil {
			return nil, fmt.Errorf("reply to %q: %w", commands[i], err)
		}
	}
	return replies, nil
}

// Encode writes commands as RESP arrays.
func Encode(commands ...[]string) []byte {
	var b []byte
	for _, command := range commands {
		b = fmt.Appendf(b, "*%d\r\n", len(command))
		for _, arg := range command {
			b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(arg), arg)
		}
	}
	return b
}
