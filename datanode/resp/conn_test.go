package resp

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
)

// opened returns a connection from another host that was opened an hour ago, and its peer's end.
func opened(t *testing.T, b *commandtest.Bench, l Limits) (*conn, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() {
		_ = ours.Close()
		_ = theirs.Close()
	})
	s := b.Registry.Open(command.Peer{Remote: "192.0.2.1:1", Local: "192.0.2.2:6379"}, 0, time.Now().Add(-time.Hour), nil)
	t.Cleanup(func() { b.Registry.Remove(s) })
	c := &conn{server: NewServer(Config{Executor: b.Executor, Sessions: b.Registry, Limits: l}), raw: ours, nc: ours, session: s}
	c.reader = NewReader(c, l.Reader)
	return c, theirs
}

func TestTimeToAuthenticateBeginsAgainAtReset(t *testing.T) {
	b := commandtest.New(t)
	c, _ := opened(t, b, Limits{AuthTimeout: time.Minute})
	check := func(when string, in time.Duration, want string) {
		t.Helper()
		if got := c.overdue(b.Node.Views.Current(), time.Now().Add(in)); got != want {
			t.Errorf("%s, in %v: %q, want %q", when, in, got, want)
		}
	}
	check("opened an hour ago", 0, "it did not authenticate")
	b.Do(t, c.session, "RESET")
	check("reset without ever having authenticated", 0, "it did not authenticate")
	b.Do(t, c.session, "AUTH", commandtest.AWriteSecret)
	check("authenticated", time.Hour, "")
	b.Do(t, c.session, "RESET")
	check("reset", 0, "")
	check("reset", 2*time.Minute, "it did not authenticate")
}

func TestWhatMovesIsNotIdle(t *testing.T) {
	b := commandtest.New(t)
	now := time.Now()
	b.Env.Clock = func() time.Time { return now }
	for name, move := range map[string]func(c *conn, peer net.Conn){
		"nothing": nil,
		"part of a command": func(c *conn, peer net.Conn) {
			go func() { _, _ = io.WriteString(peer, "*2\r\n") }()
			_, _ = c.Read(make([]byte, 10))
		},
		"a reply": func(c *conn, peer net.Conn) {
			go func() { _, _ = io.Copy(io.Discard, peer) }()
			c.session.Out.OK()
			_ = c.flush()
		},
		"the end of a command": func(c *conn, _ net.Conn) {
			b.Node.OnNamespaces = func(command.NamespaceCall) (command.NamespaceResult, error) {
				now = time.Now()
				return command.NamespaceResult{}, nil
			}
			now = time.Now().Add(-time.Hour)
			b.Pipeline(t, c.session, []string{"AUTH", commandtest.AdminSecret}, []string{"NAMESPACE", "ADD", "x", "secret"})
		},
	} {
		c, peer := opened(t, b, Limits{IdleTimeout: time.Minute, AuthTimeout: 2 * time.Hour})
		want := "idle"
		if move != nil {
			move(c, peer)
			want = ""
		}
		if got := c.overdue(b.Node.Views.Current(), time.Now()); got != want {
			t.Errorf("after %s: %q, want %q", name, got, want)
		}
	}
}
