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

// voterWait bounds the check of a new voter's address, and its addition.
const voterWait = 5 * time.Second

// HandleAddVoter answers Consensus.AddVoter on any node. Without a cluster id it only tells the
// cluster's, which the caller writes down before it asks again: a voter has to answer Raft before its
// addition can commit, and it answers only its own cluster.
func (n *Node) HandleAddVoter(ctx context.Context, r *atollpb.AddVoterRequest) (*atollpb.AddVoterResponse, error) {
	own := n.ClusterID()
	if own == "" || n.fsm.State().Cluster() == nil {
		return nil, status.Error(codes.Unavailable, "the cluster is not initialised")
	}
	if r.ClusterId == "" {
		return &atollpb.AddVoterResponse{ClusterId: own}, nil
	}
	if r.ClusterId != own {
		return nil, status.Errorf(codes.FailedPrecondition, "metadata node %q %v (%s), not to this one (%s)", r.NodeId, ErrForeign, r.ClusterId, own)
	}
	if n.raft.State() != raft.Leader {
		leader, err := n.leaderClient()
		if err != nil {
			return nil, status.Error(codes.Unavailable, err.Error())
		}
		return leader.AddVoter(ctx, r)
	}
	if err := n.addVoter(ctx, r); err != nil {
		var refusal *raftfsm.Error
		if errors.As(err, &refusal) {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return &atollpb.AddVoterResponse{ClusterId: own}, nil
}

// addVoter adds a voter, or corrects its addresses, on the leader.
func (n *Node) addVoter(ctx context.Context, r *atollpb.AddVoterRequest) error {
	if r.NodeId == "" || r.ClusterAddr == "" {
		return &raftfsm.Error{Code: raftfsm.CodeInvalid, Field: "node_id", Message: "node_id and cluster_addr must be given"}
	}
	n.voterMu.Lock()
	defer n.voterMu.Unlock()
	if _, err := n.ready(); err != nil {
		return err
	}
	known := false
	for _, server := range n.servers() {
		same := string(server.ID) == r.NodeId
		if !same && string(server.Address) == r.ClusterAddr {
			return &raftfsm.Error{Code: raftfsm.CodeInvalid, Field: "cluster_addr",
				Message: fmt.Sprintf("cluster_addr %s is that of metadata node %q", r.ClusterAddr, server.ID)}
		}
		known = known || same && string(server.Address) == r.ClusterAddr
	}
	if !known {
		// A voter that can't be reached would count for the majority and never answer.
		if r.NodeId != n.config.NodeID {
			check, cancel := context.WithTimeout(ctx, voterWait)
			conn, err := n.stream.dial(check, r.ClusterAddr)
			cancel()
			if err != nil {
				return fmt.Errorf("reach the new voter: %w", err)
			}
			_ = conn.Close()
		}
		if err := n.raft.AddVoter(raft.ServerID(r.NodeId), raft.ServerAddress(r.ClusterAddr), 0, voterWait).Error(); err != nil {
			return fmt.Errorf("add voter: %w", err)
		}
		n.log.Info("metadata node added", "node", r.NodeId, "addr", r.ClusterAddr)
	}
	return n.publish(ctx, raftfsm.MetadataNode{ID: r.NodeId, ClusterAddr: r.ClusterAddr, HTTPAddr: r.HttpAddr})
}

// publish brings a metadata node's addresses into the cluster's record.
func (n *Node) publish(ctx context.Context, node raftfsm.MetadataNode) error {
	for {
		state, err := n.Read(ctx)
		if err != nil {
			return err
		}
		cluster := state.Cluster()
		if m := metadataNode(cluster, node.ID); m != nil && m.ClusterAddr == node.ClusterAddr && m.HttpAddr == node.HTTPAddr {
			return nil
		}
		c := &raftfsm.SetMetadataNodes{ExpectedRevision: cluster.ModifiedRevision, Nodes: []raftfsm.MetadataNode{node}}
		for _, m := range cluster.MetadataNodes {
			if m.Id != node.ID {
				c.Nodes = append(c.Nodes, raftfsm.MetadataNode{ID: m.Id, ClusterAddr: m.ClusterAddr, HTTPAddr: m.HttpAddr})
			}
		}
		_, err = n.Propose(ctx, c, ProposeOptions{Actor: "control"})
		if !errors.Is(err, &raftfsm.Error{Code: raftfsm.CodeConflict}) {
			return err
		}
	}
}
