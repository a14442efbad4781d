package replog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Create makes an empty log whose first entry will follow start, durably. The directory must exist
// and hold no log.
func Create(opts Options, start Start) (*Log, error) {
	names, err := listSegments(opts)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("create log: %s holds one already", opts.Dir)
	}
	if len(start.History) > historyMax {
		return nil, fmt.Errorf("create log: history id of %d bytes, the bound is %d", len(start.History), historyMax)
	}
	h := segmentHeader{seq: 1, firstIndex: start.Index + 1, prevEpoch: start.Epoch, history: start.History}
	seg, err := writeSegment(opts, h)
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	l := newLog(opts)
	l.segs, l.current, l.history = []*segment{seg}, seg, start.History
	l.state = State{Last: start.Index, LastEpoch: start.Epoch, SyncedIndex: start.Index}
	return l, nil
}

func newLog(opts Options) *Log {
	return &Log{opts: opts, grown: make(chan struct{}), pins: make(map[*Pin]struct{})}
}

// writeSegment makes a segment durably: temp, fsync, rename, fsync of the directory.
func writeSegment(opts Options, h segmentHeader) (*segment, error) {
	path := opts.FS.PathJoin(opts.Dir, segmentName(h.seq))
	f, err := opts.FS.Create(path+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(h.encode(), 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close(), opts.FS.Rename(path+".tmp", path)); err != nil {
		return nil, err
	}
	if err := syncDir(opts.FS, opts.Dir); err != nil {
		return nil, err
	}
	if f, err = opts.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified); err != nil {
		return nil, err
	}
	return &segment{
		segmentHeader: h, file: f, path: path, end: h.baseOffset, last: h.firstIndex - 1,
		epoch: h.prevEpoch, marks: []mark{}, bornM: opts.Now().UnixMilli(),
	}, nil
}

func listSegments(opts Options) ([]string, error) {
	names, err := opts.FS.List(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("list log: %w", err)
	}
	var segs []string
	for _, n := range names {
		base, ok := strings.CutSuffix(n, ".log")
		if _, err := strconv.ParseUint(base, 16, 64); ok && err == nil && len(base) == 16 {
			segs = append(segs, n)
		} else if strings.HasSuffix(n, ".log.tmp") {
			if err := opts.FS.Remove(opts.FS.PathJoin(opts.Dir, n)); err != nil {
				return nil, fmt.Errorf("remove unfinished segment: %w", err)
			}
		}
	}
	slices.Sort(segs)
	return segs, nil
}

// OpenOrCreate opens the log in the directory, or creates one that starts at start if there is none.
func OpenOrCreate(opts Options, start Start) (*Log, error) {
	names, err := listSegments(opts)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return Create(opts, start)
	}
	return Open(opts)
}

// Open opens an existing log: it finds the end, cuts a torn tail, and fsyncs what an earlier process
// left to the kernel. ErrDamaged means that bytes which were known to be fsynced are broken.
func Open(opts Options) (*Log, error) {
	names, err := listSegments(opts)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%w: %s holds no segment", ErrDamaged, opts.Dir)
	}
	r := recovery{opts: opts, log: newLog(opts)}
	err = r.load(names)
	if err == nil {
		err = r.scan()
	}
	if err == nil {
		err = r.finish()
	}
	if err != nil {
		for _, s := range r.segs {
			err = errors.Join(err, s.file.Close())
		}
		return nil, fmt.Errorf("open log %s: %w", opts.Dir, err)
	}
	return r.log, nil
}

// recovery is the state of one Open.
type recovery struct {
	opts   Options
	log    *Log
	segs   []*segment
	broken map[*segment]bool // its header can't be read
	synced uint64            // the highest offset that anything valid knows to be fsynced
	torn   *segment          // where the valid log ends early
	stop   uint64            // offset of its first bad byte
}

