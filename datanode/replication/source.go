package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	heartbeatEvery = 250 * time.Millisecond
	silenceMax     = 5 * time.Second // a peer that says nothing for so long is given up
)

// source is the primary's side: it streams its log to sinks, and checkpoints to those that need one.
type source struct {
	m *Member

	mu          sync.Mutex
	store       *store.Store  // set while this node is the primary
	demoted     chan struct{} // closed when it ends being one
	sinks       map[*sink]struct{}
	checkpoints map[string]*checkpoint
	making      chan struct{} // holds an element while a checkpoint is made
	closed      bool
	acked       chan struct{} // closed at the next acknowledgement; nil while nobody waits for one
}

// sink is what a source knows of one follower.
type sink struct {
	nodeID string
	mu     sync.Mutex
	ack    atollpb.SinkAck
	heard  time.Time
}

// SinkStatus describes one follower.
type SinkStatus struct {
	NodeID  string
	Written uint64
	Applied uint64
	Heard   time.Time
}

func newSource(m *Member) *source {
	return &source{m: m, sinks: make(map[*sink]struct{}), checkpoints: make(map[string]*checkpoint), making: make(chan struct{}, 1)}
}

var errDeposed = status.Error(codes.FailedPrecondition, "this node is no longer the primary")

// promote lets the source serve s.
func (o *source) promote(s *store.Store) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.store == s || o.closed {
		return
	}
	o.store, o.demoted = s, make(chan struct{})
}

// demote ends every stream.
func (o *source) demote() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.store != nil {
		close(o.demoted)
		o.store = nil
		o.announce()
	}
}

func (o *source) close() {
	o.demote()
	o.mu.Lock()
	o.closed = true
	list := make([]*checkpoint, 0, len(o.checkpoints))
	for id, c := range o.checkpoints {
		list = append(list, c)
		delete(o.checkpoints, id)
	}
	o.mu.Unlock()
	for _, c := range list {
		c.drop(o.m)
	}
}

// serving returns the store of a primary, and what ends its time as one.
func (o *source) serving(clusterID, nodeID string) (*store.Store, <-chan struct{}, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case clusterID == "" || clusterID != o.m.cfg.ClusterID():
		return nil, nil, status.Errorf(codes.FailedPrecondition, "cluster_id: this node belongs to cluster %s", o.m.cfg.ClusterID())
	case nodeID != o.m.cfg.NodeID:
		return nil, nil, status.Errorf(codes.FailedPrecondition, "to_node_id: this is node %s", o.m.cfg.NodeID)
	case o.store == nil:
		return nil, nil, status.Error(codes.FailedPrecondition, "this node is not the primary")
	}
	return o.store, o.demoted, nil
}

// Sinks describes the followers.
func (m *Member) Sinks() []SinkStatus {
	m.source.mu.Lock()
	defer m.source.mu.Unlock()
	var list []SinkStatus
	for k := range m.source.sinks {
		k.mu.Lock()
		list = append(list, SinkStatus{NodeID: k.nodeID, Written: k.ack.GetWrittenIndex(), Applied: k.ack.GetAppliedIndex(), Heard: k.heard})
		k.mu.Unlock()
	}
	return list
}

type followStream = grpc.BidiStreamingServer[atollpb.SinkMessage, atollpb.SourceMessage]

// Follow serves one sink: the decision on its position, then entries, views and heartbeats.
func (m *Member) Follow(stream followStream) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return status.Error(codes.InvalidArgument, "the first message must be a hello")
	}
	if err := rpc.CheckWire(hello.GetWireVersion()); err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	s, demoted, err := m.source.serving(hello.GetClusterId(), hello.GetToNodeId())
	if err != nil {
		return err
	}
	pin, d, err := m.decideFor(s, hello)
	if err != nil {
		return err
	}
	if pin != nil {
		defer pin.Release()
	}
	m.cfg.Logger.Info("a sink follows", "node_id", hello.GetNodeId(), "action", d.GetAction().String(), "reason", d.GetReason(),
		"history", hello.GetWritten().GetHistoryId(), "epoch", hello.GetWritten().GetEpoch(), "index", hello.GetWritten().GetIndex())
	if err := stream.Send(&atollpb.SourceMessage{Kind: &atollpb.SourceMessage_Decision{Decision: d}}); err != nil {
		return err
	}
	next := hello.GetWritten().GetIndex() + 1
	switch d.GetAction() {
	case atollpb.FollowAction_FOLLOW_ACTION_CUT:
		next = d.GetCutIndex() + 1
	case atollpb.FollowAction_FOLLOW_ACTION_CONTINUE:
	default:
		return nil
	}
	k := &sink{nodeID: hello.GetNodeId(), heard: m.cfg.Now()}
	k.ack.AppliedIndex, k.ack.ViewRevision = hello.GetAppliedIndex(), hello.GetViewRevision()
	m.source.add(k)
	defer m.source.remove(k)
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() { // gRPC ends it: Recv fails once this handler has returned
		defer cancel()
		k.receive(m, stream)
	}()
	return m.stream(ctx, &feed{stream: stream, store: s, sink: k, pin: pin, next: next, demoted: demoted})
}

