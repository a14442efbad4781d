package datanode

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/replication"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Forward is command.Node: it has the primary execute a session's writes, on one stream, in order.
func (n *Node) Forward(ctx context.Context, session command.ForwardSession, calls [][][]byte, reply func(command.ForwardReply)) error {
	v := n.views.Current()
	g := v.Group(replication.GroupID)
	primary := v.Node(g.GetPrimary())
	if primary == nil || primary.GetId() == n.cfg.NodeID {
		return fmt.Errorf("%w: the group's primary is not known", command.ErrNotForwarded)
	}
	conn, err := n.conns.get(primary.GetClusterAddr())
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrNotForwarded, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := atollpb.NewReplicationClient(conn).Forward(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", command.ErrNotForwarded, err)
	}
	sent := make(chan error, 1)
	go func() { // ends with the stream: cancel
		sent <- n.sendCalls(stream, primary.GetId(), g.GetEpoch(), session, calls)
	}()
	for i := range calls {
		r, err := stream.Recv()
		if err != nil {
			cancel()
			errSend := <-sent
			if i == 0 && status.Code(err) == codes.FailedPrecondition {
				return fmt.Errorf("%w: %w", command.ErrNotForwarded, err)
			}
			return fmt.Errorf("forward to %s: %w", primary.GetId(), errors.Join(err, errSend))
		}
		reply(command.ForwardReply{RESP: r.GetReply(), Index: r.GetIndex(), Refused: r.GetRefused()})
	}
	return <-sent
}

type forwardClient = grpc.BidiStreamingClient[atollpb.ForwardRequest, atollpb.ForwardResponse]

func (n *Node) sendCalls(stream forwardClient, to string, epoch uint64, from command.ForwardSession, calls [][][]byte) error {
	for _, args := range calls {
		r := &atollpb.ForwardRequest{
			ClusterId: n.clusterID(), ToNodeId: to, Epoch: epoch, NamespaceId: from.NamespaceID, TokenId: from.TokenID,
			Db: uint32(from.DB), Protocol: uint32(from.Proto), Args: args, MinRevision: from.MinRevision,
			WireVersion: rpc.WireVersion,
		}
		if err := stream.Send(r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil // the stream has broken; Recv says why
			}
			return err
		}
	}
	return stream.CloseSend()
}

// replicationServer is the gRPC service of this node.
type replicationServer struct {
	atollpb.UnimplementedReplicationServer
	n *Node
}

// Follow is atollpb.ReplicationServer.
func (s *replicationServer) Follow(stream grpc.BidiStreamingServer[atollpb.SinkMessage, atollpb.SourceMessage]) error {
	return s.n.member.Follow(stream)
}

// Snapshot is atollpb.ReplicationServer.
func (s *replicationServer) Snapshot(r *atollpb.SnapshotRequest, stream grpc.ServerStreamingServer[atollpb.SnapshotFrame]) error {
	return s.n.member.Snapshot(r, stream)
}

// Forward is atollpb.ReplicationServer. A refusal before the first command is FailedPrecondition: then
// nothing was executed.
func (s *replicationServer) Forward(stream grpc.BidiStreamingServer[atollpb.ForwardRequest, atollpb.ForwardResponse]) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := rpc.CheckWire(r.GetWireVersion()); err != nil {
			return status.Error(codes.FailedPrecondition, err.Error())
		}
		switch {
		case r.GetClusterId() != s.n.clusterID():
			return status.Errorf(codes.FailedPrecondition, "cluster_id: this node belongs to cluster %s", s.n.clusterID())
		case r.GetToNodeId() != s.n.cfg.NodeID:
			return status.Errorf(codes.FailedPrecondition, "to_node_id: this is node %s", s.n.cfg.NodeID)
		}
		// The primary may see a change of the metadata later than the replica that asks.
		if _, err := s.n.views.Wait(stream.Context(), r.GetMinRevision()); err != nil {
			return status.Errorf(codes.Unavailable, "wait for view %d: %v", r.GetMinRevision(), err)
		}
		reply := s.n.forwarder.Execute(command.ForwardSession{
			NamespaceID: r.GetNamespaceId(), TokenID: r.GetTokenId(), DB: int(r.GetDb()), Proto: int(r.GetProtocol()),
			MinRevision: r.GetMinRevision(),
		}, r.GetArgs())
		err = stream.Send(&atollpb.ForwardResponse{Reply: reply.RESP, Index: reply.Index, Refused: reply.Refused})
		if err != nil {
			return err
		}
	}
}
