package datanode

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/compare"
	"github.com/atolldb/atoll/datanode/replication"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// islander is a node that leads by itself, and knows others as its replicas.
type islander struct {
	*Node
	t    *testing.T
	addr string // of its gRPC server
	stop func() // stops that
}

// serveCluster serves the node's services at its address.
func (i *islander) serveCluster() {
	i.t.Helper()
	var l net.Listener
	for until := time.Now().Add(20 * time.Second); l == nil; {
		var err error
		if l, err = net.Listen("tcp", i.addr); err != nil && time.Now().After(until) {
			i.t.Fatal(err)
		}
	}
	i.addr = l.Addr().String()
	s := grpc.NewServer()
	i.Register(s)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	var once sync.Once
	i.stop = func() {
		once.Do(func() {
			s.Stop()
			<-done
		})
	}
	i.t.Cleanup(func() { i.stop() })
}

// islands returns nodes that serve clients and are one group; nobody is there that they had it from.
func islands(t *testing.T, ids ...string) []*islander {
	t.Helper()
	var list []*islander
	for _, id := range ids {
		c := config(t, t.TempDir())
		c.NodeID = id
		i := &islander{Node: open(t, c), t: t, addr: "127.0.0.1:0"}
		i.serveCluster()
		list = append(list, i)
	}
	for _, i := range list {
		i.show(3, list...)
		start := func(run func(context.Context) error) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- run(ctx) }()
			t.Cleanup(func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		}
		start(i.member.Run)
		start(i.relay.run)
		start(i.edge.Run)
		eventually(t, "the peers", func() bool { return i.relay.peers.Load() != nil })
	}
	return list
}

// show installs a view in which the node is the primary, and the others are its replicas.
func (i *islander) show(revision uint64, members ...*islander) {
	i.t.Helper()
	g := &atollpb.Group{
		Id: replication.GroupID, Primary: i.cfg.NodeID, PrimaryIncarnation: i.id.Incarnation, Epoch: 3, HistoryId: "h",
		Epochs: []*atollpb.EpochStart{{Epoch: 3, StartIndex: 1}},
	}
	f := &atollpb.ViewFrame{
		Full: true, Last: true, Revision: revision,
		Cluster: &atollpb.ClusterInfo{ClusterId: "c", MetadataHistoryId: "m", TokenKey: make([]byte, 32), DefaultNamespaceId: 1},
		Namespaces: []*atollpb.Namespace{
			{Id: 1, Name: "__namespace", State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE, Durability: atollpb.Durability_DURABILITY_ASYNC},
			{Id: 2, Name: "two", State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE, Durability: atollpb.Durability_DURABILITY_ASYNC},
		},
	}
	var a tenant.Assembler
	if c, err := a.Add(&atollpb.ViewFrame{Full: true, Last: true, Revision: 1, Cluster: f.Cluster}); err != nil {
		i.t.Fatal(err)
	} else {
		f.Tokens = []*atollpb.Token{{Id: "t2", NamespaceId: 2, Hash: c.View().HashSecret([]byte("secret-of-two")), Role: atollpb.Role_ROLE_READ_WRITE}}
	}
	for _, m := range members {
		f.Nodes = append(f.Nodes, &atollpb.Node{Id: m.cfg.NodeID, Incarnation: m.id.Incarnation, ClusterAddr: m.addr})
		if m != i {
			g.Replicas = append(g.Replicas, m.cfg.NodeID)
		}
	}
	f.Groups = []*atollpb.Group{g}
	var b tenant.Assembler
	c, err := b.Add(f)
	if err == nil {
		_, err = i.views.Install(c)
	}
	if err == nil && i.clusterID() == "" {
		err = i.noteJoined(&atollpb.JoinResponse{ClusterId: "c", Revision: 3})
	}
	if err != nil {
		i.t.Fatal(err)
	}
}

// redisClient is a connection of a Redis client.
type redisClient struct {
	net.Conn
	r *bufio.Reader
	t *testing.T
}

// client connects to the node, and authenticates if there is a secret.
func (i *islander) client(secret string) *redisClient {
	i.t.Helper()
	nc, err := net.Dial("tcp", i.cfg.RESPAddr)
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(60 * time.Second))
	c := &redisClient{nc, bufio.NewReader(nc), i.t}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		v := c.do("ECHO", "x")
		if secret != "" {
			v = c.do("AUTH", secret)
		}
		if v.Kind != '-' {
			return c
		}
		if time.Since(began) > 20*time.Second {
			i.t.Fatal(v)
		}
	}
}

