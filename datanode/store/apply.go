package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
)

// Applied is the last entry whose effects the store shows.
type Applied struct {
	History     string
	Epoch       uint64
	Index       uint64
	MinRevision uint64 // the view that the data needs: the highest of all entries so far
	Versions    uint64
}

// positionEvery is how much log passes between two stored positions. Storing one costs a memtable
// insert and a row per changed counter; without one, recovery replays more.
const positionEvery = 1 << 20

// apply puts one entry into Pebble, the cache and the counters. Entries come in log order, from one
// goroutine at a time; on the primary the writers of the rows hold their stripes, on a replica the
// caller holds the gate exclusively.
func (s *Store) apply(e *replog.Entry) error {
	for i := range e.Deltas {
		s.count(&e.Deltas[i]) // before the rows ring their alarms, or a sweep in between would see nothing to do
	}
	if planted == seedPositionEarly {
		if err := s.early(e); err != nil {
			return err
		}
	}
	if len(e.Payload) > batchHeader {
		if err := s.applyBatch(e.Payload); err != nil {
			return fmt.Errorf("apply entry %d: %w", e.Index, err)
		}
	}
	st := *s.applied.Load()
	st.Epoch, st.Index = e.Epoch, e.Index
	st.MinRevision = max(st.MinRevision, e.MinRevision)
	st.Versions = max(st.Versions, e.Versions)
	switch e.Kind {
	case replog.KindEpoch:
		st.History = string(e.Note)
	case replog.KindPurge:
		s.forget(e.Subject)
	}
	if planted != seedVersions {
		s.raiseVersions(st.Versions)
	}
	s.applied.Store(&st)
	s.advance()
	s.sincePosition += len(e.Payload) + 64
	if s.sincePosition >= positionEvery || e.Kind != replog.KindData {
		return s.storePosition()
	}
	return nil
}

func (s *Store) raiseVersions(to uint64) {
	for {
		v := s.versions.Load()
		if v >= to || s.versions.CompareAndSwap(v, to) {
			return
		}
	}
}

// memtableNode is more than what a record costs in a memtable beside its key and value.
const memtableNode = 256

// large says whether Pebble may keep the payload's bytes, as a memtable of its own, instead of copying
// them into one: it counts what the records would cost in a memtable, many times the size of small ones.
func (s *Store) large(payload []byte) bool {
	return len(payload)+payloadRecords(payload)*memtableNode > s.opts.MemTableBytes/4
}

func payloadRecords(payload []byte) int {
	if len(payload) < batchHeader {
		return 0
	}
	return int(binary.LittleEndian.Uint32(payload[8:]))
}

func (s *Store) applyBatch(payload []byte) error {
	b := s.committer.batch
	if s.large(payload) {
		b = s.db.NewBatch()
	} else {
		defer b.Reset() // now, not before the next use: it clears bytes of the payload
	}
	if err := b.SetRepr(payload); err != nil {
		return err
	}
	if err := s.db.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	return s.observe(payload)
}

// observe looks at the rows that a batch has changed, for what is kept of them in memory.
func (s *Store) observe(payload []byte) error {
	r := batchrepr.Read(payload)
	for {
		kind, key, value, ok, err := r.Next()
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		k, good := parseRowKey(key)
		if !good || kind == pebble.InternalKeyKindRangeDelete {
			continue // range deletes go over rows that nothing refers to
		}
		set := kind == pebble.InternalKeyKindSet
		switch {
		case k.ns == 0:
			s.observeSystem(k, value, set)
		case k.kind == kindKey:
			s.observeKey(key, len(k.rest), value, set)
		case k.kind == kindMember:
			hash := xxhash.Sum64(key)
			if was := s.table.update(hash, key, value, memberMeta(value, set), memberRow); set && !was {
				s.filter.add(hash, true)
			}
		case k.kind == kindExpiry && set && len(k.rest) >= 8:
			s.Namespace(k.ns).space(k.ks).wake(int64(binary.BigEndian.Uint64(k.rest)))
		}
	}
}

func (s *Store) observeKey(key []byte, userKey int, value []byte, set bool) {
	hash := xxhash.Sum64(key)
	if !set {
		s.table.update(hash, key, nil, rowMeta{}, keyRow)
		return
	}
	r, err := decodeRow(value)
	if err != nil { // a read will say so
		s.table.drop(hash, key)
		s.filter.add(hash, false)
		return
	}
	m, kind := metaOf(userKey, value, r)
	if !s.table.update(hash, key, value, m, kind) {
		s.filter.add(hash, false)
	}
}

func (s *Store) observeSystem(k rowKey, value []byte, set bool) {
	ns, rest, ok := number(k.rest)
	if !ok {
		return
	}
	n, _, ok := number(rest)
	switch {
	case k.kind == sysPurged && set:
		s.Namespace(ns).purged.Store(true)
		s.notePurged(ns)
	case !ok:
	case k.kind == sysMapping && set:
		if ks, _, ok := number(value); ok && n < Databases {
			space := s.Namespace(ns)
			space.dbs[n].Store(space.space(ks))
		}
	case k.kind == sysDropped:
		s.Namespace(ns).drop(n, set)
	}
}

// drop marks a keyspace as emptied, or lets go of it when its rows are gone.
func (n *Namespace) drop(number uint64, set bool) {
	if set {
		ks := n.space(number)
		ks.dropped.Store(true)
		ks.wake(0)
		n.store.sweepSoon()
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.spaces, number)
}

