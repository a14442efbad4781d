package resp

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command/commandtest"
)

// waits reports whether a command of the session waits.
func (r *rig) waits(c *client) func() bool {
	return r.conn(c).session.Waiting
}

// TestMonitorOverTCP: what others do arrives beside the replies, from connections of loops too, until the end.
func TestMonitorOverTCP(t *testing.T) {
	r := start(t, true, Limits{})
	m, other := r.dial(t), r.dial(t)
	other.say("SET k v\r\n", 1)
	r.parked(t, 1)
	if got := m.say("MONITOR\r\n", 1); got != "+OK\r\n" {
		t.Fatalf("MONITOR answered %q", got)
	}
	for range 100 {
		other.say("GET k\r\n", 2)
	}
	got := m.say("", 100)
	if n := strings.Count(got, `127.0.0.1:`); n != 100 || strings.Count(got, `] "GET" "k"`+"\r\n") != 100 {
		t.Errorf("the monitor reads %q", got)
	}
	if got := m.say("ECHO x\r\n", 3); !strings.Contains(got, "$1\r\nx\r\n") || !strings.Contains(got, `] "ECHO" "x"`) {
		t.Errorf("its own command answers %q", got)
	}
	m.say("QUIT\r\n", 1)
	m.ends()
	other.say("GET k\r\n", 2)
}

// TestMonitorThatDoesNotRead: it is cut, and the others are served all along.
func TestMonitorThatDoesNotRead(t *testing.T) {
	r := start(t, true, Limits{})
	m, other := r.dial(t), r.dial(t)
	if err := m.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	m.say("MONITOR\r\n", 1)
	batch := strings.Repeat("SET k "+strings.Repeat("v", 4000)+"\r\n", 50)
	until(t, "the monitor to be cut", func() bool {
		other.say(batch, 50)
		return r.Registry.Len() == 1
	})
}

// TestStopWithMonitors: the end of the server is theirs.
func TestStopWithMonitors(t *testing.T) {
	r := start(t, true, Limits{DrainTimeout: 10 * time.Second})
	m := r.dial(t)
	m.say("MONITOR\r\n", 1)
	r.stop()
	m.ends()
}

// TestPausedOverTCP: the commands of a loop's connections wait too, and hold no loop up.
func TestPausedOverTCP(t *testing.T) {
	r := start(t, true, Limits{})
	a, b, c := r.dial(t), r.dial(t), r.as(t, commandtest.AWriteSecret)
	for _, each := range []*client{a, b, c} {
		each.say("SET k v\r\n", 1)
	}
	waits := r.waits(a)
	for range parkAfter + 1 { // to be parked again
		a.say("PING\r\n", 1)
	}
	r.parked(t, 3)
	b.say("CLIENT PAUSE 1000000 WRITE\r\n", 1)
	if got := a.say("GET k\r\nSET k w\r\nGET k\r\n", 2); got != "$1\r\nv\r\n" {
		t.Errorf("what is before the paused write answered %q", got)
	}
	until(t, "the write to wait", waits)
	if got := b.say("GET k\r\n", 2); got != "$1\r\nv\r\n" {
		t.Errorf("a read of the paused namespace answered %q", got)
	}
	if got := c.say("SET k 2\r\n", 1); got != "+OK\r\n" {
		t.Errorf("another namespace's write answered %q", got)
	}
	b.say("CLIENT UNPAUSE\r\n", 1)
	if got := a.say("", 3); got != "+OK\r\n$1\r\nw\r\n" {
		t.Errorf("the paused write answered %q", got)
	}
}

// TestWaitEndsWithItsPeer: nobody reads from a connection whose command waits without end.
func TestWaitEndsWithItsPeer(t *testing.T) {
	r := start(t, true, Limits{})
	c := r.dial(t)
	waits := r.waits(c)
	c.say("SET k v\r\nWAIT 1 0\r\n", 1)
	until(t, "WAIT to wait", waits)
	_ = c.Close()
	until(t, "the session to end", func() bool { return r.Registry.Len() == 0 })
}

// TestStopWithWaiting: a command that waits ends with the node, and is answered.
func TestStopWithWaiting(t *testing.T) {
	r := start(t, true, Limits{DrainTimeout: 10 * time.Second})
	c := r.dial(t)
	waits := r.waits(c)
	_, _ = io.WriteString(c, "WAIT 1 0\r\n")
	until(t, "WAIT to wait", waits)
	r.stop()
	if got := c.ends(); got != ":0\r\n" {
		t.Errorf("answered %q", got)
	}
}

// TestStopWithPaused: what was read before the node's end is answered, paused or not.
func TestStopWithPaused(t *testing.T) {
	r := start(t, true, Limits{DrainTimeout: 10 * time.Second})
	c, other := r.dial(t), r.dial(t)
	waits := r.waits(c)
	other.say("CLIENT PAUSE 1000000\r\n", 1)
	_, _ = io.WriteString(c, "SET k v\r\nGET k\r\n")
	until(t, "the write to wait", waits)
	r.stop()
	if got := c.ends(); got != "+OK\r\n$1\r\nv\r\n" {
		t.Errorf("answered %q", got)
	}
}
