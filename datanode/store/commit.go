package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/cockroachdb/pebble/v2"
)

// Role is what a node may do with its store.
type Role uint8

// The roles. Only a primary's Commit succeeds; only a replica's Append does.
const (
	Replica Role = iota
	Primary
	Quiesced // a primary that has stopped acknowledging writes for a planned promotion
)

const (
	groupBytes = 1 << 20  // a group stops growing above it; one run may be larger
	largeBytes = 64 << 10 // what makes a run large
	// MaxRunBytes bounds the effects of one run.
	MaxRunBytes = 768 << 20
	// MaxRanges is how many ranges of rows a run may remove: each read looks at all of them.
	MaxRanges   = 1000
	batchHeader = 12
)

// committer is the group commit. Runs queue; the first becomes leader, makes one entry of all that
// wait, appends and applies it, wakes them, and hands the lead to the next that came meanwhile.
type committer struct {
	mu    sync.Mutex
	idle  sync.Cond // a group has ended
	role  Role
	epoch uint64
	queue []*Tx
	spare []*Tx
	busy  bool
	shut  bool

	// Only the leader touches what follows.
	buf    []byte
	entry  replog.Entry
	deltas []replog.Delta
	batch  *pebble.Batch
	fresh  int // bytes since an fsync was asked for
}

func (c *committer) refuse() error {
	switch {
	case c.shut:
		return ErrClosed
	case c.role == Quiesced:
		return ErrQuiesced
	case c.role != Primary:
		return ErrNotPrimary
	}
	return nil
}

func (s *Store) commit(tx *Tx) error {
	if len(tx.records) > MaxRunBytes {
		return fmt.Errorf("%w: %d bytes, the bound is %d", ErrTooLarge, len(tx.records), MaxRunBytes)
	}
	if s.diskFull.Load() {
		return ErrDiskFull
	}
	if s.damage.Load() != nil && tx.control == nil {
		return ErrReadOnly
	}
	if s.failed.Load() {
		return ErrClosed
	}
	if tx.wake == nil {
		tx.wake = make(chan bool, 1)
	}
	if len(tx.records) >= largeBytes {
		defer s.pace(len(tx.records))()
	}
	c := &s.committer
	c.mu.Lock()
	if err := c.refuse(); err != nil {
		c.mu.Unlock()
		return err
	}
	tx.err = nil
	c.queue = append(c.queue, tx)
	if c.busy {
		c.mu.Unlock()
		if lead := <-tx.wake; !lead {
			return tx.err
		}
	} else {
		c.busy = true
		c.mu.Unlock()
	}
	s.lead(tx)
	return tx.err
}

// lead commits one group, which contains self, and passes the lead on. First it lets connections that
// could run already do so: what they have to commit joins the group, where each would have cost a write to the
// log and a batch of its own.
func (s *Store) lead(self *Tx) {
	if !self.run.Gathered {
		runtime.Gosched()
	}
	c := &s.committer
	c.mu.Lock()
	group := c.take()
	epoch := c.epoch
	c.mu.Unlock()

	err := ErrMaybe
	defer func() { c.handOver(self, group, err) }() // whatever happens, or writers would wait for ever
	err = s.writeGroup(group, epoch)
}

// handOver wakes the next leader, then the writers of the group that is done.
func (c *committer) handOver(self *Tx, group []*Tx, err error) {
	c.mu.Lock()
	var next *Tx
	if len(c.queue) > 0 {
		next = c.queue[0]
	} else {
		c.busy = false
		c.idle.Broadcast()
	}
	c.mu.Unlock()
	if next != nil {
		next.wake <- true
	}
	for i, tx := range group {
		tx.err = err
		if tx != self {
			tx.wake <- false
		}
		group[i] = nil
	}
	c.mu.Lock()
	if c.spare == nil {
		c.spare = group[:0]
	}
	c.mu.Unlock()
}

// take removes the next group from the queue. A run that isn't data is alone in its entry.
func (c *committer) take() []*Tx {
	size, n := 0, 0
	for _, tx := range c.queue {
		if n > 0 && (size+len(tx.records) > groupBytes || tx.alone() || c.queue[0].alone()) {
			break
		}
		size += len(tx.records)
		n++
	}
	group := append(c.spare[:0], c.queue[:n]...)
	c.spare = nil
	c.queue = append(c.queue[:0], c.queue[n:]...)
	return group
}

// alone says that the run can't share an entry with others.
func (tx *Tx) alone() bool { return tx.kind != replog.KindData || tx.control != nil }

// between runs f where no entry is being applied, on a primary. It waits its turn in the group commit.
func (s *Store) between(f func() error) error {
	return s.commit(&Tx{control: f, kind: replog.KindData})
}

