package resp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atolldb/atoll/datanode/command/commandtest"
)

// script is a listener that gives what it is told: a connection or an error.
type script struct {
	next   chan any
	closed chan struct{}
	once   sync.Once
	calls  []time.Time // of Accept
}

func newScript() *script { return &script{next: make(chan any), closed: make(chan struct{})} }

func (s *script) Accept() (net.Conn, error) {
	s.calls = append(s.calls, time.Now())
	select {
	case v := <-s.next:
		if err, ok := v.(error); ok {
			return nil, err
		}
		return v.(net.Conn), nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *script) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *script) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 6379} }

// dial gives the server one end of a connection, and returns the other.
func (s *script) dial(t *testing.T) net.Conn {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = ours.Close() })
	s.next <- theirs
	return ours
}

func TestAcceptBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newScript()
		r := serve(t, Limits{}, Listener{Listener: l})
		var want []time.Duration
		for pause := acceptBackoffMin; len(want) < 12; pause = min(2*pause, acceptBackoffMax) {
			l.next <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
			want = append(want, pause)
		}
		c := l.dial(t) // after the last pause; serves, and the next pause is short again
		_, _ = io.WriteString(c, "PING\r\n")
		b := make([]byte, 7)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "-NOAUTH" {
			t.Errorf("got %q, %v", b, err)
		}
		l.next <- syscall.ECONNABORTED
		want = append(want, 0, acceptBackoffMin)
		l.next <- syscall.ECONNABORTED
		for i, w := range want {
			if got := l.calls[i+1].Sub(l.calls[i]); got != w {
				t.Errorf("pause %d took %v, want %v", i, got, w)
			}
		}
		r.stop()
	})
}

// A listener that fails for good ends the server; one that waits out an error lets it end at once.
func TestAcceptEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := commandtest.New(t)
		bad, good := newScript(), newScript()
		s := NewServer(Config{
			Listeners: []Listener{{Listener: bad}, {Listener: good}}, Executor: b.Executor, Sessions: b.Registry, Views: b.Node.Views,
			Log: slog.New(slog.DiscardHandler),
		})
		done := make(chan error, 1)
		go func() { done <- s.Run(context.Background()) }()
		good.next <- syscall.EMFILE
		bad.next <- net.ErrClosed
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestRejectedConnectionsAreCounted(t *testing.T) {
	r := start(t, true, Limits{MaxClients: 1})
	c := r.dial(t)
	c.say("AUTH "+commandtest.AdminSecret+"\r\n", 1)
	for range 3 {
		r.dial(t).ends()
	}
	if got := c.bulk("INFO stats\r\n"); !strings.Contains(got, "rejected_connections:3\r\n") || !strings.Contains(got, "total_connections_received:1\r\n") {
		t.Errorf("got %q", got)
	}
}

// A guesser of tokens is cut by the time to authenticate though it is never idle, and doesn't hold up the end.
func TestGuessersAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newScript()
		r := serve(t, Limits{AuthTimeout: time.Minute, DrainTimeout: time.Hour}, Listener{Listener: l})
		guess := func() (refused int, err error) {
			c := l.dial(t)
			go func() {
				for {
					if _, err := io.WriteString(c, "AUTH guess\r\n"); err != nil {
						return
					}
				}
			}()
			b := make([]byte, len("-WRONGPASS invalid username-password pair or user is disabled.\r\n"))
			for {
				if _, err = io.ReadFull(c, b); err != nil {
					return refused, err
				}
				refused++
			}
		}
		start := time.Now()
		refused, err := guess()
		// 20 at once, then two a second for a minute and at most a second more.
		if took := time.Since(start); refused < 20+2*60-1 || refused > 20+2*62 || took < time.Minute || took > 62*time.Second {
			t.Errorf("%d guesses in %v, then %v", refused, took, err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = guess()
		}()
		time.Sleep(10 * time.Second)
		start = time.Now()
		r.stop()
		<-done
		if took := time.Since(start); took != 0 {
			t.Errorf("the end waited %v for a guesser", took)
		}
	})
}

// Whoever takes every place without a token can't keep out those that have one.
func TestStrangersMakeWay(t *testing.T) {
	r := start(t, false, Limits{MaxClients: 5})
	tenant := r.as(t, commandtest.AdminSecret) // who sees the node's counters
	var silent []*client
	for range 4 {
		c := r.dial(t)
		c.say("PING\r\n", 1) // so that they are accepted in this order
		silent = append(silent, c)
	}
	if got := r.as(t, commandtest.AWriteSecret).say("PING\r\n", 1); got != "+PONG\r\n" {
		t.Errorf("a tenant got %q", got)
	}
	silent[0].ends()
	if got := silent[1].say("AUTH "+commandtest.BWriteSecret+"\r\n", 1); got != "+OK\r\n" {
		t.Errorf("got %q", got)
	}
	for range 10 { // strangers oust each other
		r.dial(t).say("PING\r\n", 1)
	}
	for _, c := range []*client{tenant, silent[1]} {
		if got := c.say("PING\r\n", 1); got != "+PONG\r\n" {
			t.Errorf("a connection that has authenticated got %q", got)
		}
	}
	for range 2 { // the last places of strangers
		r.as(t, commandtest.AWriteSecret)
	}
	if got := r.dial(t).ends(); got != "-ERR max number of clients reached\r\n" {
		t.Errorf("there is no stranger left, but a new one got %q", got)
	}
	// 1 ousted by the tenant, 10 by strangers, 2 by the last tenants, 1 refused
	if got := tenant.bulk("INFO stats\r\n"); !strings.Contains(got, "rejected_connections:14\r\n") {
		t.Errorf("got %q", got)
	}
	r.stop()
	if n := r.server.strangers.Len(); n != 0 {
		t.Errorf("%d that have ended are still in the list", n)
	}
}

// Those that come and go while there is room leave nothing behind.
func TestStrangersThatEndAreForgotten(t *testing.T) {
	r := start(t, false, Limits{})
	for range 3 {
		c := r.dial(t)
		c.say("PING\r\n", 1)
		_ = c.Close()
	}
	r.stop()
	if n := r.server.strangers.Len(); n != 0 {
		t.Errorf("%d that have ended are still in the list", n)
	}
}
