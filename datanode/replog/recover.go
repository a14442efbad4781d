package replog

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
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
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	h := segmentHeader{
		seq: 1, firstIndex: start.Index + 1, prevEpoch: start.Epoch, history: start.History,
		salt: salt(binary.LittleEndian.Uint64(random[:])),
	}
	seg, err := writeSegment(opts, h)
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	l := newLog(opts)
	l.segs, l.current, l.history, l.salt = []*segment{seg}, seg, start.History, h.salt
	l.state = State{Last: start.Index, LastEpoch: start.Epoch, SyncedIndex: start.Index}
	return l, nil
}

func newLog(opts Options) *Log {
	return &Log{opts: opts, pins: make(map[*Pin]struct{})}
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
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := opts.FS.Rename(path+".tmp", path); err != nil {
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
		if n == segmentName(segmentSeq(n)) {
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
	var n note
	if err == nil {
		n, err = r.readNote()
	}
	if err == nil {
		r.supersede()
		err = r.believe(n)
	}
	if err == nil {
		err = r.scan()
	}
	if err == nil {
		err = r.finish()
	}
	if err != nil {
		for _, s := range append(r.segs, r.dropped...) {
			err = errors.Join(err, s.close())
		}
		return nil, fmt.Errorf("open log %s: %w", opts.Dir, err)
	}
	return r.log, nil
}

// recovery is the state of one Open.
type recovery struct {
	opts    Options
	log     *Log
	segs    []*segment
	dropped []*segment        // their files are removed at the end
	broken  map[*segment]bool // its header can't be read
	synced  uint64            // the highest offset that anything valid knows to be fsynced
	torn    *segment          // where the valid log ends early
	stop    uint64            // offset of its first bad byte
}

func (r *recovery) load(names []string) error {
	r.broken = make(map[*segment]bool)
	for _, name := range names {
		path := r.opts.FS.PathJoin(r.opts.Dir, name)
		f, err := r.opts.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		s := &segment{file: f, path: path, bornM: r.opts.Now().UnixMilli()}
		r.segs = append(r.segs, s)
		if info, err := f.Stat(); err == nil {
			s.bornM = info.ModTime().UnixMilli()
		}
		b := make([]byte, headerSize)
		n, err := f.ReadAt(b, 0)
		if err != nil && !errors.Is(err, io.EOF) && planted != seedReadTorn {
			return err
		}
		h, err := decodeSegmentHeader(b[:n])
		switch {
		case errors.Is(err, ErrFormat):
			return err
		case err != nil:
			r.broken[s] = true
			s.seq = segmentSeq(name)
		default:
			s.segmentHeader, r.log.salt = h, h.salt
			s.end, s.last, s.epoch = h.baseOffset, h.firstIndex-1, h.prevEpoch
		}
	}
	return nil
}

// supersede drops the segments that a later one overrides as a whole: after a cut whose process ended
// before it had removed them, and empty ones.
func (r *recovery) supersede() {
	var kept []*segment
	for _, s := range r.segs {
		for n := len(kept); n > 0 && !r.broken[s] && !r.broken[kept[n-1]] && kept[n-1].firstIndex >= s.firstIndex; n-- {
			r.dropped = append(r.dropped, kept[n-1])
			kept = kept[:n-1]
		}
		kept = append(kept, s)
	}
	for _, s := range kept {
		r.synced = max(r.synced, s.synced) // what a dropped one knows is about offsets that were given again
	}
	r.segs = kept
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
			return &Damage{s.path, 0, fmt.Sprintf("entries %d to %d are missing before it", r.segs[i-1].last+1, s.firstIndex-1)}
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
	if last := r.segs[len(r.segs)-1]; r.torn == nil && r.synced > last.end {
		return &Damage{last.path, last.fileOffset(last.end), fmt.Sprintf("the log ends at offset %d, and was fsynced up to %d", last.end, r.synced)}
	}
	if r.torn != nil && r.synced > r.stop {
		return &Damage{r.torn.path, r.place(), fmt.Sprintf("it is broken at offset %d of the log, which was fsynced (up to %d)", r.stop, r.synced)}
	}
	return nil
}

// place is where in its file the log is torn; a broken header is at the start.
func (r *recovery) place() int64 {
	if r.broken[r.torn] {
		return 0
	}
	return r.torn.fileOffset(r.stop)
}

// trust takes the next header's word for where s ends.
func (r *recovery) trust(s, next *segment) error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	if next.baseOffset < s.baseOffset || info.Size() < s.fileOffset(next.baseOffset) {
		return &Damage{s.path, info.Size(), "it is cut short"}
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
	for pos, size := 0, 0; ; {
		if next != nil && s.end == next.baseOffset {
			return nil
		}
		if pos == len(b) && next == nil {
			return nil
		}
		n, synced, ok := recordAt(b[pos:], r.log.salt)
		if ok {
			body := b[pos+RecordHeader : pos+n]
			ok = bodyIndex(body) == s.last+1 && bodyEpoch(body) >= s.epoch
		}
		if !ok {
			r.torn, r.stop = s, s.end
			if planted == seedCutShort {
				s.end, s.last = s.end-uint64(size), s.last-1
			}
			r.search(b[pos:])
			return nil
		}
		body := b[pos+RecordHeader : pos+n]
		history, turn, err := epochHistory(body)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if turn {
			r.log.history = history
		}
		r.synced = max(r.synced, synced)
		s.addMark(s.last+1, s.end)
		s.last, s.epoch, s.end = bodyIndex(body), bodyEpoch(body), s.end+uint64(n)
		pos, size = pos+n, n
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
	magic := binary.LittleEndian.AppendUint32(nil, r.log.salt.magic())
	for {
		i := bytes.Index(b, magic)
		if i < 0 {
			return
		}
		if n, synced, ok := recordAt(b[i:], r.log.salt); ok {
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
	r.dropped, r.segs = append(r.dropped, r.segs[keep:]...), r.segs[:keep]
	for _, s := range r.segs {
		if s.end > r.synced || s == r.segs[keep-1] {
			if err := s.file.Sync(); err != nil {
				return fmt.Errorf("sync log: %w", err)
			}
		}
	}
	for _, s := range r.dropped {
		if err := errors.Join(s.close(), r.opts.FS.Remove(s.path)); err != nil {
			return err
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
