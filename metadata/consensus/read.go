package consensus

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// Read returns a state that contains every change that was acknowledged before the call.
//
// The leader takes the index of the last command that it has committed, then makes sure that it still
// leads. Both kinds of node answer once they have applied that command. What the leader has applied would
// be too little: a follower may be ahead of it, and show what a read at the leader then would not. Once
// the leader has applied everything of earlier terms, its commit index covers whatever any node shows.
// Raft's own indexes won't do to wait for: they count entries that never reach the state machine.
func (n *Node) Read(ctx context.Context) (*raftfsm.State, error) {
	ctx, cancel := withCallWait(ctx)
	defer cancel()
	for {
		changed := n.LeaderChanged()
		index, err := n.readIndex(ctx)
		if err == nil {
			if err := n.adaptor.wait(ctx, index); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrNoLeader, err)
			}
			return n.fsm.State(), nil
		}
		if errors.Is(err, ErrStopped) {
			return nil, err
		}
		if e := n.waitRetry(ctx, changed); e != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoLeader, errors.Join(e, err))
		}
	}
}

func (n *Node) readIndex(ctx context.Context) (uint64, error) {
	if err := n.stopped(); err != nil {
		return 0, err
	}
	if n.raft.State() == raft.Leader {
		return n.readIndexHere()
	}
	leader, err := n.leaderClient()
	if err != nil {
		return 0, err
	}
	response, err := leader.ReadIndex(ctx, &atollpb.ReadIndexRequest{ClusterId: n.ClusterID()})
	if err != nil {
		return 0, err
	}
	return response.Index, nil
}

func (n *Node) readIndexHere() (uint64, error) {
	term, err := n.ready()
	if err != nil {
		return 0, err
	}
	index, err := n.lastCommand(n.raft.CommitIndex())
	if err != nil {
		return 0, err
	}
	if err := n.answer(func() raft.Future { return n.raft.VerifyLeader() }); err != nil {
		return 0, err
	}
	if n.raft.CurrentTerm() != term { // lost and won again: another may have led between
		return 0, errNotHere
	}
	return index, nil
}

// answer asks Raft and waits for its answer; ErrStopped once Close has begun.
func (n *Node) answer(ask func() raft.Future) error {
	answered := make(chan error, 1)
	if !n.goes(func() { answered <- ask().Error() }) {
		return ErrStopped
	}
	return <-answered
}

// lastCommand returns the index of the last command at or below a committed index.
func (n *Node) lastCommand(index uint64) (uint64, error) {
	var entry raft.Log
	for applied := n.fsm.State().Applied(); index > applied; index-- {
		if err := n.logs.GetLog(index, &entry); err != nil {
			return 0, fmt.Errorf("read raft log %d: %w", index, err)
		}
		if entry.Type == raft.LogCommand {
			break
		}
	}
	return index, nil
}

// ready returns the term of this node's leadership once every entry of earlier terms has been applied.
func (n *Node) ready() (uint64, error) {
	if term, ok := n.Leading(); ok {
		return term, nil
	}
	n.readyMu.Lock()
	defer n.readyMu.Unlock()
	if term, ok := n.Leading(); ok {
		return term, nil
	}
	term := n.raft.CurrentTerm()
	if err := n.answer(func() raft.Future { return n.raft.Barrier(enqueueWait) }); err != nil {
		return 0, err
	}
	if n.raft.CurrentTerm() != term || n.raft.State() != raft.Leader {
		return 0, errNotHere
	}
	n.readyTerm.Store(term)
	return term, nil
}

// Leading returns the term in which this node leads and has applied everything that was committed
// before; false when it doesn't lead, or is not that far.
func (n *Node) Leading() (uint64, bool) {
	term := n.readyTerm.Load()
	return term, term != 0 && n.raft.State() == raft.Leader && n.raft.CurrentTerm() == term
}

// HandleReadIndex answers Consensus.ReadIndex.
func (n *Node) HandleReadIndex(_ context.Context, r *atollpb.ReadIndexRequest) (*atollpb.ReadIndexResponse, error) {
	if r.ClusterId != n.ClusterID() {
		return nil, status.Error(codes.InvalidArgument, ErrForeign.Error())
	}
	if n.raft.State() != raft.Leader || n.stopped() != nil {
		return nil, status.Error(codes.FailedPrecondition, errNotHere.Error())
	}
	index, err := n.readIndexHere()
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &atollpb.ReadIndexResponse{Index: index}, nil
}
