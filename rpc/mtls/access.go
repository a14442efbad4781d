package mtls

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// mayCall is the table from a method to the roles that may call it. A method that it doesn't know is nobody's; the
// one of nobody's role is open to who has no certificate.
func mayCall(method string) (roles []Role, open, ok bool) {
	switch method {
	case atollpb.Enrolment_Enroll_FullMethodName:
		return nil, true, true
	case atollpb.Metadata_Report_FullMethodName: // metadata nodes pass reports on
		return []Role{Data, Meta}, false, true
	case atollpb.Enrolment_Renew_FullMethodName,
		atollpb.Metadata_Join_FullMethodName, atollpb.Metadata_Watch_FullMethodName,
		atollpb.Metadata_BeginEpoch_FullMethodName, atollpb.Metadata_Namespaces_FullMethodName,
		atollpb.Replication_Follow_FullMethodName, atollpb.Replication_Snapshot_FullMethodName,
		atollpb.Replication_Forward_FullMethodName, atollpb.Replication_Publish_FullMethodName:
		return []Role{Data}, false, true
	case atollpb.Consensus_Propose_FullMethodName, atollpb.Consensus_ReadIndex_FullMethodName,
		atollpb.Consensus_AddVoter_FullMethodName, atollpb.Consensus_Reports_FullMethodName,
		atollpb.Consensus_ChangeVoters_FullMethodName:
		return []Role{Meta}, false, true
	}
	return nil, false, false
}

// servedBy returns the role that a service's servers have.
func servedBy(method string) Role {
	if strings.HasPrefix(method, "/"+atollpb.Replication_ServiceDesc.ServiceName+"/") {
		return Data
	}
	return Meta
}

// Access decides on the calls that a server gets.
type Access struct {
	// Enrolled says whether a data node's key is still the one that the cluster knows the node by: it is how a
	// removed node is shut out before its certificate ends. Metadata nodes aren't asked about, since they hold the
	// authority's key. An error is a gRPC status.
	Enrolled func(context.Context, Peer) error
	// Shown hears of the callers that may call, with the authority of their certificates; nil: nobody does.
	Shown func(Peer)
	// Refused hears of calls that were turned away.
	Refused func(ctx context.Context, p Peer, method string, err error)
}

// Options returns the server's interceptors.
func (a Access) Options() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(a.unary), grpc.ChainStreamInterceptor(a.stream)}
}

func (a Access) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	p := PeerOf(ctx)
	err := a.check(ctx, p, info.FullMethod)
	if err == nil {
		err = checkClaim(p, request)
	}
	if err != nil {
		a.Refused(ctx, p, info.FullMethod, err)
		return nil, err
	}
	return handler(ctx, request)
}

func (a Access) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	p := PeerOf(stream.Context())
	if err := a.check(stream.Context(), p, info.FullMethod); err != nil {
		a.Refused(stream.Context(), p, info.FullMethod, err)
		return err
	}
	checked := &checkedStream{ServerStream: stream, access: a, peer: p, method: info.FullMethod}
	checked.next.Store(time.Now().Add(recheckEvery).UnixNano())
	return handler(server, checked)
}

// recheckEvery is how often the messages of an open stream find out whether its caller is still let in.
const recheckEvery = time.Second

// checkedStream compares what the messages of a stream claim, and ends with its caller's enrolment.
type checkedStream struct {
	grpc.ServerStream
	access Access
	peer   Peer
	method string
	next   atomic.Int64 // when to check again, in Unix nanoseconds
}

// RecvMsg implements grpc.ServerStream.
func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if err := s.recheck(); err != nil {
		return err
	}
	err := checkClaim(s.peer, m)
	if err != nil {
		s.access.Refused(s.Context(), s.peer, s.method, err)
	}
	return err
}

// SendMsg implements grpc.ServerStream.
func (s *checkedStream) SendMsg(m any) error {
	if err := s.recheck(); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

// recheck is for each message; one at a time asks, and only every so often.
func (s *checkedStream) recheck() error {
	now, next := time.Now(), s.next.Load()
	if now.UnixNano() < next || !s.next.CompareAndSwap(next, now.Add(recheckEvery).UnixNano()) {
		return nil
	}
	err := s.access.check(s.Context(), s.peer, s.method)
	if err != nil {
		s.next.Store(0) // what the other direction carries ends too
		s.access.Refused(s.Context(), s.peer, s.method, err)
	}
	return err
}

// check looks at the caller's role, and whether it is still enrolled.
func (a Access) check(ctx context.Context, p Peer, method string) error {
	roles, open, ok := mayCall(method)
	switch {
	case open:
		return nil
	case !ok:
		return status.Errorf(codes.Unimplemented, "%s is unknown", method)
	case !p.Known():
		return status.Error(codes.Unauthenticated, "the caller has shown no certificate: see atoll node invite")
	}
	for _, r := range roles {
		if !p.Has(r) {
			continue
		}
		if !p.Has(Meta) {
			if err := a.Enrolled(ctx, p); err != nil {
				return err
			}
		}
		if a.Shown != nil {
			a.Shown(p)
		}
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "node %q has a certificate of the roles %s, which may not call %s", p.NodeID, words(p.Roles), method)
}

func words(roles []Role) string {
	var list []string
	for _, r := range roles {
		list = append(list, RoleWord(r))
	}
	return strings.Join(list, " and ")
}

// checkClaim compares the node that a message claims to be of with the certificate's. Metadata nodes pass on what
// others have sent.
func checkClaim(p Peer, message any) error {
	if f, ok := message.(interface{ GetForwarded() bool }); ok && f.GetForwarded() && p.Has(Meta) {
		return nil
	}
	if _, ok := message.(*atollpb.EnrollRequest); ok {
		return nil
	}
	claimed := ""
	switch m := message.(type) {
	case *atollpb.ReportRequest:
		claimed = m.GetReport().GetNodeId()
	case *atollpb.SinkMessage:
		if m.GetHello() == nil {
			return nil
		}
		claimed = m.GetHello().GetNodeId()
	case interface{ GetNodeId() string }:
		claimed = m.GetNodeId()
	default:
		return nil
	}
	if claimed != p.NodeID {
		return status.Errorf(codes.PermissionDenied, "node %q calls in the name of node %q", p.NodeID, claimed)
	}
	return nil
}

// PeerOf returns who has made a call; the zero Peer when it has shown no certificate.
func PeerOf(ctx context.Context) Peer {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Peer{}
	}
	info, ok := p.AuthInfo.(authInfo)
	if !ok {
		return Peer{}
	}
	return info.peer
}

// DialOptions returns what a client of the cluster's processes needs, whose target is passthrough:///host:port.
func (i *Identity) DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(i.ClientCredentials()), grpc.WithPerRPCCredentials(serverRole{}), grpc.WithResolvers(&i.redialers),
	}
}

// serverRole stops a call before it is sent to a node of the wrong role: a data node must not be taken for a
// metadata node because it has come by its address.
type serverRole struct{}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (serverRole) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	r, ok := credentials.RequestInfoFromContext(ctx)
	if !ok {
		return nil, status.Error(codes.Internal, "a call without its connection")
	}
	info, ok := r.AuthInfo.(authInfo)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "the connection has no certificate")
	}
	if want := servedBy(r.Method); !info.peer.Has(want) {
		return nil, status.Error(codes.Unimplemented, fmt.Sprintf("node %q is not of the role %s", info.peer.NodeID, RoleWord(want)))
	}
	return nil, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (serverRole) RequireTransportSecurity() bool { return true }
