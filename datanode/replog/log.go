package replog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options configure a log; every field must be set.
type Options struct {
	FS           vfs.FS
	Dir          string
	SegmentBytes int64         // a segment is closed above it
	RetainBytes  int64         // segments beyond it are dropped, oldest first, once nothing needs them
	RetainAge    time.Duration // segments older than it, too
	Now          func() time.Time
	Logger       *slog.Logger
}

// Start is where an empty log begins: entries follow Index, whose epoch was Epoch.
type Start struct {
	History string
	Epoch   uint64
	Index   uint64
}

var (
	// ErrOrder is returned for an entry that doesn't follow the last one.
	ErrOrder = errors.New("entry does not follow the end of the log")
	// ErrFull is returned when the disk took less than a whole entry; nothing was appended.
	ErrFull = errors.New("log could not be written")
	// ErrGone is returned for an entry that the log doesn't reach back to.
	ErrGone = errors.New("log does not reach back that far")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("log is closed")
)

// Log is a sequence of segments. One writer appends; any number of readers read what was appended.
type Log struct {
	opts Options

	writeMu sync.Mutex // held by Append, Cut and what else changes the files
	syncMu  sync.Mutex // held during fsyncs, so that they queue instead of racing
	current *segment   // being written; nil until the first append of this process
	trash   []*segment // dropped by Retire, oldest first; their files are still to be removed

	noteMu   sync.Mutex // guards what follows
	notes    vfs.File   // nil until the first note of this process
	noteSlot int
	noted    note

	mu      sync.Mutex // guards what follows
	segs    []*segment
	state   State
	history string
	salt    salt
	grown   chan struct{} // closed at the next append; nil while nobody waits
	pins    map[*Pin]struct{}
	cuts    []uint64 // the index of every Cut, for readers that it overtook
	closed  bool
	failed  error // what the disk holds is unknown; everything fails from then on
}

// State is the position of a log's ends.
type State struct {
	First        uint64 // index of the oldest entry that is held; Last+1 if none
	Last         uint64
	LastEpoch    uint64
	SyncedIndex  uint64
	EndOffset    uint64
	SyncedOffset uint64
	Syncs        uint64        // how often this process has fsynced the log
	SyncTime     time.Duration // that it took altogether
	History      string
}

// State returns the present ends of the log.
func (l *Log) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state
	s.History = l.history
	s.First = s.Last + 1
	if len(l.segs) > 0 {
		s.First = l.segs[0].firstIndex
	}
	return s
}

// Append writes one record: RecordHeader bytes of room, then a body made by AppendHeader and its
// payload. The entry is in the kernel when Append returns nil. After ErrFull, ErrOrder, ErrCorrupt and
// ErrClosed nothing was appended; any other error leaves the end of the log unknown, and the process
// must end.
func (l *Log) Append(rec []byte) error {
	if len(rec) < RecordHeader+bodyFixed || len(rec)-RecordHeader > MaxBody {
		return fmt.Errorf("%w: record of %d bytes, the bounds are %d and %d", ErrCorrupt, len(rec), RecordHeader+bodyFixed, RecordHeader+MaxBody)
	}
	body := rec[RecordHeader:]
	history, turn, err := epochHistory(body)
	if err != nil {
		return err
	}
	index, epoch := bodyIndex(body), bodyEpoch(body)
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	l.mu.Lock()
	st, err := l.state, l.usableLocked()
	l.mu.Unlock()
	switch {
	case err != nil:
		return err
	case index != st.Last+1 || epoch < st.LastEpoch:
		return fmt.Errorf("%w: entry %d of epoch %d after %d of epoch %d", ErrOrder, index, epoch, st.Last, st.LastEpoch)
	}
	seg := l.current
	if seg == nil || seg.end-seg.baseOffset >= uint64(l.opts.SegmentBytes) {
		next, err := l.roll(st)
		if err != nil {
			return fmt.Errorf("%w: new segment: %w", ErrFull, err)
		}
		seg = next
	}
	sealRecord(rec, l.salt, st.SyncedOffset)
	if n, err := seg.file.WriteAt(rec, seg.fileOffset(seg.end)); err != nil {
		return l.unwrite(seg, n, err)
	}
	if turn {
		l.setHistory(history)
	}
	l.publish(seg, index, epoch, len(rec))
	return nil
}

// usableLocked says why the log takes nothing any more. The mutex is held.
func (l *Log) usableLocked() error {
	if l.closed {
		return ErrClosed
	}
	return l.failed
}

// fail makes every later append and fsync fail too: after a failed fsync the kernel may call the pages
// clean, and a second fsync would succeed for bytes that never reached the disk.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil && planted != seedSecondSync {
		l.failed = err
	}
	return err
}

