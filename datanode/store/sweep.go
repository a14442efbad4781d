package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
)

const (
	sweepEvery     = 100 * time.Millisecond
	sweepKeys      = 256  // expired keys deleted in one run
	sweepSubRows   = 8192 // sub rows of a dead collection deleted one by one; larger ones by a range
	sweepAgain     = 10 * time.Second
	spaceCheckTime = time.Second
)

// syncLoop keeps the promise of async durability, an fsync within a second, and watches the free space.
func (s *Store) syncLoop(ctx context.Context) {
	tick := time.NewTicker(s.opts.SyncEvery)
	defer tick.Stop()
	space := time.NewTicker(spaceCheckTime)
	defer space.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-space.C:
			s.checkSpace()
		case <-s.unsynced:
			if !s.syncLog() {
				return
			}
		case <-tick.C:
			if !s.syncLog() {
				return
			}
		}
	}
}

// syncLog fsyncs the log, and reports whether that went well.
func (s *Store) syncLog() bool {
	err := s.log.Sync()
	if err != nil {
		_ = s.fatal(err)
	}
	return err == nil
}

// retireLoop lets go of log segments. It is apart from syncLoop, which must not wait for a flush.
func (s *Store) retireLoop(ctx context.Context) {
	tick := time.NewTicker(spaceCheckTime)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.retireLog(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			s.opts.Logger.Error("drop old log segments; trying on", "err", err)
		}
		failing = err != nil
	}
}

// checkSpace refuses writes before the disk is full, and takes them again when there is room.
func (s *Store) checkSpace() {
	u, err := s.opts.FS.GetDiskUsage(s.opts.Dir)
	// An in-memory filesystem can't say; a failed append has set the flag, and the next one may try again.
	full := err == nil && u.AvailBytes < s.opts.ReserveBytes
	if s.diskFull.Swap(full) != full {
		s.opts.Logger.Warn("free disk space changed", "writes_refused", full, "available_bytes", u.AvailBytes,
			"reserve_bytes", s.opts.ReserveBytes)
	}
}

// retireLog drops old segments below the position that Pebble holds durably. It flushes to raise that only
// where it would help, and after it has dropped what it can: on a full disk a flush needs that space.
func (s *Store) retireLog(ctx context.Context) error {
	floor := s.position.Load()
	if !s.log.Droppable(floor) {
		return nil
	}
	if err := s.log.Retire(s.durable); err != nil || !s.log.Droppable(floor) {
		return err
	}
	if _, err := s.Flush(ctx); err != nil {
		return err
	}
	s.durable = floor
	return s.log.Retire(floor)
}

// Flush makes everything up to the position written last durable in Pebble, so that the log isn't needed for it
// even if the MANIFEST breaks, and returns its index.
func (s *Store) Flush(ctx context.Context) (uint64, error) {
	floor := s.position.Load()
	if err := s.flush(ctx); err != nil {
		return floor, err
	}
	return floor, s.noteManifest()
}

// flush waits no longer than its caller: Pebble goes on trying while the disk is full.
func (s *Store) flush(ctx context.Context) error {
	done, err := s.db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flush: %w", ctx.Err())
	}
}

func (s *Store) sweepSoon() {
	select {
	case s.sweep <- struct{}{}:
	default:
	}
}

// sweepLoop deletes what has run out and what nothing refers to any more, on the primary; replicas get
// the effect.
func (s *Store) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	tx := new(Tx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.sweep:
		}
		if s.Role() == Primary {
			s.Sweep(ctx, tx)
		}
	}
}

// Sweep makes one pass over what is due in all namespaces: expired keys, dead collections, emptied
// databases. It returns how many rows or ranges it deleted.
func (s *Store) Sweep(ctx context.Context, tx *Tx) int {
	s.sweepMu.Lock()
	defer s.sweepMu.Unlock()
	now := s.opts.Now().UnixMilli()
	if s.due.Load() > now {
		return 0
	}
	s.due.Store(math.MaxInt64) // lowered again by what is found, and by writes meanwhile
	total := 0
	s.namespaces.Range(func(_, v any) bool {
		n := v.(*Namespace)
		if due := n.due.Load(); due > now {
			s.due.lower(due)
			return true
		}
		n.due.Store(math.MaxInt64)
		for _, ks := range n.snapshot() {
			done, err := s.sweepDue(tx, ks, now)
			total += done
			if err != nil || ctx.Err() != nil {
				ks.wake(now)
				return false
			}
		}
		return true
	})
	return total
}

