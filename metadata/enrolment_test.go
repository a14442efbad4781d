package metadata

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
)

func newIdentity(t *testing.T) *mtls.Identity {
	t.Helper()
	i, err := mtls.OpenIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// newSecure starts a metadata node with certificates; with an invitation it has enrolled at another one before.
func newSecure(t *testing.T, id string, host *process) *process {
	t.Helper()
	p := &process{t: t, id: id, dir: t.TempDir(), addr: "127.0.0.1:0", identity: newIdentity(t)}
	if host != nil {
		p.join = []string{host.addr}
		host.enrols(p.identity, host.invites("", mtls.Meta), id, mtls.Meta)
	}
	p.start()
	t.Cleanup(p.stop)
	return p
}

// invites makes an invitation of one node.
func (p *process) invites(node string, roles ...mtls.Role) mtls.JoinToken {
	p.t.Helper()
	p.until("an authority", func() bool { return p.node.consensus.State().Authority() != nil })
	token := mtls.JoinToken{CA: sha256.Sum256(p.node.consensus.State().Authority().Cert)}
	copy(token.Secret[:], newID())
	token.InviteID = mtls.InviteID([8]byte([]byte(newID())))
	hash := sha256.Sum256(token.Secret[:])
	_, err := p.node.consensus.Propose(p.t.Context(), &raftfsm.CreateInvite{
		ID: token.InviteID, Hash: hash[:], Roles: roles, ExpiresMs: time.Now().Add(time.Hour).UnixMilli(), UsesMax: 1, NodeID: node,
	}, consensus.ProposeOptions{Actor: "test"})
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

func (p *process) tryEnrol(i *mtls.Identity, token mtls.JoinToken, node string, roles ...mtls.Role) error {
	return i.Enroll(p.t.Context(), mtls.Invitation{Token: token, Addrs: []string{p.addr}, NodeID: node, Roles: roles}, slog.New(slog.DiscardHandler))
}

func (p *process) enrols(i *mtls.Identity, token mtls.JoinToken, node string, roles ...mtls.Role) {
	p.t.Helper()
	if err := p.tryEnrol(i, token, node, roles...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) dialAs(i *mtls.Identity) *grpc.ClientConn {
	p.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+p.addr, i.DialOptions()...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestEnrolment is a node's way into a cluster, and out of it.
func TestEnrolment(t *testing.T) {
	first := newSecure(t, "m1", nil)
	cluster := first.ready()
	first.until("a certificate", func() bool { own, ok := first.identity.Own(); return ok && own.ClusterID == cluster })
	second := newSecure(t, "m2", first)
	second.until("the second voter", func() bool { return len(second.node.Status().Voters) == 2 })

	token := first.invites("", mtls.Data)
	node := newIdentity(t)
	second.enrols(node, token, "n1", mtls.Data) // any metadata node will do
	second.enrols(node, token, "n1", mtls.Data) // and so will a retry
	if err := first.tryEnrol(newIdentity(t), token, "n2", mtls.Data); !errors.Is(err, mtls.ErrRefused) || !strings.Contains(err.Error(), "has been used") {
		t.Errorf("a used token: %v", err)
	}
	wrong := token
	wrong.Secret[0]++
	applied := first.node.consensus.State().Applied()
	if err := first.tryEnrol(newIdentity(t), wrong, "n2", mtls.Data); !errors.Is(err, mtls.ErrRefused) || !strings.Contains(err.Error(), "is unknown") {
		t.Errorf("a wrong token: %v", err)
	}
	if got := first.node.consensus.State().Applied(); got != applied {
		t.Errorf("a wrong token came into the log: %d commands, were %d", got, applied)
	}

	conn := second.dialAs(node)
	join := newDataNode(t, "n1").join
	if _, err := atollpb.NewMetadataClient(conn).Join(t.Context(), join); err != nil {
		t.Fatal(err)
	}
	if key := first.node.consensus.State(); key.NodeKey("n1") == nil {
		t.Error("no key")
	}
	renewed, err := atollpb.NewEnrolmentClient(conn).Renew(t.Context(), &atollpb.RenewRequest{ClusterId: cluster, NodeId: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Install(mtls.Credential{Cert: renewed.Cert, CA: renewed.Ca}); err != nil {
		t.Error(err)
	}

	// The id is taken for others, unless they are invited in its place; the old key is of no use then.
	if err := first.tryEnrol(newIdentity(t), first.invites("", mtls.Data), "n1", mtls.Data); !errors.Is(err, mtls.ErrRefused) || !strings.Contains(err.Error(), "belongs to another key") {
		t.Errorf("another key: %v", err)
	}
	spare := newIdentity(t)
	first.enrols(spare, first.invites("n1", mtls.Data), "n1", mtls.Data)
	if _, err := atollpb.NewMetadataClient(first.dialAs(node)).Join(t.Context(), join); status.Code(err) != codes.PermissionDenied {
		t.Errorf("the key that was replaced: %v", err)
	}
	if _, err := atollpb.NewMetadataClient(first.dialAs(spare)).Join(t.Context(), join); err != nil {
		t.Errorf("the new key: %v", err)
	}

	third := newIdentity(t)
	first.enrols(third, first.invites("", mtls.Data), "n3", mtls.Data)
	if _, err := first.node.consensus.Propose(t.Context(), &raftfsm.RemoveNode{ID: "n3"}, consensus.ProposeOptions{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*process{first, second} {
		_, err := atollpb.NewMetadataClient(p.dialAs(third)).Join(t.Context(), newDataNode(t, "n3").join)
		if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "was removed") {
			t.Errorf("a removed node at %s: %v", p.id, err)
		}
	}

	// A certificate that an operator has signed does without an invitation, once.
	a, err := first.identity.KeptAuthority()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []codes.Code{codes.OK, codes.PermissionDenied} {
		signed := newIdentity(t)
		if err := sign(signed, a, mtls.Name{ClusterID: cluster, NodeID: "n4", Roles: []mtls.Role{mtls.Data}}, time.Now()); err != nil {
			t.Fatal(err)
		}
		join := newDataNode(t, "n4").join
		join.RespAddr, join.ClusterAddr = "n4:1", "n4:2"
		if _, err := atollpb.NewMetadataClient(second.dialAs(signed)).Join(t.Context(), join); status.Code(err) != want {
			t.Errorf("with a certificate alone: %v, want %v", err, want)
		}
	}
	if k := first.node.consensus.State().NodeKey("n4"); k == nil || first.node.consensus.State().Node("n4").GetKeySha256() == nil {
		t.Errorf("the key of a node with a certificate is %v", k)
	}
}

// TestRefusalsDontFillTheLog: strangers may try again and again.
func TestRefusalsDontFillTheLog(t *testing.T) {
	var lines bytes.Buffer
	s := &enrolmentService{node: &Node{config: Config{Log: slog.New(slog.NewTextHandler(&lines, nil))}, refusals: newRefusals()}}
	for range 1000 {
		s.tell(t.Context(), &atollpb.EnrollRequest{NodeId: strings.Repeat("n", 1000), InviteId: "i1"}, raftfsm.RefusedUnknown, errors.New("refused"))
	}
	if n := bytes.Count(lines.Bytes(), []byte("\n")); n == 0 || n > 100 || lines.Len() > 100*300 {
		t.Errorf("%d lines of %d bytes", n, lines.Len())
	}
}

// TestLiveNodeKeepsItsKey: an invitation for a node's id doesn't cut that node off while it lives.
func TestLiveNodeKeepsItsKey(t *testing.T) {
	p := newSecure(t, "m1", nil)
	cluster := p.ready()
	node := newIdentity(t)
	p.enrols(node, p.invites("", mtls.Data), "n1", mtls.Data)
	d := newDataNode(t, "n1")
	client := atollpb.NewMetadataClient(p.dialAs(node))
	if _, err := client.Join(t.Context(), d.join); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Report(t.Context(), &atollpb.ReportRequest{ClusterId: cluster, Report: d.report}); err != nil {
		t.Fatal(err)
	}
	token := p.invites("n1", mtls.Data)
	request, err := newIdentity(t).Request()
	if err != nil {
		t.Fatal(err)
	}
	_, err = atollpb.NewEnrolmentClient(p.conn).Enroll(t.Context(), &atollpb.EnrollRequest{
		NodeId: "n1", Roles: []mtls.Role{mtls.Data}, Request: request, InviteId: token.InviteID, Secret: token.Secret[:], WireVersion: 1,
	})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "in use by a live node") {
		t.Errorf("%v", err)
	}
}

// TestBadRequests are what anybody may send to Enroll.
func TestBadRequests(t *testing.T) {
	p := newSecure(t, "m1", nil)
	p.ready()
	token := p.invites("", mtls.Data)
	good, err := newIdentity(t).Request()
	if err != nil {
		t.Fatal(err)
	}
	broken := append([]byte(nil), good...)
	broken[len(broken)-1]++
	for name, change := range map[string]func(*atollpb.EnrollRequest){
		"no request":        func(r *atollpb.EnrollRequest) { r.Request = nil },
		"noise":             func(r *atollpb.EnrollRequest) { r.Request = []byte(strings.Repeat("\xff", 1<<16)) },
		"a wrong signature": func(r *atollpb.EnrollRequest) { r.Request = broken },
		"no node":           func(r *atollpb.EnrollRequest) { r.NodeId = "" },
		"a long node id":    func(r *atollpb.EnrollRequest) { r.NodeId = strings.Repeat("x", 1<<20) },
		"no roles":          func(r *atollpb.EnrollRequest) { r.Roles = nil },
		"an unknown role":   func(r *atollpb.EnrollRequest) { r.Roles = []mtls.Role{9} },
		"a role too many":   func(r *atollpb.EnrollRequest) { r.Roles = []mtls.Role{mtls.Data, mtls.Meta} },
		"no secret":         func(r *atollpb.EnrollRequest) { r.Secret = nil },
		"another version":   func(r *atollpb.EnrollRequest) { r.WireVersion = 99 },
	} {
		r := &atollpb.EnrollRequest{NodeId: "n1", Roles: []mtls.Role{mtls.Data}, Request: good, InviteId: token.InviteID, Secret: token.Secret[:], WireVersion: 1}
		change(r)
		_, err := atollpb.NewEnrolmentClient(p.conn).Enroll(t.Context(), r)
		if code := status.Code(err); code != codes.InvalidArgument && code != codes.FailedPrecondition {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p.node.consensus.State().Invite(token.InviteID).GetUses() != 0 {
		t.Error("the invitation was used")
	}
}

// TestCertificatesThatEnded: a cluster that was down until its certificates had ended comes up again.
func TestCertificatesThatEnded(t *testing.T) {
	first := newSecure(t, "m1", nil)
	first.ready()
	second := newSecure(t, "m2", first)
	both := func() bool {
		return len(second.node.Status().Voters) == 2 && second.node.Status().Ready() == nil
	}
	second.until("the second voter", both)
	second.until("its authority kept", func() bool { a, err := second.identity.KeptAuthority(); return a != nil && err == nil })
	first.until("its authority kept", func() bool { a, err := first.identity.KeptAuthority(); return a != nil && err == nil })
	first.stop()
	second.stop()
	for _, p := range []*process{first, second} {
		a, err := p.identity.KeptAuthority()
		if err != nil {
			t.Fatal(err)
		}
		own, _ := p.identity.Own()
		if err := sign(p.identity, a, own.Name, time.Now().Add(-100*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if p.identity.NotAfter().After(time.Now()) {
			t.Fatal("the certificate is good")
		}
	}
	first.start()
	second.start()
	second.until("two voters again", both)
	if _, err := second.node.consensus.Read(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestRenewalIsOfTheEnrolledKey: a certificate with the authority's signature isn't enough to get the next one.
func TestRenewalIsOfTheEnrolledKey(t *testing.T) {
	p := newSecure(t, "m1", nil)
	cluster := p.ready()
	node, other := newIdentity(t), newIdentity(t)
	p.enrols(node, p.invites("", mtls.Meta, mtls.Data), "n1", mtls.Meta, mtls.Data)
	record := p.node.consensus.State().Authority()
	a, err := mtls.ReadAuthority(record.Cert, record.Key)
	if err == nil {
		err = sign(other, a, mtls.Name{ClusterID: cluster, NodeID: "n1", Roles: []mtls.Role{mtls.Meta, mtls.Data}}, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range map[*mtls.Identity]codes.Code{node: codes.OK, other: codes.Unavailable} {
		_, err := atollpb.NewEnrolmentClient(p.dialAs(i)).Renew(t.Context(), &atollpb.RenewRequest{ClusterId: cluster, NodeId: "n1"})
		if status.Code(err) != want || want != codes.OK && !strings.Contains(err.Error(), "not enrolled with this key") {
			t.Errorf("%v, want %v", err, want)
		}
	}
}
