package resp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/tidwall/redcon"
)

const (
	// loopEvents is how many connections one turn of a loop serves.
	loopEvents = 128
	// stallAfter is how long a turn may take before another goroutine goes on with its loop.
	stallAfter = 2 * time.Millisecond
	// yieldEvery is after how many turns without a wait a loop lets other goroutines run.
	yieldEvery = 8
	// After coldRuns in a row that have waited for the disk their connections get goroutines, which wait at the same time.
	coldRuns = 3

	edgeTriggered = syscall.EPOLLET & 0xffffffff
)

// loop serves parked connections: it waits for all of them at once, and executes what has arrived on them together.
// One worker at a time polls; what it then does may take long, and another one polls meanwhile.
type loop struct {
	server *Server
	ep     int      // of epoll
	file   *os.File // the same, of which Go's own poller tells when there are events
	raw    syscall.RawConn
	bell   int // an eventfd among the polled, which wakes the one that polls

	mu      sync.Mutex
	conns   []*conn // by file descriptor
	tenants map[uint64]*loopTenant
	turn    uint64
	posted  []*conn // to be looked at without an event
	again   []*conn // claimed already, by a worker that is done with what it has read
	polling bool
	parked  bool // the one that polls waits
	closed  bool
	cold    int // runs in a row that have waited for the disk
	workers sync.WaitGroup
}

// newLoops returns the loops of a server; none if they can't be had.
func newLoops(s *Server) []*loop {
	loops := make([]*loop, 0, 1)
	for range runtime.GOMAXPROCS(0) {
		l, err := newLoop(s)
		if err != nil {
			s.Log.Warn("connections are served without an event loop", "error", err)
			closeLoops(loops)
			return nil
		}
		loops = append(loops, l)
	}
	for _, l := range loops {
		l.workers.Add(1)
		go newWorker(l).run(nil)
	}
	return loops
}

func newLoop(s *Server) (*loop, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	if err := syscall.SetNonblock(ep, true); err != nil { // which tells os.NewFile that it can be polled
		_ = syscall.Close(ep)
		return nil, fmt.Errorf("set up epoll: %w", err)
	}
	l := &loop{server: s, ep: ep, file: os.NewFile(uintptr(ep), "epoll"), bell: -1, tenants: make(map[uint64]*loopTenant)}
	if err = l.file.SetReadDeadline(time.Time{}); err == nil { // fails where Go's poller doesn't take it
		l.raw, err = l.file.SyscallConn()
	}
	if err == nil {
		err = l.hang()
	}
	if err != nil {
		l.shut()
		return nil, err
	}
	return l, nil
}

// hang makes the bell.
func (l *loop) hang() error {
	r, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if errno != 0 {
		return fmt.Errorf("create eventfd: %w", errno)
	}
	l.bell = int(r)
	if err := l.add(l.bell); err != nil {
		return fmt.Errorf("poll eventfd: %w", err)
	}
	return nil
}

func (l *loop) add(fd int) error {
	return syscall.EpollCtl(l.ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{
		Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | edgeTriggered, Fd: int32(fd),
	})
}

func (l *loop) shut() {
	_ = l.file.Close()
	if l.bell >= 0 {
		_ = syscall.Close(l.bell)
	}
}

// closeLoops ends loops whose connections have all ended.
func closeLoops(loops []*loop) {
	for _, l := range loops {
		l.mu.Lock()
		l.closed = true
		l.ring()
		l.mu.Unlock()
		l.workers.Wait()
		l.shut()
	}
}

// ring wakes the worker that polls, if it waits. The lock is held.
func (l *loop) ring() {
	if l.parked {
		l.parked = false
		one := [8]byte{1}
		_, _ = syscall.Write(l.bell, one[:]) // a full counter wakes too
	}
}

// post has a connection looked at.
func (l *loop) post(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posted = append(l.posted, c)
	l.ring()
}

// repeat has a connection looked at that its worker has claimed.
func (l *loop) repeat(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again = append(l.again, c)
	l.ring()
}

// parkAfter is how many batches a connection has a goroutine for after it has needed one.
const parkAfter = 64

