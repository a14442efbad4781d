package store

import (
	"context"
	"fmt"

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
	err = s.between(func() error {
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

// PebbleDir is where the Pebble files of a store in dir are; a snapshot's go there.
func PebbleDir(dir string, join func(...string) string) string { return join(dir, pebbleDir) }
