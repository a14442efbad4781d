package datanode

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/replication"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// relayBytesMax is what may wait for one other node, in bytes; a larger message may alone.
	relayBytesMax = 16 << 20
	// relayAgeMax is how old what waits may get: nobody wants the messages of an hour ago when a node is back.
	relayAgeMax = 5 * time.Second
	// relayBatchBytes and relayBatchMax end a batch.
	relayBatchBytes = 1 << 20
	relayBatchMax   = 4096
	relayPauseMax   = time.Second
	relayLineEvery  = time.Minute
)

// relay passes what clients of this node publish on to the other nodes of the group: to each on a stream of its own, in
// order, and as well as it can. It passes on everything, since whether anybody listens there is known there alone; what it
// has from another node it passes on to none, so nothing goes in circles.
type relay struct {
	node  *Node
	peers atomic.Pointer[[]*relayPeer] // nil: there are none

	sent, received, dropped atomic.Uint64 // messages
	nextLine                atomic.Int64  // when a line may be logged again, in Unix nanoseconds
}

// relayPeer is another node of the group.
type relayPeer struct {
	relay       *relay
	id, address string
	stop        context.CancelFunc
	ready       chan struct{} // holds an element while something waits

	mu      sync.Mutex
	waiting []relayed
	bytes   int
}

type relayed struct {
	m    *atollpb.PublishedMessage
	size int
	at   time.Time
}

// Publish is command.Node.
func (n *Node) Publish(m *command.Message) {
	peers := n.relay.peers.Load()
	if peers == nil {
		return
	}
	r := relayed{at: time.Now(), size: len(m.Channel) + len(m.Payload) + 64, m: &atollpb.PublishedMessage{
		NamespaceId: m.Namespace, Channel: bytes.Clone(m.Channel), Payload: bytes.Clone(m.Payload), Shard: m.Shard,
	}}
	for _, p := range *peers {
		if !p.add(r) {
			n.relay.drop(p.id, 1, nil)
		}
	}
}

// drop counts messages that don't get to a node.
func (r *relay) drop(peer string, n int, err error) {
	r.dropped.Add(uint64(n))
	now, next := time.Now(), r.nextLine.Load()
	if now.UnixNano() >= next && r.nextLine.CompareAndSwap(next, now.Add(relayLineEvery).UnixNano()) {
		r.node.cfg.Log.Warn("published messages don't get to another node of the group", "node_id", peer, "dropped", r.dropped.Load(), "err", err)
	}
}

// run keeps a stream to each other node of the group that the newest view names, until ctx ends.
func (r *relay) run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		changed := r.node.views.Changed()
		r.follow(ctx, r.node.views.Current(), &all)
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// follow makes the peers those of a view.
func (r *relay) follow(ctx context.Context, v *tenant.View, all *sync.WaitGroup) {
	var was, now []*relayPeer
	if list := r.peers.Load(); list != nil {
		was = *list
	}
	for _, id := range membersOf(v) {
		address := v.Node(id).GetClusterAddr()
		if id == r.node.cfg.NodeID || address == "" {
			continue
		}
		at := slices.IndexFunc(was, func(p *relayPeer) bool { return p.id == id && p.address == address })
		if at >= 0 {
			now = append(now, was[at])
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		p := &relayPeer{relay: r, id: id, address: address, stop: stop, ready: make(chan struct{}, 1)}
		all.Go(func() { p.run(ctx) })
		now = append(now, p)
	}
	if len(now) > 0 && slices.Contains(membersOf(v), r.node.cfg.NodeID) {
		r.peers.Store(&now)
	} else {
		r.peers.Store(nil)
		was, now = append(was, now...), nil
	}
	for _, p := range was {
		if !slices.Contains(now, p) {
			p.stop()
		}
	}
}

// membersOf returns the ids of the group's nodes; none of no view.
func membersOf(v *tenant.View) []string {
	if v == nil {
		return nil
	}
	g := v.Group(replication.GroupID)
	return append(slices.Clone(g.GetReplicas()), g.GetPrimary())
}

// add has a message wait, and reports false if too much does.
func (p *relayPeer) add(r relayed) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 && p.bytes+r.size > relayBytesMax {
		return false
	}
	p.waiting = append(p.waiting, r)
	p.bytes += r.size
	p.ring()
	return true
}

