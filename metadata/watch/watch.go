// Package watch serves the view stream to data nodes: a delta or a full view, then live changes and
// heartbeats, in frames of bounded size.
package watch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
)

const (
	heartbeat = time.Second
	// leaderless is how long a node that knows no leader keeps its watchers, and ahead how long it keeps
	// one that has a newer view: others may know more.
	leaderless = 5 * time.Second
	ahead      = 5 * time.Second
	// pause between two deltas: a burst of changes travels together, a single one at once.
	pause = 5 * time.Millisecond
)

// Source is the state that is watched; *consensus.Node is the real one.
type Source interface {
	ClusterID() string
	State() *raftfsm.State
	Feed() *raftfsm.Feed
	Leader() (id, addr string, ok bool)
}

// Server serves any number of watchers, each at its own pace: one that can't keep up with the feed gets
// a full view, and none ever holds the state machine up.
type Server struct {
	source Source
	log    *slog.Logger
	once   sync.Once
	done   chan struct{}
}

// New returns a server for a source.
func New(source Source, log *slog.Logger) *Server {
	return &Server{source: source, log: log, done: make(chan struct{})}
}

// Close ends every stream, now and later, with Unavailable.
func (s *Server) Close() { s.once.Do(func() { close(s.done) }) }

// Stream is the sending half of Metadata.Watch.
type Stream interface {
	Context() context.Context
	Send(*atollpb.ViewFrame) error
}

// Watch answers Metadata.Watch. It ends with Unavailable when another node may serve better, and with
// FailedPrecondition for a node of another cluster.
func (s *Server) Watch(r *atollpb.WatchRequest, stream Stream) error {
	if err := rpc.CheckWire(r.GetWireVersion()); err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	cluster := s.source.State().Cluster()
	if cluster == nil {
		return status.Error(codes.Unavailable, "the cluster is not initialised")
	}
	if r.ClusterId != cluster.ClusterId {
		return status.Errorf(codes.FailedPrecondition, "node %q %v (%s), not to this one (%s)", r.NodeId, consensus.ErrForeign, r.ClusterId, cluster.ClusterId)
	}
	w := &watcher{Server: s, stream: stream, revision: r.Revision, node: r.NodeId}
	if r.MetadataHistoryId != cluster.MetadataHistoryId {
		w.revision = 0
	}
	return w.run()
}

// watcher is one stream.
type watcher struct {
	*Server
	stream   Stream
	node     string
	revision uint64 // of the watcher's view; 0 for none
}

func (w *watcher) run() error {
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	led, level := time.Now(), time.Now() // when a leader was known, and the watcher not ahead, for the last time
	var pausing <-chan time.Time
	for {
		var changed <-chan struct{}
		if pausing == nil {
			changed = w.source.Feed().Changed()
			sent, err := w.send()
			if err != nil {
				return err
			}
			if sent {
				pausing = time.After(pause)
				continue
			}
		}
		select {
		case <-pausing:
			pausing = nil
			continue
		case <-changed:
			continue
		case <-ticker.C:
		case <-w.done:
			return status.Error(codes.Unavailable, "the metadata node is stopping")
		case <-w.stream.Context().Done():
			return status.FromContextError(w.stream.Context().Err()).Err()
		}
		now := time.Now()
		revision := w.source.State().Revision()
		if _, _, ok := w.source.Leader(); ok {
			led = now
		}
		if w.revision <= revision {
			level = now
		}
		switch {
		case now.Sub(led) >= leaderless:
			return status.Error(codes.Unavailable, consensus.ErrNoLeader.Error())
		case now.Sub(level) >= ahead:
			return status.Errorf(codes.Unavailable, "the metadata node is at revision %d, the view at %d", revision, w.revision)
		}
		if err := w.stream.Send(&atollpb.ViewFrame{Heartbeat: true, Revision: min(w.revision, revision)}); err != nil {
			return err
		}
	}
}

// send brings the watcher to the newest state and reports whether it had to send anything.
func (w *watcher) send() (bool, error) {
	state := w.source.State()
	if w.revision > state.Revision() {
		return false, nil // it was served by a node that is further
	}
	if w.revision > 0 {
		if deltas, ok := w.source.Feed().Since(w.revision); ok {
			if len(deltas) == 0 {
				return false, nil
			}
			delta := merge(w.revision, deltas)
			w.revision = delta.Revision
			return true, w.frames(deltaRecords(delta), delta.FromRevision, delta.Revision, false)
		}
	}
	w.log.Debug("watcher takes a full view", "node", w.node, "from", w.revision, "revision", state.Revision())
	w.revision = state.Revision()
	return true, w.frames(stateRecords(state), 0, w.revision, true)
}

// frames sends records in frames, the last of which says so.
func (w *watcher) frames(records records, from, revision uint64, full bool) error {
	f := framer{send: w.stream.Send, from: from, revision: revision, full: full}
	for r := range records {
		if err := f.add(r); err != nil {
			return err
		}
	}
	return f.end()
}
