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

// silentWait is how long a voter may take to answer before it counts as stopped.
const silentWait = 2 * time.Second

// RemoveVoter takes a stopped metadata node out of the cluster, wherever the leader is. A *raftfsm.Error says why not:
// it is not there, it answers, or without it too few of those that answer would be left. Of the options, who asks and
// where from are used.
func (n *Node) RemoveVoter(ctx context.Context, id string, o ProposeOptions) error {
	return n.changeVoters(ctx, &atollpb.ChangeVotersRequest{Op: atollpb.VotersOp_VOTERS_OP_REMOVE, VoterId: id, Actor: o.Actor, Source: o.Source})
}

// Transfer hands the leadership to another metadata node, to that of an id if one is given, and returns once the one
// that led has stepped down.
func (n *Node) Transfer(ctx context.Context, id string) error {
	return n.changeVoters(ctx, &atollpb.ChangeVotersRequest{Op: atollpb.VotersOp_VOTERS_OP_TRANSFER, VoterId: id})
}

func (n *Node) changeVoters(ctx context.Context, r *atollpb.ChangeVotersRequest) error {
	ctx, cancel := withCallWait(ctx)
	defer cancel()
	if n.raft.State() == raft.Leader {
		return n.changeVotersHere(ctx, r)
	}
	leader, err := n.leaderClient()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	r.ClusterId = n.ClusterID()
	_, err = leader.ChangeVoters(ctx, r)
	message := status.Convert(err).Message()
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.NotFound:
		return &raftfsm.Error{Code: raftfsm.CodeNotFound, Field: "id", Message: message}
	case codes.FailedPrecondition:
		return &raftfsm.Error{Code: raftfsm.CodePrecondition, Field: "id", Message: message}
	case codes.Unavailable:
		return fmt.Errorf("%w: %s", ErrNoLeader, message)
	}
	return fmt.Errorf("%w: %s", ErrIndeterminate, message)
}

