package resp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/rpc/atollpb"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// remote makes the accepted connections look as if they came from another host.
type remote struct{ net.Listener }

func (r remote) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 6379} }

type rig struct {
	*commandtest.Bench
	addr   string
	server *Server
	stop   func() // cancels Run and waits for it
}

// start serves a node in memory on a loopback port.
func start(t testing.TB, loopback bool, l Limits) *rig {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if !loopback {
		ln = remote{ln}
	}
	r := serve(t, l, Listener{Listener: ln})
	r.addr = addr
	return r
}

// serve serves a node in memory on the listeners.
func serve(t testing.TB, l Limits, listeners ...Listener) *rig {
	t.Helper()
	return serveOn(t, commandtest.New(t), l, listeners...)
}

func serveOn(t testing.TB, b *commandtest.Bench, l Limits, listeners ...Listener) *rig {
	t.Helper()
	r := &rig{Bench: b}
	s := NewServer(Config{Listeners: listeners, Executor: r.Executor, Sessions: r.Registry, Views: r.Node.Views, Limits: l, Log: slog.New(slog.DiscardHandler)})
	r.server = s
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var stopped bool
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := r.Registry.Len(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		if m := &s.memory; m.total != 0 || m.anonymous != 0 || m.dying != 0 {
			t.Errorf("%d bytes are on the account of nobody, %d of the anonymous, %d of the dying", m.total, m.anonymous, m.dying)
		}
	}
	t.Cleanup(r.stop)
	return r
}

type client struct {
	net.Conn
	r *bufio.Reader
	t testing.TB
}

func (r *rig) dial(t testing.TB) *client {
	t.Helper()
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{nc, bufio.NewReader(nc), t}
}

// say sends text and returns n lines.
func (c *client) say(text string, lines int) string {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
	var b strings.Builder
	for range lines {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("after %q: %v", b.String(), err)
		}
		b.WriteString(line)
	}
	return b.String()
}

// bulk sends text and returns the string that answers it.
func (c *client) bulk(text string) string {
	c.t.Helper()
	head := c.say(text, 1)
	n, err := strconv.Atoi(strings.Trim(head, "$\r\n"))
	if err != nil || head[0] != '$' {
		c.t.Fatalf("%q was answered by %q", text, head)
	}
	b := make([]byte, n+2)
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.t.Fatal(err)
	}
	return string(b[:n])
}

// ends fails the test unless the server closes the connection, and returns what it said last.
func (c *client) ends() string {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		c.t.Errorf("the connection did not end: %v", err)
	}
	return string(b)
}