// sweepDue sweeps a keyspace if it is due, and sets its alarm for the next time. It returns an error
// if nothing can be written at present.
func (s *Store) sweepDue(tx *Tx, ks *keyspace, now int64) (done int, err error) {
	next := ks.due.Load()
	if next > now {
		ks.wake(next) // the outer alarms were cleared
		return 0, nil
	}
	ks.due.Store(math.MaxInt64)
	done, next, err = s.sweepSpace(tx, ks, now)
	switch {
	case errors.Is(err, ErrPurged):
		return done, nil
	case errors.Is(err, ErrNotPrimary), errors.Is(err, ErrQuiesced), errors.Is(err, ErrClosed), errors.Is(err, ErrDiskFull),
		errors.Is(err, ErrReadOnly):
		return done, err
	case err != nil:
		s.opts.Logger.Error("sweep", "namespace_id", ks.ns.id, "keyspace", ks.number, "err", err)
		next = now + sweepAgain.Milliseconds()
	case next <= now:
		s.sweepSoon()
	}
	ks.wake(next)
	return done, nil
}

func (n *Namespace) snapshot() []*keyspace {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]*keyspace, 0, len(n.spaces))
	for _, ks := range n.spaces {
		list = append(list, ks)
	}
	return list
}

// sweepSpace returns also when the keyspace is due again.
func (s *Store) sweepSpace(tx *Tx, ks *keyspace, now int64) (done int, next int64, err error) {
	defer func() {
		if r := recover(); r != nil {
			d, ok := r.(Damage)
			if !ok {
				panic(r)
			}
			err = d.Err
			s.NoteDamage(err)
		}
	}()
	next = math.MaxInt64
	if ks.dropped.Load() {
		return 1, next, s.sweepDropped(tx, ks)
	}
	if ks.garbage.Load() > 0 {
		if done, err = s.sweepGarbage(tx, ks); err != nil {
			return done, next, err
		}
		if ks.garbage.Load() > 0 {
			next = now
		}
	}
	if ks.expires.Load() > 0 {
		n, due, err := s.sweepExpired(tx, ks, now)
		return done + n, min(next, due), err
	}
	return done, next, nil
}

// sweepRun runs f and commits, as a run that a change of role waits for: what f has read still holds.
func (s *Store) sweepRun(tx *Tx, ks *keyspace, hashes []uint64, f func()) error {
	if !s.Enter() {
		return ErrClosed
	}
	defer s.Leave()
	ks.ns.Begin(tx, Run{Write: true, Hashes: hashes})
	defer tx.End()
	f()
	return tx.Commit(Async)
}

// sweepDropped deletes the rows of a keyspace that FLUSHDB has left behind.
func (s *Store) sweepDropped(tx *Tx, ks *keyspace) error {
	return s.sweepRun(tx, ks, nil, func() {
		tx.ranges = append(tx.ranges, span{ks.prefix, prefixEnd(ks.prefix)})
		tx.remove(systemRow(sysDropped, ks.ns.id, ks.number))
	})
}

// sweepGarbage deletes the sub rows of collections that were deleted or replaced.
func (s *Store) sweepGarbage(tx *Tx, ks *keyspace) (int, error) {
	type dead struct{ row, key []byte }
	var list []dead
	lower := append(append([]byte(nil), ks.prefix...), kindGarbage)
	for k, v := range s.rows(lower, prefixEnd(lower)) {
		_, w := binary.Uvarint(v)
		if w <= 0 || len(k) != len(lower)+8 {
			broken("garbage row", ErrDamage)
		}
		list = append(list, dead{append([]byte(nil), k...), append([]byte(nil), v[w:]...)})
		if len(list) == sweepKeys {
			break
		}
	}
	for i, d := range list {
		if err := s.sweepRun(tx, ks, nil, func() { s.sweepCollection(tx, ks, d.row, d.key) }); err != nil {
			return i, err
		}
	}
	return len(list), nil
}

