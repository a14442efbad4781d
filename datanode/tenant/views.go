package tenant

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// logBytesMin is how large the log may be whatever the base's size.
	logBytesMin = 1 << 20
	// ringChanges and ringItems bound the recent changes that Since can answer from.
	ringChanges = 1024
	ringItems   = 64 << 10
)

// Views holds the node's current view. A view is on disk, fsynced, before it becomes current, and no
// older one is ever installed.
type Views struct {
	fs  vfs.FS
	dir string

	state atomic.Pointer[viewState]
	heard atomic.Pointer[time.Time] // from a metadata node; at first when they were opened

	mu        sync.Mutex // what follows
	log       vfs.File   // nil until the first view
	logBytes  int64
	baseBytes int64
	ring      []*Change // deltas, each from the revision of the one before; ends at the current view
	ringItems int
	broken    error // of a write: what is on disk is unknown, the process must end
	buf       []byte
}

type viewState struct {
	view    *View
	changed chan struct{} // closed when the next state is installed
}

// OpenViews reads the stored view in dir, which exists. Errors are ErrDamage, ErrFormat and the
// filesystem's.
func OpenViews(fsys vfs.FS, dir string) (*Views, error) {
	v, dirty, err := load(fsys, dir)
	if err != nil {
		return nil, err
	}
	s := &Views{fs: fsys, dir: dir}
	s.Hear()
	s.state.Store(&viewState{view: v, changed: make(chan struct{})})
	if v == nil {
		return s, nil
	}
	if dirty { // start from a clean log: nothing is appended after a torn end
		if s.baseBytes, err = writeBase(fsys, dir, v); err != nil {
			return nil, err
		}
	}
	if s.log, err = newLog(fsys, dir); err != nil {
		return nil, err
	}
	s.logBytes = headerBytes
	return s, nil
}

// Close closes the files. The current view stays readable.
func (s *Views) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = fmt.Errorf("install view: %w", context.Canceled)
	if s.log == nil {
		return nil
	}
	err := s.log.Close()
	s.log = nil
	return err
}

// Hear notes that a metadata node was heard of just now.
func (s *Views) Hear() {
	now := time.Now()
	s.heard.Store(&now)
}

// Heard returns when a metadata node was last heard of, or when the views were opened.
func (s *Views) Heard() time.Time { return *s.heard.Load() }

// Current returns the view, nil before there is one. It is one atomic load.
func (s *Views) Current() *View { return s.state.Load().view }

// Changed returns a channel that is closed when another view than the present one is installed. Take
// the channel first, then the view.
func (s *Views) Changed() <-chan struct{} { return s.state.Load().changed }

// Wait returns the current view once its revision is at least revision.
func (s *Views) Wait(ctx context.Context, revision uint64) (*View, error) {
	for {
		st := s.state.Load()
		if st.view != nil && st.view.revision >= revision {
			return st.view, nil
		}
		select {
		case <-st.changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for view %d: %w", revision, ctx.Err())
		}
	}
}

// Install applies changes in order, writes and fsyncs the result, and makes it current. Those that
// bring nothing newer are passed over. Errors of apply leave everything as it was; after one of the
// disk, Views is broken, and the process should end.
func (s *Views) Install(changes ...*Change) (*View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, s.broken
	}
	old := s.state.Load()
	v, full := old.view, old.view == nil
	var fresh []*Change
	for _, c := range changes {
		next, err := v.apply(c)
		if err != nil {
			return nil, fmt.Errorf("install view %d: %w", c.Revision, err)
		}
		if next == v {
			continue
		}
		v, full, fresh = next, full || c.Full, append(fresh, c)
	}
	if len(fresh) == 0 {
		return v, nil
	}
	if planted == seedViewEarly {
		s.state.Store(&viewState{view: v, changed: make(chan struct{})})
	}
	if err := s.persist(v, full, fresh); err != nil {
		s.broken = fmt.Errorf("install view %d: %w", v.revision, err)
		return nil, s.broken
	}
	s.remember(old.view, fresh)
	s.state.Store(&viewState{view: v, changed: make(chan struct{})})
	close(old.changed)
	return v, nil
}

// persist makes v durable: the changes appended to the log, or a new base.
func (s *Views) persist(v *View, full bool, changes []*Change) error {
	if !full && s.logBytes < max(s.baseBytes, logBytesMin) {
		return s.append(changes)
	}
	size, err := writeBase(s.fs, s.dir, v)
	if err != nil {
		return err
	}
	if old := s.log; old != nil {
		s.log = nil
		if err := old.Close(); err != nil {
			return err
		}
	}
	if s.log, err = newLog(s.fs, s.dir); err != nil {
		return err
	}
	s.baseBytes, s.logBytes = size, headerBytes
	return nil
}

func (s *Views) append(changes []*Change) error {
	var err error
	s.buf, err = appendRecord(s.buf[:0], func(yield func(*atollpb.ViewFrame) bool) {
		for _, c := range changes {
			for f := range c.Frames() {
				if !yield(f) {
					return
				}
			}
		}
	})
	if err != nil {
		return err
	}
	if _, err := s.log.Write(s.buf); err != nil {
		return err
	}
	if planted != seedViewNoSync {
		if err := s.log.Sync(); err != nil {
			return err
		}
	}
	s.logBytes += int64(len(s.buf))
	if cap(s.buf) > logBytesMin {
		s.buf = nil
	}
	return nil
}

// remember keeps the changes for Since.
func (s *Views) remember(old *View, changes []*Change) {
	for _, c := range changes {
		if c.Full || old == nil {
			s.ring, s.ringItems = nil, 0
			continue
		}
		s.ring = append(s.ring, c)
		s.ringItems += c.items()
	}
	drop := 0
	for len(s.ring)-drop > ringChanges || s.ringItems > ringItems {
		s.ringItems -= s.ring[drop].items()
		s.ring[drop] = nil
		drop++
	}
	s.ring = s.ring[drop:]
}

// Since returns changes that take a view at revision to the current one, oldest first: the deltas when
// they are remembered, else the whole view. It returns none when the current view is not newer.
func (s *Views) Since(revision uint64) []*Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.state.Load().view
	if v == nil || v.revision <= revision {
		return nil
	}
	for i, c := range s.ring {
		if c.Revision <= revision {
			continue
		}
		if c.From <= revision && revision > 0 {
			return append([]*Change(nil), s.ring[i:]...)
		}
		break
	}
	return []*Change{v.Full()}
}

// Broken returns the error of the disk after which no view can be installed, or nil.
func (s *Views) Broken() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}
