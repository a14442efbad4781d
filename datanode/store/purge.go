package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// purgeState is what a node knows about purged namespaces: whose rows are gone for good, and whose
// space is still to be given back.
type purgeState struct {
	mu      sync.Mutex
	pending []uint64 // purged, not yet flushed
	done    []uint64 // purged and flushed, sorted
	wake    chan struct{}
}

// notePurged is called where a purge entry is applied, and at open for those of the past.
func (s *Store) notePurged(id uint64) {
	s.purge.mu.Lock()
	s.purge.pending = append(s.purge.pending, id)
	s.purge.mu.Unlock()
	select {
	case s.purge.wake <- struct{}{}:
	default:
	}
}

// forget drops what is kept in memory of a purged namespace. Its runtime stays, so that a run that
// was let in by an older view finds it purged instead of making a new one; such a run reads past the
// caches, whose rows of it just grow old.
func (s *Store) forget(id uint64) {
	n := s.Namespace(id)
	n.mu.Lock()
	for _, ks := range n.spaces {
		ks.keys.Store(0)
		ks.bytes.Store(0)
		ks.expires.Store(0)
		ks.garbage.Store(0)
		ks.dropped.Store(false)
	}
	clear(n.spaces)
	n.mu.Unlock()
	for i := range n.dbs {
		n.dbs[i].Store(nil)
	}
}

// purgedNow says whether the applier has forgotten the namespace: its counters must not come back.
func (n *Namespace) purgedNow() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.spaces) == 0
}

// purgeLoop gives the space of purged namespaces back. The range delete of the purge entry has hidden
// the rows already, and a crash keeps it, so this may come late.
func (s *Store) purgeLoop(ctx context.Context) {
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.purge.wake:
		case <-retry:
		}
		retry = nil
		if err := s.reclaim(ctx); err != nil && ctx.Err() == nil {
			s.opts.Logger.Error("reclaim the space of a purged namespace", "err", err, "retry_in", sweepAgain)
			retry = time.After(sweepAgain)
		}
	}
}

// reclaim makes the purges durable by a flush, upon which Pebble drops the sstables that a range delete covers
// as a whole, and compacts the rest of a namespace unless that is so little that rewriting its neighbours would
// cost more. Pebble's Excise would be faster, but takes a failed read at the edge of the range for the end of a
// table's rows, and drops the neighbours' rows there.
func (s *Store) reclaim(ctx context.Context) error {
	s.purge.mu.Lock()
	ids := append([]uint64(nil), s.purge.pending...)
	s.purge.mu.Unlock()
	if len(ids) == 0 || s.Damaged() != nil { // the rows are hidden; their space isn't worth a risk
		return nil
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	for _, id := range ids {
		prefix := namespacePrefix(id)
		end := prefixEnd(prefix)
		size, err := s.db.EstimateDiskUsage(prefix, end)
		if err != nil {
			return fmt.Errorf("estimate the space of namespace %d: %w", id, err)
		}
		if size < uint64(s.opts.MemTableBytes) {
			continue
		}
		if planted == seedExcise {
			if err := s.excise(ctx, prefix, end); err != nil {
				return err
			}
		}
		if err := s.db.Compact(ctx, prefix, end, false); err != nil {
			return fmt.Errorf("compact namespace %d: %w", id, err)
		}
		s.opts.Logger.Debug("gave back the space of a purged namespace", "namespace_id", id)
	}
	s.purge.mu.Lock()
	defer s.purge.mu.Unlock()
	s.purge.pending = s.purge.pending[len(ids):]
	s.purge.done = append(s.purge.done, ids...)
	slices.Sort(s.purge.done)
	s.purge.done = slices.Compact(s.purge.done)
	return nil
}

// Purged returns the namespaces whose rows are gone for good, sorted.
func (s *Store) Purged() []uint64 {
	s.purge.mu.Lock()
	defer s.purge.mu.Unlock()
	return slices.Clone(s.purge.done)
}

// WasPurged says whether the log has a purge of the namespace, flushed or not.
func (s *Store) WasPurged(id uint64) bool {
	n, ok := s.namespaces.Load(id)
	return ok && n.(*Namespace).purged.Load()
}
