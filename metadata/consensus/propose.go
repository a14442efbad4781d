package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// ProposeOptions is what a caller may say beside a command.
type ProposeOptions struct {
	RequestID string         // a retry with the same one has one effect; empty: one is made
	Digest    raftfsm.Digest // of the caller's request, which a retry under the same id has to repeat
	Actor     string         // who asks: a token id, a node id, "control"
	Source    string         // network address that it asks from; empty where no client does
}

// errNotHere means that this node could not take the proposal and that nothing has happened.
var errNotHere = errors.New("not the metadata leader")

// Propose brings a command into the log, wherever the leader is, and returns when a majority has it and
// the leader has applied it. While the context lasts (ten seconds if it has no deadline) it retries what
// didn't happen, and, under the same request id, what may have happened. The errors are those of the
// package and *raftfsm.Error.
func (n *Node) Propose(ctx context.Context, c raftfsm.Command, o ProposeOptions) (raftfsm.Result, error) {
	ctx, cancel := withCallWait(ctx)
	defer cancel()
	data, err := n.fsm.Encode(raftfsm.Proposal{
		Command: c, RequestID: or(o.RequestID, newID()), Digest: o.Digest, Actor: o.Actor, Source: o.Source, TimeMs: time.Now().UnixMilli(),
	})
	if err != nil {
		return raftfsm.Result{}, err
	}
	select {
	case n.proposals <- struct{}{}:
		defer func() { <-n.proposals }()
	default:
		return raftfsm.Result{}, ErrTooMuch
	}
	mayHave := false
	for {
		changed := n.LeaderChanged()
		outcome, err := n.proposeOnce(ctx, data)
		switch {
		case err == nil:
			return outcome.Result, outcome.Err()
		case errors.Is(err, ErrIndeterminate):
			mayHave = true
		case !errors.Is(err, errNotHere):
			if mayHave {
				err = fmt.Errorf("%w: %w", ErrIndeterminate, err)
			}
			return raftfsm.Result{}, err
		}
		if e := n.waitRetry(ctx, changed); e != nil {
			if mayHave {
				return raftfsm.Result{}, fmt.Errorf("%w: %w", ErrIndeterminate, err)
			}
			return raftfsm.Result{}, fmt.Errorf("%w: %w", ErrNoLeader, e)
		}
	}
}

func withCallWait(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, callWait)
}

// waitRetry waits until another attempt makes sense.
func (n *Node) waitRetry(ctx context.Context, changed <-chan struct{}) error {
	timer := time.NewTimer(retryWait)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-n.failed:
		return n.stopped()
	case <-n.closing:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	return ctx.Err()
}

// proposeOnce makes one attempt, here or at the leader.
func (n *Node) proposeOnce(ctx context.Context, data []byte) (raftfsm.Outcome, error) {
	if err := n.stopped(); err != nil {
		return raftfsm.Outcome{}, err
	}
	if n.raft.State() == raft.Leader {
		return n.proposeHere(ctx, data)
	}
	leader, err := n.leaderClient()
	if err != nil {
		return raftfsm.Outcome{}, errNotHere
	}
	response, err := leader.Propose(ctx, &atollpb.ProposeRequest{ClusterId: n.ClusterID(), Command: data})
	switch status.Code(err) {
	case codes.OK:
		outcome, err := raftfsm.DecodeOutcome(response.Result)
		if err != nil {
			return raftfsm.Outcome{}, fmt.Errorf("%w: %w", ErrIndeterminate, err)
		}
		return outcome, nil
	case codes.FailedPrecondition, codes.Unimplemented:
		return raftfsm.Outcome{}, errNotHere
	case codes.InvalidArgument:
		return raftfsm.Outcome{}, fmt.Errorf("propose at the leader: %w", err)
	}
	return raftfsm.Outcome{}, fmt.Errorf("%w: %w", ErrIndeterminate, err)
}

// proposeHere hands a command to Raft on this node, if it leads.
func (n *Node) proposeHere(ctx context.Context, data []byte) (raftfsm.Outcome, error) {
	wait := enqueueWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	if wait <= 0 {
		return raftfsm.Outcome{}, errNotHere
	}
	type answer struct {
		outcome raftfsm.Outcome
		err     error
	}
	answered := make(chan answer, 1)
	taken := n.goes(func() {
		future := n.raft.Apply(data, wait)
		outcome, err := outcomeOf(future, future.Error())
		answered <- answer{outcome, err}
	})
	if !taken {
		return raftfsm.Outcome{}, ErrStopped
	}
	select {
	case a := <-answered:
		return a.outcome, a.err
	case <-ctx.Done():
		return raftfsm.Outcome{}, fmt.Errorf("%w: %w", ErrIndeterminate, ctx.Err())
	}
}

func outcomeOf(future raft.ApplyFuture, err error) (raftfsm.Outcome, error) {
	switch {
	case err == nil:
		switch response := future.Response().(type) {
		case raftfsm.Outcome:
			return response, nil
		case error: // committed, and this node can't apply it
			return raftfsm.Outcome{}, fmt.Errorf("%w: %w", ErrIndeterminate, response)
		}
		return raftfsm.Outcome{}, ErrIndeterminate
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout),
		errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return raftfsm.Outcome{}, errNotHere
	}
	// Leadership lost, shut down, a disk that refused: the entry may reach the log of others.
	return raftfsm.Outcome{}, fmt.Errorf("%w: %w", ErrIndeterminate, err)
}

// HandlePropose answers Consensus.Propose: FailedPrecondition says that nothing has happened, Aborted
// that something may have.
func (n *Node) HandlePropose(ctx context.Context, r *atollpb.ProposeRequest) (*atollpb.ProposeResponse, error) {
	if r.ClusterId != n.ClusterID() {
		return nil, status.Error(codes.InvalidArgument, ErrForeign.Error())
	}
	if _, err := n.fsm.Decode(r.Command); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if n.raft.State() != raft.Leader || n.stopped() != nil {
		return nil, status.Error(codes.FailedPrecondition, errNotHere.Error())
	}
	outcome, err := n.proposeHere(ctx, r.Command)
	switch {
	case errors.Is(err, errNotHere), errors.Is(err, ErrStopped) && !errors.Is(err, ErrIndeterminate):
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	case err != nil:
		return nil, status.Error(codes.Aborted, err.Error())
	}
	return &atollpb.ProposeResponse{Revision: outcome.Result.Revision, Result: raftfsm.EncodeOutcome(outcome)}, nil
}

// ProposeInTerm proposes on this node, once, and only while it leads in a term that it is ready in. The
// term is looked at before the command waits for its place in the log: leadership that is lost and won again
// in that time takes the command into a later term. So what a controller decides from reports has to compare
// and set, as every command of the controllers does.
func (n *Node) ProposeInTerm(ctx context.Context, term uint64, c raftfsm.Command) (raftfsm.Result, error) {
	ctx, cancel := withCallWait(ctx)
	defer cancel()
	data, err := n.fsm.Encode(raftfsm.Proposal{
		Command: c, RequestID: newID(), Actor: "control", TimeMs: time.Now().UnixMilli(),
	})
	if err != nil {
		return raftfsm.Result{}, err
	}
	if current, ok := n.Leading(); !ok || current != term {
		return raftfsm.Result{}, ErrNoLeader
	}
	outcome, err := n.proposeHere(ctx, data)
	if errors.Is(err, errNotHere) {
		return raftfsm.Result{}, ErrNoLeader
	}
	if err != nil {
		return raftfsm.Result{}, err
	}
	return outcome.Result, outcome.Err()
}
