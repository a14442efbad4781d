package datanode

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// leader takes reports, but for the first with any use in it, which it loses.
type leader struct {
	atollpb.UnimplementedMetadataServer
	reports chan *atollpb.NodeReport
	lost    chan struct{} // closed with the first
	once    sync.Once
}

func (l *leader) Report(_ context.Context, r *atollpb.ReportRequest) (*atollpb.ReportResponse, error) {
	lose := false
	if len(r.GetReport().GetTokenUses())+len(r.GetReport().GetNamespaceUses()) > 0 {
		l.once.Do(func() {
			lose = true
			close(l.lost)
		})
	}
	if lose {
		return nil, status.Error(codes.Internal, "the leader was lost")
	}
	select {
	case l.reports <- r.GetReport():
	default:
	}
	return &atollpb.ReportResponse{Revision: 4}, nil
}

// What tokens and namespaces use reaches the leader, also if a report is lost.
func TestReportTellsTheUse(t *testing.T) {
	l := &leader{reports: make(chan *atollpb.NodeReport, 1), lost: make(chan struct{})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	atollpb.RegisterMetadataServer(server, l)
	var all sync.WaitGroup
	all.Go(func() { _ = server.Serve(ln) })
	n := open(t, config(t, t.TempDir(), ln.Addr().String()))
	n.lead(t)
	installUser(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		server.Stop()
		all.Wait()
	})
	all.Go(func() {
		if err := n.edge.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	c, err := net.Dial("tcp", n.cfg.RESPAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, "AUTH secret\r\nSET k v\r\n"); err != nil {
		t.Fatal(err)
	}
	replies := bufio.NewReader(c)
	for range 2 {
		if line, err := replies.ReadString('\n'); err != nil || line != "+OK\r\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	all.Go(func() { n.report(ctx) })
	var space *atollpb.NamespaceUse
	var token *atollpb.TokenUse
	for deadline := time.After(20 * time.Second); space == nil || token == nil; {
		select {
		case r := <-l.reports:
			for _, u := range r.GetNamespaceUses() {
				space = u
			}
			for _, u := range r.GetTokenUses() {
				token = u
			}
		case <-deadline:
			t.Fatalf("the leader knows of %v, %v", space, token)
		}
	}
	select {
	case <-l.lost:
	default:
		t.Error("no report was lost")
	}
	if space.GetNamespaceId() != 2 || space.GetKeys() != 1 || space.GetConnections() != 1 {
		t.Errorf("the namespace: %v", space)
	}
	if token.GetTokenId() != "t2" || token.GetConnections() != 1 || token.GetLastUsedMs() == 0 {
		t.Errorf("the token: %v", token)
	}
}

// installUser adds namespace 2 with a token whose secret is "secret".
func installUser(t *testing.T, n *Node) {
	t.Helper()
	var a tenant.Assembler
	v := n.views.Current()
	change, err := a.Add(&atollpb.ViewFrame{
		FromRevision: v.Revision(), Revision: v.Revision() + 1, Last: true,
		Namespaces: []*atollpb.Namespace{{Id: 2, Name: "a", State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE}},
		Tokens:     []*atollpb.Token{{Id: "t2", NamespaceId: 2, Hash: v.HashSecret([]byte("secret")), Role: atollpb.Role_ROLE_READ_WRITE}},
	})
	if err == nil {
		_, err = n.views.Install(change)
	}
	if err != nil {
		t.Fatal(err)
	}
}
