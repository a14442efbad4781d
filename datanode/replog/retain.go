package replog

import (
	"errors"
	"fmt"
	"io/fs"
)

// pinFactor bounds what pins hold: beyond so many times the retention a pin holds nothing, so that a
// sink that is stuck can't fill the disk. Its reader then gets ErrGone, and the sink takes a snapshot.
const pinFactor = 4

// Pin keeps the entries after an index from being dropped, while they are at most pinFactor times the
// retention. Every pin must be released.
type Pin struct {
	log   *Log
	after uint64
}

// Pin keeps every entry after index until the pin is released or moved. It fails with ErrGone if one
// of them is gone already.
func (l *Log) Pin(index uint64) (*Pin, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.firstLocked() > index+1 {
		return nil, ErrGone
	}
	p := &Pin{log: l, after: index}
	l.pins[p] = struct{}{}
	return p, nil
}

// Move lets go of the entries up to index.
func (p *Pin) Move(index uint64) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.after = max(p.after, index)
}

// Release ends the pin. It may be called more than once.
func (p *Pin) Release() {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	delete(p.log.pins, p)
}

func (l *Log) firstLocked() uint64 {
	if len(l.segs) > 0 {
		return l.segs[0].firstIndex
	}
	return l.state.Last + 1
}

// Retire drops whole segments beyond the retention whose entries are all at or below floor, the
// highest index that the store holds durably, and that no pin holds. The oldest goes first, durably, so
// that a crash leaves no gap, and never the last one whose header is fsynced. A failed fsync is final, as
// Sync's is: a second one would succeed, and the next removal could reach the disk before this one.
func (l *Log) Retire(floor uint64) error {
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	l.mu.Lock()
	if err := l.failed; err != nil {
		l.mu.Unlock()
		return err
	}
	for l.droppableLocked(floor) {
		l.trash, l.segs = append(l.trash, l.segs[0]), l.segs[1:]
	}
	l.mu.Unlock()
	for len(l.trash) > 0 {
		s := l.trash[0]
		if err := s.close(); err != nil {
			return fmt.Errorf("close log segment: %w", err)
		}
		if err := l.opts.FS.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove log segment: %w", err)
		}
		if err := syncDir(l.opts.FS, l.opts.Dir); errors.Is(err, errNoDir) {
			return err // the next call removes the same segment again
		} else if err != nil {
			return l.fail(err)
		}
		l.mu.Lock()
		l.trash = l.trash[1:]
		l.mu.Unlock()
	}
	return nil
}

// Droppable says whether Retire would drop a segment.
func (l *Log) Droppable(floor uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.trash) > 0 || l.droppableLocked(floor)
}

// droppableLocked says whether the oldest segment may go. The mutex is held.
func (l *Log) droppableLocked(floor uint64) bool {
	if len(l.segs) < 2 || l.segs[1].fresh {
		return false
	}
	floor = min(floor, l.state.SyncedIndex)
	s := l.segs[0]
	size := int64(l.state.EndOffset - s.baseOffset)
	if size <= pinFactor*l.opts.RetainBytes {
		for p := range l.pins {
			floor = min(floor, p.after)
		}
	}
	oldest := l.opts.Now().Add(-l.opts.RetainAge).UnixMilli()
	return s.last <= floor && (size > l.opts.RetainBytes || s.bornM < oldest)
}
