package admin

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
)

// setAuthority gives the cluster one whose certificate and key are good.
func (w *world) setAuthority() {
	w.t.Helper()
	cert, key, err := mtls.NewAuthority("c1", time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	w.must(&raftfsm.SetAuthority{Cert: cert, Key: key})
}

// proves has a node prove that it has a certificate of the authority that signs.
func (w *world) proves(node string) {
	w.t.Helper()
	s := w.fsm.State()
	by := sha256.Sum256(raftfsm.Signer(s.Authority()).Cert)
	w.must(&raftfsm.ProveAuthority{NodeID: node, KeySHA256: s.NodeKey(node).GetKeySha256(), AuthoritySHA256: by[:]})
}

func TestAuthority(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	_, errBegin := w.client.BeginAuthority(ctx)
	_, errFinish := w.client.FinishAuthority(ctx, adminapi.FinishAuthority{})
	_, errShow := w.client.Authority(ctx)
	for _, err := range []error{errBegin, errFinish, errShow} {
		if codeOf(err) != adminapi.CodePrecondition {
			t.Errorf("without an authority: %v", err)
		}
	}
	w.setAuthority()
	for node, role := range map[string]mtls.Role{"m1": mtls.Meta, "m9": mtls.Meta, "n1": mtls.Data, "n2": mtls.Data} {
		key := sha256.Sum256([]byte(node))
		w.must(&raftfsm.EnrollNode{NodeID: node, KeySHA256: key[:], Roles: []atollpb.NodeRole{role}})
	}
	show := func(unrenewed []string, nodes ...string) adminapi.Authority {
		t.Helper()
		a, err := w.client.Authority(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range a.Nodes {
			text := n.ID + " " + strings.Join(n.Roles, ",") + " " + n.Certificate
			if n.Removed {
				text += " removed"
			}
			got = append(got, text)
		}
		if !slices.Equal(got, nodes) || !slices.Equal(a.Unrenewed, unrenewed) {
			t.Errorf("nodes %q, want %q; not renewed %q, want %q", got, nodes, a.Unrenewed, unrenewed)
		}
		return a
	}
	// m9 is no voter: it was removed.
	show([]string{}, "m1 meta current", "m9 meta current removed", "n1 data current", "n2 data current")

	key := adminapi.WithIdempotencyKey("a-key-of-16-bytes")
	begun, err := w.client.BeginAuthority(ctx, key)
	if err != nil || begun.Authority.Next == nil {
		t.Fatalf("%+v, %v", begun, err)
	}
	if again, err := w.client.BeginAuthority(ctx, key); err != nil || !again.Repeated || *again.Authority.Next != *begun.Authority.Next {
		t.Errorf("a retry: %+v, %v", again, err)
	}
	if _, err := w.client.BeginAuthority(ctx); codeOf(err) != adminapi.CodePrecondition {
		t.Errorf("begun again: %v", err)
	}
	checkEndorsed(t, w.fsm.State().Authority())
	made, err := w.client.CreateInvite(ctx, adminapi.CreateInvite{})
	if err != nil {
		t.Fatal(err)
	}
	token, err := mtls.ParseJoinToken(made.JoinToken)
	if err != nil || hex.EncodeToString(token.CA[:]) != begun.Authority.Next.SHA256 {
		t.Errorf("a join token doesn't name the next authority: %v", err)
	}
	w.proves("m1")
	w.proves("n1")
	show([]string{"n2"}, "m1 meta next", "m9 meta current removed", "n1 data next", "n2 data current")
	if _, err := w.client.FinishAuthority(ctx, adminapi.FinishAuthority{}); codeOf(err) != adminapi.CodePrecondition || !strings.Contains(err.Error(), "from n2:") {
		t.Errorf("finished too early: %v", err)
	}
	if _, err := w.client.FinishAuthority(ctx, adminapi.FinishAuthority{Force: true}); err != nil {
		t.Fatal(err)
	}
	a := show([]string{"n2"}, "m1 meta current", "n1 data current", "n2 data older")
	if a.Next != nil || a.Certificate != *begun.Authority.Next {
		t.Errorf("the authority is %+v", a)
	}

	// A second change names both that were there before.
	if _, err := w.client.BeginAuthority(ctx); err != nil {
		t.Fatal(err)
	}
	checkEndorsed(t, w.fsm.State().Authority())
	w.proves("m1")
	show([]string{"n1", "n2"}, "m1 meta next", "n1 data current", "n2 data older")
}

// checkEndorsed requires that a record's next authority is endorsed by its present one.
func checkEndorsed(t *testing.T, record *atollpb.CertificateAuthority) {
	t.Helper()
	present, err := mtls.ReadAuthority(record.Cert, record.Key)
	if err != nil {
		t.Fatal(err)
	}
	next, err := mtls.ReadAuthority(record.Next.Cert, record.Next.Key)
	if err == nil {
		err = next.Follow(record.Next.Endorsement, record.Cert)
	}
	if err != nil {
		t.Fatal(err)
	}
	endorsement, err := x509.ParseCertificate(record.Next.Endorsement)
	if err != nil || endorsement.CheckSignatureFrom(present.CA) != nil || !next.Succeeds(record.Cert) {
		t.Errorf("the endorsement is not of the present authority: %v", err)
	}
}

// TestRolesOfTheAuthority: who may look may not change.
func TestRolesOfTheAuthority(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.setAuthority()
	for _, role := range []string{"viewer", "operator"} {
		made, err := w.client.CreateToken(ctx, raftfsm.DefaultNamespace, adminapi.CreateToken{Role: role})
		if err != nil {
			t.Fatal(err)
		}
		c := w.clientFor(made.Token.Secret)
		if _, err := c.Authority(ctx); err != nil {
			t.Errorf("%s: %v", role, err)
		}
		_, errBegin := c.BeginAuthority(ctx)
		_, errFinish := c.FinishAuthority(ctx, adminapi.FinishAuthority{Force: true})
		if codeOf(errBegin) != adminapi.CodeForbidden || codeOf(errFinish) != adminapi.CodeForbidden {
			t.Errorf("%s: %v, %v", role, errBegin, errFinish)
		}
	}
}
