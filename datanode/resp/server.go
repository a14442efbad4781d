package resp

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/tlsfiles"
)

// Limits of the edge. A zero field takes its default. MaxClients, MemoryBytes and IdleTimeout are the Executor's once
// there is a server: CONFIG SET changes them.
type Limits struct {
	Reader      ReaderLimits
	MaxClients  int // connections; default 10,000
	ClientsMost int // that CONFIG SET may make of MaxClients; default no bound
	OutputBytes int // replies of one run that may wait in memory; default 1 GiB
	// MemoryBytes is what the buffers of all connections may hold beyond 4 KiB each; default 1 GiB. Those that have not
	// authenticated have an eighth of it.
	MemoryBytes int
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
	// writeChunk is written under one time limit, in bytes.
	writeChunk = 256 << 10
	// keepOutput is the largest output buffer that outlives a batch, in bytes.
	keepOutput = 64 << 10
)

// Listener is a port or a socket that clients connect to.
type Listener struct {
	net.Listener
	Certificates *tlsfiles.Certificates // nil: plain text
}

// Config is what a Server is made of.
type Config struct {
	Listeners []Listener
	Executor  *command.Executor
	Sessions  *command.Registry
	Views     *tenant.Views
	Limits    Limits
	Log       *slog.Logger
}

// Server accepts connections and executes what they send.
type Server struct {
	Config
	memory   memory
	mu       sync.Mutex
	conns    map[*conn]struct{}
	draining atomic.Bool
	// strangers are the connections that had not authenticated when a place was last looked for, oldest first.
	strangers list.List
	wg        sync.WaitGroup // of connections
	loops     []*loop        // since begun, when the first connection was parked
	begun     sync.Once
	commands  context.Context // of what they execute

	cutLines, crossLines, pushLines rarely
}

// WithDefaults returns l with the defaults in place of zero fields.
func (l Limits) WithDefaults() Limits {
	l.Reader.setDefaults()
	orDefault(&l.AuthTimeout, time.Minute)
	orDefault(&l.WriteTimeout, 30*time.Second)
	orDefault(&l.DrainTimeout, 5*time.Second)
	orDefault(&l.MaxClients, 10_000)
	orDefault(&l.OutputBytes, 1<<30)
	orDefault(&l.MemoryBytes, 1<<30)
	return l
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// NewServer returns a server that Run starts.
func NewServer(c Config) *Server {
	l := c.Limits.WithDefaults()
	c.Limits = l
	c.Executor.Edge().Begin(l.MaxClients, l.MemoryBytes, l.IdleTimeout, l.ClientsMost)
	return &Server{Config: c, conns: make(map[*conn]struct{})}
}

// Run serves until ctx ends. Then it accepts nothing more, lets every connection finish and answer the
// pipeline it is executing, for at most DrainTimeout, and closes them.
func (s *Server) Run(ctx context.Context) error {
	var stop context.CancelFunc
	s.commands, stop = context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var own sync.WaitGroup
	own.Go(func() { s.sweep(ctx) })
	errs := make([]error, len(s.Listeners))
	for i, l := range s.Listeners {
		own.Go(func() {
			defer cancel()
			errs[i] = s.accept(ctx, l)
		})
		own.Go(func() {
			<-ctx.Done()
			_ = l.Close() // ends the accept
		})
		if l.Certificates != nil {
			own.Go(func() { l.Certificates.Watch(ctx, s.Log) })
		}
	}
	own.Wait()
	s.drain(stop)
	closeLoops(s.loops)
	return errors.Join(errs...)
}

// drain ends every connection: those that wait for a command at once, the others after their batch.
func (s *Server) drain(stop context.CancelFunc) {
	s.draining.Store(true)
	for _, c := range s.list() {
		c.wake()
		c.session.Hurry()
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
		c.end()
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

// sweep closes connections that outlived a time limit or whose token has expired, and at once those whose token or
// namespace a new view doesn't hold any more. A change costs what it touches, not a look at every connection.
func (s *Server) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var seen *tenant.View
	for all := true; ; {
		changed := s.Views.Changed()
		view, touched, ok := s.Views.Touched(seen)
		if seen = view; all || !ok {
			s.sweepAll(view, time.Now())
		} else {
			s.Executor.EndFallen(view, touched, time.Now())
		}
		s.Executor.ReleaseWaiters()
		select {
		case <-changed:
			all = false
		case <-tick.C:
			all = true
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) sweepAll(view *tenant.View, now time.Time) {
	list := s.list()
	s.shed(list, now)
	for _, c := range list {
		if reason := c.overdue(view, now); reason != "" {
			s.Log.Debug("connection closed", "session", c.session.ID, "reason", reason)
			c.session.Close()
		}
	}
}
