package metadata

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
)

// adminOf returns a client of a node's admin API, with the token of the node that began the cluster.
func (p *process) adminOf(first *process) *adminapi.Client {
	p.t.Helper()
	token, err := os.ReadFile(filepath.Join(first.dir, "admin-token"))
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := adminapi.NewClient("http://"+p.node.config.HTTPAddr, strings.TrimSpace(string(token)))
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// voters starts three metadata nodes with certificates.
func voters(t *testing.T) []*process {
	t.Helper()
	first := newSecure(t, "m1", nil)
	first.ready()
	all := []*process{first, newSecure(t, "m2", first), newSecure(t, "m3", first)}
	for _, p := range all {
		p.until("three voters", func() bool { return len(p.node.Status().Voters) == 3 && p.node.Status().Ready() == nil })
	}
	return all
}

// begins begins to replace the authority, and returns the next one's certificate.
func begins(c *adminapi.Client, p *process) []byte {
	p.t.Helper()
	made, err := c.BeginAuthority(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	p.until("the next authority", func() bool { return p.node.consensus.State().Revision() >= made.Revision })
	return p.node.consensus.State().Authority().Next.Cert
}

// has waits until nodes show certificates of an authority.
func has(ca []byte, nodes ...*process) {
	for _, p := range nodes {
		p.t.Helper()
		p.until("a certificate of the next authority", func() bool { return bytes.Equal(p.identity.Authority(), ca) })
	}
}

func refusedFor(err error, text string) bool {
	p, ok := errors.AsType[*adminapi.Problem](err)
	return ok && p.Type == adminapi.ProblemPrefix+adminapi.CodePrecondition && strings.Contains(err.Error(), text)
}

// TestReplacementOfTheAuthority: voters and data nodes renew by themselves; one that is down is waited for, also if the
// leadership moves meanwhile; one that is locked out by force comes back by a token, with its directory, and isn't taken back
// to the old authority by its own state, which is behind.
func TestReplacementOfTheAuthority(t *testing.T) {
	all := voters(t)
	first, second, third := all[0], all[1], all[2]
	admin := second.adminOf(first)
	node := newIdentity(t)
	first.enrols(node, first.invites("", mtls.Data), "n1", mtls.Data)
	conn := second.dialAs(node)
	data := newDataNode(t, "n1")
	joined, err := atollpb.NewMetadataClient(conn).Join(t.Context(), data.join)
	if err != nil {
		t.Fatal(err)
	}
	reports := func() {
		t.Helper()
		second.until("a report", func() bool { // there may be no leader for a while
			_, err := atollpb.NewMetadataClient(conn).Report(t.Context(), &atollpb.ReportRequest{ClusterId: joined.ClusterId, Report: data.report})
			return err == nil
		})
	}
	renews := func() {
		t.Helper()
		r, err := atollpb.NewEnrolmentClient(conn).Renew(t.Context(), &atollpb.RenewRequest{ClusterId: joined.ClusterId, NodeId: "n1"})
		if err == nil {
			err = node.Install(mtls.Credential{Cert: r.Cert, CA: r.Ca, Endorsement: r.Endorsement, Trusted: r.Trusted})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	finishes := func(late string) {
		t.Helper()
		second.until("the refusal of a finish", func() bool {
			_, err := admin.FinishAuthority(t.Context(), adminapi.FinishAuthority{})
			return refusedFor(err, late)
		})
	}

	old := second.node.consensus.State().Authority().Cert
	third.stop()
	next := begins(admin, second)
	has(next, first, second)
	reports() // by the old certificate
	finishes("from m3, n1:")
	if err := first.node.consensus.Transfer(t.Context(), ""); err != nil {
		t.Log(err) // another one led
	}
	renews()
	reports()
	finishes("from m3:")
	third.start()
	has(next, third)
	second.until("every node's certificate", func() bool { return len(second.node.consensus.State().Unrenewed()) == 0 })
	second.until("the end", func() bool { // the leadership has moved
		_, err := admin.FinishAuthority(t.Context(), adminapi.FinishAuthority{})
		return err == nil || refusedFor(err, "is not being replaced")
	})
	for _, p := range all {
		p.until("the old authority gone", func() bool {
			a, err := p.identity.KeptAuthority()
			return err == nil && bytes.Equal(a.CA.Raw, next) && p.node.consensus.State().Authority().Next == nil
		})
	}
	reports()
	if !second.identity.Replaced(sha256.Sum256(old)) {
		t.Error("the old authority is forgotten")
	}

	third.stop()
	last := begins(admin, second)
	has(last, first, second)
	renews()
	reports()
	finishes("from m3:")
	if _, err := admin.FinishAuthority(t.Context(), adminapi.FinishAuthority{Force: true}); err != nil {
		t.Fatal(err)
	}
	comesBack(t, all, next, last)
}

// comesBack has a voter that was locked out try, and come back by a token.
func comesBack(t *testing.T, all []*process, old, next []byte) {
	t.Helper()
	first, third := all[0], all[2]
	for _, p := range all[:2] {
		p.until("that the third is locked out", func() bool {
			_, err := third.identity.DialRaft(t.Context(), p.addr)
			return errors.Is(err, mtls.ErrReplaced)
		})
	}
	third.start()
	_, err := third.node.consensus.Read(shortly(t))
	if err == nil || !bytes.Equal(third.identity.Authority(), old) {
		t.Errorf("it takes part: %v", err)
	}
	third.stop()
	first.enrols(third.identity, first.invites("m3", mtls.Meta), "m3", mtls.Meta)
	third.start()
	if err := resign(third.identity, time.Now()); err != nil {
		t.Error(err)
	}
	third.until("that it is back", func() bool {
		a, err := third.identity.KeptAuthority()
		return err == nil && bytes.Equal(a.CA.Raw, next) && len(third.node.consensus.State().Unrenewed()) == 0
	})
	if !bytes.Equal(third.identity.Authority(), next) {
		t.Error("its own state has taken it back to the old authority")
	}
}

func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestRemovedMetadataNodeIsOut: its certificate is good until the authority is replaced, and not after.
func TestRemovedMetadataNodeIsOut(t *testing.T) {
	all := voters(t)
	first, removed := all[0], all[2]
	admin := first.adminOf(first)
	own, _ := removed.identity.Own()
	removed.stop()
	first.until("the removal", func() bool { _, err := admin.RemoveMetadataNode(t.Context(), "m3"); return err == nil })
	conn, err := removed.identity.DialRaft(t.Context(), first.addr)
	if err != nil {
		t.Fatalf("the certificate of %s is worth nothing already: %v", own.NodeID, err)
	}
	defer conn.Close()
	shown, err := admin.Authority(t.Context())
	if err != nil || !slices.ContainsFunc(shown.Nodes, func(n adminapi.AuthorityNode) bool { return n.ID == "m3" && n.Removed }) {
		t.Errorf("it is not shown: %+v, %v", shown, err)
	}

	next := begins(admin, first)
	has(next, all[0], all[1])
	first.until("the end", func() bool {
		_, err := admin.FinishAuthority(t.Context(), adminapi.FinishAuthority{})
		return err == nil
	})
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("what it had open goes on: %v", err)
	}
	for _, p := range all[:2] {
		p.until("that it is out", func() bool {
			_, err := removed.identity.DialRaft(t.Context(), p.addr)
			return errors.Is(err, mtls.ErrReplaced)
		})
		// The dialler has looked itself; here is one that doesn't.
		a, err := removed.identity.KeptAuthority()
		if err != nil {
			t.Fatal(err)
		}
		p.knocks(a, own.Name, time.Now())
	}
	shown, err = admin.Authority(t.Context())
	if err != nil || slices.ContainsFunc(shown.Nodes, func(n adminapi.AuthorityNode) bool { return n.ID == "m3" }) || len(shown.Unrenewed) != 0 {
		t.Errorf("it is shown: %+v, %v", shown, err)
	}
	if got := first.node.refusals.take().Refusals; !slices.ContainsFunc(got, func(r raftfsm.Refusal) bool { return r.Reason == raftfsm.RefusedForeign }) {
		t.Errorf("refusals %+v", got)
	}
}

// TestResignGoesForward: what a metadata node had kept when it was killed takes it to the next authority, and never back.
func TestResignGoesForward(t *testing.T) {
	now, name := time.Now(), mtls.Name{ClusterID: "c1", NodeID: "m1", Roles: []mtls.Role{mtls.Meta}}
	made := func() *mtls.Authority {
		t.Helper()
		cert, key, err := mtls.NewAuthority("c1", now)
		if err != nil {
			t.Fatal(err)
		}
		a, err := mtls.ReadAuthority(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	old, next, other := made(), made(), made()
	endorsement, err := old.Endorse(next.CA, "c1", now)
	if err == nil {
		err = next.Follow(endorsement, old.CA.Raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	const life = 100 * 24 * time.Hour
	for _, tt := range []struct {
		name        string
		shows, kept *mtls.Authority
		signed      time.Time
		want        *mtls.Authority
		renewed     bool
	}{
		{"nothing to do", old, old, now, old, false},
		{"it has ended", old, old, now.Add(-life), old, true},
		{"killed between two files", old, next, now, next, true},
		{"and long ago", old, next, now.Add(-life), next, true},
		{"its state was behind", next, old, now, next, false},
		{"and long ago", next, old, now.Add(-life), next, false},
		{"of nobody's", old, other, now.Add(-life), old, false},
	} {
		i := newIdentity(t)
		err := errors.Join(sign(i, tt.shows, name, tt.signed), i.KeepAuthority(tt.kept))
		before := i.NotAfter()
		if err = errors.Join(err, resign(i, now)); err != nil {
			t.Fatal(err)
		}
		renewed := !bytes.Equal(i.Authority(), tt.shows.CA.Raw) || !i.NotAfter().Equal(before)
		if !bytes.Equal(i.Authority(), tt.want.CA.Raw) || renewed != tt.renewed {
			t.Errorf("%s: renewed %v", tt.name, renewed)
		}
	}
}