// unwrite makes sure that a record of which n bytes were written can't be found whole after a crash. A part
// of a header needs nothing, and may lie before a block that a full disk doesn't give.
func (l *Log) unwrite(seg *segment, n int, cause error) error {
	if n < RecordHeader && noSpace(cause) {
		return fmt.Errorf("%w: %w", ErrFull, cause)
	}
	if planted == seedNoUnwrite {
		return fmt.Errorf("%w: %w", ErrFull, cause)
	}
	var zero [RecordHeader]byte
	if _, err := seg.file.WriteAt(zero[:], seg.fileOffset(seg.end)); err != nil {
		return l.fail(fmt.Errorf("write log: %w; take it back: %w", cause, err))
	}
	return fmt.Errorf("%w: %w", ErrFull, cause)
}

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func (l *Log) publish(seg *segment, index, epoch uint64, size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seg.addMark(index, seg.end)
	seg.end += uint64(size)
	seg.last, seg.epoch, seg.dirty = index, epoch, true
	seg.bornM = l.opts.Now().UnixMilli()
	l.state.Last, l.state.LastEpoch, l.state.EndOffset = index, epoch, seg.end
	if l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
}

// roll starts a new segment. The old one stays in the list of what Sync must cover: a crash before that
// may leave valid records behind a torn one, which open cuts off together.
func (l *Log) roll(st State) (*segment, error) {
	l.mu.Lock()
	h := segmentHeader{
		seq: 1, firstIndex: st.Last + 1, baseOffset: st.EndOffset, synced: st.SyncedOffset,
		prevEpoch: st.LastEpoch, salt: l.salt, history: l.history,
	}
	if n := len(l.segs); n > 0 {
		h.seq = l.segs[n-1].seq + 1
	}
	l.mu.Unlock()
	path := l.opts.FS.PathJoin(l.opts.Dir, segmentName(h.seq))
	f, err := l.opts.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(h.encode(), 0); err != nil {
		return nil, errors.Join(err, f.Close(), l.opts.FS.Remove(path))
	}
	seg := &segment{
		segmentHeader: h, file: f, path: path, end: h.baseOffset, last: h.firstIndex - 1,
		epoch: h.prevEpoch, marks: []mark{}, dirty: true, fresh: true, bornM: l.opts.Now().UnixMilli(),
	}
	l.mu.Lock()
	l.segs = append(l.segs, seg)
	l.mu.Unlock()
	l.current = seg
	return seg, nil
}

// Sync fsyncs everything that was appended before the call. An error means that what the disk holds
// is unknown: the process must end.
func (l *Log) Sync() error { return l.SyncTo(^uint64(0)) }

// SyncTo returns once entries up to index, or all that were appended, are fsynced.
func (l *Log) SyncTo(index uint64) error {
	l.mu.Lock()
	done, err := l.state.SyncedIndex >= index, l.failed
	l.mu.Unlock()
	if done || err != nil {
		return err
	}
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	if l.failed != nil || l.state.SyncedIndex >= min(index, l.state.Last) {
		defer l.mu.Unlock()
		return l.failed
	}
	var dirty []*segment
	fresh := false
	for _, s := range l.segs {
		if s.dirty {
			s.dirty = false // an append during the fsync sets it again
			fresh = fresh || s.fresh
			dirty = append(dirty, s)
		}
	}
	last, end := l.state.Last, l.state.EndOffset
	l.mu.Unlock()
	began := time.Now()
	for _, s := range dirty {
		if err := s.sync(); err != nil {
			return l.fail(fmt.Errorf("sync log %s: %w", s.path, err))
		}
	}
	if fresh && planted != seedNoDirSync {
		if err := syncDir(l.opts.FS, l.opts.Dir); err != nil {
			return l.fail(err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range dirty {
		s.fresh = false
	}
	l.state.Syncs++
	l.state.SyncTime += time.Since(began)
	if end > l.state.SyncedOffset {
		l.state.SyncedIndex, l.state.SyncedOffset = last, end
	}
	return nil
}

// Wait returns once the log holds the entry index. Errors are ErrClosed and the context's.
func (l *Log) Wait(ctx context.Context, index uint64) error {
	for {
		l.mu.Lock()
		if l.grown == nil {
			l.grown = make(chan struct{})
		}
		have, closed, grown := l.state.Last >= index, l.closed, l.grown
		l.mu.Unlock()
		if closed {
			return ErrClosed
		}
		if have {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close fsyncs and closes the log. Readers end with ErrClosed.
func (l *Log) Close() error {
	err := l.Sync()
	l.noteMu.Lock()
	defer l.noteMu.Unlock()
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return err
	}
	l.closed = true
	if l.grown != nil {
		close(l.grown)
	}
	for _, s := range append(l.trash, l.segs...) {
		err = errors.Join(err, s.close())
	}
	if l.notes != nil {
		err = errors.Join(err, l.notes.Close())
	}
	return err
}

func segmentName(seq uint64) string { return fmt.Sprintf("%016x.log", seq) }

// segmentSeq returns the number in a segment's name, zero if it is none.
func segmentSeq(name string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSuffix(name, ".log"), 16, 64)
	return n
}

// errNoDir marks errors of a directory that can't be opened, upon which nothing was fsynced.
var errNoDir = errors.New("open directory")

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("%w %s: %w", errNoDir, dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// Grown returns a channel that is closed once the log holds entries beyond index.
func (l *Log) Grown(index uint64) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.Last > index || l.closed {
		done := make(chan struct{})
		close(done)
		return done
	}
	if l.grown == nil {
		l.grown = make(chan struct{})
	}
	return l.grown
}
