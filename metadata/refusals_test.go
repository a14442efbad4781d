package metadata

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/bits"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/audit"
	"github.com/atolldb/atoll/rpc/mtls"
)

// refusalsOf returns the audit's fields of what was turned away, by reason and field; counts are added up. It counts the
// records, too.
func refusalsOf(t *testing.T, s *raftfsm.State) (found map[string]map[string]string, total map[string]int, records int) {
	t.Helper()
	found, total = map[string]map[string]string{}, map[string]int{}
	var list []audit.Record
	for r := range s.Audit(0) {
		list = append(list, *r)
		if r.Action != "record-refusals" {
			continue
		}
		records++
		for _, c := range r.Changes {
			if found[c.ID] == nil {
				found[c.ID] = map[string]string{}
			}
			found[c.ID][c.Field] = c.After
			if n, err := strconv.Atoi(c.After); c.Field == "count" && err == nil {
				total[c.ID] += n
			}
		}
	}
	if i := audit.Verify(list); i != -1 {
		t.Errorf("record %d breaks the chain", i)
	}
	return found, total, records
}

func short(d time.Duration) func(*Config) { return func(c *Config) { c.refusalWindow = d } }

// newRefusing starts a metadata node whose windows begin at 50 ms.
func newRefusing(t *testing.T) *process {
	t.Helper()
	p := &process{t: t, id: "m1", dir: t.TempDir(), addr: "127.0.0.1:0", identity: newIdentity(t), config: short(50 * time.Millisecond)}
	p.start()
	t.Cleanup(p.stop)
	return p
}

// enrolRaw sends a request that a test has changed, and wants it refused.
func (p *process) enrolRaw(token mtls.JoinToken, node string, change func(*atollpb.EnrollRequest)) error {
	p.t.Helper()
	i, err := mtls.OpenIdentity(p.t.TempDir())
	if err != nil {
		p.t.Fatal(err)
	}
	request, err := i.Request()
	if err != nil {
		p.t.Fatal(err)
	}
	r := &atollpb.EnrollRequest{
		NodeId: node, Roles: []mtls.Role{mtls.Data}, Request: request, InviteId: token.InviteID, Secret: token.Secret[:],
		WireVersion: 1, TimeMs: time.Now().UnixMilli(),
	}
	change(r)
	_, err = atollpb.NewEnrolmentClient(p.conn).Enroll(p.t.Context(), r)
	return err
}

// knocks makes a handshake with the cluster port by a certificate of an identity.
func (p *process) knocks(authority *mtls.Authority, name mtls.Name, at time.Time) {
	p.t.Helper()
	dir := p.t.TempDir()
	i, err := mtls.OpenIdentity(dir)
	if err == nil {
		err = sign(i, authority, name, at)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "node.crt"), filepath.Join(dir, "node.key"))
	if err != nil {
		p.t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, NextProtos: []string{"h2"}} // it takes any server
	conn, err := tls.Dial("tcp", p.addr, config)
	if err != nil {
		return // it was told so early
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		p.t.Errorf("%d bytes of an answer", n)
	}
	_ = conn.Close() // the server was faster
}

