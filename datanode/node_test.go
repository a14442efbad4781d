package datanode

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/replication"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// metadata is a metadata service of one answer.
type metadata struct {
	atollpb.UnimplementedMetadataServer
	err   error
	joins chan *atollpb.JoinRequest
}

func (m *metadata) Join(_ context.Context, r *atollpb.JoinRequest) (*atollpb.JoinResponse, error) {
	select {
	case m.joins <- r:
	default:
	}
	return nil, m.err
}

func (m *metadata) Namespaces(context.Context, *atollpb.NamespacesRequest) (*atollpb.NamespacesResponse, error) {
	return nil, m.err
}

// serve returns the address of a service that answers everything with err.
func serve(t *testing.T, err error) (string, *metadata) {
	t.Helper()
	l, lerr := net.Listen("tcp", "127.0.0.1:0")
	if lerr != nil {
		t.Fatal(lerr)
	}
	m := &metadata{err: err, joins: make(chan *atollpb.JoinRequest, 16)}
	s := grpc.NewServer()
	atollpb.RegisterMetadataServer(s, m)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return l.Addr().String(), m
}

// closedAddr is an address where nobody listens.
func closedAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func config(t *testing.T, dir string, join ...string) Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return Config{
		Dir: dir, NodeID: "n1", RESPAddr: l.Addr().String(), ClusterAddr: "127.0.0.1:1", RESPListener: l, Join: join,
		Log: slog.New(slog.DiscardHandler), Fatal: func(err error) { t.Error(err) },
	}
}

func open(t *testing.T, c Config) *Node {
	t.Helper()
	n, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// lead makes the node a primary on its own, in a group of one.
func (n *Node) lead(t *testing.T) {
	t.Helper()
	var a tenant.Assembler
	change, err := a.Add(&atollpb.ViewFrame{
		Full: true, Last: true, Revision: 3, Nodes: []*atollpb.Node{{Id: "n1", Incarnation: n.id.Incarnation}},
		Cluster: &atollpb.ClusterInfo{ClusterId: "c", MetadataHistoryId: "m", TokenKey: make([]byte, 32), DefaultNamespaceId: 1},
		Groups: []*atollpb.Group{{
			Id: replication.GroupID, Primary: "n1", PrimaryIncarnation: n.id.Incarnation, Epoch: 3, HistoryId: "h",
			Epochs: []*atollpb.EpochStart{{Epoch: 3, StartIndex: 1}},
		}},
	})
	if err == nil {
		_, err = n.views.Install(change)
	}
	if err == nil {
		err = n.noteJoined(&atollpb.JoinResponse{ClusterId: "c", Revision: 3})
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.member.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); n.member.Status().State != atollpb.NodeState_NODE_STATE_SERVING; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("status %+v", n.member.Status())
		}
	}
}

