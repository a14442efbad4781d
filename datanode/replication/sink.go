package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc"
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
	if f.staged == nil && s != nil && s.Damaged() != nil {
		f.m.cfg.Logger.Warn("a full sync replaces damaged data", "primary", f.primary, "reason", s.Damaged())
		return f.fetch(ctx, client)
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
		ToNodeId: f.primary, Written: &atollpb.Position{}, WireVersion: rpc.WireVersion,
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
