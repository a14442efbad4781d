package loadgen

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// run is a load under way.
type run struct {
	load   *Load
	conns  []*conn
	epoll  int
	rand   random
	began  time.Time
	now    time.Duration // since began
	result Result
	asked  int64 // commands that were sent
}

func (l *Load) run(ctx context.Context) (*Result, error) {
	// The thread is the connections' alone: no other goroutine waits for it, and it never parks in Go.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r := &run{load: l, rand: random(l.Seed*0x9e3779b97f4a7c15 + 1)}
	defer r.close()
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	pid := l.serverPID(ctx)
	before, known := processCPU(pid)
	if err := r.loop(ctx); err != nil {
		return nil, err
	}
	if after, ok := processCPU(pid); ok && known {
		r.result.CPU = after - before
	}
	return &r.result, nil
}

func (r *run) connect(ctx context.Context) error {
	var err error
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		r.epoll = -1
		return fmt.Errorf("make an epoll: %w", err)
	}
	for range r.load.Conns {
		c, err := dial(ctx, r.load)
		if err != nil {
			return err
		}
		c.number = int32(len(r.conns))
		r.conns = append(r.conns, c)
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: c.number}
		if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, c.fd, &event); err != nil {
			return fmt.Errorf("watch a connection: %w", err)
		}
	}
	return nil
}

func (r *run) close() {
	for _, c := range r.conns {
		_ = unix.Close(c.fd)
	}
	if r.epoll >= 0 {
		_ = unix.Close(r.epoll)
	}
}

// loop sends a pipeline on each connection, and another one whenever one has been answered.
func (r *run) loop(ctx context.Context) error {
	r.began = time.Now()
	for _, c := range r.conns {
		if err := r.send(c); err != nil {
			return err
		}
	}
	events := make([]unix.EpollEvent, 512)
	last := time.Duration(0)
	for r.result.Requests < r.asked {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := unix.EpollWait(r.epoll, events, 1000)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("wait for replies: %w", err)
		}
		r.now = time.Since(r.began)
		if n > 0 {
			r.result.Gap = max(r.result.Gap, r.now-last)
			last = r.now
		}
		for i := range max(n, 0) {
			if err := r.serve(r.conns[events[i].Fd], events[i].Events); err != nil {
				return err
			}
		}
	}
	r.result.Took = time.Since(r.began)
	return nil
}

// serve goes on with a connection that can be read, or written again.
func (r *run) serve(c *conn, events uint32) error {
	if events&unix.EPOLLOUT != 0 {
		return r.flush(c)
	}
	answered, err := c.receive(&r.result)
	if err != nil || !answered {
		return err
	}
	took := time.Since(r.began) - c.sent
	r.result.Latency.Add(took, int64(c.batch))
	r.result.Requests += int64(c.batch)
	return r.send(c)
}

// send writes the next pipeline of a connection, unless the load has ended.
func (r *run) send(c *conn) error {
	c.batch, c.waiting = 0, 0
	n := int64(r.load.Pipeline)
	if r.load.Requests > 0 {
		n = min(n, r.load.Requests-r.asked)
	}
	if n <= 0 || (r.load.Duration > 0 && r.now >= r.load.Duration) {
		return nil
	}
	c.out = c.out[:0]
	for range n {
		c.out = r.load.Workload.command(c.out, &r.rand)
	}
	c.batch, c.waiting = int(n), int(n)
	r.asked += n
	c.sent = time.Since(r.began)
	return r.flush(c)
}

// flush writes what is left, and asks to be told when the socket takes more.
func (r *run) flush(c *conn) error {
	done, err := c.flush()
	if err != nil || done == !c.blocked {
		return err
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: c.number}
	if !done {
		event.Events = unix.EPOLLOUT
	}
	c.blocked = !done
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_MOD, c.fd, &event); err != nil {
		return fmt.Errorf("watch a connection: %w", err)
	}
	return nil
}
