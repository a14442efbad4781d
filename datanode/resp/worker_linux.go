package resp

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/tidwall/redcon"
)

// worker is a goroutine that takes turns at a loop, and what it reuses.
type worker struct {
	loop    *loop
	joint   *command.Joint
	scratch command.JointScratch
	events  [loopEvents]syscall.EpollEvent
	claimed []*conn
	batch   []*conn // whose commands are executed
	alarm   *time.Timer

	mu      sync.Mutex
	open    bool    // others may help with the batch
	of      *worker // whose batch it executes
	helpers sync.WaitGroup
}

func newWorker(l *loop) *worker {
	w := &worker{loop: l, joint: l.server.Executor.NewJoint()}
	w.alarm = time.AfterFunc(time.Hour, w.relieve)
	w.alarm.Stop()
	return w
}

// relieve starts a worker in the place of one that is stuck.
func (w *worker) relieve() {
	w.mu.Lock()
	of := w.of // a helper that is stuck needs help with the batch that it helps with
	w.mu.Unlock()
	l := w.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed { // then nobody is stuck: it was late
		return
	}
	l.workers.Add(1)
	go newWorker(l).run(of)
}

// run takes turns until another worker polls. stuck is a worker that may need help.
func (w *worker) run(stuck *worker) {
	l := w.loop
	defer l.workers.Done()
	defer w.alarm.Stop()
	if stuck != nil {
		w.mu.Lock()
		w.of = stuck
		w.mu.Unlock()
		w.alarm.Reset(stallAfter)
		w.help(stuck)
		w.alarm.Stop()
	}
	for turns := 1; l.poll(w); turns++ {
		w.turn()
		if turns%yieldEvery == 0 {
			runtime.Gosched()
		}
	}
}

// help executes what a stuck worker has not begun.
func (w *worker) help(stuck *worker) {
	stuck.mu.Lock()
	if !stuck.open {
		stuck.mu.Unlock()
		return
	}
	stuck.helpers.Add(1)
	stuck.mu.Unlock()
	defer stuck.helpers.Done()
	w.serve(stuck)
}

// turn serves the claimed connections.
func (w *worker) turn() {
	now := time.Now()
	ready := w.joint.Begin()
	for _, c := range w.claimed {
		w.take(c, ready, now)
	}
	if ready {
		if len(w.batch) > 0 {
			w.execute()
		}
		w.joint.End()
	}
	clear(w.batch)
	w.batch = w.batch[:0]
	clear(w.claimed)
	w.claimed = w.claimed[:0]
}

// execute executes the batch, with the help of others if it takes long.
func (w *worker) execute() {
	w.joint.Order()
	w.mu.Lock()
	w.open, w.of = true, w
	w.mu.Unlock()
	w.alarm.Reset(stallAfter)
	w.serve(w)
	w.alarm.Stop()
	w.mu.Lock()
	w.open = false
	w.mu.Unlock()
	w.helpers.Wait()
}

// serve executes what nobody else does of another's batch, or its own, and answers.
func (w *worker) serve(of *worker) {
	of.joint.Execute(&w.scratch, func(numbers []int, rests [][]redcon.Command, cold bool) {
		now := time.Now()
		cold = w.loop.note(cold)
		for k, i := range numbers {
			w.answer(of.batch[i], rests[k], cold, now)
		}
	})
}

// take reads what has arrived on a connection, into the batch if its commands can be.
func (w *worker) take(c *conn, ready bool, now time.Time) {
	defer c.guard()
	if c.server.draining.Load() {
		c.unpark(nil)
		return
	}
	c.hasRead = false
	cmds, err := c.reader.Next(c.trusted || c.session.Authenticated())
	switch {
	case errors.Is(err, errTurn): // a part of a command
		c.session.Touch(now)
		if c.reader.large() {
			c.unpark(nil)
			return
		}
		w.loop.repeat(c)
		return
	case errors.Is(err, errAgain):
		if c.woken.CompareAndSwap(true, false) {
			_ = c.letGo() // one that was cut ends by itself
		}
		w.rest(c)
		return
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, errCut):
		c.drop()
		return
	case err != nil:
		c.unpark(nil) // its reader says it again
		return
	}
	c.session.Touch(now)
	c.busy.Store(true)
	switch {
	case c.cut.Load():
		c.drop() // the account has seen it idle, and forgotten what it holds
	case ready && w.joint.Add(c.session, cmds):
		c.cost = connCost + len(cmds)
		w.batch = append(w.batch, c)
	default:
		c.unpark(cmds)
	}
}

// guard ends a connection whose turn panics.
func (c *conn) guard() {
	if r := recover(); r != nil {
		c.server.Log.Error("connection panicked", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		if c.state.Load() != stateAway {
			c.drop()
		}
	}
}

// answer writes a connection's replies. rest are commands that were not executed.
func (w *worker) answer(c *conn, rest []redcon.Command, cold bool, now time.Time) {
	defer c.guard()
	c.busy.Store(false)
	closing, drop := c.session.Closing()
	if drop || c.account() != nil {
		c.drop()
		return
	}
	out := c.session.Out
	n, err := syscall.Write(c.fd, out.Bytes())
	if n = max(n, 0); n < out.Len() && err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR) {
		c.drop()
		return
	}
	c.session.Touch(now)
	if whole := n == out.Len(); !whole || closing || cold || len(rest) > 0 {
		out.Skip(n)
		c.unpark(rest)
		return
	}
	out.Reset(keepOutput)
	w.rest(c)
}

// rest lets go of a connection that has been served, unless there is more to do.
func (w *worker) rest(c *conn) {
	if c.reader.more() || c.hup.Swap(false) || !c.state.CompareAndSwap(stateClaimed, stateIdle) {
		c.state.Store(stateClaimed)
		w.loop.repeat(c)
	}
}
