package replog

import (
	"errors"
	"fmt"
	"slices"
)

// Cut drops every entry after index, durably, in one rename. Nothing may append meanwhile; readers that
// are past the place end with ErrGone. After any error but ErrGone and ErrClosed the process must end.
func (l *Log) Cut(index uint64) error {
	if err := l.Sync(); err != nil {
		return err
	}
	if err := l.cut(index); err != nil {
		return err
	}
	return l.NoteSynced() // else what was cut would come back should the new segment be lost
}

func (l *Log) cut(index uint64) error {
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	if index >= l.State().Last {
		return nil
	}
	at, err := l.cutPoint(index)
	if err != nil {
		return fmt.Errorf("cut log: %w", err)
	}
	seg, err := writeSegment(l.opts, at.segmentHeader)
	if err != nil {
		return l.fail(fmt.Errorf("cut log: %w", err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.segs, at.seg)
	for _, s := range l.segs[i+1:] {
		err = errors.Join(err, s.close(), l.opts.FS.Remove(s.path)) // what stays is overridden at open
	}
	at.seg.end, at.seg.last, at.seg.epoch = at.baseOffset, index, at.prevEpoch
	at.seg.marks = slices.DeleteFunc(at.seg.marks, func(m mark) bool { return m.index > index })
	l.segs = append(l.segs[:i+1], seg)
	l.current, l.history = seg, at.history
	l.state.Last, l.state.LastEpoch, l.state.SyncedIndex = index, at.prevEpoch, index
	l.state.EndOffset, l.state.SyncedOffset = at.baseOffset, at.baseOffset
	l.cuts = append(l.cuts, index)
	return err
}

// cutPlace is the header of the segment that continues the log after a cut, and the one it cuts.
type cutPlace struct {
	segmentHeader
	seg *segment
}

// cutPoint reads from the start of the segment that holds the entry after index, to learn the epoch,
// the history and the offset there.
func (l *Log) cutPoint(index uint64) (cutPlace, error) {
	l.mu.Lock()
	var at cutPlace
	for _, s := range l.segs {
		if s.firstIndex <= index+1 {
			at.seg = s
		}
	}
	if at.seg == nil {
		defer l.mu.Unlock()
		return at, fmt.Errorf("%w: entry %d, the oldest is %d", ErrGone, index+1, l.firstLocked())
	}
	at.segmentHeader = at.seg.segmentHeader
	at.seq = l.segs[len(l.segs)-1].seq + 1
	l.mu.Unlock()
	r, err := l.NewReader(at.firstIndex)
	if err != nil {
		return at, err
	}
	for at.firstIndex <= index {
		body, err := r.Next()
		if err != nil {
			return at, err
		}
		history, turn, err := epochHistory(body)
		if err != nil {
			return at, err
		}
		if turn {
			at.history = history
		}
		at.prevEpoch, at.baseOffset, at.firstIndex = bodyEpoch(body), r.off, at.firstIndex+1
	}
	at.synced = at.baseOffset
	return at, nil
}

// setHistory names the history that segments started from now on belong to. Appending an epoch's first
// entry does the same.
func (l *Log) setHistory(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history = id
}
