package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"

	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
)

// clusterOf starts metadata nodes and data nodes, the first of which is the primary.
func clusterOf(t *testing.T, metas, datas int) (meta, data []*process) {
	t.Helper()
	first := newProcess(t, "meta", "--node-id", "m0")
	first.start()
	first.waitReady()
	meta = append(meta, first)
	for i := 1; i < metas; i++ {
		p := newProcess(t, "meta", "--join", first.cluster, "--node-id", fmt.Sprint("m", i))
		p.tokenDir = first.dir
		p.start()
		p.waitReady()
		meta = append(meta, p)
	}
	first.until("leading all voters", func(ctx context.Context) error {
		c, err := first.admin().Cluster(ctx)
		if err == nil && len(c.Voters) != metas {
			err = fmt.Errorf("%d voters", len(c.Voters))
		}
		return err
	})
	join := make([]string, 0, metas)
	for _, p := range meta {
		join = append(join, p.cluster)
	}
	for i := range datas {
		d := newProcess(t, "data", "--join", strings.Join(join, ","), "--node-id", fmt.Sprint("d", i))
		d.tokenDir, d.httpAddr = first.dir, first.httpAddr
		d.start()
		d.waitReady()
		first.idOf(d)
		data = append(data, d)
	}
	return meta, data
}

// traffic writes and reads through every data node until it is ended, and fails the test at the first error.
type traffic struct {
	t     *testing.T
	stop  context.CancelFunc
	wg    sync.WaitGroup
	done  atomic.Uint64 // commands that were answered
	ended atomic.Bool
	slow  atomic.Int64 // the longest that two of them took, in nanoseconds
}

func startTraffic(t *testing.T, token string, nodes []*process) *traffic {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	tr := &traffic{t: t, stop: stop}
	for i, p := range nodes {
		c := p.redis(token, func(o *redis.Options) { o.MaxRetries = -1 })
		tr.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key, began := fmt.Sprint("k", i, ":", n%100), time.Now()
				err := c.Set(context.Background(), key, n, 0).Err()
				if err == nil {
					err = c.Get(context.Background(), key).Err()
				}
				if err != nil {
					t.Errorf("a command through %s: %v", p.args[len(p.args)-1], err)
					return
				}
				tr.done.Add(2)
				tr.slowest(time.Since(began))
			}
		})
	}
	t.Cleanup(tr.end)
	return tr
}

// goesOn requires that commands are answered.
func (tr *traffic) goesOn(what string) {
	tr.t.Helper()
	want := tr.done.Load() + 200
	for end := time.Now().Add(readyWait); tr.done.Load() < want; time.Sleep(pollEvery) {
		if time.Now().After(end) || tr.t.Failed() {
			tr.t.Fatalf("%s: no command is answered", what)
		}
	}
}

func (tr *traffic) slowest(d time.Duration) {
	for was := tr.slow.Load(); int64(d) > was && !tr.slow.CompareAndSwap(was, int64(d)); was = tr.slow.Load() {
	}
}

func (tr *traffic) end() {
	tr.stop()
	tr.wg.Wait()
	if tr.ended.Swap(true) {
		return
	}
	tr.t.Logf("%d commands, two of them took %v at most", tr.done.Load(), time.Duration(tr.slow.Load()))
}

// renewed waits until every node has shown a certificate of the next authority.
func (p *process) renewed() {
	p.t.Helper()
	p.until("told that every node has renewed", func(ctx context.Context) error {
		a, err := p.admin().Authority(ctx)
		if err == nil && (a.Next == nil || len(a.Unrenewed) > 0) {
			err = fmt.Errorf("not renewed: %v", a.Unrenewed)
		}
		return err
	})
}

// keyPair is a node's certificate as it is in its directory.
func (p *process) keyPair() tls.Certificate {
	p.t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(p.dir, "tls", "node.crt"), filepath.Join(p.dir, "tls", "node.key"))
	if err != nil {
		p.t.Fatal(err)
	}
	return cert
}

// knock connects to a cluster port with a certificate, and returns the connection once the server has spoken, or why
// it doesn't.
func knock(addr string, cert tls.Certificate, proto string) (*tls.Conn, error) {
	conn, err := tls.Dial("tcp", addr, &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, NextProtos: []string{proto}})
	if err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(readyWait)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// callsAs returns a call on one connection to this metadata node, with the certificate that a data node has now.
func (p *process) callsAs(d *process, id string) func() error {
	p.t.Helper()
	dir := filepath.Join(p.t.TempDir(), "tls")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(d.dir, "tls"))); err != nil {
		p.t.Fatal(err)
	}
	identity, err := mtls.OpenIdentity(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+p.cluster, identity.DialOptions()...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	own, _ := identity.Own()
	return func() error {
		_, err := atollpb.NewEnrolmentClient(conn).Renew(p.t.Context(), &atollpb.RenewRequest{ClusterId: own.ClusterID, NodeId: id})
		return err
	}
}