func (r *recovery) load(names []string) error {
	r.broken = make(map[*segment]bool)
	for _, n := range names {
		path := r.opts.FS.PathJoin(r.opts.Dir, n)
		f, err := r.opts.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		s := &segment{file: f, path: path, bornM: r.opts.Now().UnixMilli()}
		r.segs = append(r.segs, s)
		b := make([]byte, headerSize)
		n, _ := f.ReadAt(b, 0)
		h, err := decodeSegmentHeader(b[:n])
		switch {
		case errors.Is(err, ErrFormat):
			return err
		case err != nil:
			r.broken[s] = true
		default:
			s.segmentHeader = h
			s.end, s.last, s.epoch = h.baseOffset, h.firstIndex-1, h.prevEpoch
			r.synced = max(r.synced, h.synced)
		}
	}
	return nil
}

// scan walks the segments. Those that lie wholly below what a later header knows to be fsynced are
// not read: a reader checks them when it comes to them.
func (r *recovery) scan() error {
	for i, s := range r.segs {
		var next *segment
		if i+1 < len(r.segs) && !r.broken[r.segs[i+1]] {
			next = r.segs[i+1]
		}
		switch {
		case r.torn != nil:
			if err := r.searchLater(s); err != nil {
				return err
			}
		case r.broken[s]:
			r.torn = s
			if i > 0 {
				r.stop = r.segs[i-1].end
			}
			if err := r.searchLater(s); err != nil {
				return err
			}
		case i > 0 && (s.firstIndex > r.segs[i-1].last+1 || s.baseOffset > r.segs[i-1].end):
			return fmt.Errorf("%w: entries %d to %d are missing before %s", ErrDamaged, r.segs[i-1].last+1, s.firstIndex-1, s.path)
		case next != nil && next.baseOffset <= r.synced:
			if err := r.trust(s, next); err != nil {
				return err
			}
		default:
			if err := r.walk(s, next); err != nil {
				return err
			}
		}
	}
	if r.torn != nil && r.synced > r.stop {
		return fmt.Errorf("%w: %s is broken at offset %d, which was fsynced (up to %d)", ErrDamaged, r.torn.path, r.stop, r.synced)
	}
	return nil
}

// trust takes the next header's word for where s ends.
func (r *recovery) trust(s, next *segment) error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	if next.baseOffset < s.baseOffset || info.Size() < s.fileOffset(next.baseOffset) {
		return fmt.Errorf("%w: %s is cut short", ErrDamaged, s.path)
	}
	s.end, s.last, s.epoch = next.baseOffset, next.firstIndex-1, next.prevEpoch
	return nil
}

// walk reads every record of s, up to the start of next if there is one.
func (r *recovery) walk(s, next *segment) error {
	b, err := readAll(s.file)
	if err != nil {
		return err
	}
	s.marks = []mark{}
	r.log.history = s.history
	for pos := 0; ; {
		if next != nil && s.end == next.baseOffset {
			return nil
		}
		if pos == len(b) && next == nil {
			return nil
		}
		n, synced, ok := recordAt(b[pos:])
		if ok {
			body := b[pos+RecordHeader : pos+n]
			ok = bodyIndex(body) == s.last+1 && bodyEpoch(body) >= s.epoch
		}
		if !ok {
			r.torn, r.stop = s, s.end
			r.search(b[pos:])
			return nil
		}
		body := b[pos+RecordHeader : pos+n]
		r.noteHistory(body)
		r.synced = max(r.synced, synced)
		s.addMark(s.last+1, s.end)
		s.last, s.epoch, s.end = bodyIndex(body), bodyEpoch(body), s.end+uint64(n)
		pos += n
	}
}

func (r *recovery) noteHistory(body []byte) {
	if Kind(body[0]) != KindEpoch {
		return
	}
	var e Entry
	if e.Decode(body) == nil {
		r.log.history = string(e.Note)
	}
}

// searchLater looks in a segment behind the bad place for records that know more to be fsynced.
func (r *recovery) searchLater(s *segment) error {
	b, err := readAll(s.file)
	if err != nil {
		return err
	}
	r.search(b)
	return nil
}

