package replication

import (
	"fmt"
	"testing"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestPromiseP10DamagedReplica: a replica that finds damage takes a full sync, and a damaged node gives none.
func TestPromiseP10DamagedReplica(t *testing.T) {
	_, a, b := pair(t)
	harm := fmt.Errorf("%w: for the test", store.ErrDamage)
	old := b.member.Store()
	old.NoteDamage(harm)
	a.put(100, 200)
	eventually(t, "another generation", func() bool { return b.member.Store() != old })
	eventually(t, "the replica", func() bool { return b.ready() && b.equal(a) })
	if err := b.member.Store().Damaged(); err != nil {
		t.Errorf("the new generation is damaged: %v", err)
	}

	a.member.Store().NoteDamage(harm)
	conn, err := b.conn("a")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := atollpb.NewReplicationClient(conn).Snapshot(t.Context(), &atollpb.SnapshotRequest{
		ClusterId: "c", NodeId: "b", ToNodeId: "a", WireVersion: rpc.WireVersion,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a damaged node gives a snapshot: %v", err)
	}
}
