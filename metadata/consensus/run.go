package consensus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// Run initialises or joins the cluster, and keeps this node's addresses in the cluster's record, until
// the context ends (nil) or the node stops for good. ErrForeign says that it is another cluster's, ErrTaken
// that its id or its cluster address is another node's.
func (n *Node) Run(ctx context.Context) error {
	reasons := reasons{}
	for {
		changed := n.LeaderChanged()
		err := n.reconcile(ctx)
		switch {
		case n.failure.Load() != nil:
			return n.stopped()
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrForeign), errors.Is(err, ErrTaken):
			return err
		}
		reasons.note(n.log, err)
		timer := time.NewTimer(reconcileWait)
		select {
		case <-ctx.Done():
		case <-n.failed:
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// reasons counts why a node is not settled. A start goes through a few on its way, so only what comes again
// is worth a warning, and that once until the node is settled.
type reasons map[string]int

// reasonsMax bounds the count: reasons may name ports that change.
const reasonsMax = 64

// note counts an error; nil says that the node is settled, so what comes later is new.
func (r reasons) note(log *slog.Logger, err error) {
	if err == nil || len(r) == reasonsMax {
		clear(r)
	}
	if err == nil {
		return
	}
	r[err.Error()]++
	level := slog.LevelDebug
	if r[err.Error()] == 2 {
		level = slog.LevelWarn
	}
	log.Log(context.Background(), level, "metadata node is not settled yet: it tries again", "error", err)
}

// reconcile brings the cluster one step nearer to what this node's configuration says.
func (n *Node) reconcile(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callWait)
	defer cancel()
	if n.ClusterID() == "" {
		if err := n.learnCluster(ctx); err != nil {
			return err
		}
	}
	if n.raft.State() == raft.Leader {
		if _, err := n.ready(); err != nil {
			return err
		}
		if n.fsm.State().Cluster() == nil {
			return n.initialise(ctx)
		}
	}
	cluster := n.fsm.State().Cluster()
	if cluster != nil && cluster.ClusterId != n.ClusterID() {
		return fmt.Errorf("metadata directory %s holds cluster %s, its identity says %s: %w", n.config.Dir, cluster.ClusterId, n.ClusterID(), ErrForeign)
	}
	if cluster != nil {
		if err := n.updateIdentity(func(id *identity) { id.HistoryID = cluster.MetadataHistoryId }); err != nil {
			return err
		}
	}
	if err := n.noteVoters(); err != nil {
		return err
	}
	return n.settle(ctx, cluster)
}

// learnCluster asks the nodes to join for their cluster's id and writes it down.
func (n *Node) learnCluster(ctx context.Context) error {
	var errs []error
	for _, addr := range n.config.Join {
		if addr == n.config.ClusterAddr {
			continue
		}
		response, err := n.askVoter(ctx, addr)
		if err == nil {
			return n.updateIdentity(func(id *identity) { id.ClusterID = response.ClusterId })
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// askVoter asks the node at an address to make this node a voter.
func (n *Node) askVoter(ctx context.Context, addr string) (*atollpb.AddVoterResponse, error) {
	conn, err := n.peers.Conn(addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, voterWait)
	defer cancel()
	response, err := atollpb.NewConsensusClient(conn).AddVoter(ctx, &atollpb.AddVoterRequest{
		ClusterId: n.ClusterID(), NodeId: n.config.NodeID, Incarnation: n.identity.Incarnation,
		ClusterAddr: n.config.ClusterAddr, HttpAddr: n.config.HTTPAddr, WireVersion: rpc.WireVersion,
	})
	message := status.Convert(err).Message()
	switch status.Code(err) {
	case codes.OK:
		return response, nil
	case codes.FailedPrecondition:
		return nil, fmt.Errorf("join metadata node %s: %s: %w", addr, message, ErrForeign)
	case codes.AlreadyExists:
		return nil, fmt.Errorf("join metadata node %s: %w: %s", addr, ErrTaken, message)
	}
	return nil, fmt.Errorf("join metadata node %s: %s", addr, message)
}

// initialise proposes the cluster's first records. The admin's secret is on disk before anything is.
func (n *Node) initialise(ctx context.Context) error {
	secret, err := adminSecret(n.config.AdminTokenFile)
	if err != nil {
		n.fail(err)
		return err
	}
	key := make([]byte, raftfsm.HashBytes)
	_, _ = rand.Read(key) // never fails
	_, err = n.Propose(ctx, &raftfsm.InitCluster{
		ClusterID: n.ClusterID(), MetadataHistoryID: newID(), TokenKey: key,
		AdminToken:   raftfsm.NewToken{ID: newID(), Hash: HashSecret(key, secret), Role: atollpb.Role_ROLE_ADMIN, Label: "admin"},
		MetadataNode: raftfsm.MetadataNode{ID: n.config.NodeID, Incarnation: n.identity.Incarnation, ClusterAddr: n.config.ClusterAddr, HTTPAddr: n.config.HTTPAddr},
	}, ProposeOptions{Actor: "control"})
	refusal, refused := errors.AsType[*raftfsm.Error](err)
	switch {
	case refused && refusal.Code == raftfsm.CodePrecondition:
		err = nil // an earlier attempt that a slow disk left without an answer has done it
	case refused && refusal.Code == raftfsm.CodeInvalid: // the same values would be refused for ever
		n.fail(fmt.Errorf("initialise the cluster: %w", refusal))
	}
	if err == nil {
		n.log.Info("cluster initialised", "cluster", n.ClusterID(), "admin_token_file", n.config.AdminTokenFile)
	}
	return err
}

// noteVoters adapts the timeouts to the number of voters, now and for the next start.
func (n *Node) noteVoters() error {
	voters := len(n.servers())
	if voters == 0 {
		return nil
	}
	if voters > 1 && n.config.Timing == nil && n.raft.ReloadableConfig().HeartbeatTimeout == fastTiming().Heartbeat {
		rc, grown := n.raft.ReloadableConfig(), grownTiming()
		rc.HeartbeatTimeout, rc.ElectionTimeout = grown.Heartbeat, grown.Election
		if err := n.raft.ReloadConfig(rc); err != nil {
			return fmt.Errorf("change raft timeouts: %w", err)
		}
	}
	return n.updateIdentity(func(id *identity) { id.Voters = voters })
}

// settle makes this node a voter under its present addresses, if it isn't.
func (n *Node) settle(ctx context.Context, cluster *atollpb.ClusterInfo) error {
	m, settled := metadataNode(cluster, n.config.NodeID), false
	for _, server := range n.servers() {
		settled = settled || string(server.ID) == n.config.NodeID && string(server.Address) == n.config.ClusterAddr
	}
	if settled && m != nil && m.ClusterAddr == n.config.ClusterAddr && m.HttpAddr == n.config.HTTPAddr {
		return nil
	}
	if n.raft.State() == raft.Leader {
		return n.addVoter(ctx, &atollpb.AddVoterRequest{
			NodeId: n.config.NodeID, Incarnation: n.identity.Incarnation, ClusterAddr: n.config.ClusterAddr, HttpAddr: n.config.HTTPAddr,
		})
	}
	addrs := n.config.Join
	if _, addr, ok := n.Leader(); ok {
		addrs = []string{addr}
	}
	var errs []error
	for _, addr := range addrs {
		if addr == n.config.ClusterAddr {
			continue
		}
		_, err := n.askVoter(ctx, addr)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