func (s *Store) sweepCollection(tx *Tx, ks *keyspace, row, key []byte) {
	if ks.dropped.Load() {
		return // emptied meanwhile: its counters are settled
	}
	if _, here := tx.fetch(&tx.others, row); !here {
		return
	}
	version := binary.BigEndian.Uint64(row[len(row)-8:])
	for _, kind := range [...]byte{kindMember, kindScore, kindEntry, kindGroup} {
		prefix := appendSubPrefix(nil, ks.prefix, kind, key, version)
		n := 0
		for k := range s.rows(prefix, prefixEnd(prefix)) {
			if n++; n > sweepSubRows {
				break
			}
			tx.remove(k)
		}
		if n > sweepSubRows {
			tx.ranges = append(tx.ranges, span{prefix, prefixEnd(prefix)})
		}
	}
	tx.remove(row)
	tx.delta(ks).Garbage--
}

// sweepExpired deletes keys whose time has come, and returns when the next one's does. It reads the
// index without locks, and each row again under its stripe.
func (s *Store) sweepExpired(tx *Tx, ks *keyspace, now int64) (done int, next int64, err error) {
	type run struct {
		ms  int64
		key []byte
	}
	var list []run
	next = math.MaxInt64
	lower := append(append([]byte(nil), ks.prefix...), kindExpiry)
	for k := range s.rows(lower, prefixEnd(lower)) {
		ms := int64(binary.BigEndian.Uint64(k[len(lower):]))
		if ms > now || len(list) == sweepKeys {
			next = ms
			break
		}
		list = append(list, run{ms, append([]byte(nil), k[len(lower)+8:]...)})
	}
	db, ok := ks.database()
	if len(list) == 0 {
		return 0, next, nil
	}
	if !ok { // between the two steps of a swap, or emptied
		return 0, now, nil
	}
	hashes := make([]uint64, len(list))
	for i, r := range list {
		hashes[i] = HashKey(db.i, r.key)
	}
	err = s.sweepRun(tx, ks, hashes, func() {
		if tx.DB(db.i).ks != ks {
			next = now // emptied meanwhile, or swapped
			return
		}
		for _, r := range list {
			if p := tx.load(db, r.key); p.here {
				if row := mustDecode(p.value); row.ExpireMS == r.ms {
					tx.Delete(db, r.key)
					done++
				}
			}
		}
	})
	return done, next, err
}

// database finds the database that the keyspace belongs to now.
func (ks *keyspace) database() (DB, bool) {
	for i := range Databases {
		if ks.ns.database(i) == ks {
			return DB{ks, i}, true
		}
	}
	return DB{}, false
}

// rows yields Pebble's rows in [lower, upper); the slices are valid for one step.
func (s *Store) rows(lower, upper []byte) func(yield func(k, v []byte) bool) {
	tx := &Tx{store: s}
	return tx.merged(new(rowSet), lower, upper, false)
}

// PurgeNamespace deletes every row of a namespace, by a log entry that needs revision. The caller
// has made sure that no session of it is left, and has not entered the store; a run that comes late finds
// nothing and writes nothing.
func (s *Store) PurgeNamespace(id, revision uint64) error {
	if !s.Enter() {
		return ErrClosed
	}
	defer s.Leave()
	n := s.Namespace(id)
	tx := new(Tx)
	n.Begin(tx, Run{Exclusive: true, Revision: revision})
	defer tx.End()
	if n.purged.Load() {
		return nil
	}
	tx.kind, tx.subject = replog.KindPurge, id
	prefix := namespacePrefix(id)
	if planted != seedPurgeRows {
		tx.ranges = append(tx.ranges, span{prefix, prefixEnd(prefix)})
	}
	for _, kind := range [...]byte{sysMapping, sysCounters, sysDropped} {
		p := systemRow(kind, id)
		tx.ranges = append(tx.ranges, span{p, prefixEnd(p)})
	}
	tx.write(systemRow(sysPurged, id), nil)
	return tx.Commit(Local)
}
