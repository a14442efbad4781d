package store

import "github.com/cockroachdb/pebble/v2"

// Reading is what a store tells when its metrics are asked for.
type Reading struct {
	*pebble.Metrics
	Total     Counters
	RowHits   uint64 // reads that the row cache answered
	RowMisses uint64
	RowBytes  int64 // that the row cache's slabs hold
	DiskFull  bool
	Damaged   bool
}

// Read returns a reading; ok is false once the store is closed. It walks over the namespaces, and holds up no run.
func (s *Store) Read() (r Reading, ok bool) {
	if !s.use() {
		return r, false
	}
	defer s.using.Done()
	r = Reading{Metrics: s.db.Metrics(), Total: s.Total(), DiskFull: s.DiskFull(), Damaged: s.Damaged() != nil}
	for i := range s.table.shards {
		h := &s.table.shards[i]
		h.mu.Lock()
		r.RowHits += h.hits
		r.RowMisses += h.misses
		r.RowBytes += int64(len(h.slabs.slabs))*slabBytes + int64(len(h.slots))*rowSlotBytes
		h.mu.Unlock()
	}
	return r, true
}
