package metadata

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
)

// process is one metadata node with its listeners, as cmd builds it.
type process struct {
	t      testing.TB
	id     string
	dir    string
	addr   string // of the cluster port, the same after a restart
	join   []string
	config func(*Config) // changes what Open gets

	identity *mtls.Identity // nil: the cluster port is plain text

	node   *Node
	mux    *rpc.Mux
	server *grpc.Server
	cancel context.CancelFunc
	ran    chan error
	served chan error
	conn   *grpc.ClientConn
}

func newProcess(t testing.TB, id string, join ...string) *process {
	t.Helper()
	return newProcessWith(t, id, nil, join...)
}

func newProcessWith(t testing.TB, id string, config func(*Config), join ...string) *process {
	t.Helper()
	p := &process{t: t, id: id, dir: t.TempDir(), addr: "127.0.0.1:0", join: join, config: config}
	p.start()
	t.Cleanup(p.stop)
	return p
}

func (p *process) start() {
	p.t.Helper()
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	h, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.addr = l.Addr().String()
	var opened atomic.Pointer[Node]
	options, dial := []grpc.ServerOption{}, []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if p.identity == nil {
		p.mux = rpc.Split(l)
	} else {
		p.mux = rpc.SplitBy(l, p.identity.Accept(func(remote net.Addr, err error) {
			if n := opened.Load(); n != nil {
				n.RefusedConnection(remote, err)
			}
		}))
		refused := func(ctx context.Context, peer mtls.Peer, _ string, err error) { p.node.RefusedCall(ctx, peer, err) }
		access := mtls.Access{Refused: refused, Enrolled: func(ctx context.Context, peer mtls.Peer) error { return p.node.Enrolled(ctx, peer) }}
		access.Shown = func(peer mtls.Peer) { p.node.Shown(peer) }
		options, dial = append(access.Options(), grpc.Creds(p.identity.ServerCredentials())), p.identity.DialOptions()
	}
	c := Config{
		Dir: p.dir, NodeID: p.id, ClusterAddr: p.addr, HTTPAddr: h.Addr().String(),
		RaftListener: p.mux.Raft(), HTTPListener: h, Join: p.join,
		AdminTokenFile: filepath.Join(p.dir, "admin-token"), Version: "test", Log: slog.New(slog.DiscardHandler),
	}
	if p.identity != nil {
		c.Identity, c.Roles = p.identity, []mtls.Role{mtls.Meta}
	}
	if p.config != nil {
		p.config(&c)
	}
	p.node, err = Open(p.t.Context(), c)
	if err != nil {
		p.t.Fatal(err)
	}
	opened.Store(p.node)
	p.server = grpc.NewServer(options...)
	p.node.Register(p.server)
	p.served, p.ran = make(chan error, 1), make(chan error, 1)
	go func(s *grpc.Server, l net.Listener, served chan<- error) { served <- s.Serve(l) }(p.server, p.mux.GRPC(), p.served)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func(n *Node, ran chan<- error) { ran <- n.Run(ctx) }(p.node, p.ran)
	p.conn, err = grpc.NewClient("passthrough:///"+p.addr, dial...)
	if err != nil {
		p.t.Fatal(err)
	}
}

// kill ends the node without a farewell: its connections break first.
func (p *process) kill() {
	p.t.Helper()
	p.server.Stop()
	if err := p.mux.Close(); err != nil {
		p.t.Error(err)
	}
	p.stop()
}

// stop ends the node as SIGTERM does. It may be called again.
func (p *process) stop() {
	p.t.Helper()
	if p.node == nil {
		return
	}
	p.cancel()
	if err := <-p.ran; err != nil {
		p.t.Errorf("run: %v", err)
	}
	p.server.Stop()
	if err := <-p.served; err != nil {
		p.t.Errorf("serve: %v", err)
	}
	if err := p.conn.Close(); err != nil {
		p.t.Error(err)
	}
	if err := p.node.Close(); err != nil {
		p.t.Errorf("close: %v", err)
	}
	if err := p.mux.Close(); err != nil {
		p.t.Error(err)
	}
	p.node = nil
}

func (p *process) restart() {
	p.t.Helper()
	p.stop()
	p.start()
}

func (p *process) metadata() atollpb.MetadataClient { return atollpb.NewMetadataClient(p.conn) }

