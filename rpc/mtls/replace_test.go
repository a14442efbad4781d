package mtls

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// pinned returns the credentials of a process that has a token of the cluster.
func (c *cluster) pinned() credentials.TransportCredentials {
	i := newIdentity("")
	return i.pinnedCredentials(Invitation{Token: JoinToken{CA: sha256.Sum256(c.cert)}}, func(error) {})
}

// next returns the cluster with another authority, which its own has endorsed; during says that its own is still
// trusted.
func (c *cluster) next(during bool) (*cluster, *Authority) {
	c.t.Helper()
	n := newCluster(c.t, c.id, time.Now())
	return n, c.endorses(c.authority(), n, during)
}

func (c *cluster) endorses(by *Authority, n *cluster, during bool) *Authority {
	c.t.Helper()
	a := n.authority()
	endorsement, err := by.Endorse(a.CA, c.id, time.Now())
	if err == nil {
		err = a.Follow(endorsement)
	}
	if err == nil && during {
		err = a.Follow(endorsement, by.CA.Raw)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// renew gives an identity a certificate of an authority.
func renew(t *testing.T, i *Identity, a *Authority) {
	t.Helper()
	own, _ := i.Own()
	public, _ := i.PublicKey()
	made, err := a.Issue(public, own.Name, time.Now())
	if err == nil {
		err = i.Install(made)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func report1(t *testing.T, conn *grpc.ClientConn, opts ...grpc.CallOption) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := atollpb.NewMetadataClient(conn).Report(ctx, reportOf("d1"), opts...)
	return err
}

// TestReplacement takes a server and a client through a change of the authority, in both orders: calls work at every
// step on one client, new connections too, and in the end what hasn't renewed is out.
func TestReplacement(t *testing.T) {
	for name, serverFirst := range map[string]bool{"the server first": true, "the client first": false} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			c := newCluster(t, "c1", now)
			host, node, late := c.identity("m1", now, Meta), c.identity("d1", now, Data), c.identity("d1", now, Data)
			seen := make(chan Peer, 64)
			s := serve(t, host, func(p Peer) error {
				select {
				case seen <- p:
				default: // nobody looks any more
				}
				return nil
			})
			conn, stays := s.dial(t, node.DialOptions()...), s.dial(t, late.DialOptions()...)
			raft := c.identity("m2", now, Meta)
			dialed, err := raft.DialRaft(t.Context(), s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer dialed.Close()
			step := func(what string, authority []byte) {
				t.Helper()
				for _, conn := range []*grpc.ClientConn{conn, s.dial(t, node.DialOptions()...)} {
					if err := report1(t, conn); err != nil {
						t.Errorf("%s: %v", what, err)
						continue
					}
					if p := <-seen; p.Authority != sha256.Sum256(authority) {
						t.Errorf("%s: the connection shows another authority", what)
					}
				}
				if err := report1(t, stays); err != nil {
					t.Errorf("%s: one that has not renewed: %v", what, err)
				}
				<-seen
			}
			step("before", c.cert)
			n, a := c.next(true)
			if serverFirst {
				renew(t, host, a)
				step("the server has renewed", c.cert)
				renew(t, node, a)
			} else {
				renew(t, node, a)
				step("the client has renewed", n.cert)
				renew(t, host, a)
			}
			step("both have renewed", n.cert)

			for _, i := range []*Identity{node, host} {
				if err := i.Trust([][]byte{n.cert}); err != nil {
					t.Fatal(err)
				}
			}
			outlives(t, s, conn, node, c)
			finished(t, s, conn, stays, late)
			if _, err := dialed.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a connection of Raft goes on: %v", err)
			}
			if _, err := raft.DialRaft(t.Context(), s.addr); !errors.Is(err, ErrReplaced) {
				t.Errorf("Raft by an old certificate: %v", err)
			}
			again, err := OpenIdentity(host.dir)
			if err != nil || !again.Replaced(sha256.Sum256(c.cert)) || again.Replaced(sha256.Sum256(n.cert)) || len(again.current.Load().trusted) != 1 {
				t.Errorf("opened again: %v", err)
			}
		})
	}
}