func (r *recovery) search(b []byte) {
	magic := binary.LittleEndian.AppendUint32(nil, recordMagic)
	for {
		i := bytes.Index(b, magic)
		if i < 0 {
			return
		}
		if n, synced, ok := recordAt(b[i:]); ok {
			r.synced = max(r.synced, synced)
			b = b[i+n:]
		} else {
			b = b[i+1:]
		}
	}
}

// finish drops what lies behind a torn place, and fsyncs the rest.
func (r *recovery) finish() error {
	keep := len(r.segs)
	if r.torn != nil {
		keep = slices.Index(r.segs, r.torn) + 1
		if r.broken[r.torn] {
			keep--
		}
		if keep == 0 {
			return fmt.Errorf("%w: no segment has a whole header", ErrDamaged)
		}
		r.opts.Logger.Warn("cut the torn tail of the log", "file", r.torn.path, "offset", r.stop,
			"synced_offset", r.synced, "last_index", r.segs[keep-1].last)
	}
	for _, s := range r.segs[keep:] {
		if err := errors.Join(s.file.Close(), r.opts.FS.Remove(s.path)); err != nil {
			return err
		}
	}
	r.segs = r.segs[:keep]
	for _, s := range r.segs {
		if s.end > r.synced || s == r.segs[keep-1] {
			if err := s.file.Sync(); err != nil {
				return fmt.Errorf("sync log: %w", err)
			}
		}
	}
	if err := syncDir(r.opts.FS, r.opts.Dir); err != nil {
		return err
	}
	l, last := r.log, r.segs[keep-1]
	l.segs = r.segs
	if l.history == "" {
		l.history = last.history
	}
	l.state = State{
		Last: last.last, LastEpoch: last.epoch, SyncedIndex: last.last,
		EndOffset: last.end, SyncedOffset: last.end,
	}
	return nil
}

// Cut drops every entry after index, durably, in one rename. Nothing may read or append meanwhile.
func (l *Log) Cut(index uint64) error {
	if err := l.Sync(); err != nil {
		return err
	}
	st := l.State()
	if index >= st.Last {
		return nil
	}
	r, err := l.NewReader(index + 1)
	if err != nil {
		return fmt.Errorf("cut log: %w", err)
	}
	if _, err := r.locate(); err != nil {
		return fmt.Errorf("cut log: %w", err)
	}
	epoch, err := l.epochOf(index)
	if err != nil {
		return fmt.Errorf("cut log: %w", err)
	}
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	h := segmentHeader{
		seq: l.segs[len(l.segs)-1].seq + 1, firstIndex: index + 1, baseOffset: r.off,
		synced: r.off, prevEpoch: epoch, history: l.history,
	}
	seg, err := writeSegment(l.opts, h)
	if err != nil {
		return fmt.Errorf("cut log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.segs, r.seg)
	for _, s := range l.segs[i+1:] {
		err = errors.Join(err, s.file.Close(), l.opts.FS.Remove(s.path))
	}
	r.seg.end, r.seg.last, r.seg.epoch = r.off, index, epoch
	r.seg.marks = slices.DeleteFunc(r.seg.marks, func(m mark) bool { return m.index > index })
	l.segs = append(l.segs[:i+1], seg)
	l.current = seg
	l.state.Last, l.state.LastEpoch, l.state.SyncedIndex = index, epoch, index
	l.state.EndOffset, l.state.SyncedOffset = r.off, r.off
	return err
}

// epochOf returns the epoch of an entry, or what stood before the first one.
func (l *Log) epochOf(index uint64) (uint64, error) {
	l.mu.Lock()
	if len(l.segs) > 0 && index+1 == l.segs[0].firstIndex {
		defer l.mu.Unlock()
		return l.segs[0].prevEpoch, nil
	}
	l.mu.Unlock()
	r, err := l.NewReader(index)
	if err != nil {
		return 0, err
	}
	body, err := r.Next()
	if err != nil {
		return 0, err
	}
	return bodyEpoch(body), nil
}

// SetHistory names the history that segments started from now on belong to.
func (l *Log) SetHistory(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history = id
}