// decideFor answers a sink's position, and pins the log that it will need.
func (m *Member) decideFor(s *store.Store, hello *atollpb.SinkHello) (*replog.Pin, *atollpb.FollowDecision, error) {
	for {
		st, applied := s.Log().State(), s.Applied()
		d := decide(sourceState{
			history: applied.History, epoch: applied.Epoch, first: st.First, last: st.Last,
			epochs: m.placement().Group.GetEpochs(),
		}, hello)
		from := hello.GetWritten().GetIndex()
		switch d.GetAction() {
		case atollpb.FollowAction_FOLLOW_ACTION_CUT:
			from = d.GetCutIndex()
		case atollpb.FollowAction_FOLLOW_ACTION_CONTINUE:
		default:
			return nil, d, nil
		}
		pin, err := s.Log().Pin(from)
		if errors.Is(err, replog.ErrGone) {
			continue // retention came between: decide again
		}
		return pin, d, err
	}
}

func (o *source) add(k *sink) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sinks[k] = struct{}{}
	o.announce()
}

func (o *source) remove(k *sink) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.sinks, k)
	o.announce()
}

// receive takes the sink's acknowledgements until the stream ends.
func (k *sink) receive(m *Member, stream followStream) {
	for {
		msg, err := stream.Recv()
		if err != nil {
			return
		}
		if a := msg.GetAck(); a != nil {
			k.mu.Lock()
			k.ack.WrittenIndex, k.ack.SyncedIndex = a.GetWrittenIndex(), a.GetSyncedIndex()
			k.ack.AppliedIndex, k.ack.ViewRevision = a.GetAppliedIndex(), a.GetViewRevision()
			k.heard = m.cfg.Now()
			k.mu.Unlock()
			m.source.acknowledged()
		}
	}
}

func (k *sink) viewRevision() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ack.GetViewRevision()
}

func (k *sink) silent(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return now.Sub(k.heard) > silenceMax
}

// feed is one stream of entries.
type feed struct {
	stream  followStream
	store   *store.Store
	sink    *sink
	pin     *replog.Pin
	next    uint64
	view    uint64 // revision of the view that was sent
	demoted <-chan struct{}
	buf     []byte
}

func (m *Member) stream(ctx context.Context, f *feed) error {
	r, err := f.store.Log().NewReader(f.next)
	if err != nil {
		return status.Errorf(codes.FailedPrecondition, "read the log: %v", err)
	}
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	for {
		if err := m.drain(f, r); err != nil {
			return err
		}
		grown := f.store.Log().Grown(f.next - 1)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.demoted:
			return errDeposed
		case <-grown:
		case <-beat.C:
			if f.sink.silent(m.cfg.Now()) {
				return status.Errorf(codes.DeadlineExceeded, "the sink was silent for %s", silenceMax)
			}
			if err := f.heartbeat(m); err != nil {
				return err
			}
		}
	}
}

// drain sends what the log holds beyond next.
func (m *Member) drain(f *feed, r *replog.Reader) error {
	for {
		select {
		case <-f.demoted:
			return errDeposed
		default:
		}
		eof := false
		for len(f.buf) < chunkMax {
			body, err := r.Next()
			if errors.Is(err, io.EOF) {
				eof = true
				break
			}
			if err != nil {
				f.store.NoteDamage(err)
				return status.Errorf(codes.FailedPrecondition, "read the log: %v", err)
			}
			if err := f.sendView(m, replog.BodyMinRevision(body)); err != nil {
				return err
			}
			f.buf = appendWire(f.buf, body)
			f.next++
		}
		if err := f.sendLog(); err != nil {
			return err
		}
		f.pin.Move(min(f.next-1, f.acked()))
		if eof {
			return nil
		}
	}
}

func (f *feed) acked() uint64 {
	f.sink.mu.Lock()
	defer f.sink.mu.Unlock()
	return f.sink.ack.GetWrittenIndex()
}

func (f *feed) sendLog() error {
	last := f.store.Log().State().Last
	for data := f.buf; len(data) > 0; {
		n := min(len(data), chunkMax)
		chunk := &atollpb.LogChunk{Data: data[:n], CommitIndex: last, LastIndex: last}
		if err := f.stream.Send(&atollpb.SourceMessage{Kind: &atollpb.SourceMessage_Log{Log: chunk}}); err != nil {
			return err
		}
		data = data[n:]
	}
	f.buf = f.buf[:0] // nothing is sent twice
	if cap(f.buf) > 4*chunkMax {
		f.buf = nil
	}
	return nil
}

// sendView sends this node's view if an entry needs one newer than the sink's: a sink that has lost the
// metadata service neither stalls nor shows data before its view.
func (f *feed) sendView(m *Member, need uint64) error {
	have := max(f.view, f.sink.viewRevision())
	if need <= have {
		return nil
	}
	if err := f.sendLog(); err != nil { // what came before it first
		return err
	}
	for _, c := range m.cfg.Views.Since(have) {
		for frame := range c.Frames() {
			if err := f.stream.Send(&atollpb.SourceMessage{Kind: &atollpb.SourceMessage_View{View: frame}}); err != nil {
				return err
			}
		}
		f.view = c.Revision
	}
	if f.view < need {
		return fmt.Errorf("entry needs view %d, this node has %d", need, f.view)
	}
	return nil
}

// heartbeat also brings a view that the sink still lacks: it may have lost the metadata service.
func (f *feed) heartbeat(m *Member) error {
	if v := m.cfg.Views.Current(); v != nil {
		if err := f.sendView(m, v.Revision()); err != nil {
			return err
		}
	}
	st := f.store.Log().State()
	h := &atollpb.SourceHeartbeat{CommitIndex: st.Last, LastIndex: st.Last, Epoch: f.store.Applied().Epoch}
	if v := m.cfg.Views.Current(); v != nil {
		h.ViewRevision = v.Revision()
	}
	return f.stream.Send(&atollpb.SourceMessage{Kind: &atollpb.SourceMessage_Heartbeat{Heartbeat: h}})
}