// ready waits until the node can serve, and returns its cluster's id.
func (p *process) ready() string {
	p.t.Helper()
	p.until("ready", func() bool { return p.node.Status().Ready() == nil })
	return p.node.Status().ClusterID
}

// until polls a condition that another goroutine brings about.
func (p *process) until(what string, ok func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: %s did not come: %+v", p.id, what, p.node.Status())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// dataNode is a data node as far as metadata sees it.
type dataNode struct {
	t       testing.TB
	cluster string
	join    *atollpb.JoinRequest
	report  *atollpb.NodeReport
}

func newDataNode(t testing.TB, id string) *dataNode {
	return &dataNode{
		t:    t,
		join: &atollpb.JoinRequest{WireVersion: rpc.WireVersion, NodeId: id, Incarnation: "i1", RespAddr: id + ":6379", ClusterAddr: id + ":7379", Version: "test"},
		report: &atollpb.NodeReport{
			NodeId: id, Incarnation: "i1", State: atollpb.NodeState_NODE_STATE_SERVING, Written: &atollpb.Position{},
		},
	}
}

// joins registers the node through a metadata node.
func (d *dataNode) joins(p *process) *atollpb.JoinResponse {
	d.t.Helper()
	r, err := p.metadata().Join(d.t.Context(), d.join)
	if err != nil {
		d.t.Fatal(err)
	}
	d.cluster = r.ClusterId
	return r
}

// reports sends the node's report through a metadata node.
func (d *dataNode) reports(p *process) {
	d.t.Helper()
	if _, err := p.metadata().Report(d.t.Context(), &atollpb.ReportRequest{ClusterId: d.cluster, Report: d.report}); err != nil {
		d.t.Fatal(err)
	}
}

// view is a watcher's copy of the metadata.
type view struct {
	t          testing.TB
	stream     grpc.ServerStreamingClient[atollpb.ViewFrame]
	revision   uint64
	fulls      int
	cluster    *atollpb.ClusterInfo
	namespaces map[uint64]*atollpb.Namespace
	tokens     map[string]*atollpb.Token
	nodes      map[string]*atollpb.Node
	groups     map[uint32]*atollpb.Group
}

func newView(t testing.TB) *view { return &view{t: t} }

// watch opens a stream from where the view is.
func (v *view) watch(ctx context.Context, p *process) {
	v.t.Helper()
	var err error
	v.stream, err = p.metadata().Watch(ctx, &atollpb.WatchRequest{
		WireVersion: rpc.WireVersion,
		ClusterId:   p.node.Status().ClusterID, NodeId: "n1", Revision: v.revision, MetadataHistoryId: v.cluster.GetMetadataHistoryId(),
	})
	if err != nil {
		v.t.Fatal(err)
	}
}

// reach receives until the view has a revision.
func (v *view) reach(revision uint64) {
	v.t.Helper()
	for v.revision < revision {
		f, err := v.stream.Recv()
		if err != nil {
			v.t.Fatalf("watch at revision %d: %v", v.revision, err)
		}
		v.apply(f)
	}
}

func (v *view) apply(f *atollpb.ViewFrame) {
	v.t.Helper()
	if f.Heartbeat {
		return
	}
	if f.Full {
		v.fulls++
		v.namespaces, v.tokens = map[uint64]*atollpb.Namespace{}, map[string]*atollpb.Token{}
		v.nodes, v.groups = map[string]*atollpb.Node{}, map[uint32]*atollpb.Group{}
	} else if f.FromRevision > 0 && (f.FromRevision > v.revision || f.Revision <= v.revision) {
		v.t.Fatalf("delta from %d to %d for a view at %d", f.FromRevision, f.Revision, v.revision)
	}
	if f.Cluster != nil {
		v.cluster = f.Cluster
	}
	for _, n := range f.Namespaces {
		v.namespaces[n.Id] = n
	}
	for _, id := range f.RemovedNamespaces {
		delete(v.namespaces, id)
	}
	for _, k := range f.Tokens {
		v.tokens[k.Id] = k
	}
	for _, id := range f.RemovedTokens {
		delete(v.tokens, id)
	}
	for _, n := range f.Nodes {
		v.nodes[n.Id] = n
	}
	for _, id := range f.RemovedNodes {
		delete(v.nodes, id)
	}
	for _, g := range f.Groups {
		v.groups[g.Id] = g
	}
	if f.Last {
		v.revision = f.Revision
	}
}
