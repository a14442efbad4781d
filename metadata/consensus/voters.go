package consensus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// voterWait bounds the check of a new voter's address, and its addition.
const voterWait = 5 * time.Second

// HandleAddVoter answers Consensus.AddVoter on any node. Without a cluster id it only tells the
// cluster's, which the caller writes down before it asks again: a voter has to answer Raft before its
// addition can commit, and it answers only its own cluster. So an id that another directory has, and an
// address at which Raft knows another id, is refused before that. FailedPrecondition
// says that the caller is another cluster's, AlreadyExists that its id or its cluster address is another node's,
// Unimplemented that it speaks another version.
func (n *Node) HandleAddVoter(ctx context.Context, r *atollpb.AddVoterRequest) (*atollpb.AddVoterResponse, error) {
	if err := rpc.CheckWire(r.GetWireVersion()); err != nil {
		return nil, status.Error(codes.Unimplemented, err.Error())
	}
	own := n.ClusterID()
	if own == "" || n.fsm.State().Cluster() == nil {
		return nil, status.Error(codes.Unavailable, "the cluster is not initialised")
	}
	if r.ClusterId != "" && r.ClusterId != own {
		return nil, status.Errorf(codes.FailedPrecondition, "metadata node %q %v (%s), not to this one (%s)", r.NodeId, ErrForeign, r.ClusterId, own)
	}
	var err error
	switch {
	case r.ClusterId == "":
		err = n.checkVoter(ctx, r)
	case n.raft.State() == raft.Leader:
		err = n.addVoter(ctx, r)
	case r.Forwarded: // two nodes that each take the other for the leader must not hand it to and fro
		err = ErrNoLeader
	default:
		return n.forwardVoter(ctx, r)
	}
	if err != nil {
		return nil, voterError(err)
	}
	return &atollpb.AddVoterResponse{ClusterId: own}, nil
}

func (n *Node) forwardVoter(ctx context.Context, r *atollpb.AddVoterRequest) (*atollpb.AddVoterResponse, error) {
	leader, err := n.leaderClient()
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	r.Forwarded = true
	return leader.AddVoter(ctx, r)
}

func voterError(err error) error {
	refusal, ok := errors.AsType[*raftfsm.Error](err)
	switch {
	case ok && refusal.Code == raftfsm.CodePrecondition:
		return status.Error(codes.AlreadyExists, refusal.Message)
	case ok:
		return status.Error(codes.InvalidArgument, refusal.Message)
	}
	return status.Error(codes.Unavailable, err.Error())
}

// checkVoter refuses a node whose id is that of another directory, or whose cluster address is another
// node's. An id that this node knows keeps its directory, so its own state is enough to refuse, also when the
// emptied voter is the one that a majority lacks; to agree it takes the cluster's.
func (n *Node) checkVoter(ctx context.Context, r *atollpb.AddVoterRequest) error {
	if err := n.checkVoterIn(n.fsm.State(), r); err != nil {
		return err
	}
	state, err := n.Read(ctx)
	if err != nil {
		return err
	}
	if err := n.checkVoterIn(state, r); err != nil {
		return err
	}
	return nil
}

// checkVoterIn looks at Raft's configuration beside the record: while a voter moves, each has an address of
// its own.
func (n *Node) checkVoterIn(state *raftfsm.State, r *atollpb.AddVoterRequest) *raftfsm.Error {
	if err := raftfsm.CheckMetadataNode(state.Cluster(), recordOf(r)); err != nil {
		return err
	}
	for _, server := range n.servers() {
		if string(server.ID) != r.NodeId && string(server.Address) == r.ClusterAddr {
			return raftfsm.AddressTaken(r.ClusterAddr, string(server.ID))
		}
	}
	return nil
}

func recordOf(r *atollpb.AddVoterRequest) *raftfsm.MetadataNode {
	return &raftfsm.MetadataNode{ID: r.NodeId, Incarnation: r.Incarnation, ClusterAddr: r.ClusterAddr, HTTPAddr: r.HttpAddr}
}

// addVoter adds a voter, or corrects its addresses, on the leader. The cluster's record comes first: from
// then on the id is this directory's, also if the leader dies before Raft knows the voter.
func (n *Node) addVoter(ctx context.Context, r *atollpb.AddVoterRequest) error {
	if r.NodeId == "" || r.ClusterAddr == "" {
		return &raftfsm.Error{Code: raftfsm.CodeInvalid, Field: "node_id", Message: "node_id and cluster_addr must be given"}
	}
	n.voterMu.Lock()
	defer n.voterMu.Unlock()
	if _, err := n.ready(); err != nil {
		return err
	}
	if err := n.checkVoter(ctx, r); err != nil {
		return err
	}
	known := slices.ContainsFunc(n.servers(), func(server raft.Server) bool {
		return string(server.ID) == r.NodeId && string(server.Address) == r.ClusterAddr
	})
	if !known {
		if err := n.reach(ctx, r); err != nil {
			return err
		}
	}
	err := n.publish(ctx, *recordOf(r))
	if err != nil || known {
		return err
	}
	if err := n.raft.AddVoter(raft.ServerID(r.NodeId), raft.ServerAddress(r.ClusterAddr), 0, voterWait).Error(); err != nil {
		return fmt.Errorf("add voter: %w", err)
	}
	n.log.Info("metadata node added", "node", r.NodeId, "addr", r.ClusterAddr)
	if voters := len(n.servers()); voters%2 == 0 {
		n.log.Warn("an even number of metadata nodes survives no more failures than one node less: add another", "voters", voters)
	}
	return nil
}

// reach checks a new voter's address: one that can't be reached would count for the majority and never
// answer.
func (n *Node) reach(ctx context.Context, r *atollpb.AddVoterRequest) error {
	if r.NodeId == n.config.NodeID {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, voterWait)
	defer cancel()
	conn, err := n.stream.dial(ctx, r.ClusterAddr)
	if err != nil {
		return fmt.Errorf("reach the new voter: %w", err)
	}
	return conn.Close()
}

// publish brings a metadata node's addresses into the cluster's record.
func (n *Node) publish(ctx context.Context, node raftfsm.MetadataNode) error {
	for {
		state, err := n.Read(ctx)
		if err != nil {
			return err
		}
		cluster := state.Cluster()
		if cluster == nil { // this node has just become the leader
			return errors.New("the cluster is not initialised yet")
		}
		if m := metadataNode(cluster, node.ID); m != nil && m.Incarnation == node.Incarnation &&
			m.ClusterAddr == node.ClusterAddr && m.HttpAddr == node.HTTPAddr {
			return nil
		}
		c := &raftfsm.SetMetadataNodes{ExpectedRevision: cluster.ModifiedRevision, Nodes: []raftfsm.MetadataNode{node}}
		for _, m := range cluster.MetadataNodes {
			if m.Id != node.ID {
				c.Nodes = append(c.Nodes, raftfsm.MetadataNode{ID: m.Id, Incarnation: m.Incarnation, ClusterAddr: m.ClusterAddr, HTTPAddr: m.HttpAddr})
			}
		}
		_, err = n.Propose(ctx, c, ProposeOptions{Actor: "control"})
		if !errors.Is(err, &raftfsm.Error{Code: raftfsm.CodeConflict}) {
			return err
		}
	}
}
