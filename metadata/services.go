package metadata

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/ident"
	"github.com/atolldb/atoll/rpc/mtls"
)

// waitAppliedMax bounds what a NAMESPACE command may wait for.
const waitAppliedMax = 10 * time.Second

// consensusService is what metadata nodes call on each other.
type consensusService struct {
	atollpb.UnimplementedConsensusServer
	node *Node
}

// Propose implements atollpb.ConsensusServer.
func (s *consensusService) Propose(ctx context.Context, r *atollpb.ProposeRequest) (*atollpb.ProposeResponse, error) {
	return s.node.consensus.HandlePropose(ctx, r)
}

// ReadIndex implements atollpb.ConsensusServer.
func (s *consensusService) ReadIndex(ctx context.Context, r *atollpb.ReadIndexRequest) (*atollpb.ReadIndexResponse, error) {
	return s.node.consensus.HandleReadIndex(ctx, r)
}

// AddVoter implements atollpb.ConsensusServer.
func (s *consensusService) AddVoter(ctx context.Context, r *atollpb.AddVoterRequest) (*atollpb.AddVoterResponse, error) {
	return s.node.consensus.HandleAddVoter(ctx, r)
}

// Reports implements atollpb.ConsensusServer.
func (s *consensusService) Reports(ctx context.Context, r *atollpb.ReportsRequest) (*atollpb.ReportsResponse, error) {
	return s.node.control.HandleReports(ctx, r)
}

// ChangeVoters implements atollpb.ConsensusServer.
func (s *consensusService) ChangeVoters(ctx context.Context, r *atollpb.ChangeVotersRequest) (*atollpb.ChangeVotersResponse, error) {
	return s.node.consensus.HandleChangeVoters(ctx, r)
}

// metadataService is what data nodes call.
type metadataService struct {
	atollpb.UnimplementedMetadataServer
	node *Node
}

// Watch implements atollpb.MetadataServer.
func (s *metadataService) Watch(r *atollpb.WatchRequest, stream grpc.ServerStreamingServer[atollpb.ViewFrame]) error {
	return s.node.watch.Watch(r, stream)
}

// Report implements atollpb.MetadataServer.
func (s *metadataService) Report(ctx context.Context, r *atollpb.ReportRequest) (*atollpb.ReportResponse, error) {
	return s.node.control.HandleReport(ctx, r)
}

// Join implements atollpb.MetadataServer. A refusal is FailedPrecondition, or InvalidArgument for a field
// that breaks its bound.
func (s *metadataService) Join(ctx context.Context, r *atollpb.JoinRequest) (*atollpb.JoinResponse, error) {
	if err := rpc.CheckWire(r.GetWireVersion()); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	raft := s.node.consensus
	own := raft.ClusterID()
	if own == "" {
		return nil, status.Error(codes.Unavailable, "the cluster is not initialised")
	}
	if r.ClusterId != "" && r.ClusterId != own {
		s.node.refusals.add(raftfsm.RefusedData, r.NodeId, mtls.PeerOf(ctx).Roles, addrOf(ctx))
		return nil, status.Errorf(codes.FailedPrecondition, "node %q %v (%s), not to this one (%s)", r.NodeId, consensus.ErrForeign, r.ClusterId, own)
	}
	if raft.State().Cluster() == nil { // this node may be the one that is behind
		state, err := raft.Read(ctx)
		if err != nil || state.Cluster() == nil {
			return nil, status.Error(codes.Unavailable, "the cluster is not initialised")
		}
	}
	if err := s.node.admit(ctx); err != nil {
		s.node.RefusedCall(ctx, mtls.PeerOf(ctx), err)
		return nil, err
	}
	if err := s.idFree(ctx, r); err != nil {
		return nil, err
	}
	result, err := raft.Propose(ctx, &raftfsm.RegisterNode{
		NodeID: r.NodeId, Incarnation: r.Incarnation, RESPAddr: r.RespAddr, ClusterAddr: r.ClusterAddr, Version: r.Version,
		DataHistoryID: r.DataHistoryId, HasData: r.HasData, NewHistoryID: newID(), BeginEmpty: r.BeginEmpty,
	}, consensus.ProposeOptions{Actor: r.NodeId})
	if err == nil {
		err = raft.WaitApplied(ctx, result.Revision)
	}
	if err != nil {
		return nil, statusError(err)
	}
	state := raft.State()
	response := &atollpb.JoinResponse{
		ClusterId: own, Revision: result.Revision, Group: state.Group(raftfsm.GroupID),
		MetadataNodes: state.Cluster().MetadataNodes,
	}
	for node := range state.Nodes() {
		response.Nodes = append(response.Nodes, node)
	}
	return response, nil
}

