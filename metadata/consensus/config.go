package consensus

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
)

// The errors of Propose, Read and AddVoter, beside *raftfsm.Error.
var (
	// ErrNoLeader means that no leader was found in time and that nothing has happened.
	ErrNoLeader = errors.New("no metadata leader")
	// ErrIndeterminate means that the change may or may not happen. A retry with the same request id
	// has one effect.
	ErrIndeterminate = errors.New("the change may or may not have happened")
	// ErrTooMuch means that too many proposals are waiting and that nothing has happened.
	ErrTooMuch = errors.New("too many metadata changes at once")
	// ErrForeign means that a directory or a peer belongs to another cluster or node.
	ErrForeign = errors.New("belongs to another cluster")
	// ErrTaken means that the cluster knows this node's id with another directory, or its cluster address as
	// another node's.
	ErrTaken = errors.New("the node id or the cluster address is taken")
	// ErrDamage means that a file of the metadata directory is damaged.
	ErrDamage = errors.New("the metadata directory is damaged")
	// ErrFormat means that a file of the metadata directory was written by a version that this one doesn't know.
	ErrFormat = errors.New("the metadata directory has an unknown format")
	// ErrStopped means that this node has stopped for good.
	ErrStopped = errors.New("the metadata node has stopped")
)

// Config is what a node needs. Every field but the ones said otherwise is required.
type Config struct {
	Dir            string // exists, and belongs to this node alone
	NodeID         string
	ClusterAddr    string // advertised host:port of the cluster listener
	HTTPAddr       string // advertised host:port of the admin HTTP listener
	Listener       net.Listener
	Join           []string // cluster addresses of metadata nodes; empty: bootstrap when Dir is new
	AdminTokenFile string   // written 0600 at bootstrap
	Log            *slog.Logger

	// DialRaft connects to another node's Raft, and DialOptions are those of gRPC; nil: in plain text.
	DialRaft    func(ctx context.Context, addr string) (net.Conn, error)
	DialOptions []grpc.DialOption

	// StallMax is how long one append to the log may take before the node stops; 0 is 20 s. A leader
	// whose disk hangs would keep its heartbeats, and with them the leadership.
	StallMax time.Duration
	// Timing overrides the choice by the number of voters.
	Timing *Timing
	// SnapshotThreshold is the number of log entries between snapshots; 0 is 16,384.
	SnapshotThreshold uint64
	// TrailingLogs is the number of log entries kept behind a snapshot; 0 is 8,192.
	TrailingLogs uint64
	// SnapshotInterval is how often the threshold is looked at; 0 is 15 s.
	SnapshotInterval time.Duration
}

// Timing holds Raft's timeouts.
type Timing struct {
	Heartbeat time.Duration // without one, a follower becomes a candidate
	Election  time.Duration
	Lease     time.Duration // without a quorum, a leader steps down
	Commit    time.Duration // an idle leader's appends
}

// fastTiming suits one voter and a test; clusterTiming a network; grownTiming one voter that has become
// a cluster, until its next start: the lease can't be changed on a running node, and heartbeats come
// every tenth of the first.
func fastTiming() Timing {
	return Timing{250 * time.Millisecond, 250 * time.Millisecond, 250 * time.Millisecond, 10 * time.Millisecond}
}
func clusterTiming() Timing {
	return Timing{time.Second, time.Second, 500 * time.Millisecond, 50 * time.Millisecond}
}
func grownTiming() Timing {
	return Timing{600 * time.Millisecond, 600 * time.Millisecond, 250 * time.Millisecond, 10 * time.Millisecond}
}

const (
	proposalsMax     = 4096             // waiting on one node
	callWait         = 10 * time.Second // of Propose and Read whose context has no deadline
	enqueueWait      = 2 * time.Second
	retryWait        = 50 * time.Millisecond
	closeWait        = 5 * time.Second // for a stopped node's Raft, which may hang on its disk
	reconcileWait    = time.Second
	snapshotsKept    = 2
	closeSnapshotMin = 2048 // entries since the last snapshot that make Close take one
)

func (c *Config) raftConfig(timing Timing) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(c.NodeID)
	rc.HeartbeatTimeout, rc.ElectionTimeout = timing.Heartbeat, timing.Election
	rc.LeaderLeaseTimeout, rc.CommitTimeout = timing.Lease, timing.Commit
	rc.BatchApplyCh = false // a buffered proposal is never answered if Raft shuts down before it is taken
	rc.MaxAppendEntries = 256
	rc.TrailingLogs = or(c.TrailingLogs, 8192)
	rc.SnapshotThreshold = or(c.SnapshotThreshold, 16_384)
	rc.SnapshotInterval = or(c.SnapshotInterval, 15*time.Second)
	rc.NoLegacyTelemetry = true
	rc.Logger = newRaftLogger(c.Log)
	return rc
}

// or returns v, or its default when it is zero.
func or[T comparable](v, byDefault T) T {
	var zero T
	if v == zero {
		return byDefault
	}
	return v
}
