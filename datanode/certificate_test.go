package datanode

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

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

// TestAuthoritiesOfTheView: a node renews when its own authority is being replaced, and gives the old one up when the
// view does; what it doesn't find in the view is newer than that.
func TestAuthoritiesOfTheView(t *testing.T) {
	views, err := tenant.OpenViews(vfs.Default, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	identity, err := mtls.OpenIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{views: views, cfg: Config{Identity: identity}}
	now := time.Now()
	certs, authorities := [][]byte{}, []*mtls.Authority{}
	for i := range 3 {
		cert, key, err := mtls.NewAuthority("c1", now)
		if err != nil {
			t.Fatal(err)
		}
		a, err := mtls.ReadAuthority(cert, key)
		if err == nil && i > 0 {
			var endorsement []byte
			if endorsement, err = authorities[i-1].Endorse(a.CA, "c1", now); err == nil {
				err = a.Follow(endorsement, certs[i-1])
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		certs, authorities = append(certs, cert), append(authorities, a)
	}
	installs := func(a *mtls.Authority) {
		t.Helper()
		public, _ := identity.PublicKey()
		c, err := a.Issue(public, mtls.Name{ClusterID: "c1", NodeID: "n1", Roles: []mtls.Role{mtls.Data}}, now)
		if err == nil {
			err = identity.Install(c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	revision := uint64(4)
	sees := func(next []byte, list ...[]byte) {
		t.Helper()
		revision++
		var a tenant.Assembler
		c, err := a.Add(&atollpb.ViewFrame{
			Full: true, Last: true, Revision: revision,
			Cluster: &atollpb.ClusterInfo{ClusterId: "c1", MetadataHistoryId: "m1", TokenKey: make([]byte, 32), DefaultNamespaceId: 1, Authorities: list},
			Namespaces: []*atollpb.Namespace{{Id: 1, Name: "__namespace", State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE,
				Durability: atollpb.Durability_DURABILITY_ASYNC}},
		})
		if err == nil {
			_, err = views.Install(c)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := n.replaces(); !bytes.Equal(got, next) {
			t.Errorf("of %d authorities it is to renew by one of %d bytes", len(list), len(got))
		}
	}
	if n.replaces() != nil {
		t.Error("it is to renew without a view")
	}
	installs(authorities[0])
	sees(nil) // from before there was a change
	sees(nil, certs[0])
	sees(certs[1], certs[0], certs[1])
	n.cfg.KeepJoining = true // its metadata node sees to it
	sees(nil, certs[0], certs[1])
	n.cfg.KeepJoining = false
	installs(authorities[1])
	sees(nil, certs[0], certs[1])
	sees(nil, certs[0])
	if err := n.renewOnce(t.Context()); err != nil { // there is nobody to ask, nor to be asked
		t.Error(err)
	}
	sees(nil, certs[1])
	if err := n.renewOnce(t.Context()); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "node.crt"))
	if err != nil || bytes.Count(data, []byte("BEGIN CERTIFICATE")) != 3 { // its own, its authority's, the endorsement
		t.Errorf("it trusts more than the view: %s, %v", data, err)
	}
}