// idFree answers Unavailable while another disk lives under the joining node's id: it may be one that was
// just wiped, whose last report has to grow old first, or a second node that was given the same id.
func (s *metadataService) idFree(ctx context.Context, r *atollpb.JoinRequest) error {
	reports, err := s.node.control.Reports(ctx)
	if err != nil {
		return statusError(err)
	}
	for _, report := range reports {
		if report.NodeId == r.NodeId && report.Incarnation != r.Incarnation && report.Live {
			return status.Errorf(codes.Unavailable, "node id %q is in use by a live node with another disk: stop that one, or take another --node-id", r.NodeId)
		}
	}
	return nil
}

// BeginEpoch implements atollpb.MetadataServer. FailedPrecondition says that the group has changed.
func (s *metadataService) BeginEpoch(ctx context.Context, r *atollpb.BeginEpochRequest) (*atollpb.BeginEpochResponse, error) {
	raft := s.node.consensus
	if r.ClusterId != raft.ClusterID() {
		return nil, status.Errorf(codes.FailedPrecondition, "node %q %v", r.NodeId, consensus.ErrForeign)
	}
	result, err := raft.Propose(ctx, &raftfsm.BeginEpoch{
		NodeID: r.NodeId, Incarnation: r.Incarnation, HistoryID: r.HistoryId, Epoch: r.Epoch, LastIndex: r.LastIndex,
	}, consensus.ProposeOptions{Actor: r.NodeId})
	if err != nil {
		return nil, statusError(err)
	}
	return &atollpb.BeginEpochResponse{Revision: result.Revision}, nil
}

// Namespaces implements atollpb.MetadataServer. Unavailable says that nothing has happened, and
// DeadlineExceeded that something may have.
func (s *metadataService) Namespaces(ctx context.Context, r *atollpb.NamespacesRequest) (*atollpb.NamespacesResponse, error) {
	raft := s.node.consensus
	if r.ClusterId != raft.ClusterID() {
		return nil, status.Errorf(codes.FailedPrecondition, "node %q %v", r.NodeId, consensus.ErrForeign)
	}
	result, err := s.namespaces(ctx, r)
	var refusal *raftfsm.Error
	if errors.As(err, &refusal) && answered(refusal.Code) {
		return &atollpb.NamespacesResponse{Result: namespacesResult(refusal.Code), Message: refusal.Message}, nil
	}
	if err != nil {
		return nil, statusError(err)
	}
	response := &atollpb.NamespacesResponse{Revision: result.Revision}
	wait := min(time.Duration(r.WaitAppliedMs)*time.Millisecond, waitAppliedMax)
	if wait > 0 {
		response.LaggingNodes = s.node.control.WaitApplied(ctx, result.Revision, wait).Nodes
	}
	return response, nil
}

// askedBy names who sent a NAMESPACE command, as token@node: the data node that passed it on has checked the token, and
// this node takes its word for it. An older node doesn't say.
func askedBy(r *atollpb.NamespacesRequest) (consensus.ProposeOptions, error) {
	o := consensus.ProposeOptions{Actor: r.GetNodeId()}
	if r.GetTokenId() == "" {
		return o, nil
	}
	if err := ident.Check(r.GetTokenId()); err != nil {
		return o, &raftfsm.Error{Code: raftfsm.CodeInvalid, Field: "token_id", Message: "token_id " + err.Error()}
	}
	o.Actor = r.GetTokenId() + "@" + r.GetNodeId()
	room := max(raftfsm.ActorBytesMax-len(o.Actor)-1, 0) // else both would be cut
	o.Source = strings.ToValidUTF8(r.GetClientAddr()[:min(len(r.GetClientAddr()), room)], "")
	return o, nil
}

