package store

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
)

const (
	sweepEvery     = 100 * time.Millisecond
	sweepKeys      = 256  // expired keys deleted in one run
	sweepSubRows   = 8192 // sub rows of a dead collection deleted one by one; larger ones by a range
	spaceCheckTime = time.Second
)

// syncLoop keeps the promise of async durability, an fsync within a second, watches the free space, and
// lets go of log segments.
func (s *Store) syncLoop(ctx context.Context) {
	tick := time.NewTicker(s.opts.SyncEvery)
	defer tick.Stop()
	var checked, segment uint64
	for n := uint64(0); ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.log.Sync(); err != nil {
			s.opts.Fatal(err)
			return
		}
		if now := uint64(s.opts.Now().UnixMilli()); now-checked >= uint64(spaceCheckTime.Milliseconds()) {
			checked = now
			s.checkSpace()
		}
		if end := s.log.State().EndOffset / uint64(s.opts.SegmentBytes); end != segment {
			segment = end
			s.retireLog()
		}
	}
}

// checkSpace refuses writes before the disk is full, and takes them again when there is room.
func (s *Store) checkSpace() {
	u, err := s.opts.FS.GetDiskUsage(s.opts.Dir)
	if err != nil {
		return // an in-memory filesystem has none
	}
	full := u.AvailBytes < s.opts.ReserveBytes
	if s.diskFull.Swap(full) != full {
		s.opts.Logger.Warn("free disk space changed", "writes_refused", full, "available_bytes", u.AvailBytes,
			"reserve_bytes", s.opts.ReserveBytes)
	}
}

// retireLog flushes, so that Pebble holds the position durably, and drops old segments below it.
func (s *Store) retireLog() {
	floor, err := s.Flush()
	if err == nil {
		err = s.log.Retire(floor)
	}
	if err != nil {
		s.opts.Logger.Error("drop old log segments", "err", err)
	}
}

// Flush makes everything up to the position written last durable in Pebble, and returns its index.
func (s *Store) Flush() (uint64, error) {
	floor := s.position.Load()
	return floor, s.db.Flush()
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

// Sweep makes one pass over all namespaces: expired keys, dead collections, emptied databases. It
// returns how many rows or ranges it deleted.
func (s *Store) Sweep(ctx context.Context, tx *Tx) int {
	total := 0
	now := s.opts.Now().UnixMilli()
	s.namespaces.Range(func(_, v any) bool {
		n := v.(*Namespace)
		for _, ks := range n.snapshot() {
			done, err := s.sweepSpace(tx, ks, now)
			if errors.Is(err, ErrNotPrimary) || errors.Is(err, ErrQuiesced) || errors.Is(err, ErrClosed) || ctx.Err() != nil {
				return false
			}
			if err != nil {
				s.opts.Logger.Error("sweep", "namespace_id", n.id, "keyspace", ks.number, "err", err)
			}
			total += done
		}
		return ctx.Err() == nil
	})
	return total
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

func (s *Store) sweepSpace(tx *Tx, ks *keyspace, now int64) (done int, err error) {
	defer func() {
		if r := recover(); r != nil {
			d, ok := r.(Damage)
			if !ok {
				panic(r)
			}
			err = d.Err
		}
	}()
	if ks.dropped.Load() {
		return 1, s.sweepDropped(tx, ks)
	}
	if ks.garbage.Load() > 0 {
		if done, err = s.sweepGarbage(tx, ks); err != nil {
			return done, err
		}
	}
	if ks.expires.Load() > 0 && ks.due.Load() <= now {
		n, err := s.sweepExpired(tx, ks, now)
		return done + n, err
	}
	return done, nil
}

// sweepDropped deletes the rows of a keyspace that FLUSHDB has left behind.
func (s *Store) sweepDropped(tx *Tx, ks *keyspace) error {
	ks.ns.Begin(tx, Run{Write: true})
	defer tx.End()
	tx.ranges = append(tx.ranges, span{ks.prefix, prefixEnd(ks.prefix)})
	tx.remove(systemRow(sysDropped, ks.ns.id, ks.number))
	return tx.Commit(Async)
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
		if err := s.sweepCollection(tx, ks, d.row, d.key); err != nil {
			return i, err
		}
	}
	return len(list), nil
}

func (s *Store) sweepCollection(tx *Tx, ks *keyspace, row, key []byte) error {
	version := binary.BigEndian.Uint64(row[len(row)-8:])
	ks.ns.Begin(tx, Run{Write: true})
	defer tx.End()
	for _, kind := range [...]byte{kindMember, kindScore} {
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
	return tx.Commit(Async)
}

// sweepExpired deletes keys whose time has come. It reads the index without locks, and each row again
// under its stripe.
func (s *Store) sweepExpired(tx *Tx, ks *keyspace, now int64) (int, error) {
	ks.due.Store(math.MaxInt64) // a write meanwhile lowers it again
	type run struct {
		ms  int64
		key []byte
	}
	var list []run
	next := int64(math.MaxInt64)
	lower := append(append([]byte(nil), ks.prefix...), kindExpiry)
	for k := range s.rows(lower, prefixEnd(lower)) {
		ms := int64(binary.BigEndian.Uint64(k[len(lower):]))
		if ms > now || len(list) == sweepKeys {
			next = ms
			break
		}
		list = append(list, run{ms, append([]byte(nil), k[len(lower)+8:]...)})
	}
	defer func() {
		if next < ks.due.Load() {
			ks.due.Store(next)
		}
	}()
	if len(list) == 0 {
		return 0, nil
	}
	db, ok := ks.database()
	if !ok {
		return 0, nil // emptied meanwhile
	}
	hashes := make([]uint64, len(list))
	for i, r := range list {
		hashes[i] = HashKey(db.i, r.key)
	}
	ks.ns.Begin(tx, Run{Write: true, Hashes: hashes})
	defer tx.End()
	if tx.DB(db.i).ks != ks {
		return 0, nil
	}
	for _, r := range list {
		if p := tx.load(db, r.key); p.here {
			if row := mustDecode(p.value); row.ExpireMS == r.ms {
				tx.Delete(db, r.key)
			}
		}
	}
	err := tx.Commit(Async)
	if err != nil {
		next = now
	}
	return len(list), err
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
// has made sure that no session of it is left; a run that comes late finds nothing and writes nothing.
func (s *Store) PurgeNamespace(id, revision uint64) error {
	n := s.Namespace(id)
	tx := new(Tx)
	n.Begin(tx, Run{Exclusive: true, Revision: revision})
	defer tx.End()
	if n.purged {
		return nil
	}
	tx.kind, tx.subject = replog.KindPurge, id
	prefix := namespacePrefix(id)
	tx.ranges = append(tx.ranges, span{prefix, prefixEnd(prefix)})
	for _, kind := range [...]byte{sysMapping, sysCounters, sysDropped} {
		p := systemRow(kind, id)
		tx.ranges = append(tx.ranges, span{p, prefixEnd(p)})
	}
	tx.write(systemRow(sysPurged, id), nil)
	if err := tx.Commit(Local); err != nil {
		return err
	}
	n.purged = true
	return nil
}
