package store

import "errors"

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
	// ErrReadOnly is returned by Commit once damage was found. Nothing happened.
	ErrReadOnly = errors.New("damaged data was found, and no writes are taken")
	// ErrDamage marks rows that are damaged.
	ErrDamage = errors.New("stored data is damaged")
	// ErrUnreadable marks rows that the disk doesn't give, whatever they are.
	ErrUnreadable = errors.New("stored data can't be read")
	// ErrFormat is returned for a store of another version of the format.
	ErrFormat = errors.New("store has an unknown format")
)