func (s *Store) count(d *replog.Delta) {
	ks := s.Namespace(d.Namespace).space(d.Keyspace)
	ks.keys.Add(d.Keys)
	ks.bytes.Add(d.Bytes)
	if planted != seedForgetExpires {
		ks.expires.Add(d.Expires)
	}
	if ks.garbage.Add(d.Garbage); d.Garbage > 0 {
		ks.wake(0)
		s.sweepSoon()
	}
	if !ks.dirty {
		ks.dirty = true
		s.changed = append(s.changed, ks)
	}
}

// storePosition writes the position and the counters that changed since the last one, in one batch:
// whatever Pebble holds after a crash, the two agree.
func (s *Store) storePosition() error {
	b := s.db.NewBatch()
	for _, ks := range s.changed {
		ks.dirty = false
		if planted == seedPositionAlone {
			continue
		}
		key := systemRow(sysCounters, ks.ns.id, ks.number)
		row := ks.encodeCounters()
		var err error
		if row == nil || ks.ns.purgedNow() {
			err = b.Delete(key, nil)
		} else {
			err = b.Set(key, row, nil)
		}
		if err != nil {
			return err
		}
	}
	s.changed = s.changed[:0]
	st := s.applied.Load()
	if err := b.Set(systemRow(sysPosition), encodePosition(st), nil); err != nil {
		return err
	}
	if err := s.db.Apply(b, pebble.NoSync); err != nil {
		return fmt.Errorf("store position: %w", err)
	}
	s.sincePosition = 0
	s.position.Store(st.Index)
	return b.Close()
}

func (ks *keyspace) encodeCounters() []byte {
	values := [...]int64{ks.keys.Load(), ks.bytes.Load(), ks.expires.Load(), ks.garbage.Load()}
	if values == [4]int64{} {
		return nil
	}
	var b []byte
	for _, v := range values {
		b = binary.AppendVarint(b, v)
	}
	return b
}

func (ks *keyspace) decodeCounters(b []byte) bool {
	var values [4]int64
	for i := range values {
		v, n := binary.Varint(b)
		if n <= 0 {
			return false
		}
		values[i], b = v, b[n:]
	}
	ks.keys.Store(values[0])
	ks.bytes.Store(values[1])
	ks.expires.Store(values[2])
	ks.garbage.Store(values[3])
	return len(b) == 0
}

const positionVersion = 1

func encodePosition(a *Applied) []byte {
	b := []byte{positionVersion}
	for _, v := range [...]uint64{a.Epoch, a.Index, a.MinRevision, a.Versions} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return append(b, a.History...)
}

func decodePosition(b []byte) (Applied, error) {
	if len(b) > 0 && b[0] != positionVersion {
		return Applied{}, fmt.Errorf("%w: position of version %d, this program reads version %d", ErrFormat, b[0], positionVersion)
	}
	if len(b) < 33 {
		return Applied{}, fmt.Errorf("%w: position row of %d bytes", ErrDamage, len(b))
	}
	f := func(i int) uint64 { return binary.BigEndian.Uint64(b[1+8*i:]) }
	return Applied{Epoch: f(0), Index: f(1), MinRevision: f(2), Versions: f(3), History: string(b[33:])}, nil
}

// Append takes an entry from the primary, on a replica: into the log, not yet shown. The caller has
// checked that the node's view has reached the entry's min_revision. ErrDiskFull says that nothing happened.
func (s *Store) Append(rec []byte) error {
	if r := s.Role(); r != Replica {
		return fmt.Errorf("append a primary's entry: %w", errNotReplica)
	}
	if s.diskFull.Load() {
		return ErrDiskFull
	}
	err := s.log.Append(rec)
	if errors.Is(err, replog.ErrFull) {
		s.diskFull.Store(true)
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}

// ApplyTo shows every entry of the log up to index, on a replica. Many small entries are applied under
// one hold of the gate, so that readers wait once.
func (s *Store) ApplyTo(ctx context.Context, r *replog.Reader, index uint64) error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	for s.applied.Load().Index < index {
		if err := s.awaitRoom(ctx); err != nil {
			return err
		}
		if err := s.applySome(r, index); err != nil {
			return err
		}
	}
	return nil
}

// roomPause is between two looks at whether Pebble takes writes again.
const roomPause = 10 * time.Millisecond

// awaitRoom waits, under no gate, while Pebble would soon make a write wait: for flushes that the disk has
// no room for, or for compactions. Readers must not wait with it.
func (s *Store) awaitRoom(ctx context.Context) error {
	if s.ended == nil {
		return nil // replaying at open: nobody reads yet
	}
	for s.unlooked >= s.opts.MemTableBytes/4 {
		if s.room(s.unlooked) {
			s.unlooked = 0
			break
		}
		select {
		case <-time.After(roomPause):
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ended.Done():
			return ErrClosed
		}
	}
	return nil
}

const applyHold = 128 << 10 // bytes of entries applied under one hold of the gate

func (s *Store) applySome(r *replog.Reader, index uint64) error {
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.Role() != Replica {
		return fmt.Errorf("apply a primary's entries: %w", errNotReplica)
	}
	var e replog.Entry
	for size := 0; size < applyHold && s.applied.Load().Index < index; {
		body, err := r.Next()
		if err != nil {
			return fmt.Errorf("read back entry: %w", err)
		}
		if err := e.Decode(body); err != nil {
			return err
		}
		if e.Index != s.applied.Load().Index+1 {
			return fmt.Errorf("apply entry %d after %d: %w", e.Index, s.applied.Load().Index, replog.ErrOrder)
		}
		if len(e.Payload) > batchHeader && s.large(e.Payload) {
			e.Payload = append([]byte(nil), e.Payload...) // the reader reuses its bytes
		}
		if err := s.apply(&e); err != nil {
			return err
		}
		size += len(body)
		s.unlooked += len(body) + memtableNode*payloadRecords(e.Payload)
	}
	return nil
}