func (c *redisClient) do(words ...string) compare.Value {
	c.t.Helper()
	if _, err := c.Write(compare.Encode(words)); err != nil {
		c.t.Fatal(err)
	}
	return c.read()
}

func (c *redisClient) read() compare.Value {
	c.t.Helper()
	v, err := compare.Read(c.r)
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

// texts are the elements of an array.
func texts(v compare.Value) string {
	var list []string
	for _, e := range v.List {
		list = append(list, e.Text)
	}
	return strings.Join(list, " ")
}

func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for began := time.Now(); !yes(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatal("waited in vain for " + what)
		}
	}
}

// TestMessagesReachEveryNode: from whichever node, in the order of each publisher, in its namespace only, and once.
func TestMessagesReachEveryNode(t *testing.T) {
	nodes := islands(t, "n1", "n2", "n3")
	const each = 200
	var listeners, others []*redisClient
	for _, n := range nodes {
		l, o := n.client(""), n.client("secret-of-two")
		for _, c := range []*redisClient{l, o} {
			c.do("SUBSCRIBE", "c")
			c.do("SSUBSCRIBE", "c")
		}
		l.do("PSUBSCRIBE", "p*")
		listeners, others = append(listeners, l), append(others, o)
	}
	for from, n := range nodes {
		p := n.client("")
		for i := range each {
			if got := p.do("PUBLISH", "c", fmt.Sprint(from, " ", i)); got.Text != "1" {
				t.Fatalf("PUBLISH answered %v", got)
			}
		}
		p.do("SPUBLISH", "c", fmt.Sprint("shard of ", from))
		p.do("PUBLISH", "pattern", fmt.Sprint("pattern of ", from))
		p.do("PUBLISH", "c", fmt.Sprint("end of ", from))
	}
	for at, l := range listeners {
		next, ends := make([]int, len(nodes)), 0
		heard := make(map[string]int)
		for ends < len(nodes) {
			got := texts(l.read())
			heard[got]++
			var from, i int
			if n, _ := fmt.Sscanf(got, "message c %d %d", &from, &i); n == 2 {
				if i != next[from] {
					t.Fatalf("node %d: %q came after %d", at, got, next[from])
				}
				next[from]++
			} else if strings.HasPrefix(got, "message c end of ") {
				ends++
			}
		}
		for from := range nodes {
			for _, want := range []string{"smessage c shard of %d", "pmessage p* pattern pattern of %d", "message c end of %d"} {
				if want = fmt.Sprintf(want, from); heard[want] != 1 || next[from] != each {
					t.Errorf("node %d: %q came %d times, after %d messages", at, want, heard[want], next[from])
				}
			}
		}
	}
	two := nodes[0].client("secret-of-two")
	two.do("PUBLISH", "c", "of two")
	for at, o := range others {
		if got := texts(o.read()); got != "message c of two" {
			t.Errorf("node %d: another namespace's subscriber got %q", at, got)
		}
	}
	for at, n := range nodes {
		if sent, got := n.relay.sent.Load(), n.relay.received.Load(); got != 2*(each+3)+uint64(min(at, 1)) || sent < 2*(each+3) {
			t.Errorf("node %d has sent %d and received %d messages", at, sent, got)
		}
	}
}

// TestRelayAfterAnOutage: what is published when a node is back gets there by itself; what was too old by then doesn't.
func TestRelayAfterAnOutage(t *testing.T) {
	nodes := islands(t, "n1", "n2")
	l, p := nodes[1].client(""), nodes[0].client("")
	l.do("SUBSCRIBE", "c")
	p.do("PUBLISH", "c", "before")
	if got := texts(l.read()); got != "message c before" {
		t.Errorf("got %q", got)
	}
	nodes[1].stop()
	for range 20 {
		p.do("PUBLISH", "c", "meanwhile") // and isn't held up
	}
	nodes[1].serveCluster()
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				p.do("PUBLISH", "c", "after")
				time.Sleep(10 * time.Millisecond)
			}
		}
	})
	for texts(l.read()) != "message c after" {
	}
	close(stop)
	publishing.Wait()
}

