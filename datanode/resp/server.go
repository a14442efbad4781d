package resp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/tenant"
)

// Limits of the edge. A zero field takes its default.
type Limits struct {
	Reader      ReaderLimits
	MaxClients  int           // connections; default 10,000
	OutputBytes int           // replies of one run that may wait in memory; default 1 GiB
	IdleTimeout time.Duration // in which the peer neither sends nor takes anything; default none
	// AuthTimeout is how long a connection may take to authenticate, once opened or RESET; default 60 s.
	AuthTimeout time.Duration
	// WriteTimeout is how long a peer may take 256 KiB of replies; default 30 s.
	WriteTimeout time.Duration
	// DrainTimeout is how long Run waits for running commands at its end; default 5 s.
	DrainTimeout time.Duration
}

const (
	// sweepEvery is how often connections are held against their time limits, and so the bound on how
	// late one ends. A new view is held against the sessions at once.
	sweepEvery = time.Second
	// acceptBackoffMax bounds the pause after a failed accept, e.g. without file descriptors.
	acceptBackoffMax = time.Second
	// writeChunk is written under one time limit, in bytes.
	writeChunk = 256 << 10
	// keepOutput is the largest output buffer that outlives a batch, in bytes.
	keepOutput = 64 << 10
)

// Config is what a Server is made of.
type Config struct {
	Listener net.Listener
	Executor *command.Executor
	Sessions *command.Registry
	Views    *tenant.Views
	Limits   Limits
	Log      *slog.Logger
}

// Server accepts connections and executes what they send.
type Server struct {
	Config
	mu       sync.Mutex
	conns    map[*conn]struct{}
	draining atomic.Bool
	wg       sync.WaitGroup
}

// NewServer returns a server that Run starts.
func NewServer(c Config) *Server {
	l := &c.Limits
	l.Reader.setDefaults()
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&l.AuthTimeout, time.Minute}, {&l.WriteTimeout, 30 * time.Second}, {&l.DrainTimeout, 5 * time.Second}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if l.MaxClients == 0 {
		l.MaxClients = 10_000
	}
	if l.OutputBytes == 0 {
		l.OutputBytes = 1 << 30
	}
	return &Server{Config: c, conns: make(map[*conn]struct{})}
}

// Run serves until ctx ends. Then it accepts nothing more, lets every connection finish and answer the
// pipeline it is executing, for at most DrainTimeout, and closes them.
func (s *Server) Run(ctx context.Context) error {
	commands, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var own sync.WaitGroup
	own.Go(func() { s.sweep(ctx) })
	own.Go(func() {
		<-ctx.Done()
		_ = s.Listener.Close() // ends the accept below
	})
	err := s.accept(ctx, commands)
	cancel()
	own.Wait()
	s.drain(stop)
	return err
}

// accept starts a goroutine for each connection until the listener is closed.
func (s *Server) accept(ctx, commands context.Context) error {
	backoff := time.Duration(0)
	for {
		nc, err := s.Listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept: %w", err)
			}
			backoff = min(max(2*backoff, 5*time.Millisecond), acceptBackoffMax)
			s.Log.Warn("accept failed", "error", err, "retry_in", backoff)
			select {
			case <-time.After(backoff):
			case <-ctx.Done():
			}
			continue
		}
		backoff = 0
		s.start(commands, nc)
	}
}

// start serves nc, or turns it away when there are too many.
func (s *Server) start(commands context.Context, nc net.Conn) {
	s.mu.Lock()
	full := len(s.conns) >= s.Limits.MaxClients
	s.mu.Unlock()
	if full {
		_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = nc.Write([]byte("-ERR max number of clients reached\r\n")) // as a courtesy
		_ = nc.Close()
		return
	}
	peer := command.NewPeer(nc, s.Listener.Addr())
	c := &conn{server: s, nc: nc, trusted: peer.Loopback}
	c.reader = NewReader(c, s.Limits.Reader)
	c.session = s.Sessions.Open(peer, s.Limits.OutputBytes, time.Now(), func() { _ = nc.Close() })
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.wg.Go(func() { c.serve(commands) })
}

// drain ends every connection: those that wait for a command at once, the others after their batch.
func (s *Server) drain(stop context.CancelFunc) {
	s.draining.Store(true)
	for _, c := range s.list() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	}
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	t := time.NewTimer(s.Limits.DrainTimeout)
	defer t.Stop()
	select {
	case <-done:
		return
	case <-t.C:
		s.Log.Warn("connections are cut off: they did not finish in time", "after", s.Limits.DrainTimeout)
	}
	stop()
	for _, c := range s.list() {
		_ = c.nc.Close()
	}
	<-done
}

func (s *Server) list() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		list = append(list, c)
	}
	return list
}

// sweep closes connections that outlived a time limit, and those whose token or namespace a new view
// doesn't hold any more.
func (s *Server) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		changed := s.Views.Changed()
		view, now := s.Views.Current(), time.Now()
		for _, c := range s.list() {
			if reason := c.overdue(view, now); reason != "" {
				s.Log.Debug("connection closed", "session", c.session.ID, "reason", reason)
				c.session.Close()
			}
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
