package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/atolldb/atoll/raftfsm"
)

// Node is one metadata node.
type Node struct {
	config    Config
	log       *slog.Logger
	fsm       *raftfsm.FSM
	adaptor   *adaptor
	raft      *raft.Raft
	store     *raftboltdb.BoltStore
	logs      raft.LogStore // the store behind a cache
	transport *raft.NetworkTransport
	stream    *stream
	peers     *Peers
	observer  *raft.Observer
	observed  chan raft.Observation

	clusterID atomic.Pointer[string] // empty until a joining node knows it
	proposals chan struct{}          // one slot per waiting proposal

	identityMu sync.Mutex
	identity   identity

	readyMu   sync.Mutex
	readyTerm atomic.Uint64 // of this node's leadership in which it has applied all earlier entries

	voterMu sync.Mutex // AddVoter

	leaderMu      sync.Mutex
	leaderChanged chan struct{}

	failed  chan struct{} // closed when the node stops for good
	closing chan struct{} // closed when Close begins
	closeMu sync.RWMutex  // held to start a goroutine, and to begin Close
	failure atomic.Pointer[error]
	once    sync.Once
	wg      sync.WaitGroup
	applies sync.WaitGroup // proposals without an answer
}

// Open opens the directory and starts Raft. A new directory is bootstrapped when config has no Join;
// Run does the rest. It fails with ErrForeign on a directory of another node.
func Open(config Config) (*Node, error) {
	fsm, err := raftfsm.New()
	if err != nil {
		return nil, err
	}
	id, err := openIdentity(&config)
	if err != nil {
		return nil, err
	}
	n := &Node{
		config: config, log: config.Log, fsm: fsm, identity: id, peers: NewPeers(config.DialOptions...),
		proposals: make(chan struct{}, proposalsMax), leaderChanged: make(chan struct{}),
		failed: make(chan struct{}), closing: make(chan struct{}), observed: make(chan raft.Observation, 16),
	}
	n.clusterID.Store(&id.ClusterID)
	n.adaptor = newAdaptor(fsm, n.fail)
	if err := n.start(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// timing chooses Raft's timeouts.
func (n *Node) timing() Timing {
	switch {
	case n.config.Timing != nil:
		return *n.config.Timing
	case n.identity.Voters > 1 || n.identity.Joined:
		return clusterTiming()
	}
	return fastTiming()
}

func (n *Node) start() error {
	rc := n.config.raftConfig(n.timing())
	store, err := openStore(n.config.Dir)
	if err != nil {
		return err
	}
	n.store = store
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(filepath.Join(n.config.Dir, snapshotsDir), snapshotsKept, rc.Logger)
	if err != nil {
		return fmt.Errorf("open raft snapshots: %w", err)
	}
	n.stream = newStream(n.config.Listener, n.config.ClusterAddr, n.ClusterID)
	n.stream.history = n.historyID
	if n.config.DialRaft != nil {
		n.stream.connect = n.config.DialRaft
	}
	n.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: n.stream, MaxPool: 3, MaxRPCsInFlight: 1, Timeout: 10 * time.Second, Logger: rc.Logger,
		MsgpackUseNewTimeFormat: true,
	})
	cached, err := raft.NewLogCache(1024, &watchedLog{checkedLog{store}, or(n.config.StallMax, 20*time.Second), n.fail})
	if err != nil {
		return fmt.Errorf("make raft log cache: %w", err)
	}
	n.logs = cached
	if err := checkReach(store, snapshots); err != nil {
		return err
	}
	stable := checkedStable{store}
	existing, err := raft.HasExistingState(cached, stable, snapshots)
	if err != nil {
		return fmt.Errorf("read raft state: %w", err)
	}
	if !existing && !n.identity.Joined {
		first := raft.Configuration{Servers: []raft.Server{{ID: rc.LocalID, Address: n.transport.LocalAddr()}}}
		if err := raft.BootstrapCluster(rc, cached, stable, snapshots, n.transport, first); err != nil {
			return fmt.Errorf("bootstrap raft: %w", err)
		}
	}
	n.raft, err = raft.NewRaft(rc, n.adaptor, cached, stable, snapshots, n.transport)
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	n.observer = raft.NewObserver(n.observed, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	n.raft.RegisterObserver(n.observer)
	n.wg.Go(n.observe)
	return nil
}

// checkReach refuses a log that begins behind the newest snapshot: Raft passes over snapshots that it can't read,
// and would apply the log to an older state, or to none.
func checkReach(logs raft.LogStore, snapshots raft.SnapshotStore) error {
	first, err := logs.FirstIndex()
	if err != nil {
		return fmt.Errorf("read raft log: %w", err)
	}
	list, err := snapshots.List()
	if err != nil {
		return fmt.Errorf("list raft snapshots: %w", err)
	}
	newest := uint64(0)
	for _, m := range list { // the name of its directory says the same
		if !strings.HasPrefix(m.ID, fmt.Sprintf("%d-%d-", m.Term, m.Index)) {
			return fmt.Errorf("%w: snapshot %s says term %d and index %d", ErrDamage, m.ID, m.Term, m.Index)
		}
	}
	if len(list) > 0 {
		newest = list[0].Index
	}
	if first > newest+1 {
		return fmt.Errorf("%w: the raft log begins at entry %d, and the newest snapshot that can be read ends at %d", ErrDamage, first, newest)
	}
	return nil
}

// observe turns Raft's observations into one channel that closes at each change of leadership.
func (n *Node) observe() {
	for range n.observed {
		n.leaderMu.Lock()
		close(n.leaderChanged)
		n.leaderChanged = make(chan struct{})
		n.leaderMu.Unlock()
	}
}

// LeaderChanged returns a channel that closes when the leader, or this node's role, changes.
func (n *Node) LeaderChanged() <-chan struct{} {
	n.leaderMu.Lock()
	defer n.leaderMu.Unlock()
	return n.leaderChanged
}

// Close takes a snapshot if that saves the next start time, and stops. It is called once.
func (n *Node) Close() error {
	n.closeMu.Lock()
	close(n.closing)
	n.closeMu.Unlock()
	var err error
	if n.raft != nil {
		if err = n.stopRaft(); errors.Is(err, ErrStopped) {
			return err
		}
	}
	close(n.observed)
	if n.transport != nil {
		err = errors.Join(err, n.transport.Close())
	}
	err = errors.Join(err, n.peers.Close())
	n.wg.Wait()
	if n.store != nil {
		err = errors.Join(err, n.store.Close())
	}
	return err
}

// stopRaft shuts Raft down. It gives up with ErrStopped on a node that has stopped for good and hangs.
func (n *Node) stopRaft() error {
	failed := n.failure.Load() != nil
	if !failed && n.raft.AppliedIndex() > n.lastSnapshot()+closeSnapshotMin {
		if err := n.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			n.log.Warn("no snapshot at shutdown", "error", err)
		}
	}
	answered := make(chan struct{})
	go func() { n.applies.Wait(); close(answered) }() // as long as an answer is missing
	select {
	case <-answered:
	case <-time.After(closeWait):
	}
	n.raft.DeregisterObserver(n.observer)
	down := make(chan error, 1)
	go func() { down <- n.raft.Shutdown().Error() }() // may outlive a node whose disk hangs
	if !failed {
		return <-down
	}
	select {
	case err := <-down:
		return err
	case <-time.After(closeWait):
		return fmt.Errorf("shut raft down: %w", ErrStopped)
	}
}