// HandleChangeVoters answers Consensus.ChangeVoters on the leader: NotFound and FailedPrecondition are refusals,
// Unavailable says that nothing has happened, anything else that something may have.
func (n *Node) HandleChangeVoters(ctx context.Context, r *atollpb.ChangeVotersRequest) (*atollpb.ChangeVotersResponse, error) {
	if r.ClusterId != n.ClusterID() {
		return nil, status.Error(codes.InvalidArgument, ErrForeign.Error())
	}
	if n.raft.State() != raft.Leader {
		return nil, status.Error(codes.Unavailable, errNotHere.Error())
	}
	err := n.changeVotersHere(ctx, r)
	refusal, refused := errors.AsType[*raftfsm.Error](err)
	switch {
	case err == nil:
		return &atollpb.ChangeVotersResponse{}, nil
	case errors.Is(err, ErrIndeterminate):
		return nil, status.Error(codes.Aborted, err.Error())
	case refused && refusal.Code == raftfsm.CodeNotFound:
		return nil, status.Error(codes.NotFound, refusal.Message)
	case refused:
		return nil, status.Error(codes.FailedPrecondition, refusal.Message)
	case errors.Is(err, ErrNoLeader):
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return nil, status.Error(codes.Aborted, err.Error())
}

func (n *Node) changeVotersHere(ctx context.Context, r *atollpb.ChangeVotersRequest) error {
	n.voterMu.Lock()
	defer n.voterMu.Unlock()
	if _, err := n.ready(); err != nil {
		return fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	switch r.Op {
	case atollpb.VotersOp_VOTERS_OP_TRANSFER:
		return n.transfer(r.VoterId)
	case atollpb.VotersOp_VOTERS_OP_REMOVE:
		return n.removeVoter(ctx, r.VoterId, ProposeOptions{Actor: r.Actor, Source: r.Source})
	}
	return voterRefusal(raftfsm.CodePrecondition, "op %d is unknown", r.Op)
}

func voterRefusal(code raftfsm.Code, format string, args ...any) *raftfsm.Error {
	return &raftfsm.Error{Code: code, Field: "id", Message: fmt.Sprintf(format, args...)}
}

// removeVoter removes a voter from Raft, and then from the record. A removal that broke off between the two is gone on
// with by the next.
func (n *Node) removeVoter(ctx context.Context, id string, o ProposeOptions) error {
	var target raft.Server
	var others []raft.Server
	for _, server := range n.servers() {
		if string(server.ID) == id {
			target = server
		} else {
			others = append(others, server)
		}
	}
	switch {
	case id == n.config.NodeID:
		return voterRefusal(raftfsm.CodePrecondition, "metadata node %q leads: stop it first", id)
	case target.ID == "" && metadataNode(n.fsm.State().Cluster(), id) == nil:
		return voterRefusal(raftfsm.CodeNotFound, "metadata node %q was not found", id)
	}
	if target.ID != "" {
		if n.answers(ctx, target) {
			return voterRefusal(raftfsm.CodePrecondition, "metadata node %q is live, and would join again: stop it first", id)
		}
		live := 0
		for _, server := range others {
			if string(server.ID) == n.config.NodeID || n.answers(ctx, server) {
				live++
			}
		}
		if live <= len(others)/2 {
			return voterRefusal(raftfsm.CodePrecondition,
				"of the %d metadata nodes that would be left, %d answer, which is no majority: start the others first", len(others), live)
		}
		if err := n.raft.RemoveServer(target.ID, 0, voterWait).Error(); err != nil {
			return fmt.Errorf("remove voter: %w", err)
		}
		n.log.Info("metadata node removed", "node", id, "addr", string(target.Address))
		if err := n.unpublish(ctx, id, o); err != nil {
			return fmt.Errorf("%w: %w", ErrIndeterminate, err) // whatever it says of itself: the voter is gone
		}
		return nil
	}
	return n.unpublish(ctx, id, o)
}

// answers reports whether a voter's process takes connections of this cluster.
func (n *Node) answers(ctx context.Context, server raft.Server) bool {
	ctx, cancel := context.WithTimeout(ctx, silentWait)
	defer cancel()
	conn, err := n.stream.dial(ctx, string(server.Address))
	if err != nil {
		return false
	}
	_ = conn.Close() // it has answered
	return true
}

// unpublish takes a metadata node out of the cluster's record.
func (n *Node) unpublish(ctx context.Context, id string, o ProposeOptions) error {
	for {
		state, err := n.Read(ctx)
		if err != nil {
			return err
		}
		cluster := state.Cluster()
		if metadataNode(cluster, id) == nil {
			return nil
		}
		c := &raftfsm.SetMetadataNodes{ExpectedRevision: cluster.ModifiedRevision}
		for _, m := range cluster.MetadataNodes {
			if m.Id != id {
				c.Nodes = append(c.Nodes, raftfsm.MetadataNode{ID: m.Id, Incarnation: m.Incarnation, ClusterAddr: m.ClusterAddr, HTTPAddr: m.HttpAddr})
			}
		}
		_, err = n.Propose(ctx, c, o)
		if !errors.Is(err, &raftfsm.Error{Code: raftfsm.CodeConflict}) {
			return err
		}
	}
}

func (n *Node) transfer(id string) error {
	servers := n.servers()
	if len(servers) < 2 {
		return voterRefusal(raftfsm.CodePrecondition, "there is no other metadata node to lead")
	}
	if id == "" {
		return transferred(n.raft.LeadershipTransfer().Error())
	}
	for _, server := range servers {
		if string(server.ID) != id {
			continue
		}
		if id == n.config.NodeID {
			return nil // it leads
		}
		return transferred(n.raft.LeadershipTransferToServer(server.ID, server.Address).Error())
	}
	return voterRefusal(raftfsm.CodeNotFound, "metadata node %q was not found", id)
}

// transferred makes a refusal of a transfer that Raft has given up: the leader is the one that it was.
func transferred(err error) error {
	if err == nil {
		return nil
	}
	return voterRefusal(raftfsm.CodePrecondition, "the leadership was not handed over: %v", err)
}
