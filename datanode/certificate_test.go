package datanode

import (
	"bytes"
	"context"
	"testing"

	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestEnrolled is whom a data node lets in: the nodes of its view with their keys, those that it hears of while they
// wait, and those from before there were keys.
func TestEnrolled(t *testing.T) {
	views, err := tenant.OpenViews(vfs.Default, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{views: views}
	install := func(f *atollpb.ViewFrame) {
		t.Helper()
		var a tenant.Assembler
		c, err := a.Add(f)
		if err == nil {
			_, err = views.Install(c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	peer := func(id string, b byte) mtls.Peer {
		return mtls.Peer{Name: mtls.Name{ClusterID: "c1", NodeID: id, Roles: []mtls.Role{mtls.Data}}, KeySHA256: [32]byte(key(b))}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(p mtls.Peer, want codes.Code) {
		t.Helper()
		if err := n.Enrolled(gone, p); status.Code(err) != want {
			t.Errorf("%s: %v, want %v", p.NodeID, err, want)
		}
	}
	check(peer("n1", 1), codes.Unavailable) // no view yet
	install(&atollpb.ViewFrame{
		Full: true, Last: true, Revision: 5,
		Cluster:    &atollpb.ClusterInfo{ClusterId: "c1", MetadataHistoryId: "m1", TokenKey: key(9), DefaultNamespaceId: 1},
		Namespaces: []*atollpb.Namespace{{Id: 1, Name: "__namespace", State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE, Durability: atollpb.Durability_DURABILITY_ASYNC}},
		Nodes:      []*atollpb.Node{{Id: "n1", KeySha256: key(1)}, {Id: "n2"}},
	})
	check(peer("n1", 1), codes.OK)
	check(peer("n1", 2), codes.Unavailable)
	check(peer("n2", 7), codes.OK)
	check(peer("n3", 3), codes.Unavailable)

	came := make(chan error, 1)
	go func() { came <- n.Enrolled(context.Background(), peer("n3", 3)) }()
	install(&atollpb.ViewFrame{FromRevision: 5, Revision: 6, Last: true, Nodes: []*atollpb.Node{{Id: "n3", KeySha256: key(3)}}, RemovedNodes: []string{"n1"}})
	if err := <-came; err != nil {
		t.Errorf("a node that has just joined: %v", err)
	}
	check(peer("n1", 1), codes.Unavailable) // removed
	if err := views.Close(); err != nil {
		t.Error(err)
	}
}
