package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/grpc"
)

type sinkStream = grpc.BidiStreamingClient[atollpb.SinkMessage, atollpb.SourceMessage]

// ViewBeforeData is promise P1: a node whose view is at revision have shows nothing that needs more.
func ViewBeforeData(have, need uint64) bool {
	return have >= need || seedNoViewWait || seedViewAfterSwap
}

// follower keeps this node's store equal to one primary's.
type follower struct {
	m       *Member
	primary string
	cancel  context.CancelFunc
	done    chan error // the follower's end; nil unless the node's own disk is the trouble

	staged *staging             // a snapshot that is taken but not current yet
	late   []*atollpb.ViewFrame // of a seeded bug
}

const (
	followBackoffMin = 20 * time.Millisecond
	followBackoffMax = time.Second
)

func (m *Member) startFollowing(ctx context.Context, primary string) {
	if m.follow != nil && m.follow.primary == primary {
		return
	}
	m.stopFollowing()
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{m: m, primary: primary, cancel: cancel, done: make(chan error, 1)}
	m.follow = f
	go func() { f.done <- f.run(ctx) }() // stopFollowing, or Run, waits for it
}

func (m *Member) stopFollowing() {
	if m.follow == nil {
		return
	}
	m.follow.cancel()
	if err := <-m.follow.done; err != nil {
		m.cfg.Logger.Warn("the stream from the primary ended badly", "err", err)
	}
	m.follow = nil
	m.update(func(s *Status) { s.SourceUp, s.Syncing = false, false })
}

func (m *Member) followerDone() <-chan error {
	if m.follow == nil {
		return nil
	}
	return m.follow.done
}

// run follows until ctx ends, over any number of streams.
func (f *follower) run(ctx context.Context) error {
	defer f.discard()
	backoff, level := followBackoffMin, slog.LevelWarn
	for {
		began, address := f.m.cfg.Now(), f.address()
		err := f.once(ctx)
		f.m.update(func(s *Status) { s.SourceUp = false })
		switch {
		case ctx.Err() != nil:
			return nil
		case fatal(err):
			return err
		case errors.Is(err, errAgain):
			continue
		}
		if f.m.cfg.Now().Sub(began) > followBackoffMax {
			backoff, level = followBackoffMin, slog.LevelWarn
		}
		f.m.cfg.Logger.Log(ctx, level, "the stream from the primary ended", "primary", f.primary, "err", err, "retry_in", backoff)
		f.alone(err)
		if f.pause(ctx, backoff, address); ctx.Err() != nil {
			return nil
		}
		if backoff = min(2*backoff, followBackoffMax); backoff == followBackoffMax {
			level = slog.LevelDebug // said often enough; the end of the outage is logged
		}
	}
}

// pause waits before the next stream, but not for an address that has become another one.
func (f *follower) pause(ctx context.Context, d time.Duration, address string) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		changed := f.m.cfg.Views.Changed()
		if f.address() != address {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			return
		case <-changed:
		}
	}
}

// address is the primary's, empty if it isn't known.
func (f *follower) address() string { return f.m.placement().address(f.primary) }

// alone is what a replica does that can't reach its primary: it serves what it has, as Redis does, unless
// that is known to be another history than the group's.
func (f *follower) alone(err error) {
	s := f.m.current.Load()
	if s != nil && f.m.blocked.CompareAndSwap(&f.m.starting, nil) {
		f.m.say(atollpb.NodeState_NODE_STATE_SERVING, "no stream from the primary "+f.primary+" since the start")
	}
	if s == nil {
		f.m.say(atollpb.NodeState_NODE_STATE_LOADING, fmt.Sprintf("no stream from the primary: %v", err))
	}
}

// judge blocks a node that shows what the group's history doesn't contain, as far as the group's own
// record tells: a restart forgets what a source has said.
func (f *follower) judge() {
	s, g := f.m.current.Load(), f.m.placement().Group
	if s == nil || g.GetHistoryId() == "" {
		return
	}
	applied := s.Applied()
	end, known := epochEnd(sourceState{epoch: g.GetEpoch(), last: applied.Index, epochs: g.GetEpochs()}, applied.Epoch)
	switch {
	case applied.History != g.GetHistoryId():
		f.block(fmt.Sprintf("the group's history is %s now, not %s", g.GetHistoryId(), applied.History))
	case known && applied.Index > end:
		f.block(fmt.Sprintf("epoch %d ended at entry %d, this node shows %d", applied.Epoch, end, applied.Index))
	}
}

// block ends serving until a stream or a full sync has put the data right.
func (f *follower) block(why string) {
	reason := "this node's data is of another history: " + why
	f.m.blocked.Store(&reason)
	f.m.say(atollpb.NodeState_NODE_STATE_SYNCING, reason)
}

// errAgain asks for another stream at once: the last one did its work.
var errAgain = errors.New("the stream has done its work")

