package datanode

import (
	"context"
	"strings"
	"testing"

	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// forwardStream hands one request to a server.
type forwardStream struct {
	grpc.ServerStream
	ctx     context.Context
	request *atollpb.ForwardRequest
}

func (s *forwardStream) Context() context.Context { return s.ctx }

func (s *forwardStream) Recv() (*atollpb.ForwardRequest, error) { return s.request, nil }

func (s *forwardStream) Send(*atollpb.ForwardResponse) error {
	return status.Error(codes.Aborted, "it was executed")
}

// TestForwardVersion: nothing is executed for a replica that speaks another version.
func TestForwardVersion(t *testing.T) {
	n := open(t, config(t, t.TempDir()))
	n.lead(t)
	r := &atollpb.ForwardRequest{
		ClusterId: n.clusterID(), ToNodeId: "n1", Protocol: 2, Args: [][]byte{[]byte("PING")}, WireVersion: rpc.WireVersion,
	}
	server := &replicationServer{n: n}
	if err := server.Forward(&forwardStream{ctx: t.Context(), request: r}); status.Code(err) != codes.Aborted {
		t.Fatalf("the right version: %v", err)
	}
	r.WireVersion++
	err := server.Forward(&forwardStream{ctx: t.Context(), request: r})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "speaks version 2, this program speaks version 1") {
		t.Errorf("another version: %v", err)
	}
}
