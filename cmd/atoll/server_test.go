package main

import (
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	rpcstatus "google.golang.org/grpc/status"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// A message of a data node's size doesn't get into the memory of a process without one.
func TestOnlyDataNodesTakeLargeMessages(t *testing.T) {
	large := &atollpb.ProposeRequest{Command: make([]byte, 5<<20)}
	for data, want := range map[bool]codes.Code{false: codes.ResourceExhausted, true: codes.Unimplemented} {
		server := grpc.NewServer(serverOptions(data)...)
		atollpb.RegisterConsensusServer(server, atollpb.UnimplementedConsensusServer{})
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := atollpb.NewConsensusClient(conn).Propose(t.Context(), large); rpcstatus.Code(err) != want {
			t.Errorf("data node %v: %v, want %v", data, err, want)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}
