package store

import (
	"time"
)

const (
	// syncBytes of entries are fsynced at once, and not when SyncEvery is over: many short fsyncs hold up the
	// appends beside them less than a long one.
	syncBytes = 8 << 20
	// unsyncedBytes of entries are enough for the disk to be behind.
	unsyncedBytes = 4 * syncBytes
	paceEvery     = 2 * time.Millisecond
	paceMax       = time.Second
)

// pace lets large runs into the group commit one at a time, and holds up the next while a write would have to wait: for
// the disk or for Pebble. There everybody would wait with it; here only what needs its keys does. After paceMax it goes
// on all the same. The caller calls done when the run is committed.
func (s *Store) pace(bytes int) (done func()) {
	end := time.NewTimer(paceMax)
	defer end.Stop()
	select {
	case s.pacing <- struct{}{}:
	case <-end.C:
		return func() {}
	}
	done = func() { <-s.pacing }
	for s.behind(bytes) {
		select {
		case <-time.After(paceEvery):
		case <-s.ended.Done():
			return done
		case <-end.C:
			return done
		}
	}
	return done
}

// behind reports whether a write of so many bytes would have to wait for what was written before.
func (s *Store) behind(bytes int) bool {
	if st := s.log.State(); st.EndOffset-st.SyncedOffset > unsyncedBytes {
		s.syncSoon()
		return true
	}
	return !s.room(bytes)
}

// room reports whether Pebble takes so many bytes without a wait. The measures are Pebble's own; it counts
// memtables by their bytes, since the first ones after an open are small.
func (s *Store) room(bytes int) bool {
	m := s.db.Metrics()
	queued := m.MemTable.Size < uint64(s.opts.MemTableBytes) || m.MemTable.Size+uint64(bytes) <= uint64((memTables-1)*s.opts.MemTableBytes)
	return queued && m.Levels[0].Sublevels < l0Stop-2
}

// syncSoon has the log fsynced now.
func (s *Store) syncSoon() {
	select {
	case s.unsynced <- struct{}{}:
	default:
	}
}