func (n *Node) lastSnapshot() uint64 { return statNumber(n.raft.Stats()["last_snapshot_index"]) }

// fail stops the node for good: Run returns the first error that was given.
func (n *Node) fail(err error) {
	n.once.Do(func() {
		n.failure.Store(&err)
		n.log.Error("metadata node stops", "error", err)
		close(n.failed)
	})
}

// stopped returns why the node has stopped for good, or nil.
func (n *Node) stopped() error {
	if err := n.failure.Load(); err != nil {
		return errors.Join(ErrStopped, *err)
	}
	select {
	case <-n.closing:
		return ErrStopped
	default:
		return nil
	}
}

// goes runs a function that asks something of Raft and waits for its answer; false once Close has
// begun. Close lets the answers come before it shuts Raft down, which leaves some for ever without one.
func (n *Node) goes(f func()) bool {
	n.closeMu.RLock()
	defer n.closeMu.RUnlock()
	select {
	case <-n.closing:
		return false
	default:
		n.applies.Go(f)
		return true
	}
}

// ClusterID returns the cluster's id; empty until a joining node knows it.
func (n *Node) ClusterID() string { return *n.clusterID.Load() }

// NodeID returns this node's id.
func (n *Node) NodeID() string { return n.config.NodeID }

// State returns this node's newest state, which may be behind the cluster's.
func (n *Node) State() *raftfsm.State { return n.fsm.State() }

// Feed returns the recent changes of State.
func (n *Node) Feed() *raftfsm.Feed { return n.fsm.Feed() }

// Peers returns the connections to other metadata nodes.
func (n *Node) Peers() *Peers { return n.peers }

// historyID returns the metadata history of this node's log, also before its state is there; empty if none is known.
func (n *Node) historyID() string {
	if cluster := n.fsm.State().Cluster(); cluster != nil {
		return cluster.MetadataHistoryId
	}
	n.identityMu.Lock()
	defer n.identityMu.Unlock()
	return n.identity.HistoryID
}

// updateIdentity changes the stored identity if change does.
func (n *Node) updateIdentity(change func(*identity)) error {
	n.identityMu.Lock()
	defer n.identityMu.Unlock()
	next := n.identity
	change(&next)
	if next == n.identity {
		return nil
	}
	if err := next.save(n.config.Dir); err != nil {
		return fmt.Errorf("write metadata identity: %w", err)
	}
	n.identity = next
	n.clusterID.Store(&next.ClusterID)
	return nil
}

// WaitApplied returns once this node's state contains a revision.
func (n *Node) WaitApplied(ctx context.Context, revision uint64) error {
	return n.adaptor.wait(ctx, revision)
}
