package command

import (
	"errors"

	"github.com/atolldb/atoll/datanode/store"
)

var (
	// ErrLoading says that the node has no view or no data to serve yet.
	ErrLoading = errors.New("no view or no data yet")
	// ErrNotForwarded says that nothing happened, since the primary or the metadata leader was never
	// asked.
	ErrNotForwarded = errors.New("the other node was not asked")
	// ErrSaving says that a save is being made already.
	ErrSaving = errors.New("a save is being made already")
)

// Error is an error whose text is the RESP error as it stands, code first.
type Error string

func (e Error) Error() string { return string(e) }

// The error replies that gates and families share, in Redis' words.
const (
	errLoading    = Error("LOADING Atoll is loading the dataset in memory")
	errNoAuth     = Error("NOAUTH Authentication required.")
	errWrongPass  = Error("WRONGPASS invalid username-password pair or user is disabled.")
	errAdmin      = Error("ERR admin permission required to perform the command")
	errReadOnly   = Error("READONLY You can't write against a read only replica.")
	errRevoked    = Error("NOAUTH the token or the namespace of this session is gone")
	errMaybe      = Error("MAYBE the write may or may not have been done")
	errNotApplied = Error("ERR this replica has not applied the session's last write yet, try again")
	errInternal   = Error("ERR internal error, nothing was written")
	errDamage     = Error("DAMAGED what the command reads is damaged on this node, nothing was written")
	errDamaged    = Error("DAMAGED this node holds damaged data and takes no writes, nothing was written")
	errUnreadable = Error("ERR the disk can't be read, nothing was written")
	errSyntax     = Error("ERR syntax error")
	errNotInteger = Error("ERR value is not an integer or out of range")
	errIntRange   = Error("ERR value is out of range, value must between -2147483648 and 2147483647")
	errNoCluster  = Error("ERR This instance has cluster support disabled")
	errDBIndex    = Error("ERR DB index is out of range")
	errNoTracking = Error("ERR client-side caching is not supported")
	errPromotion  = Error("TRYAGAIN the group's primary is being moved, nothing was written")
	errDiskFull   = Error("MISCONF the disk is full, writes are refused")
	errTooLarge   = Error("ERR the write is too large, nothing was written")
	errClosed     = Error("LOADING the node is changing its data, nothing was written")
	errSaving     = Error("ERR Background save already in progress")
	errNoPrimary  = Error("READONLY the primary can't be reached from this replica, nothing was written")
)

// failures maps what the parts below return to what a client reads: the one such table.
var failures = []struct {
	err  error
	text Error
}{
	{ErrLoading, errLoading},
	{store.ErrNotPrimary, errReadOnly},
	{store.ErrQuiesced, errPromotion},
	{store.ErrDiskFull, errDiskFull},
	{store.ErrTooLarge, errTooLarge},
	{store.ErrClosed, errClosed},
	{store.ErrMaybe, errMaybe},
	{store.ErrReadOnly, errDamaged},
	{store.ErrDamage, errDamage},
	{store.ErrUnreadable, errUnreadable},
	{ErrNotForwarded, errNoPrimary},
	{ErrSaving, errSaving},
}

// ErrorText returns the RESP error for err: its own text when it is an Error, else the table's, else
// that of the families' table, else a text that says nothing about other tenants.
func ErrorText(err error) string {
	var e Error
	if errors.As(err, &e) {
		return string(e)
	}
	for _, f := range failures {
		if errors.Is(err, f.err) {
			return string(f.text)
		}
	}
	for _, f := range familyFailures() {
		if errors.Is(err, f.err) {
			return string(f.text)
		}
	}
	return string(errInternal)
}
