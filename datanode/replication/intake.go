package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
)

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
			if in.store.Damaged() != nil && in.store == in.f.m.current.Load() {
				return errAgain // the next stream is a full sync
			}
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
