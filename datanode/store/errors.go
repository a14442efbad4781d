package store

import (
	"errors"
	"fmt"
)

var (
	// ErrNotPrimary is returned by Commit on a node that doesn't hold the group's epoch. Nothing happened.
	ErrNotPrimary = errors.New("this node is not the primary")
	// ErrQuiesced is returned by Commit while a planned promotion is under way. Nothing happened.
	ErrQuiesced = errors.New("writes are paused for a promotion")
	// ErrDiskFull is returned by Commit when the disk is short of space. Nothing happened.
	ErrDiskFull = errors.New("the disk is full")
	// ErrMaybe is returned by Commit when the write may or may not have happened.
	ErrMaybe = errors.New("the write may or may not have happened")
	// ErrTooLarge is returned by Commit for a run whose effects exceed one entry. Nothing happened.
	ErrTooLarge = errors.New("the effects exceed the size of one log entry")
	// ErrPurged is returned by Commit for a namespace that was deleted meanwhile. Nothing happened.
	ErrPurged = errors.New("the namespace is deleted")
	// errNotReplica is returned where a replica's part is asked of a primary.
	errNotReplica = errors.New("this node is not a replica")
	// ErrClosed is returned by Commit after Close. Nothing happened.
	ErrClosed = errors.New("store is closed")
	// ErrDamage marks rows that can't be decoded or read.
	ErrDamage = errors.New("stored data is damaged")
	// ErrFormat is returned for a store of another version of the format.
	ErrFormat = errors.New("store has an unknown format")
)

// Damage is the panic value of a read that failed inside a run. The executor recovers it.
type Damage struct{ Err error }

func (d Damage) Error() string { return d.Err.Error() }

func (d Damage) Unwrap() error { return d.Err }

// broken panics with a Damage: a run can't go on without the row it asked for.
func broken(what string, err error) {
	panic(Damage{fmt.Errorf("%w: %s: %w", ErrDamage, what, err)})
}
