package datanode

import (
	"context"
	"crypto/sha256"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
)

// TestEnrolled: a data node serves the nodes of its view, each with its key.
func TestEnrolled(t *testing.T) {
	views, err := tenant.OpenViews(vfs.NewMem(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer views.Close()
	key := sha256.Sum256([]byte("n1"))
	var a tenant.Assembler
	change, err := a.Add(&atollpb.ViewFrame{
		Full: true, Last: true, Revision: 7, Cluster: &atollpb.ClusterInfo{ClusterId: "c1", TokenKey: make([]byte, 32)},
		Nodes: []*atollpb.Node{{Id: "n1", KeySha256: key[:]}, {Id: "early"}},
	})
	if err == nil {
		_, err = views.Install(change)
	}
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{views: views}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nobody waits for the view to change
	for _, tt := range []struct {
		id   string
		key  [sha256.Size]byte
		want codes.Code
	}{
		{"n1", key, codes.OK},
		{"n1", sha256.Sum256([]byte("another")), codes.Unavailable},
		{"removed", key, codes.Unavailable},
		{"early", key, codes.OK},
	} {
		if err := n.Enrolled(ctx, mtls.Peer{Name: mtls.Name{NodeID: tt.id}, KeySHA256: tt.key}); status.Code(err) != tt.want {
			t.Errorf("%s: %v, want %v", tt.id, err, tt.want)
		}
	}
}