// TestReplaceAuthority replaces the authority of a cluster under load: no command fails, and what shows a certificate of
// the old one is out afterwards, on new connections and on those that were open. One of them was a metadata node.
func TestReplaceAuthority(t *testing.T) {
	meta, data := clusterOf(t, 4, 2)
	first, removed := meta[0], meta[3]
	token := first.createNamespace("acme")
	removed.stop()
	first.until("without the fourth", func(ctx context.Context) error {
		_, err := first.admin().RemoveMetadataNode(ctx, "m3")
		return err
	})
	stale := data[1].keyPair()
	open := first.callsAs(data[1], "d1")
	if err := open(); err != nil {
		t.Fatalf("a certificate that is good: %v", err)
	}
	if _, err := knock(first.cluster, removed.keyPair(), "h2"); err != nil {
		t.Fatalf("a certificate that nobody has taken back: %v", err)
	}
	invited := first.invite(adminapi.CreateInvite{Uses: 2})

	load := startTraffic(t, token, data)
	load.goesOn("before")
	if _, err := meta[1].admin().BeginAuthority(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.renewed()
	load.goesOn("while both are trusted")
	// A token from before, and nodes that are killed and come back in the middle of it.
	late := newProcess(t, "data", "--join", first.cluster, "--node-id", "late")
	late.tokenDir, late.httpAddr, late.joinToken = first.dir, first.httpAddr, invited
	late.start()
	late.waitReady()
	first.idOf(late)
	meta[2].kill()
	meta[2].restart()
	first.renewed()
	load.goesOn("after a restart")

	if _, err := meta[1].admin().FinishAuthority(t.Context(), adminapi.FinishAuthority{}); err != nil {
		t.Fatal(err)
	}
	load.goesOn("afterwards")
	first.until("cutting what was open of an old certificate", func(context.Context) error {
		if open() == nil {
			return errors.New("it goes on")
		}
		return nil
	})
	for name, cert := range map[string]tls.Certificate{"the old one of a data node": stale, "that of a removed metadata node": removed.keyPair()} {
		for _, p := range []*process{meta[0], meta[1], meta[2], data[0], data[1]} {
			p.until("turning a certificate away: "+name, func(context.Context) error {
				conn, err := knock(p.cluster, cert, "h2")
				if err != nil {
					return nil
				}
				return errors.Join(errors.New("it is taken"), conn.Close())
			})
		}
	}
	if _, err := knock(data[0].cluster, data[1].keyPair(), "h2"); err != nil {
		t.Errorf("a renewed certificate: %v", err)
	}
	removed.start()
	removed.waitLog("invite it again")
	removed.kill()
	newcomer := newProcess(t, "data", "--join", first.cluster)
	newcomer.joinToken = invited
	newcomer.start()
	newcomer.ends("replaced after the join token was made")

	load.goesOn("with strangers at the door")
	load.end()
	for _, p := range append(meta[:3], data...) {
		p.stop()
		p.joinToken = " " // none
	}
	for _, p := range meta[:3] {
		p.start()
	}
	for _, p := range append(meta[:3], data...) {
		if p.kind == "data" {
			p.start()
		}
		p.waitReady()
	}
}

// TestLockedOut: a voter and a data node that were away over a forced change say so, and come back with what they hold by
// a token; the one from before does no harm then, though it stays in the configuration.
func TestLockedOut(t *testing.T) {
	meta, data := clusterOf(t, 3, 2)
	first, away := meta[0], []*process{meta[2], data[1]}
	token := first.createNamespace("acme")
	if _, err := data[0].do(t.Context(), token, "SET", "k", "v"); err != nil {
		t.Fatal(err)
	}
	var old []string
	for _, p := range away {
		old = append(old, p.joinToken)
		p.stop()
	}
	if _, err := first.admin().BeginAuthority(t.Context()); err != nil {
		t.Fatal(err)
	}
	lacks := func(want ...string) {
		t.Helper()
		first.until("told who has not renewed", func(ctx context.Context) error {
			a, err := first.admin().Authority(ctx)
			if err == nil && !slices.Equal(a.Unrenewed, want) {
				err = fmt.Errorf("not renewed: %v, want %v", a.Unrenewed, want)
			}
			return err
		})
	}
	lacks("d1", "m2")
	if _, err := first.admin().FinishAuthority(t.Context(), adminapi.FinishAuthority{}); err == nil || !strings.Contains(err.Error(), "from d1, m2:") {
		t.Errorf("finished without two nodes: %v", err)
	}
	if _, err := first.admin().FinishAuthority(t.Context(), adminapi.FinishAuthority{Force: true}); err != nil {
		t.Fatal(err)
	}
	other := startServer(t)
	for i, invite := range []adminapi.CreateInvite{{NodeID: "m2", Role: adminapi.InviteMeta}, {NodeID: "d1"}} {
		p, args := away[i], away[i].args
		p.start()
		p.waitLog("invite it again")
		p.kill()
		p.joinToken, p.args = other.invite(adminapi.CreateInvite{Role: adminapi.InviteServer}), append(slices.Clone(args), "--join", other.cluster)
		p.start()
		p.ends("belongs to another cluster than the token")
		p.joinToken, p.args = first.invite(invite), args
		p.restart()
	}
	lacks()
	if got, err := data[1].do(t.Context(), token, "GET", "k"); err != nil || got != "v" {
		t.Errorf("its data: %v, %v", got, err)
	}
	for i, p := range away {
		p.stop()
		p.joinToken = old[i]
		p.restart()
	}
	first.stop() // the others are enough
	meta[1].until("leading with the one that came back", func(ctx context.Context) error {
		_, err := meta[1].admin().CreateNamespace(ctx, adminapi.CreateNamespace{Name: "globex"}, adminapi.WithIdempotencyKey("a-creation-of-globex"))
		return err
	})
}
