package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/atolldb/atoll/raftfsm"
)

// adaptor is Raft's view of raftfsm. Once a command can't be applied it applies, snapshots and restores
// nothing more, so that nothing on disk claims otherwise before the process ends.
type adaptor struct {
	fsm    *raftfsm.FSM
	fatal  func(error)
	broken atomic.Pointer[error]

	mu      sync.Mutex
	waiters int
	applied chan struct{} // closed at the next command while somebody waits
}

func newAdaptor(fsm *raftfsm.FSM, fatal func(error)) *adaptor {
	return &adaptor{fsm: fsm, fatal: fatal, applied: make(chan struct{})}
}

// Apply implements raft.FSM. It answers an Outcome or an error.
func (a *adaptor) Apply(log *raft.Log) any {
	if err := a.broken.Load(); err != nil {
		return *err
	}
	outcome, err := a.fsm.Apply(log.Index, log.Data)
	if err != nil {
		a.broken.Store(&err)
		a.fatal(err)
		return err
	}
	a.wake()
	return outcome
}

func (a *adaptor) wake() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiters > 0 {
		close(a.applied)
		a.applied = make(chan struct{})
	}
}

// wait returns once the command at an index has been applied. The index has to be a command's, or below
// the newest command's: entries of other kinds never come here.
func (a *adaptor) wait(ctx context.Context, index uint64) error {
	a.mu.Lock()
	a.waiters++
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.waiters--
		a.mu.Unlock()
	}()
	for {
		a.mu.Lock()
		applied := a.applied
		a.mu.Unlock()
		if a.fsm.State().Applied() >= index {
			return nil
		}
		if err := a.broken.Load(); err != nil {
			return *err
		}
		select {
		case <-applied:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Snapshot implements raft.FSM. The state is immutable, so it costs nothing here.
func (a *adaptor) Snapshot() (raft.FSMSnapshot, error) {
	if err := a.broken.Load(); err != nil {
		return nil, *err
	}
	return snapshot{a.fsm.State()}, nil
}

// Restore implements raft.FSM.
func (a *adaptor) Restore(r io.ReadCloser) error {
	defer r.Close()
	if err := a.broken.Load(); err != nil {
		return *err
	}
	if err := a.fsm.Restore(r); err != nil {
		return err
	}
	a.wake()
	return nil
}

type snapshot struct{ state *raftfsm.State }

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.state.WriteSnapshot(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("close snapshot: %w", err)
	}
	return nil
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}