func (f *follower) client() (atollpb.ReplicationClient, error) {
	addr := f.address()
	if addr == "" {
		return nil, fmt.Errorf("the address of the primary %s is not known", f.primary)
	}
	conn, err := f.m.cfg.Conn(addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return atollpb.NewReplicationClient(conn), nil
}

// once runs one stream: the staged store's if a snapshot is under way, else the current one's.
func (f *follower) once(ctx context.Context) error {
	f.judge()
	client, err := f.client()
	if err != nil {
		return err
	}
	if err := f.resumeStaging(); err != nil {
		return err
	}
	s := f.m.current.Load()
	if f.staged != nil && f.staged.store != nil {
		s = f.staged.store
	}
	if f.staged != nil && f.staged.store == nil {
		return f.fetch(ctx, client)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Follow(ctx)
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	if err := stream.Send(&atollpb.SinkMessage{Kind: &atollpb.SinkMessage_Hello{Hello: f.hello(s)}}); err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	msg, err := stream.Recv()
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	return f.obey(ctx, cancel, client, stream, s, msg.GetDecision())
}

func (f *follower) hello(s *store.Store) *atollpb.SinkHello {
	h := &atollpb.SinkHello{
		ClusterId: f.m.cfg.ClusterID(), NodeId: f.m.cfg.NodeID, Incarnation: f.m.cfg.Incarnation,
		ToNodeId: f.primary, Written: &atollpb.Position{},
	}
	if v := f.m.cfg.Views.Current(); v != nil {
		h.ViewRevision = v.Revision()
		h.Epoch = v.Group(GroupID).GetEpoch()
	}
	if s != nil {
		st, applied := s.Log().State(), s.Applied()
		h.Written = &atollpb.Position{HistoryId: applied.History, Epoch: st.LastEpoch, Index: st.Last}
		h.AppliedIndex = applied.Index
		h.Epoch = max(h.Epoch, st.LastEpoch)
	}
	return h
}

// obey carries out the source's decision.
func (f *follower) obey(ctx context.Context, cancel context.CancelFunc, client atollpb.ReplicationClient, stream sinkStream, s *store.Store, d *atollpb.FollowDecision) error {
	switch d.GetAction() {
	case atollpb.FollowAction_FOLLOW_ACTION_CUT:
		if applied := s.Applied().Index; d.GetCutIndex() < applied {
			return fmt.Errorf("%w: a cut after entry %d, this node shows %d", errWire, d.GetCutIndex(), applied)
		}
		f.m.cfg.Logger.Warn("cutting the log's tail", "after", d.GetCutIndex(), "reason", d.GetReason())
		if err := s.Log().Cut(d.GetCutIndex()); err != nil {
			return fmt.Errorf("%w: %w", errLocal, err)
		}
	case atollpb.FollowAction_FOLLOW_ACTION_CONTINUE:
		f.m.cfg.Logger.Info("follows the primary", "primary", f.primary, "after", s.Log().State().Last)
	case atollpb.FollowAction_FOLLOW_ACTION_SNAPSHOT:
		f.m.cfg.Logger.Info("a full sync is needed", "primary", f.primary, "reason", d.GetReason(), "diverged", d.GetDiverged())
		if f.m.current.Load() != nil {
			f.m.say(atollpb.NodeState_NODE_STATE_SERVING, "a full sync is under way: "+d.GetReason())
		}
		if d.GetDiverged() && f.m.current.Load() != nil {
			f.block(d.GetReason())
		}
		f.m.blocked.CompareAndSwap(&f.m.starting, nil)
		if f.staged != nil {
			f.discard()
			if err := f.removeStaged(); err != nil {
				return err
			}
		}
		return f.fetch(ctx, client)
	default:
		return fmt.Errorf("refused by %s: %s", f.primary, d.GetReason())
	}
	if f.staged == nil {
		f.m.blocked.Store(nil)
		f.m.say(atollpb.NodeState_NODE_STATE_SERVING, "")
	}
	f.m.update(func(st *Status) { st.SourceUp, st.Heard = true, f.m.cfg.Now() })
	return f.receive(ctx, cancel, stream, s)
}

// intake is one stream's way into the store: a receiver writes entries to the log, an applier shows
// them once they are committed and the view has come.
type intake struct {
	f      *follower
	stream sinkStream
	store  *store.Store

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when commit or needs change
	commit  uint64
	needs   []need // ascending; entries that need a newer view than those before them
	highest uint64 // revision of the last need
}

type need struct{ index, revision uint64 }

// receive runs the intake until the stream breaks.
func (f *follower) receive(ctx context.Context, cancel context.CancelFunc, stream sinkStream, s *store.Store) error {
	in := &intake{f: f, stream: stream, store: s, changed: make(chan struct{})}
	var errApply, errAck error
	var wg sync.WaitGroup
	acks := make(chan struct{}, 1)
	wg.Go(func() {
		defer cancel()
		errApply = in.apply(ctx, acks)
	})
	wg.Go(func() {
		defer cancel()
		errAck = in.acknowledge(ctx, acks)
	})
	errRecv := in.take(cancel, acks)
	cancel()
	wg.Wait()
	for _, err := range [...]error{errApply, errRecv, errAck} {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errRecv
}

// take receives messages; it never waits for the applier, so that a view that an entry needs gets in.
func (in *intake) take(cancel context.CancelFunc, acks chan<- struct{}) error {
	var u unpacker
	var views tenant.Assembler
	silence := time.AfterFunc(silenceMax, cancel)
	defer silence.Stop()
	for {
		msg, err := in.stream.Recv()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		silence.Reset(silenceMax)
		in.f.m.update(func(s *Status) { s.Heard = in.f.m.cfg.Now() })
		switch k := msg.GetKind().(type) {
		case *atollpb.SourceMessage_Log:
			err = u.feed(k.Log.GetData(), in.write)
			in.advance(k.Log.GetCommitIndex())
		case *atollpb.SourceMessage_Heartbeat:
			in.advance(k.Heartbeat.GetCommitIndex())
		case *atollpb.SourceMessage_View:
			err = in.f.m.installView(&views, k.View)
		default:
			err = fmt.Errorf("%w: unexpected message %T", errWire, k)
		}
		if err != nil {
			return err
		}
		poke(acks)
	}
}

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// installView takes a frame of the source's view; the view is stored before it is current.
func (m *Member) installView(a *tenant.Assembler, frame *atollpb.ViewFrame) error {
	change, err := a.Add(frame)
	if err != nil || change == nil {
		return err
	}
	_, err = m.cfg.Views.Install(change)
	if errors.Is(err, tenant.ErrGap) {
		return nil // the watch has brought a newer one meanwhile
	}
	if m.cfg.Views.Broken() != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	return err
}

// write appends one record to the log.
func (in *intake) write(rec []byte) error {
	body := rec[replog.RecordHeader:]
	if !replog.BodyWhole(body) {
		return fmt.Errorf("%w: entry of %d bytes", errWire, len(body))
	}
	if err := in.store.Append(rec); err != nil {
		if errors.Is(err, store.ErrDiskFull) {
			in.f.m.say(atollpb.NodeState_NODE_STATE_READ_ONLY, "the disk is full")
			return err
		}
		if errors.Is(err, replog.ErrOrder) {
			return fmt.Errorf("%w: %w", errWire, err)
		}
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	revision := replog.BodyMinRevision(body)
	in.mu.Lock()
	defer in.mu.Unlock()
	if revision > in.highest {
		in.highest = revision
		in.needs = append(in.needs, need{replog.BodyIndex(body), revision})
	}
	return nil
}

func (in *intake) advance(commit uint64) {
	in.f.m.update(func(s *Status) { s.Commit = max(s.Commit, commit) })
	in.mu.Lock()
	defer in.mu.Unlock()
	in.commit = max(in.commit, commit)
	close(in.changed)
	in.changed = make(chan struct{})
}

// limit returns how far entries may be shown: committed, written here, and with their view. wait is
// the revision that holds the rest up, 0 if nothing does.
func (in *intake) limit() (index, wait uint64, changed <-chan struct{}) {
	in.mu.Lock()
	defer in.mu.Unlock()
	index = min(in.commit, in.store.Log().State().Last)
	have := uint64(0)
	if v := in.f.m.cfg.Views.Current(); v != nil {
		have = v.Revision()
	}
	for len(in.needs) > 0 && ViewBeforeData(have, in.needs[0].revision) {
		in.needs = in.needs[1:]
	}
	if len(in.needs) > 0 && in.needs[0].index <= index {
		return in.needs[0].index - 1, in.needs[0].revision, in.changed
	}
	return index, 0, in.changed
}

// apply shows entries in order, each only when the node's view has reached its min_revision (P1).
func (in *intake) apply(ctx context.Context, acks chan<- struct{}) error {
	r, err := in.store.Log().NewReader(in.store.Applied().Index + 1)
	if err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	for {
		viewChanged := in.f.m.cfg.Views.Changed()
		index, wait, changed := in.limit()
		if index > in.store.Applied().Index {
			if err := in.store.ApplyTo(ctx, r, index); err != nil {
				return fmt.Errorf("%w: %w", errLocal, err)
			}
			poke(acks)
			continue
		}
		if err := in.f.adopt(ctx); err != nil {
			return err
		}
		if wait == 0 {
			viewChanged = nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-viewChanged:
		}
	}
}

// acknowledge tells the source how far this node is, whenever something has changed.
func (in *intake) acknowledge(ctx context.Context, acks <-chan struct{}) error {
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	for {
		changed := in.f.m.cfg.Views.Changed()
		st := in.store.Log().State()
		a := &atollpb.SinkAck{WrittenIndex: st.Last, SyncedIndex: st.SyncedIndex, AppliedIndex: in.store.Applied().Index}
		if v := in.f.m.cfg.Views.Current(); v != nil {
			a.ViewRevision = v.Revision()
		}
		if err := in.stream.Send(&atollpb.SinkMessage{Kind: &atollpb.SinkMessage_Ack{Ack: a}}); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-acks:
		case <-changed: // or the source would send its view
		case <-beat.C:
		}
	}
}