// TestRefusalsAreAudited: each kind of it, with who, from where, and no secret.
func TestRefusalsAreAudited(t *testing.T) {
	p := newRefusing(t)
	cluster := p.ready()
	token := p.invites("", mtls.Data)
	node := newIdentity(t)
	p.enrols(node, token, "n1", mtls.Data)
	fresh, bound := p.invites("", mtls.Data), p.invites("n9", mtls.Data)
	wrong := fresh
	wrong.Secret[0]++
	secrets := []mtls.JoinToken{token, fresh, bound, wrong}

	same := func(*atollpb.EnrollRequest) {}
	try := func(want codes.Code, token mtls.JoinToken, node string, change func(*atollpb.EnrollRequest)) {
		t.Helper()
		if err := p.enrolRaw(token, node, change); status.Code(err) != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
	try(codes.FailedPrecondition, wrong, "unknown1", same)
	try(codes.FailedPrecondition, token, "used1", same)
	try(codes.FailedPrecondition, bound, "other1", same)
	try(codes.FailedPrecondition, fresh, "role1", func(r *atollpb.EnrollRequest) { r.Roles = []mtls.Role{mtls.Meta, mtls.Data} })
	try(codes.FailedPrecondition, fresh, "n1", same)
	try(codes.InvalidArgument, fresh, fresh.String(), same) // a token in the wrong place
	try(codes.OutOfRange, fresh, "clock1", func(r *atollpb.EnrollRequest) { r.TimeMs -= (24 * time.Hour).Milliseconds() })
	if p.node.consensus.State().Invite(fresh.InviteID).GetUses() != 0 {
		t.Error("a refusal has used the invitation")
	}
	expired := p.invites("", mtls.Data)
	expires(t, p, expired.InviteID)
	try(codes.FailedPrecondition, expired, "expired1", same)

	a, err := p.identity.KeptAuthority()
	if err != nil {
		t.Fatal(err)
	}
	p.knocks(a, mtls.Name{ClusterID: cluster, NodeID: "old", Roles: []mtls.Role{mtls.Data}}, time.Now().Add(-100*24*time.Hour))
	cert, key, err := mtls.NewAuthority(cluster, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := mtls.ReadAuthority(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	p.knocks(other, mtls.Name{ClusterID: cluster, NodeID: "m1", Roles: []mtls.Role{mtls.Meta}}, time.Now())
	foreign := fresh
	foreign.CA = sha256.Sum256(cert)
	if err := p.tryEnrol(newIdentity(t), foreign, "foreign1", mtls.Data); !errors.Is(err, mtls.ErrForeign) {
		t.Errorf("a token of another cluster: %v", err)
	}
	conn := p.dialAs(node)
	if _, err := atollpb.NewMetadataClient(conn).Report(t.Context(), &atollpb.ReportRequest{Report: &atollpb.NodeReport{NodeId: "n7"}}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("in another's name: %v", err)
	}
	join := newDataNode(t, "n1").join
	join.ClusterId = "another"
	if _, err := atollpb.NewMetadataClient(conn).Join(t.Context(), join); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("with another cluster's data: %v", err)
	}
	gone := newIdentity(t)
	p.enrols(gone, p.invites("", mtls.Data), "n3", mtls.Data)
	if _, err := p.node.consensus.Propose(t.Context(), &raftfsm.RemoveNode{ID: "n3"}, consensus.ProposeOptions{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := atollpb.NewMetadataClient(p.dialAs(gone)).Join(t.Context(), newDataNode(t, "n3").join); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a removed node: %v", err)
	}

	wanted := map[string]string{ // by reason, who
		raftfsm.RefusedUnknown: "unknown1", raftfsm.RefusedUsed: "used1", raftfsm.RefusedOtherNode: "other1", raftfsm.RefusedOtherRole: "role1",
		raftfsm.RefusedIDTaken: "n1", raftfsm.RefusedMalformed: "(no id)", raftfsm.RefusedClock: "clock1", raftfsm.RefusedExpired: "expired1",
		raftfsm.RefusedEnded: "", raftfsm.RefusedForeign: "", raftfsm.RefusedByPeer: "", raftfsm.RefusedCall: "n1", raftfsm.RefusedNode: "n3",
		raftfsm.RefusedData: "n1",
	}
	p.until("every reason in the audit", func() bool {
		found, _, _ := refusalsOf(t, p.node.consensus.State())
		return len(found) >= len(wanted)
	})
	found, total, _ := refusalsOf(t, p.node.consensus.State())
	for reason, who := range wanted {
		f := found[reason]
		if host, _, err := net.SplitHostPort(f["source"]); err != nil || host != "127.0.0.1" || f["node_id"] != who || total[reason] != 1 || f["since_ms"] == "" {
			t.Errorf("%s, %d times: %v, want node %q", reason, total[reason], f, who)
		}
	}
	if got := found[raftfsm.RefusedOtherRole]["role"]; got != "server" {
		t.Errorf("role %q", got)
	}
	var text strings.Builder
	for r := range p.node.consensus.State().Audit(0) {
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(line)
	}
	for _, token := range secrets {
		for _, secret := range []string{token.String(), token.String()[:40], hex.EncodeToString(token.Secret[:]), base64.StdEncoding.EncodeToString(token.Secret[:])} {
			if strings.Contains(text.String(), secret) {
				t.Errorf("the audit holds %q", secret)
			}
		}
	}
}

// expires waits until an invitation of a test has run out, which it makes soon.
func expires(t *testing.T, p *process, id string) {
	t.Helper()
	i := p.node.consensus.State().Invite(id)
	if _, err := p.node.consensus.Propose(t.Context(), &raftfsm.DeleteInvite{ID: id}, consensus.ProposeOptions{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(20 * time.Millisecond)
	if _, err := p.node.consensus.Propose(t.Context(), &raftfsm.CreateInvite{
		ID: id, Hash: i.Hash, Roles: i.Roles, ExpiresMs: end.UnixMilli(), UsesMax: 1,
	}, consensus.ProposeOptions{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	p.until("the end of the invitation", func() bool { return time.Now().After(end.Add(time.Millisecond)) })
}

// TestRefusalsDontFillTheAudit: a flood makes few records, which hold all of it, and hardly any memory.
func TestRefusalsDontFillTheAudit(t *testing.T) {
	p := newRefusing(t)
	p.ready()
	token := p.invites("", mtls.Data)
	token.Secret[0]++
	began, sent, added := time.Now(), 0, 0
	applied := p.node.consensus.State().Applied()
	for time.Since(began) < time.Second {
		if err := p.enrolRaw(token, "n1", func(*atollpb.EnrollRequest) {}); status.Code(err) == codes.FailedPrecondition {
			sent++
		}
		for range 100 {
			p.node.refusals.add(raftfsm.RefusedForeign, strings.Repeat("x", 1<<16), nil, &net.TCPAddr{IP: net.IPv6loopback, Zone: strings.Repeat("z", 1<<12)})
			added++
		}
	}
	p.until("all of it in the audit", func() bool {
		_, total, _ := refusalsOf(t, p.node.consensus.State())
		return total[raftfsm.RefusedUnknown] == sent && total[raftfsm.RefusedForeign] == added
	})
	windows := int(time.Since(began) / (50 * time.Millisecond))
	_, total, records := refusalsOf(t, p.node.consensus.State())
	if records == 0 || records > bits.Len(uint(windows))+1 {
		t.Errorf("%d records in %d windows: %v", records, windows, total)
	}
	if n := p.node.consensus.State().Applied() - applied; n > uint64(records)+2 {
		t.Errorf("%d commands for %d records", n, records)
	}
}

// TestRefusalsWaitForALeader: what was counted while nobody leads comes into the audit later, once.
func TestRefusalsWaitForALeader(t *testing.T) {
	first := newRefusing(t)
	first.ready()
	second := newSecure(t, "m2", first)
	second.until("the second voter", func() bool { return len(second.node.Status().Voters) == 2 && second.node.Status().Ready() == nil })
	second.stop()
	first.until("no leader", func() bool { _, leads := first.node.consensus.Leading(); return !leads })
	for range 3 {
		first.node.refusals.add(raftfsm.RefusedForeign, "", nil, nil)
	}
	first.until("the record on its way", func() bool {
		first.node.refusals.mu.Lock()
		defer first.node.refusals.mu.Unlock()
		return len(first.node.refusals.counts) == 0
	})
	first.node.refusals.add(raftfsm.RefusedForeign, "", nil, nil)
	second.start()
	first.until("the audit's record", func() bool {
		_, total, _ := refusalsOf(t, first.node.consensus.State())
		return total[raftfsm.RefusedForeign] >= 4
	})
	if _, total, records := refusalsOf(t, first.node.consensus.State()); total[raftfsm.RefusedForeign] != 4 || records != 2 {
		t.Errorf("%d in %d records", total[raftfsm.RefusedForeign], records)
	}
}
