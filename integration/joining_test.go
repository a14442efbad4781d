package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/mtls"
)

// ends waits for a process to end by itself, and requires a last line with a text.
func (p *process) ends(want string) {
	p.t.Helper()
	select {
	case <-p.exit:
	case <-time.After(readyWait):
		p.t.Fatalf("it runs: %s", tail(p.log()))
	}
	lines := strings.Split(strings.TrimSpace(p.log()), "\n")
	last := lines[len(lines)-1]
	if p.err == nil || !strings.HasPrefix(last, "atoll: ") || !strings.Contains(last, want) {
		p.t.Errorf("it ended with %v and said %q, want %q", p.err, last, want)
	}
}

// TestJoining is who gets into a cluster, and who doesn't: each ends with one line that says why.
func TestJoining(t *testing.T) {
	server, other := startServer(t), startServer(t)
	join := func(kind, token string) *process {
		p := newProcess(t, kind, "--join", server.cluster)
		p.joinToken = token
		p.start()
		return p
	}
	good := server.invite(adminapi.CreateInvite{})
	parsed, err := mtls.ParseJoinToken(good)
	if err != nil {
		t.Fatal(err)
	}
	parsed.Secret[0]++
	short := server.invite(adminapi.CreateInvite{TTLMs: 1})
	for name, tt := range map[string]struct{ kind, token, want string }{
		"no token":            {"data", " ", "atoll node invite"},
		"no token of a meta":  {"meta", " ", "atoll node invite"},
		"nonsense":            {"data", "atollj_nonsense", "not a join token"},
		"wrong secret":        {"data", parsed.String(), "the join token is unknown"},
		"expired":             {"data", short, "has expired"},
		"of another cluster":  {"data", other.invite(adminapi.CreateInvite{}), "the join token is another cluster's"},
		"of another role":     {"meta", good, "not for a node with the role meta"},
		"server by data's":    {"server", good, "not for a node with the role meta"},
		"of another node":     {"data", server.invite(adminapi.CreateInvite{NodeID: "somebody"}), `is for node "somebody"`},
		"taken back, unknown": {"data", server.takenBack(), "the join token is unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			p := join(tt.kind, tt.token)
			p.ends(tt.want)
			if strings.Contains(p.log(), tt.token) && tt.token != " " {
				t.Error("the token is in the log")
			}
		})
	}
	server.waitLog("a node may not enrol")

	replica := join("data", good)
	replica.waitReady()
	join("data", good).ends("has been used")
	replica.stop()
	replica.joinToken = " " // it has served its purpose
	replica.restart()
	replica.stop()
	replica.joinToken = good // and does no harm
	replica.restart()
	for _, name := range []string{"node.key", "node.crt"} {
		if info, err := os.Stat(filepath.Join(replica.dir, "tls", name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}

	id := server.idOf(replica)
	replica.stop()
	server.until("removing the node", func(ctx context.Context) error {
		_, err := server.admin().RemoveNode(ctx, id)
		return err
	})
	replica.start()
	replica.ends("was removed")
	server.waitLog("refused a call")

	// Invited again by its name, it comes back with the key that it has.
	if err := os.Remove(filepath.Join(replica.dir, "tls", "node.crt")); err != nil {
		t.Fatal(err)
	}
	replica.joinToken = server.invite(adminapi.CreateInvite{NodeID: id})
	replica.restart()
	if err := server.redis("").Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

// takenBack returns the token of an invitation that is gone.
func (p *process) takenBack() string {
	p.t.Helper()
	token := p.invite(adminapi.CreateInvite{})
	parsed, err := mtls.ParseJoinToken(token)
	if err == nil {
		_, err = p.admin().DeleteInvite(p.t.Context(), parsed.InviteID)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

// TestNodeOfAnotherCluster has a certificate, of another cluster: nobody talks to it, and both sides say so.
func TestNodeOfAnotherCluster(t *testing.T) {
	first, second := startServer(t), startServer(t)
	stranger := first.joinData()
	first.idOf(stranger)
	stranger.stop()
	first.stop() // it would be asked first
	stranger.args = []string{"--join", second.cluster}
	stranger.start()
	stranger.waitLog("the peer is not of this cluster")
	stranger.loading()
	// It has turned the server down by itself; here is one that doesn't.
	cert, err := tls.LoadX509KeyPair(filepath.Join(stranger.dir, "tls", "node.crt"), filepath.Join(stranger.dir, "tls", "node.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, proto := range []string{"h2", "atoll-raft"} {
		config := &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, NextProtos: []string{proto}}
		conn, err := tls.Dial("tcp", second.cluster, config)
		if err != nil {
			t.Fatal(err) // of TLS 1.3 a client is done before the server has looked at its certificate
		}
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: %d bytes of an answer", proto, n)
		}
		if err := conn.Close(); err != nil {
			t.Log(err) // the server was faster
		}
	}
	second.waitLog("refused a connection to the cluster port")
	old := &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}
	if conn, err := tls.Dial("tcp", second.cluster, old); err == nil {
		t.Errorf("a handshake of TLS 1.2: %v", conn.Close())
	}
	list, err := second.admin().Nodes(t.Context())
	if err != nil || len(list.Nodes) != 1 {
		t.Errorf("nodes %+v, %v", list, err)
	}
}

// TestInvitedServer grows a cluster by whole servers, by one invitation of two.
func TestInvitedServer(t *testing.T) {
	first := startServer(t)
	token := first.invite(adminapi.CreateInvite{Role: adminapi.InviteServer, Uses: 2})
	for range 2 {
		p := newProcess(t, "server", "--join", first.cluster)
		p.joinToken, p.tokenDir = token, first.dir
		p.start()
		p.waitReady()
	}
	first.until("three of each", func(ctx context.Context) error {
		c, err := first.admin().Cluster(ctx)
		if err != nil {
			return err
		}
		nodes, err := first.admin().Nodes(ctx)
		if err == nil && (len(c.Voters) != 3 || len(nodes.Nodes) != 3) {
			err = fmt.Errorf("%d voters, %d data nodes", len(c.Voters), len(nodes.Nodes))
		}
		return err
	})
}

// TestRenewal: a certificate that is two thirds through its life is renewed at the start, by the metadata service or by
// the metadata node itself; one that has ended takes a new invitation.
func TestRenewal(t *testing.T) {
	server := startServer(t)
	replica := server.joinData()
	id := server.idOf(replica)
	age := func(p *process, d time.Duration) {
		t.Helper()
		host, err := mtls.OpenIdentity(filepath.Join(server.dir, "tls"))
		if err != nil {
			t.Fatal(err)
		}
		a, err := host.KeptAuthority()
		if err != nil {
			t.Fatal(err)
		}
		i, err := mtls.OpenIdentity(filepath.Join(p.dir, "tls"))
		if err != nil {
			t.Fatal(err)
		}
		own, _ := i.Own()
		public, _ := i.PublicKey()
		made, err := a.Issue(public, own.Name, time.Now().Add(-d))
		if err == nil {
			err = i.Install(made)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	const day = 24 * time.Hour
	replica.stop()
	replica.joinToken = " " // none
	age(replica, 70*day)
	replica.restart()
	replica.waitLog("renewed this node's certificate")
	replica.stop()
	server.stop()
	age(server, 100*day)
	server.restart()
	server.stop()
	age(replica, 100*day)
	server.restart()
	replica.start()
	replica.ends("this node's certificate ended at")
	replica.joinToken = server.invite(adminapi.CreateInvite{NodeID: id})
	replica.restart()
	server.idOf(replica)
}
