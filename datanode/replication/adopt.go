package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// errOlder refuses a staged store that shows less than the node has shown: one of an earlier life.
var errOlder = errors.New("the staged snapshot is older than what this node shows")

// older says that a comes before b in one history. A lower index of a later epoch doesn't: the primary may
// have lost entries that b shows.
func older(a, b store.Applied) bool {
	return a.History == b.History && (a.Epoch < b.Epoch || a.Epoch == b.Epoch && a.Index < b.Index)
}

// adopt makes the staged store current once it shows everything that the checkpoint may hold, and the
// node has the view that the data needs: in one step, for readers and after a crash alike.
func (f *follower) adopt(ctx context.Context) error {
	if f.staged == nil || f.staged.store == nil || f.staged.store.Applied().Index < f.staged.header.GetToIndex() {
		return nil
	}
	s, n := f.staged.store, f.staged.number
	if now := f.m.current.Load(); now != nil && older(s.Applied(), now.Applied()) {
		f.discard()
		return errors.Join(errOlder, f.removeStaged())
	}
	if v := f.m.cfg.Views.Current(); v == nil || !ViewBeforeData(v.Revision(), s.Applied().MinRevision) {
		if _, err := f.m.cfg.Views.Wait(ctx, s.Applied().MinRevision); err != nil {
			return err
		}
	}
	if err := s.Log().Sync(); err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	if err := f.m.makeCurrent(n); err != nil {
		return err
	}
	old, oldNumber := f.m.current.Swap(s), f.m.number
	f.m.number, f.staged = n, nil
	f.m.blocked.Store(nil)
	f.m.update(func(st *Status) {
		st.State, st.Note, st.Syncing = atollpb.NodeState_NODE_STATE_SERVING, "", false
	})
	f.m.syncs.ended.Add(1)
	f.m.cfg.Logger.Info("the full sync is done", "generation", n, "index", s.Applied().Index, "min_revision", s.Applied().MinRevision)
	if seedViewAfterSwap {
		f.installLate()
	}
	if old != nil {
		f.m.closers.Go(func() { f.m.retire(old, oldNumber) })
	}
	return nil
}

// retire closes a generation when its last run has ended, and gives its space back.
func (m *Member) retire(old *store.Store, number uint64) {
	err := old.Close()
	if err = errors.Join(err, m.disk.remove(number)); err != nil {
		m.cfg.Logger.Error("remove the old generation", "generation", number, "err", err)
	}
}

// installLate is a seeded bug.
func (f *follower) installLate() {
	late := f.late
	f.m.closers.Go(func() {
		time.Sleep(300 * time.Millisecond)
		var a tenant.Assembler
		for _, frame := range late {
			if err := f.m.installView(&a, frame); err != nil {
				f.m.cfg.Logger.Error("install the late view", "err", err)
			}
		}
	})
}
