package replog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Damage is damage of the log with its place. It wraps ErrDamaged.
type Damage struct {
	File   string
	Offset int64 // in the file, in bytes; -1: not known
	What   string
}

func (d *Damage) Error() string {
	if d.Offset < 0 {
		return fmt.Sprintf("%v: %s: %s", ErrDamaged, d.File, d.What)
	}
	return fmt.Sprintf("%v: %s at byte %d: %s", ErrDamaged, d.File, d.Offset, d.What)
}

// Unwrap lets errors.Is find ErrDamaged.
func (d *Damage) Unwrap() error { return ErrDamaged }

// Finding is one thing that a check of files has found wrong.
type Finding struct {
	File       string
	Offset     int64 // in the file, in bytes; -1: not known
	What       string
	Namespaces []uint64 // ids whose rows it hits
	All        bool     // it hits every namespace
}

// FindingOf is the finding that an error stands for, with the place that it names, or file.
func FindingOf(file string, err error) Finding {
	if d, ok := errors.AsType[*Damage](err); ok {
		return Finding{File: d.File, Offset: d.Offset, What: d.What}
	}
	return Finding{File: file, Offset: -1, What: err.Error()}
}

// Verify reads every record of an opened log, beside what Open has looked at, and hands what is wrong to say:
// checksums, the order of indexes and epochs, and entries that don't decode. It returns the number of
// entries.
func (l *Log) Verify(ctx context.Context, say func(Finding)) (entries uint64, err error) {
	l.mu.Lock()
	segs := append([]*segment(nil), l.segs...)
	l.mu.Unlock()
	for i, s := range segs {
		if i > 0 && s.prevEpoch != segs[i-1].epoch && s.firstIndex == segs[i-1].last+1 {
			say(Finding{File: s.path, What: fmt.Sprintf("its header says that epoch %d comes before it, the log says %d", s.prevEpoch, segs[i-1].epoch)})
		}
		n, err := l.verifySegment(ctx, s)
		entries += n
		if errors.Is(err, ErrDamaged) {
			say(FindingOf(s.path, err))
			continue
		}
		if err != nil {
			return entries, err
		}
	}
	return entries, l.strangers(say)
}

func (l *Log) verifySegment(ctx context.Context, s *segment) (entries uint64, err error) {
	if s.last < s.firstIndex {
		return 0, nil
	}
	r, err := l.NewReader(s.firstIndex)
	if err != nil {
		return 0, err
	}
	epoch := s.prevEpoch
	var e Entry
	for r.next <= s.last {
		if entries%1024 == 0 && ctx.Err() != nil {
			return entries, ctx.Err()
		}
		body, err := r.Next()
		if err != nil && !errors.Is(err, io.EOF) {
			return entries, err
		}
		if err == nil {
			err = e.Decode(body)
		}
		if err == nil && e.Epoch < epoch {
			err = fmt.Errorf("its epoch is %d after %d", e.Epoch, epoch)
		}
		if err != nil {
			return entries, &Damage{s.path, -1, fmt.Sprintf("entry %d: %v", r.next, err)}
		}
		epoch = e.Epoch
		entries++
	}
	return entries, nil
}

// strangers finds files of the directory that are no part of a log.
func (l *Log) strangers(say func(Finding)) error {
	names, err := l.opts.FS.List(l.opts.Dir)
	if err != nil {
		return fmt.Errorf("list log: %w", err)
	}
	for _, n := range names {
		base, _, _ := strings.Cut(n, ".")
		_, err := strconv.ParseUint(base, 16, 64)
		if n == noteFile || n == noteFile+".tmp" {
			continue
		}
		if err != nil || len(base) != 16 || n != base+".log" && n != base+".log.tmp" {
			say(Finding{File: l.opts.FS.PathJoin(l.opts.Dir, n), Offset: -1, What: "it belongs to nothing"})
		}
	}
	return nil
}