func (s *metadataService) namespaces(ctx context.Context, r *atollpb.NamespacesRequest) (raftfsm.Result, error) {
	raft := s.node.consensus
	options, err := askedBy(r)
	if err != nil {
		return raftfsm.Result{}, err
	}
	if r.RequestId != "" {
		options.RequestID = "resp:" + r.RequestId
		options.Digest = raftfsm.DigestOf(r.Op.String(), r.Name, string(r.TokenHash))
	}
	token := raftfsm.NewToken{ID: newID(), Hash: r.TokenHash, Role: atollpb.Role_ROLE_READ_WRITE}
	if r.Op == atollpb.NamespacesOp_NAMESPACES_OP_ADD {
		if r.Name == raftfsm.DefaultNamespace {
			return raftfsm.Result{}, &raftfsm.Error{Code: raftfsm.CodeForbidden, Field: "name", Message: "the default namespace can't be added"}
		}
		return raft.Propose(ctx, &raftfsm.CreateNamespace{Name: r.Name, Tokens: []raftfsm.NewToken{token}}, options)
	}
	state, err := raft.Read(ctx)
	if err != nil {
		return raftfsm.Result{}, err
	}
	if outcome, ok := state.Recall(options.RequestID, options.Digest); ok {
		return outcome.Result, outcome.Err() // the name may be gone by now, and the change is this request's
	}
	namespace := state.NamespaceByName(r.Name)
	if namespace == nil {
		return raftfsm.Result{}, &raftfsm.Error{Code: raftfsm.CodeNotFound, Field: "name", Message: "the namespace was not found"}
	}
	switch r.Op {
	case atollpb.NamespacesOp_NAMESPACES_OP_SET:
		return raft.Propose(ctx, &raftfsm.ReplaceTokens{NamespaceID: namespace.Id, Token: token}, options)
	case atollpb.NamespacesOp_NAMESPACES_OP_DEL:
		command := &raftfsm.DeleteNamespace{ID: namespace.Id}
		if grace := s.node.config.DeleteGrace; grace > 0 {
			command.PurgeAtMs = time.Now().Add(grace).UnixMilli()
		}
		return raft.Propose(ctx, command, options)
	}
	return raftfsm.Result{}, &raftfsm.Error{Code: raftfsm.CodeInvalid, Field: "op", Message: "op is unknown"}
}

// answered reports whether a NAMESPACE command has an answer of its own for a refusal.
func answered(c raftfsm.Code) bool {
	switch c {
	case raftfsm.CodeConflict, raftfsm.CodePrecondition, raftfsm.CodeRequestReused:
		return false
	}
	return true
}

func namespacesResult(c raftfsm.Code) atollpb.NamespacesResult {
	switch c {
	case raftfsm.CodeExists:
		return atollpb.NamespacesResult_NAMESPACES_RESULT_EXISTS
	case raftfsm.CodeTokenExists:
		return atollpb.NamespacesResult_NAMESPACES_RESULT_TOKEN_EXISTS
	case raftfsm.CodeNotFound:
		return atollpb.NamespacesResult_NAMESPACES_RESULT_NOT_FOUND
	case raftfsm.CodeForbidden:
		return atollpb.NamespacesResult_NAMESPACES_RESULT_FORBIDDEN
	}
	return atollpb.NamespacesResult_NAMESPACES_RESULT_INVALID
}

// statusError maps the errors of consensus to gRPC's codes.
func statusError(err error) error {
	var refusal *raftfsm.Error
	switch {
	case errors.As(err, &refusal) && (refusal.Code == raftfsm.CodeInvalid || refusal.Code == raftfsm.CodeRequestReused):
		return status.Error(codes.InvalidArgument, refusal.Message)
	case refusal != nil:
		return status.Error(codes.FailedPrecondition, refusal.Message)
	case errors.Is(err, consensus.ErrIndeterminate):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, consensus.ErrTooMuch):
		return status.Error(codes.ResourceExhausted, err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, consensus.ErrNoLeader),
		errors.Is(err, consensus.ErrStopped):
		return status.Error(codes.Unavailable, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

// newID returns 130 random bits in letters and digits.
func newID() string { return strings.ToLower(rand.Text()) }