func (p *relayPeer) ring() {
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// prune drops what is too old.
func (p *relayPeer) prune(now time.Time) {
	p.mu.Lock()
	old := 0
	for old < len(p.waiting) && now.Sub(p.waiting[old].at) > relayAgeMax {
		p.bytes -= p.waiting[old].size
		old++
	}
	p.forget(old)
	p.mu.Unlock()
	if old > 0 {
		p.relay.drop(p.id, old, errors.New("they were too old"))
	}
}

// forget takes the first n out of what waits. The lock is held.
func (p *relayPeer) forget(n int) {
	clear(p.waiting[:n])
	if p.waiting = p.waiting[n:]; len(p.waiting) == 0 {
		p.waiting = nil
	}
}

// take returns a batch of what waits, without what is too old.
func (p *relayPeer) take(now time.Time) (batch []*atollpb.PublishedMessage) {
	p.prune(now)
	p.mu.Lock()
	defer p.mu.Unlock()
	size := 0
	for _, r := range p.waiting {
		if len(batch) > 0 && (size+r.size > relayBatchBytes || len(batch) == relayBatchMax) {
			break
		}
		batch = append(batch, r.m)
		size += r.size
	}
	p.bytes -= size
	if p.forget(len(batch)); len(p.waiting) > 0 {
		p.ring()
	}
	return batch
}

// run opens a stream whenever something waits and there is none.
func (p *relayPeer) run(ctx context.Context) {
	defer p.stop()
	for pause := relayPauseMax / 16; ; pause = min(2*pause, relayPauseMax) {
		select {
		case <-p.ready:
			p.ring() // for the stream
		case <-ctx.Done():
			return
		}
		sent, err := p.stream(ctx)
		if ctx.Err() != nil {
			return
		}
		p.relay.node.cfg.Log.Debug("a stream of published messages has ended", "node_id", p.id, "err", err)
		p.prune(time.Now())
		if sent > 0 {
			pause = relayPauseMax / 16
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// stream sends batches until the stream breaks. It returns how many it has sent.
func (p *relayPeer) stream(ctx context.Context) (sent int, err error) {
	n := p.relay.node
	conn, err := n.conns.get(p.address)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := atollpb.NewReplicationClient(conn).Publish(ctx)
	if err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	var reader sync.WaitGroup
	reader.Go(func() { ended <- stream.RecvMsg(new(atollpb.PublishResponse)) })
	defer func() {
		cancel() // it ends with the stream
		reader.Wait()
	}()
	for {
		select {
		case <-p.ready:
		case err := <-ended:
			return sent, err
		case <-ctx.Done():
			return sent, ctx.Err()
		}
		batch := p.take(time.Now())
		if len(batch) == 0 {
			continue
		}
		err := stream.Send(&atollpb.PublishRequest{
			ClusterId: n.clusterID(), NodeId: n.cfg.NodeID, ToNodeId: p.id, WireVersion: rpc.WireVersion, Messages: batch,
		})
		if err == nil {
			sent++
			p.relay.sent.Add(uint64(len(batch)))
			continue
		}
		if errors.Is(err, io.EOF) { // the stream's end says why
			err = <-ended
		}
		p.relay.drop(p.id, len(batch), err)
		return sent, err
	}
}

// Publish is atollpb.ReplicationServer: it delivers to the clients of this node.
func (s *replicationServer) Publish(stream grpc.ClientStreamingServer[atollpb.PublishRequest, atollpb.PublishResponse]) error {
	n := s.n
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&atollpb.PublishResponse{})
		}
		if err != nil {
			return err
		}
		if err := rpc.CheckWire(r.GetWireVersion()); err != nil {
			return status.Error(codes.FailedPrecondition, err.Error())
		}
		switch {
		case r.GetClusterId() != n.clusterID():
			return status.Errorf(codes.FailedPrecondition, "cluster_id: this node belongs to cluster %s", n.clusterID())
		case r.GetToNodeId() != n.cfg.NodeID:
			return status.Errorf(codes.FailedPrecondition, "to_node_id: this is node %s", n.cfg.NodeID)
		case !slices.Contains(membersOf(n.views.Current()), r.GetNodeId()):
			return status.Errorf(codes.PermissionDenied, "node_id: node %s is not of this node's group", r.GetNodeId())
		}
		for _, m := range r.GetMessages() {
			n.executor.Deliver(&command.Message{Namespace: m.GetNamespaceId(), Channel: m.GetChannel(), Payload: m.GetPayload(), Shard: m.GetShard()})
		}
		n.relay.received.Add(uint64(len(r.GetMessages())))
	}
}
