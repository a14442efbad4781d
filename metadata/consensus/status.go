package consensus

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// Voter is a metadata node of the Raft configuration.
type Voter struct {
	ID, ClusterAddr, HTTPAddr string // HTTPAddr is empty until the state knows it
}

// The roles of a node.
const (
	RoleLeader    = "leader"
	RoleFollower  = "follower"
	RoleCandidate = "candidate"
	RoleShutdown  = "shutdown"
)

// Status is a node's own account of itself.
type Status struct {
	NodeID, ClusterID    string
	Initialised          bool   // the cluster's record is in this node's state
	CatchingUp           bool   // it leads, and has yet to apply what was committed before
	Role                 string // one of the constants above
	Term                 uint64
	LeaderID, LeaderAddr string // empty when unknown

	LastLogIndex, CommitIndex, AppliedIndex, Revision uint64

	LastContact time.Duration // since the leader was heard of; 0 on the leader
	Voters      []Voter
	Err         error // why the node has stopped for good
}

// Ready returns nil when the node can serve: initialised, with a leader, not stopped.
func (s Status) Ready() error {
	switch {
	case s.Err != nil:
		return s.Err
	case s.Role == RoleShutdown:
		return ErrStopped
	case !s.Initialised:
		return errors.New("the cluster is not initialised")
	case s.LeaderID == "":
		return ErrNoLeader
	case s.CatchingUp:
		return errors.New("the leader is applying the log")
	}
	return nil
}

// Status returns the node's status.
func (n *Node) Status() Status {
	state := n.fsm.State()
	addr, id := n.raft.LeaderWithID()
	s := Status{
		NodeID: n.config.NodeID, ClusterID: n.ClusterID(), Initialised: state.Cluster() != nil,
		Role: strings.ToLower(n.raft.State().String()), Term: n.raft.CurrentTerm(),
		LeaderID: string(id), LeaderAddr: string(addr),
		LastLogIndex: n.raft.LastIndex(), CommitIndex: n.raft.CommitIndex(),
		AppliedIndex: state.Applied(), Revision: state.Revision(), Err: n.stopped(),
	}
	if at := n.raft.LastContact(); s.Role != RoleLeader && !at.IsZero() {
		s.LastContact = time.Since(at)
	}
	_, caughtUp := n.Leading()
	s.CatchingUp = s.Role == RoleLeader && !caughtUp
	for _, server := range n.servers() {
		v := Voter{ID: string(server.ID), ClusterAddr: string(server.Address)}
		if m := metadataNode(state.Cluster(), v.ID); m != nil {
			v.HTTPAddr = m.HttpAddr
		}
		s.Voters = append(s.Voters, v)
	}
	return s
}

// servers returns the voters of Raft's newest configuration.
func (n *Node) servers() []raft.Server {
	future := n.raft.GetConfiguration()
	if future.Error() != nil {
		return nil
	}
	return future.Configuration().Servers
}

func metadataNode(c *atollpb.ClusterInfo, id string) *atollpb.MetadataNode {
	for _, m := range c.GetMetadataNodes() {
		if m.Id == id {
			return m
		}
	}
	return nil
}

// Leader returns the leader's id and cluster address; false when this node knows none.
func (n *Node) Leader() (id, addr string, ok bool) {
	a, i := n.raft.LeaderWithID()
	return string(i), string(a), a != ""
}

// leaderClient returns the leader's Consensus service; an error when there is none or it is this node.
func (n *Node) leaderClient() (atollpb.ConsensusClient, error) {
	id, addr, ok := n.Leader()
	if !ok || id == n.config.NodeID {
		return nil, ErrNoLeader
	}
	conn, err := n.peers.Conn(addr)
	if err != nil {
		return nil, err
	}
	return atollpb.NewConsensusClient(conn), nil
}

// LeaderClient returns the leader's Consensus and Metadata services. It fails with ErrNoLeader when no
// leader is known, or when this node leads.
func (n *Node) LeaderClient() (atollpb.ConsensusClient, atollpb.MetadataClient, error) {
	id, addr, ok := n.Leader()
	if !ok || id == n.config.NodeID {
		return nil, nil, ErrNoLeader
	}
	conn, err := n.peers.Conn(addr)
	if err != nil {
		return nil, nil, fmt.Errorf("reach the leader: %w", err)
	}
	return atollpb.NewConsensusClient(conn), atollpb.NewMetadataClient(conn), nil
}

func statNumber(s string) uint64 {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return v
}