func TestServerServes(t *testing.T) {
	r := start(t, true, Limits{})
	c := r.dial(t)
	if got := c.say("SET k v\r\nGET k\r\n*1\r\n$4\r\nPING\r\n", 4); got != "+OK\r\n$1\r\nv\r\n+PONG\r\n" {
		t.Errorf("got %q", got)
	}
	if got := c.say("QUIT\r\n", 1); got != "+OK\r\n" {
		t.Errorf("got %q", got)
	}
	c.ends()
	anonymous := start(t, false, Limits{}).dial(t)
	if got := anonymous.say("GET k\r\n", 1); got != "-NOAUTH Authentication required.\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestHostileInput(t *testing.T) {
	r := start(t, false, Limits{})
	for _, tt := range []struct{ send, want string }{
		{"*1\r\n$9223372036854775807\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
		{"*2000000000\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
		{"*1\r\n$-100\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
		{"POST / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		{strings.Repeat("x", 100<<10), "-ERR Protocol error: too big inline request\r\n"},
	} {
		c := r.dial(t)
		_, _ = io.WriteString(c, tt.send) // the server may hang up before the end
		if got := c.ends(); got != tt.want {
			t.Errorf("%.40q: got %q, want %q", tt.send, got, tt.want)
		}
	}
	c := r.dial(t)
	if got := c.say("\r\nAUTH "+commandtest.AWriteSecret+"\r\nPING\r\n", 2); got != "+OK\r\n+PONG\r\n" {
		t.Errorf("the server is not well: %q", got)
	}
}

func TestRevocationReachesAnIdleSession(t *testing.T) {
	r := start(t, false, Limits{})
	a, b := r.dial(t), r.dial(t)
	a.say("AUTH "+commandtest.AWriteSecret+"\r\n", 1)
	b.say("AUTH "+commandtest.BWriteSecret+"\r\n", 1)
	r.Install(t, &atollpb.ViewFrame{FromRevision: 100, Revision: 101, Last: true, RemovedTokens: []string{"t-a-rw"}})
	if got := a.ends(); got != "" {
		t.Errorf("got %q", got)
	}
	if got := b.say("PING\r\n", 1); got != "+PONG\r\n" {
		t.Errorf("the other session got %q", got)
	}
}

func TestClientKillAndList(t *testing.T) {
	r := start(t, false, Limits{})
	a, a2, b := r.dial(t), r.dial(t), r.dial(t)
	a.say("AUTH "+commandtest.AWriteSecret+"\r\n", 1)
	a2.say("AUTH "+commandtest.AWriteSecret+"\r\nCLIENT SETNAME second\r\n", 2)
	b.say("AUTH "+commandtest.BWriteSecret+"\r\n", 1)
	idOf := func(c *client) string { return strings.Trim(c.say("CLIENT ID\r\n", 1), ":\r\n") }
	if got := a.say("CLIENT KILL ID "+idOf(b)+"\r\n", 1); got != ":0\r\n" {
		t.Errorf("a tenant killed another's connection: %q", got)
	}
	if got := a.say("CLIENT LIST\r\n", 4); strings.Contains(got, "namespace=b") || !strings.Contains(got, "name=second") {
		t.Errorf("CLIENT LIST of a: %q", got)
	}
	if got := a.say("CLIENT KILL ID "+idOf(a2)+"\r\n", 1); got != ":1\r\n" {
		t.Errorf("got %q", got)
	}
	a2.ends()
}

func TestMaxClients(t *testing.T) {
	r := start(t, true, Limits{MaxClients: 1})
	c := r.dial(t)
	c.say("PING\r\n", 1)
	if got := r.dial(t).ends(); got != "-ERR max number of clients reached\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestTimeLimits(t *testing.T) {
	r := start(t, false, Limits{AuthTimeout: time.Millisecond, IdleTimeout: 1500 * time.Millisecond})
	idle, anonymous := r.dial(t), r.dial(t)
	idle.say("AUTH "+commandtest.AWriteSecret+"\r\n", 1)
	anonymous.ends()
	idle.ends()
}

func TestStalledPeerIsCut(t *testing.T) {
	r := start(t, true, Limits{WriteTimeout: time.Millisecond})
	c := r.dial(t)
	c.say("SET k "+strings.Repeat("v", 60<<10)+"\r\n", 1)
	go func() { // never reads; ends with the connection
		for {
			if _, err := io.WriteString(c, strings.Repeat("GET k\r\n", 1000)); err != nil {
				return
			}
		}
	}()
	for start := time.Now(); r.Registry.Len() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > 15*time.Second {
			t.Fatal("the connection lives on")
		}
	}
}

func TestDrainAnswersWhatIsRunning(t *testing.T) {
	r := start(t, true, Limits{})
	entered, leave := make(chan struct{}), make(chan struct{})
	r.Node.OnNamespaces = hold(entered, leave)
	busy, idle := r.dial(t), r.dial(t)
	idle.say("PING\r\n", 1)
	busy.say("AUTH "+commandtest.AdminSecret+"\r\n", 1)
	if _, err := io.WriteString(busy, "NAMESPACE ADD x secret\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	stopped := make(chan struct{})
	go func() {
		r.stop()
		close(stopped)
	}()
	idle.ends() // at once
	close(leave)
	if got := busy.ends(); got != "+OK\r\n" {
		t.Errorf("got %q", got)
	}
	<-stopped
}

// What the peer sent behind a command that is answered during the drain must not cost it the reply: closing with
// unread bytes would throw away what the peer hasn't taken yet.
func TestDrainLosesNoReply(t *testing.T) {
	const size = 8 << 20
	r := start(t, true, Limits{})
	c := r.dial(t)
	_ = c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.say(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\n", size, strings.Repeat("v", size)), 1)
	served := r.conn(c)
	_, _ = io.WriteString(c, "GET k\r\n")
	until(t, "write that waits", func() bool { return served.writing.Load() != 0 })
	_, _ = io.WriteString(c, "PING\r\n")
	stopped := make(chan struct{})
	go func() {
		r.stop()
		close(stopped)
	}()
	until(t, "drain", r.server.draining.Load)
	n, err := io.Copy(io.Discard, c.r)
	if want := int64(size + len("$8388608\r\n\r\n")); n != want || err != nil {
		t.Errorf("%d of %d bytes of the reply, then %v", n, want, err)
	}
	<-stopped
}

// BenchmarkServer runs pipelines of 16 over a loopback connection.
func BenchmarkServer(b *testing.B) {
	for _, line := range []string{"PING", "GET key", "SET key value"} {
		b.Run(strings.Fields(line)[0], func(b *testing.B) {
			r := start(b, true, Limits{})
			c := r.dial(b)
			_ = c.SetDeadline(time.Time{})
			c.say("SET key value\r\n", 1)
			var one strings.Builder
			words := strings.Fields(line)
			fmt.Fprintf(&one, "*%d\r\n", len(words))
			for _, w := range words {
				fmt.Fprintf(&one, "$%d\r\n%s\r\n", len(w), w)
			}
			const pipeline = 16
			text := []byte(strings.Repeat(one.String(), pipeline))
			lines := 1
			if words[0] == "GET" {
				lines = 2
			}
			b.ReportAllocs()
			for n := 0; n < b.N; n += pipeline {
				if _, err := c.Write(text); err != nil {
					b.Fatal(err)
				}
				for range pipeline * lines {
					if _, err := c.r.ReadSlice('\n'); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// hold answers a change of the namespaces once leave is closed.
func hold(entered, leave chan struct{}) func(command.NamespaceCall) (command.NamespaceResult, error) {
	return func(command.NamespaceCall) (command.NamespaceResult, error) {
		close(entered)
		<-leave
		return command.NamespaceResult{}, nil
	}
}

func TestMalformedInputIsSilentWithoutReplies(t *testing.T) {
	r := start(t, true, Limits{})
	for _, mode := range []string{"OFF", "SKIP"} {
		c := r.dial(t)
		_, _ = io.WriteString(c, "CLIENT REPLY "+mode+"\r\n*1\r\n$x\r\n")
		if got := c.ends(); got != "" {
			t.Errorf("%s: got %q", mode, got)
		}
	}
}
