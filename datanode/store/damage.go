package store

import (
	"errors"
	"fmt"
	"io"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
)

// Damage is the panic value of a read that failed inside a run. The executor recovers it.
type Damage struct{ Err error }

func (d Damage) Error() string { return d.Err.Error() }

func (d Damage) Unwrap() error { return d.Err }

// broken panics with a Damage: a run can't go on without the row it asked for.
func broken(what string, err error) {
	kind := ErrUnreadable
	if isDamage(err) {
		kind = ErrDamage
	}
	panic(Damage{fmt.Errorf("%w: %s: %w", kind, what, err)})
}

// isDamage tells bytes that are wrong or missing from a disk that gives none just now. A read beyond the end
// comes from a file that was cut while it was open.
func isDamage(err error) bool {
	return errors.Is(err, ErrDamage) || errors.Is(err, replog.ErrDamaged) || pebble.IsCorruptionError(err) ||
		oserror.IsNotExist(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// NoteDamage makes the store refuse writes for the rest of its life if err says that rows are damaged. The
// in-sync set of this version is the primary alone: what it holds may be the only copy, and a write may rest
// on a read of what is damaged. Reads of everything else go on, and so does a replica's applier.
func (s *Store) NoteDamage(err error) {
	if !isDamage(err) || !s.damage.CompareAndSwap(nil, &err) {
		return
	}
	s.opts.Logger.Error("damage was found: this store takes no writes any more; `atoll debug verify` tells what is hit", "err", err.Error())
}

// Damaged returns the first damage that was found since the store was opened, or nil.
func (s *Store) Damaged() error {
	if err := s.damage.Load(); err != nil {
		return *err
	}
	return nil
}

// corrupted is Pebble's word of a damaged file, from a read or a compaction.
func (s *Store) corrupted(i pebble.DataCorruptionInfo) {
	if _, said := s.harmed.LoadOrStore(i.Path, nil); !said {
		args := []any{"file", i.Path, "err", i.Details.Error()} // its long form is a stack trace
		if from, _, ok := number(i.Bounds.Start); ok {
			args = append(args, "from_namespace_id", from)
		}
		if to, _, ok := number(i.Bounds.End.Key); ok {
			args = append(args, "to_namespace_id", to)
		}
		s.opts.Logger.Error("a file of rows is damaged", args...)
	}
	s.NoteDamage(fmt.Errorf("%w: %s: %w", ErrDamage, i.Path, i.Details))
}
