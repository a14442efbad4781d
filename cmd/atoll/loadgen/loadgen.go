// Package loadgen puts a bounded load of Redis commands on a server and measures what it answers. One
// thread serves all connections by epoll, as redis-benchmark does: a generator that costs more than the
// server would measure itself.
package loadgen

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Load is one run against one server.
type Load struct {
	Addr     string // host:port, or the path of a unix socket
	Token    string // for AUTH; empty: none
	Conns    int    // at once, 1 to 10,000
	Pipeline int    // commands that a connection sends before it waits for their replies, 1 to 1,024
	Requests int64  // commands of the run; 0: until Duration ends it
	Duration time.Duration
	Workload Workload
	Seed     uint64
}

// The bounds of a load.
const (
	ConnsMax    = 10_000
	PipelineMax = 1_024
)

// Result is what a run has shown.
type Result struct {
	Requests int64
	Took     time.Duration
	Latency  Histogram     // from the write of a pipeline to the last reply of it
	Gap      time.Duration // the longest time in which no reply came
	CPU      time.Duration // that the server's process used; 0 where it isn't known
	Errors   int64         // error replies
	Error    string        // the first of them
}

// Rate is commands per second.
func (r *Result) Rate() float64 { return float64(r.Requests) / r.Took.Seconds() }

// ErrClosed says that the server ended a connection.
var ErrClosed = errors.New("the server closed a connection")

// Run connects, puts the load on, and closes. It ends early with the context's error.
func (l *Load) Run(ctx context.Context) (*Result, error) {
	switch {
	case l.Conns < 1 || l.Conns > ConnsMax:
		return nil, fmt.Errorf("connections: %d is not between 1 and %d", l.Conns, ConnsMax)
	case l.Pipeline < 1 || l.Pipeline > PipelineMax:
		return nil, fmt.Errorf("pipeline: %d is not between 1 and %d", l.Pipeline, PipelineMax)
	case l.Requests <= 0 && l.Duration <= 0:
		return nil, errors.New("neither a number of requests nor a duration ends the load")
	}
	return l.run(ctx)
}
