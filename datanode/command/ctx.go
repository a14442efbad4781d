// Package command is what a client's command means: the table of commands, the gates before one runs,
// the runs that a pipeline is cut into, and one file for each family of commands.
package command

import (
	"context"
	"time"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

// Ctx is what one call of a command has to work with. It is good until Run returns.
type Ctx struct {
	// Args are the command's words, Args[0] its name as it was sent. They must not be changed or kept.
	Args [][]byte
	// Tx is the run's transaction and DB the session's database in it. A FlagSession command has none.
	Tx *store.Tx
	DB store.DB
	// NS is the session's namespace in the store, nil without a transaction.
	NS      *store.Namespace
	Out     *Reply
	Session *Session
	Env     *Env
	// Spec is the called command's.
	Spec *Spec

	flags Flags // the call's
	// waiter is who is served by another's run, and readyKey the key that was written; else nil.
	waiter   *waiter
	readyKey string
	// unready says that it could not be.
	unready bool

	ex    *Executor
	lease Lease           // nil in a FlagNetwork command
	ctx   context.Context // ends with the connection; FlagNetwork only
	looks datatype.Looks  // of all of the run's commands
}

// Env is what commands share: the clock, and what the families keep.
type Env struct {
	// Clock tells the time; data commands use Tx.Now instead.
	Clock func() time.Time
	// Elapsed is the time since some start, which only ever grows: cheaper to read than Clock, of which it is made
	// where it is nil.
	Elapsed func() time.Duration
	// Families belongs to the data families.
	Families FamilyEnv
}

// elapsed returns a time to measure by.
func (e *Executor) elapsed() time.Duration {
	if e.env.Elapsed != nil {
		return e.env.Elapsed()
	}
	return e.env.Clock().Sub(e.started)
}

// NowMS is the clock's time in Unix milliseconds.
func (e *Env) NowMS() int64 { return e.Clock().UnixMilli() }

// Fail writes err as the command's only reply, by the one table of errors. What the command wrote to
// the transaction before stays: look first, then write.
func (c *Ctx) Fail(err error) { c.Out.Error(ErrorText(err)) }

// Arg returns argument i as a string.
func (c *Ctx) Arg(i int) string { return string(c.Args[i]) }