// outlives requires that a call which begins while connections of the old authority are still open doesn't end with
// them: when the client renewed first, its connection is to a server that showed the old one.
func outlives(t *testing.T, s *server, conn *grpc.ClientConn, node *Identity, old *cluster) {
	t.Helper()
	began, release := make(chan struct{}), make(chan struct{})
	s.enroll = func(*atollpb.EnrollRequest) (*atollpb.EnrollResponse, error) {
		close(began)
		<-release
		return &atollpb.EnrollResponse{}, nil
	}
	called := make(chan error, 1)
	go func() {
		_, err := atollpb.NewEnrolmentClient(conn).Enroll(t.Context(), &atollpb.EnrollRequest{})
		called <- err
	}()
	<-began
	left := func() (n int) {
		node.conns.mu.Lock()
		defer node.conns.mu.Unlock()
		for c := range node.conns.open {
			if c.peer.Authority == sha256.Sum256(old.cert) {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(10 * time.Second); left() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	close(release)
	if err := <-called; err != nil {
		t.Errorf("a call has ended with a connection that it needn't have used: %v", err)
	}
}

// finished looks at a server that trusts the next authority alone.
func finished(t *testing.T, s *server, conn, stays *grpc.ClientConn, late *Identity) {
	t.Helper()
	until := time.Now().Add(10 * time.Second)
	for report1(t, stays) == nil {
		if time.Now().After(until) {
			t.Fatal("what was open of an old certificate goes on")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := report1(t, conn); err != nil {
		t.Errorf("one that has renewed: %v", err)
	}
	for range 2 { // the old one, and a new one
		if err := report1(t, stays); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "invite it again") {
			t.Errorf("one that has not renewed: %v", err)
		}
		stays = s.dial(t, late.DialOptions()...)
	}
}

// TestServerTellsReplaced is for a client that doesn't look: the server says why it turns it away.
func TestServerTellsReplaced(t *testing.T) {
	c := newCluster(t, "c1", time.Now())
	_, a := c.next(false)
	host := c.identity("m1", time.Now(), Meta)
	renew(t, host, a)
	leaf := c.identity("d1", time.Now(), Data).current.Load()
	if _, err := host.check([]*x509.Certificate{leaf.leaf, leaf.ca}); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "has replaced") {
		t.Error(err)
	}
}

// TestEndorsements: an authority is not trusted because it says so.
func TestEndorsements(t *testing.T) {
	now := time.Now()
	c, stranger := newCluster(t, "c1", now), newCluster(t, "c1", now)
	node := c.identity("d1", now, Data)
	_, goodNext := c.next(true)
	shown := func(a *Authority) []*x509.Certificate {
		i := c.identity("m1", now, Meta)
		renew(t, i, a)
		var certs []*x509.Certificate
		for _, der := range i.current.Load().tls.Certificate {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			certs = append(certs, cert)
		}
		return certs
	}
	fine := shown(goodNext)
	if p, err := node.check(fine); err != nil || p.NodeID != "m1" {
		t.Errorf("a good one: %v", err)
	}
	_, theirs := stranger.next(true)
	others := shown(theirs)
	if _, err := node.check(others); !errors.Is(err, ErrForeign) {
		t.Errorf("endorsed by a stranger: %v", err)
	}
	if _, err := node.check([]*x509.Certificate{others[0], others[1], fine[2], fine[3]}); !errors.Is(err, ErrForeign) {
		t.Errorf("endorsed is another: %v", err)
	}
	if _, err := node.check([]*x509.Certificate{others[0], others[1], others[2], fine[3]}); !errors.Is(err, ErrForeign) {
		t.Errorf("with the authority beside it: %v", err)
	}
	if _, err := node.check(fine[:2]); !errors.Is(err, ErrForeign) {
		t.Errorf("without an endorsement: %v", err)
	}
	// A node's certificate endorses nothing, and an endorsement is no node's.
	if _, err := node.check([]*x509.Certificate{others[0], others[1], node.current.Load().leaf, fine[3]}); !errors.Is(err, ErrForeign) {
		t.Errorf("by a node: %v", err)
	}
	if _, err := NameOf(fine[2]); err == nil {
		t.Error("an endorsement is a node's name")
	}
	elsewhere, err := c.authority().Endorse(theirs.CA, "c2", now)
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Follow(elsewhere, c.cert); err != nil {
		t.Fatal(err)
	}
	if _, err := node.check(shown(theirs)); !errors.Is(err, ErrForeign) {
		t.Errorf("endorsed for another cluster: %v", err)
	}
	if _, err := node.check(nil); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
}

// TestTrustIsTaken: what a node hears late changes nothing that it knows better.
func TestTrustIsTaken(t *testing.T) {
	c := newCluster(t, "c1", time.Now())
	n, a := c.next(true)
	i := c.identity("d1", time.Now(), Data)
	trusts := func(want int, list ...[]byte) {
		t.Helper()
		if err := i.Trust(list); err != nil {
			t.Fatal(err)
		}
		if got := len(i.current.Load().trusted); got != want {
			t.Errorf("it trusts %d, want %d", got, want)
		}
	}
	trusts(1, n.cert)
	renew(t, i, a)
	trusts(2, c.cert, n.cert)
	trusts(2, c.cert)
	trusts(2)
	trusts(1, n.cert)
	trusts(1, c.cert, n.cert)
	renew(t, i, a) // so does a renewal that another process was asked for
	trusts(2, c.cert, n.cert)
}

// TestTokensOverAReplacement: a join token is good until its authority isn't, and says so then.
func TestTokensOverAReplacement(t *testing.T) {
	now := time.Now()
	c := newCluster(t, "c1", now)
	n, during := c.next(true)
	after := n.authority()
	if err := after.Follow(during.endorsement.Raw); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		server, signer *Authority
		token          *cluster
		directory      string
		want           error
		text           string
	}{
		"an old token, an old server":   {server: c.authority(), signer: c.authority(), token: c},
		"an old token, a new signature": {server: c.authority(), signer: during, token: c},
		"an old token, a new server":    {server: during, signer: during, token: c},
		"a new token":                   {server: during, signer: during, token: n},
		"a new token, to come back":     {server: after, signer: after, token: n, directory: "c1"},
		"an old token, too late":        {server: after, signer: after, token: c, want: ErrRefused, text: "replaced after the join token was made"},
		"of another cluster":            {server: during, signer: during, token: newCluster(t, "c1", now), want: ErrForeign, text: "another cluster's"},
		"for another cluster":           {server: after, signer: after, token: n, directory: "c2", want: ErrOtherCluster, text: "of cluster c2"},
	} {
		t.Run(name, func(t *testing.T) {
			host := c.identity("m1", now, Meta)
			renew(t, host, tt.server)
			s := serve(t, host, known)
			s.enroll = func(r *atollpb.EnrollRequest) (*atollpb.EnrollResponse, error) {
				public, _, err := ReadRequest(r.Request)
				if err != nil {
					return nil, err
				}
				made, err := tt.signer.Issue(public, Name{"c1", r.NodeId, r.Roles}, now)
				return &atollpb.EnrollResponse{Cert: made.Cert, Ca: made.CA, Endorsement: made.Endorsement, Trusted: made.Trusted}, err
			}
			i := c.identity("d1", time.Time{}, Data)
			in := Invitation{
				Token: JoinToken{InviteID: "0011223344556677", CA: sha256.Sum256(tt.token.cert)}, Addrs: []string{s.addr},
				NodeID: "d1", Roles: []Role{Data}, ClusterID: tt.directory,
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err := i.Enroll(ctx, in, slog.New(slog.NewTextHandler(io.Discard, nil)))
			if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("%v, want %v", err, tt.want)
			}
			if err == nil {
				if err := report1(t, s.dial(t, i.DialOptions()...)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestFilesOfAReplacement: every file says all of it, and the lineage goes on from one change to the next.
func TestFilesOfAReplacement(t *testing.T) {
	c := newCluster(t, "c1", time.Now())
	n, a := c.next(true)
	i := c.identity("m1", time.Now(), Meta)
	renew(t, i, a)
	if err := i.KeepAuthority(a); err != nil {
		t.Fatal(err)
	}
	kept, err := i.KeptAuthority()
	if err != nil || !kept.CA.Equal(a.CA) || !kept.endorsement.Equal(a.endorsement) || len(kept.trusted) != 1 || !kept.Succeeds(c.cert) || !kept.Succeeds(n.cert) {
		t.Errorf("the authority that was kept: %+v, %v", kept, err)
	}
	if c.authority().Succeeds(n.cert) {
		t.Error("the old one has taken the new one's place")
	}
	if found := findings(t, i.dir, "m1"); len(found) != 0 {
		t.Errorf("a check finds %q", found)
	}
	third := newCluster(t, "c1", time.Now())
	b := c.endorses(kept, third, false)
	renew(t, i, b)
	for _, old := range []*cluster{c, n} {
		if !i.Replaced(sha256.Sum256(old.cert)) || !b.Succeeds(old.cert) {
			t.Error("an authority is forgotten")
		}
	}

	path := filepath.Join(i.dir, certFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("nonsense")})...)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenIdentity(i.dir); !errors.Is(err, ErrDamage) {
		t.Errorf("with nonsense behind it: %v", err)
	}
}