// park hands a connection that has answered what it has read over to a loop, and reports whether it could: then the
// caller has nothing more to do with it.
func (c *conn) park() bool {
	s := c.server
	if c.stay > 0 {
		c.stay--
		return false
	}
	c.stay = parkAfter
	sc, ok := c.raw.(syscall.Conn)
	if !ok || c.nc != c.raw || !(c.trusted || c.session.Authenticated()) {
		return false
	}
	s.begun.Do(func() { s.loops = newLoops(s) })
	if len(s.loops) == 0 {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	fd := -1
	if err := raw.Control(func(own uintptr) { fd, err = dup(own) }); err != nil || fd < 0 {
		return false
	}
	c.session.Slim()
	if c.account() != nil {
		_ = syscall.Close(fd)
		return false
	}
	l := s.loops[int(c.session.ID)%len(s.loops)]
	l.enlist(fd, c)
	c.mu.Lock()
	if c.ended || s.draining.Load() || l.add(fd) != nil {
		c.mu.Unlock()
		l.strike(fd)
		_ = syscall.Close(fd)
		return false
	}
	_ = c.raw.Close() // takes it from Go's poller; the duplicate keeps it open
	c.fd, c.loop = fd, l
	c.mu.Unlock()
	c.state.Store(stateIdle)
	l.post(c) // what has arrived meanwhile, or is in the buffer, makes no event
	return true
}

func dup(fd uintptr) (int, error) {
	r, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

// detach takes a claimed connection away from its loop, and gives the caller its descriptor.
func (c *conn) detach() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	fd := c.fd
	c.state.Store(stateAway)
	c.loop.strike(fd)
	_ = syscall.EpollCtl(c.loop.ep, syscall.EPOLL_CTL_DEL, fd, nil) // it is there
	c.fd = 0
	return fd
}

// unpark gives a claimed connection a goroutine, which executes cmds first, and goes on.
func (c *conn) unpark(cmds []redcon.Command) {
	fd := c.detach()
	f := os.NewFile(uintptr(fd), "connection")
	nc, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		c.server.Log.Warn("connection dropped: it can't be polled", "session", c.session.ID, "error", err)
		c.finish()
		return
	}
	c.mu.Lock()
	c.raw, c.nc = nc, nc
	if c.ended {
		_ = nc.Close()
	}
	c.mu.Unlock()
	go c.serve(cmds)
}

// drop ends a claimed connection.
func (c *conn) drop() {
	_ = syscall.Close(c.detach())
	c.finish()
}

// hangParked has the loop see that a parked connection has ended. c.mu is held, else the descriptor may be another's.
func (c *conn) hangParked() { _ = syscall.Shutdown(c.fd, syscall.SHUT_RDWR) }

// errAgain says that a parked connection has nothing more to read.
var errAgain = errors.New("nothing to read")

// errTurn says that a parked connection has read what it may in one turn.
var errTurn = errors.New("its turn is over")

func (c *conn) readParked(b []byte) (int, error) {
	if c.hasRead {
		return 0, errTurn
	}
	c.hasRead = true
	for {
		n, err := syscall.Read(c.fd, b)
		switch {
		case n > 0:
			return n, nil
		case err == nil:
			return 0, io.EOF
		case errors.Is(err, syscall.EAGAIN):
			return 0, errAgain
		case !errors.Is(err, syscall.EINTR):
			return 0, err
		}
	}
}

// poll waits for connections, which it claims for w. It reports false when w isn't needed.
func (l *loop) poll(w *worker) bool {
	l.mu.Lock()
	if l.polling || l.closed {
		l.mu.Unlock()
		return false
	}
	l.polling = true
	for !l.closed {
		wait := len(l.posted) == 0 && len(l.again) == 0
		l.parked = wait
		l.mu.Unlock()
		n := l.wait(w.events[:], wait)
		l.mu.Lock()
		l.parked = false
		l.claim(w, n)
		if w.claimed = l.ration(w.claimed); len(w.claimed) > 0 {
			break
		}
	}
	l.polling = false
	l.mu.Unlock()
	return len(w.claimed) > 0
}

// wait returns the number of events, which may be 0 if it need not wait for one.
func (l *loop) wait(events []syscall.EpollEvent, wait bool) (n int) {
	look := func(uintptr) bool {
		got, err := syscall.EpollWait(l.ep, events, 0)
		n = max(got, 0)
		return n > 0 || err != nil && !errors.Is(err, syscall.EINTR)
	}
	if !look(0) && wait {
		_ = l.raw.Read(look) // an error is the end of the loop
	}
	return n
}

// claim takes the connections of n events, and those that were posted, for w. The lock is held.
func (l *loop) claim(w *worker, n int) {
	w.claimed = append(w.claimed[:0], l.again...)
	clear(l.again)
	l.again = l.again[:0]
	for _, c := range l.posted {
		if c.claim() {
			w.claimed = append(w.claimed, c)
		}
	}
	clear(l.posted)
	l.posted = l.posted[:0]
	for i := range n {
		e := &w.events[i]
		if int(e.Fd) == l.bell {
			var b [8]byte
			_, _ = syscall.Read(l.bell, b[:])
			continue
		}
		c := l.conns[e.Fd]
		if c == nil {
			continue // it has left
		}
		if e.Events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
			c.hup.Store(true)
		}
		if c.claim() {
			w.claimed = append(w.claimed, c)
		}
	}
}

// note notes whether a run has waited for the disk, and reports whether they all do lately.
func (l *loop) note(cold bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !cold {
		l.cold = 0
		return false
	}
	l.cold++
	return l.cold >= coldRuns
}