// writeGroup makes one entry of the group: in the log first, then in Pebble.
func (s *Store) writeGroup(group []*Tx, epoch uint64) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.fatal(fmt.Errorf("panic in a commit: %v\n%s", r, debug.Stack()))
		}
	}()
	if s.failed.Load() {
		return ErrClosed
	}
	if f := group[0].control; f != nil {
		return f()
	}
	c := &s.committer
	e := &c.entry
	st := s.applied.Load()
	*e = replog.Entry{
		Kind: group[0].kind, Subject: group[0].subject, Epoch: epoch, Index: st.Index + 1,
		CommitIndex: st.Index, TimeMS: group[0].now, Versions: s.versions.Load(), Deltas: c.deltas[:0],
	}
	count := uint32(0)
	for _, tx := range group {
		count += tx.count
		e.MinRevision = max(e.MinRevision, tx.run.Revision)
		e.Deltas = mergeDeltas(e.Deltas, tx.deltas)
	}
	c.deltas = e.Deltas
	buf := replog.AppendHeader(c.buf[:0], e)
	at := len(buf)
	buf = append(buf, make([]byte, batchHeader)...)
	binary.LittleEndian.PutUint32(buf[at+8:], count)
	for _, tx := range group {
		buf = append(buf, tx.records...)
	}
	e.Payload = buf[at:]
	if c.buf = buf; cap(buf) > 4*groupBytes || s.large(e.Payload) {
		c.buf = nil // Pebble may keep a large batch's bytes
	}
	if planted == seedApplyFirst {
		if err := s.apply(e); err != nil {
			return s.fatal(err)
		}
	}
	if err := s.log.Append(buf); err != nil && planted != seedAppendIgnored {
		return s.appendFailed(err)
	}
	if planted != seedApplyFirst {
		if err := s.apply(e); err != nil {
			return s.fatal(err)
		}
	}
	for _, tx := range group {
		tx.index = e.Index
	}
	if c.fresh += len(buf); c.fresh >= syncBytes {
		c.fresh = 0
		s.syncSoon()
	}
	return nil
}

// synced returns once an entry is on the disk. Whoever comes while an fsync runs waits for the next one with
// all others, and nobody else does: entries go on being appended and applied.
func (s *Store) synced(index uint64) error {
	if err := s.log.SyncTo(index); err != nil {
		return s.fatal(err)
	}
	return nil
}

// appendFailed says what an append's error means for the writers.
func (s *Store) appendFailed(err error) error {
	if errors.Is(err, replog.ErrFull) {
		s.opts.Logger.Error("the log can't be written; refusing writes", "err", err)
		s.diskFull.Store(true)
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return s.fatal(err)
}

// fatal asks for the end of the process. Until then nothing is committed any more.
func (s *Store) fatal(err error) error {
	s.failed.Store(true)
	s.opts.Fatal(err)
	return fmt.Errorf("%w: %w", ErrMaybe, err)
}

func mergeDeltas(sum, add []replog.Delta) []replog.Delta {
next:
	for _, d := range add {
		for i := range sum {
			if s := &sum[i]; s.Keyspace == d.Keyspace && s.Namespace == d.Namespace {
				s.Keys += d.Keys
				s.Bytes += d.Bytes
				s.Expires += d.Expires
				s.Garbage += d.Garbage
				continue next
			}
		}
		sum = append(sum, d)
	}
	return sum
}

// BeginEpoch makes the store a primary's: the first entry of the epoch goes into the log, and Commit
// is open. The log's end must be the position that the epoch was given for.
func (s *Store) BeginEpoch(epoch uint64, history string, revision uint64) error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.gate.Lock() // no run that began on a replica goes on
	defer s.gate.Unlock()
	c := &s.committer
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.role == Primary {
		return errors.New("begin epoch: the store is a primary's already")
	}
	if s.closed || s.failed.Load() {
		return ErrClosed
	}
	st := s.applied.Load()
	if last := s.log.State().Last; last != st.Index {
		return fmt.Errorf("begin epoch: the log ends at entry %d, applied is %d", last, st.Index)
	}
	if epoch <= st.Epoch {
		return fmt.Errorf("begin epoch: epoch %d is not above %d", epoch, st.Epoch)
	}
	e := &replog.Entry{
		Kind: replog.KindEpoch, Epoch: epoch, Index: st.Index + 1, CommitIndex: st.Index,
		MinRevision: revision, TimeMS: s.opts.Now().UnixMilli(), Versions: s.versions.Load(), Note: []byte(history),
	}
	rec := replog.AppendHeader(nil, e)
	if err := new(replog.Entry).Decode(rec[replog.RecordHeader:]); err != nil {
		return fmt.Errorf("begin epoch: %w", err)
	}
	if err := s.log.Append(rec); err != nil {
		return s.appendFailed(err)
	}
	if err := s.log.Sync(); err != nil {
		return s.fatal(err)
	}
	if err := s.apply(e); err != nil {
		return s.fatal(err)
	}
	c.role, c.epoch = Primary, epoch
	return nil
}

// Resume makes the store a primary's again in the epoch of its log's end: after a planned promotion
// was given up, or after a restart of the process on the same boot.
func (s *Store) Resume() {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.gate.Lock()
	defer s.gate.Unlock()
	c := &s.committer
	c.mu.Lock()
	defer c.mu.Unlock()
	c.role, c.epoch = Primary, s.applied.Load().Epoch
}

// Stop ends acknowledging writes: for good as a replica, or until Resume as Quiesced. When it returns,
// no write is under way, and the log's end is final.
func (s *Store) Stop(to Role) {
	s.gate.Lock()
	defer s.gate.Unlock()
	c := &s.committer
	c.mu.Lock()
	defer c.mu.Unlock()
	c.role = to
	for c.busy {
		c.idle.Wait()
	}
}

// Role returns what the store's node may do.
func (s *Store) Role() Role {
	s.committer.mu.Lock()
	defer s.committer.mu.Unlock()
	return s.committer.role
}