func TestAcquire(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	n := open(t, config(t, dir))
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory that holds the token key: %v, %v", info.Mode(), err)
	}
	if _, err := n.Acquire(); !errors.Is(err, command.ErrLoading) {
		t.Errorf("acquire before a view: %v", err)
	}
	n.lead(t)
	l, err := n.Acquire()
	if err != nil || !l.Primary() || l.View().Revision() != 3 {
		t.Fatalf("%v, %v", l, err)
	}
	n.Facts() // while a lease is held
	l.Release()
	if got := testing.AllocsPerRun(100, func() {
		l, err := n.Acquire()
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
	}); got != 0 {
		t.Errorf("a lease costs %v allocations", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := n.WaitApplied(ctx, n.member.Store().Applied().Index); err != nil {
		t.Error(err)
	}
}

// TestFactsWhileRolesChange: INFO asks with a lease held, while a change of role waits for that lease.
func TestFactsWhileRolesChange(t *testing.T) {
	n := open(t, config(t, t.TempDir()))
	n.lead(t)
	l, err := n.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	s := n.member.Store()
	stopped := make(chan struct{})
	go func() {
		s.Stop(s.Role()) // waits for the lease
		close(stopped)
	}()
	for range 1000 {
		n.Facts()
		n.buildReport()
	}
	l.Release()
	<-stopped
}

// TestNamespacesErrors: an error is definite when no node was reached, or the one that was refused; else
// the change may have been made.
func TestNamespacesErrors(t *testing.T) {
	maybe, _ := serve(t, status.Error(codes.DeadlineExceeded, "the leader was lost"))
	refuses, _ := serve(t, status.Error(codes.FailedPrecondition, "no"))
	for _, c := range []struct {
		name     string
		join     []string
		definite bool
	}{
		{"nobody is known", nil, true},
		{"nobody listens", []string{closedAddr(t), closedAddr(t)}, true},
		{"refused", []string{closedAddr(t), refuses}, true},
		{"perhaps", []string{closedAddr(t), maybe}, false},
		{"perhaps, then refused", []string{maybe, refuses}, false},
		{"perhaps, then nobody", []string{maybe, closedAddr(t)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := open(t, config(t, t.TempDir(), c.join...))
			_, err := n.Namespaces(t.Context(), command.NamespaceCall{Op: command.NamespaceAdd, Name: "x"})
			if err == nil || errors.Is(err, command.ErrNotForwarded) != c.definite {
				t.Errorf("%v, want definite: %v", err, c.definite)
			}
		})
	}
}

func exists(path ...string) bool {
	_, err := os.Stat(filepath.Join(path...))
	return err == nil
}

// used makes a directory with a store in it.
func used(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Run("use", func(t *testing.T) {
		open(t, config(t, dir)).lead(t)
	})
	if !exists(dir, "CURRENT") {
		t.Fatal("no store was made")
	}
	return dir
}

// TestDiscardData: only a refusal that names the rows costs them, and only when the operator says so.
func TestDiscardData(t *testing.T) {
	const history = `node "n1" holds data of another history ("h"): start it with --discard-data to throw that data away`
	for _, c := range []struct {
		name    string
		err     error
		flag    bool
		discard bool
	}{
		{"another history", status.Error(codes.FailedPrecondition, history), true, true},
		{"another cluster", status.Error(codes.FailedPrecondition, `node "n1" belongs to another cluster (c), not to this one (d)`), true, true},
		{"without the flag", status.Error(codes.FailedPrecondition, history), false, false},
		{"another disk", status.Error(codes.FailedPrecondition, "promote another node with --accept-loss first"), true, false},
		{"away", status.Error(codes.Unavailable, history), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := used(t)
			before, err := loadIdentity(dir, "n1")
			if err != nil {
				t.Fatal(err)
			}
			addr, m := serve(t, c.err)
			conf := config(t, dir, addr)
			conf.DiscardData = c.flag
			n := open(t, conf)
			if got := n.member.Store() == nil; got != c.discard || exists(dir, "CURRENT") == c.discard {
				t.Errorf("discarded: %v, want %v", got, c.discard)
			}
			if changed := n.id.Incarnation != before.Incarnation; changed != c.discard || (n.id.ClusterID == "") != c.discard {
				t.Errorf("identity %+v, was %+v", n.id, before)
			}
			if c.flag {
				if r := <-m.joins; !r.HasData || r.DataHistoryId != "h" {
					t.Errorf("asked with %v", r)
				}
			}
		})
	}
}

// TestDiscardCutShort: a crash in the middle of a discarding is made good by the next start.
func TestDiscardCutShort(t *testing.T) {
	dir := used(t)
	if err := os.WriteFile(filepath.Join(dir, discardFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "CURRENT")); err != nil {
		t.Fatal(err)
	}
	n := open(t, config(t, dir))
	if n.id.HasData || n.id.ClusterID != "" || n.member.Store() != nil || exists(dir, discardFile) {
		t.Errorf("identity %+v", n.id)
	}
}

// A store that has gone is damage, not a first start.
func TestMissingStore(t *testing.T) {
	dir := used(t)
	if err := os.Remove(filepath.Join(dir, "CURRENT")); err != nil {
		t.Fatal(err)
	}
	if n, err := Open(t.Context(), config(t, dir)); err == nil {
		t.Error(n.Close(), "it opens")
	}
}

func TestRefusalNamesTheFlag(t *testing.T) {
	dir := used(t)
	addr, _ := serve(t, status.Error(codes.FailedPrecondition, `node "n1" belongs to another cluster (c), not to this one (d)`))
	n := open(t, config(t, dir, addr))
	_, err := n.arrive(t.Context(), false)
	if err == nil || !discardable(status.Error(codes.FailedPrecondition, err.Error())) {
		t.Errorf("refused with %v", err)
	}
	if want := "join the cluster: node \"n1\" belongs to another cluster (c), not to this one (d): start it with --discard-data to throw its data away"; err.Error() != want {
		t.Errorf("refused with %q, want %q", err, want)
	}
}

// TestReportOfTombstones: a purge is told until the view shows that it was heard.
func TestReportOfTombstones(t *testing.T) {
	n := open(t, config(t, t.TempDir()))
	n.lead(t)
	var a tenant.Assembler
	change, err := a.Add(&atollpb.ViewFrame{Last: true, FromRevision: 3, Revision: 4, Namespaces: []*atollpb.Namespace{
		{Id: 2, Name: "a", State: atollpb.NamespaceState_NAMESPACE_STATE_DELETED, DeletedRevision: 4},
		{Id: 3, Name: "b", State: atollpb.NamespaceState_NAMESPACE_STATE_DELETED, DeletedRevision: 4, PurgedBy: []string{"n1/" + n.id.Incarnation}},
	}})
	if err == nil {
		_, err = n.views.Install(change)
	}
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if r := n.buildReport(); len(r.GetPurgedNamespaces()) == 1 && r.GetPurgedNamespaces()[0] == 2 {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("purged %v, want [2]", r.GetPurgedNamespaces())
		}
	}
}