// TestRelayIsBounded: what waits for a node that takes nothing is, and it is none of the publisher's business.
func TestRelayIsBounded(t *testing.T) {
	nodes := islands(t, "n1", "n2")
	nodes[1].stop()
	n := nodes[0].Node
	m := &command.Message{Namespace: 1, Channel: []byte("c"), Payload: bytes.Repeat([]byte("m"), 1<<20)}
	for range 40 {
		n.executor.Publish(m)
	}
	p := (*n.relay.peers.Load())[0]
	p.mu.Lock()
	held := p.bytes
	p.mu.Unlock()
	if dropped := n.relay.dropped.Load(); held > relayBytesMax || dropped < 40-relayBytesMax>>20 || dropped >= 40 {
		t.Errorf("%d bytes wait, and %d messages were dropped", held, dropped)
	}
	p.prune(time.Now().Add(relayAgeMax + time.Second))
	if p.bytes != 0 || p.waiting != nil || n.relay.dropped.Load() != 40 {
		t.Errorf("%d bytes of what is too old wait, and %d messages were dropped", p.bytes, n.relay.dropped.Load())
	}
	m.Payload = bytes.Repeat(m.Payload, 20) // alone, a large one goes too
	if n.executor.Publish(m); n.relay.dropped.Load() != 40 {
		t.Error("a large message was dropped")
	}
}

// TestRelayFollowsTheView: nodes that leave the group are sent nothing more, and one that isn't in it sends nothing.
func TestRelayFollowsTheView(t *testing.T) {
	nodes := islands(t, "n1", "n2", "n3")
	peers := func(n *islander) (ids string) {
		if list := n.relay.peers.Load(); list != nil {
			for _, p := range *list {
				ids += p.id + " "
			}
		}
		return ids
	}
	eventually(t, "both peers", func() bool { return peers(nodes[0]) == "n2 n3 " })
	nodes[0].show(4, nodes[0], nodes[2])
	eventually(t, "one peer", func() bool { return peers(nodes[0]) == "n3 " })
	nodes[0].show(5, nodes[0])
	eventually(t, "no peer", func() bool { return nodes[0].relay.peers.Load() == nil })
	nodes[0].executor.Publish(&command.Message{Namespace: 1, Channel: []byte("c")})
	nodes[0].show(6, nodes...)
	eventually(t, "both peers", func() bool { return peers(nodes[0]) == "n2 n3 " })
}

// publishStream hands one request to a server.
type publishStream struct {
	grpc.ServerStream
	ctx     context.Context
	request *atollpb.PublishRequest
}

func (s *publishStream) Context() context.Context { return s.ctx }

func (s *publishStream) SendAndClose(*atollpb.PublishResponse) error { return nil }

func (s *publishStream) Recv() (*atollpb.PublishRequest, error) {
	r := s.request
	if s.request = nil; r == nil {
		return nil, status.Error(codes.Aborted, "it was delivered")
	}
	return r, nil
}

// TestPublishIsForTheGroup: nothing is delivered for another cluster, version or node, or one that isn't of the group.
func TestPublishIsForTheGroup(t *testing.T) {
	nodes := islands(t, "n1", "n2")
	n := nodes[0].Node
	n.cfg.Log = slog.New(slog.DiscardHandler)
	for what, want := range map[string]codes.Code{
		"": codes.Aborted, "cluster": codes.FailedPrecondition, "to": codes.FailedPrecondition, "wire": codes.FailedPrecondition, "node": codes.PermissionDenied,
	} {
		r := &atollpb.PublishRequest{ClusterId: "c", NodeId: "n2", ToNodeId: "n1", WireVersion: rpc.WireVersion,
			Messages: []*atollpb.PublishedMessage{{NamespaceId: 1, Channel: []byte("c")}, {NamespaceId: 99, Channel: bytes.Repeat([]byte("c"), 10_000)}}}
		switch what {
		case "cluster":
			r.ClusterId = "other"
		case "to":
			r.ToNodeId = "n2"
		case "wire":
			r.WireVersion++
		case "node":
			r.NodeId = "n3"
		}
		before := n.relay.received.Load()
		err := (&replicationServer{n: n}).Publish(&publishStream{ctx: t.Context(), request: r})
		if took := n.relay.received.Load() - before; status.Code(err) != want || took != map[bool]uint64{true: 2}[what == ""] {
			t.Errorf("another %s: %v, and %d were taken", what, err, took)
		}
	}
}
