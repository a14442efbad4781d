package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
)

// Checkpoint is a frozen copy of the Pebble files: hard links, and a log that is pinned from where the
// copy's replay starts.
type Checkpoint struct {
	From Applied // what the files hold at least
	To   uint64  // index of the last entry that they may hold effects of
	Pin  *replog.Pin
}

// Checkpoint writes one into dir, which must not exist. It flushes first, so that little is to be
// replayed. Runs and changes of role go on meanwhile; Close ends it. The caller releases the pin.
func (s *Store) Checkpoint(ctx context.Context, dir string) (c Checkpoint, err error) {
	if !s.use() {
		return c, ErrClosed
	}
	defer s.using.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ended, cancel)()
	if c.Pin, err = s.log.Pin(s.position.Load()); err != nil {
		return c, fmt.Errorf("checkpoint: %w", err)
	}
	defer func() {
		if err != nil {
			c.Pin.Release()
		}
	}()
	err = s.atRest(ctx, func() error {
		c.From = *s.applied.Load()
		return s.storePosition()
	})
	if err != nil {
		return c, fmt.Errorf("checkpoint: %w", err)
	}
	c.Pin.Move(c.From.Index)
	if err := s.flush(ctx); err != nil {
		return c, fmt.Errorf("checkpoint: %w", err)
	}
	if err := s.db.Checkpoint(dir); err != nil {
		return c, fmt.Errorf("checkpoint: %w", err)
	}
	c.To = s.applied.Load().Index
	return c, nil
}

// atRest runs f while no entry is being applied, whatever the node's role.
func (s *Store) atRest(ctx context.Context, f func() error) error {
	for {
		err := s.between(f)
		if !errors.Is(err, ErrNotPrimary) && !errors.Is(err, ErrQuiesced) {
			return err
		}
		if done, err := s.betweenApplied(ctx, f); done {
			return err
		}
	}
}

// betweenApplied runs f between two entries that a replica applies; it does nothing on a primary. A store becomes a primary's
// under applyMu, and ceases to be one under the gate, with its last write done.
func (s *Store) betweenApplied(ctx context.Context, f func() error) (done bool, err error) {
	for !s.applyMu.TryLock() { // who applies may wait for room, for as long as there is none
		select {
		case <-time.After(roomPause):
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
	defer s.applyMu.Unlock()
	if !s.Enter() {
		return true, ErrClosed
	}
	defer s.Leave()
	if s.failed.Load() {
		return true, ErrClosed
	}
	if s.Role() == Primary {
		return false, nil
	}
	return true, f()
}

// CopyLog makes a log of its own in dir, which holds the entries from a checkpoint's position to index, fsynced.
// Checkpoint's files and it are a store: with PebbleDir's, in one directory. The pin is still held.
func (s *Store) CopyLog(ctx context.Context, dir string, from Applied, index uint64) (err error) {
	if !s.use() {
		return ErrClosed
	}
	defer s.using.Done()
	o := s.opts.log()
	o.Dir = s.opts.FS.PathJoin(dir, logDir)
	if err := o.FS.MkdirAll(o.Dir, 0o755); err != nil {
		return fmt.Errorf("copy the log: %w", err)
	}
	to, err := replog.Create(o, replog.Start{History: from.History, Epoch: from.Epoch, Index: from.Index})
	if err != nil {
		return fmt.Errorf("copy the log: %w", err)
	}
	defer func() { err = errors.Join(err, to.Close()) }() // which fsyncs
	r, err := s.log.NewReader(from.Index + 1)
	if err != nil {
		return fmt.Errorf("copy the log: %w", err)
	}
	var rec []byte
	for at := from.Index; at < index; at++ {
		body, err := r.Next()
		if err == nil {
			rec = append(append(rec[:0], make([]byte, replog.RecordHeader)...), body...)
			err = to.Append(rec)
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("copy the log: entry %d: %w", at+1, err)
		}
	}
	return nil
}

// PebbleDir is where the Pebble files of a store in dir are; a snapshot's go there.
func PebbleDir(dir string, join func(...string) string) string { return join(dir, pebbleDir) }
