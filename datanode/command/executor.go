package command

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/tidwall/redcon"
)

// Executor runs the commands of every session of a node.
type Executor struct {
	node     Node
	table    *Table
	sessions *Registry
	env      *Env
	limits   Limits
	log      *slog.Logger
	gates    []gate
	guard    *tenant.Guard
	stats    stats
	tunables tunables
	slow     slowLogs
	latency  latencies
	pauses   pauses
	blocked  atomic.Int64 // sessions that wait for keys
	shutdown func()
	started  time.Time
	version  string
}

// Limits bound what one run holds.
type Limits struct {
	RunCommands int // commands of one run; default 128
	RunBytes    int // argument bytes, reply bytes, and bytes of rows, of one run; default 1 MiB
	// ForwardWrites passes writes on a replica to the primary; else they are refused.
	ForwardWrites bool
	// ForwardTimeout bounds one forwarded batch, beside a second for each 8 MiB of it; default 5 s.
	ForwardTimeout time.Duration
	// ApplyTimeout bounds how long a read waits for the session's forwarded write; default 5 s.
	ApplyTimeout time.Duration
	// NamespaceTimeout bounds a change of the namespaces; default 10 s.
	NamespaceTimeout time.Duration
	// ViewStaleMax is how old what was last heard of the metadata may be where a session begins; 0 is for ever.
	ViewStaleMax time.Duration
	// BulkBytes is the edge's own limit, which CONFIG GET tells.
	BulkBytes int
}

// Config is what an Executor is made of.
type Config struct {
	Node     Node
	Sessions *Registry
	Specs    []Spec // All(), but for tests
	Env      *Env
	Limits   Limits
	Version  string // Atoll's
	Shutdown func() // begins to stop the process, and doesn't wait for that; nil refuses SHUTDOWN
	Log      *slog.Logger
}

// NewExecutor builds the table of c.Specs and an executor over it.
func NewExecutor(c Config) *Executor {
	l := &c.Limits
	setDefault(&l.RunCommands, 128)
	setDefault(&l.RunBytes, 1<<20)
	setDefault(&l.ForwardTimeout, 5*time.Second)
	setDefault(&l.ApplyTimeout, 5*time.Second)
	setDefault(&l.NamespaceTimeout, 10*time.Second)
	e := &Executor{
		node: c.Node, table: NewTable(c.Specs), sessions: c.Sessions, env: c.Env, limits: *l,
		log: c.Log, version: c.Version, shutdown: c.Shutdown, started: c.Env.Clock(),
	}
	e.gates, e.guard = gates(), tenant.NewGuard()
	e.tunables.begin()
	e.stats.commands = make([]commandStats, len(e.table.list))
	return e
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// scratch is what is reused from run to run, so that a command allocates nothing.
type scratch struct {
	tx        store.Tx
	ctx       Ctx
	candidate candidate
	shares    [1]share // of a run of one session
	hashes    []uint64
	positions []int
	spare     []byte  // replies that are being replaced
	waits     int     // reads that waited for the disk, since a Joint looked
	ready     []dbKey // that somebody waits for, and the run has written
	begun     int     // of ready
	// servedBytes are in the replies of served.
	servedBytes int
	served      []*waiter // by the run, if it is committed
	nowNS       int64     // when the run began, in Unix nanoseconds
	reserved    reserved
}

// share is what one session has in a run: commands that passed the gates, or didn't.
type share struct {
	session *Session
	cmds    []redcon.Command
	plan    []planned // of the first commands
	from    int       // where its replies begin
	done    int       // how many of the planned commands were called
	// whole says that the commands are a transaction's: all of them happen or none, and they have one reply.
	whole bool
	// rest is what a common run leaves to the caller.
	rest []redcon.Command
}

// planned is one command of a run: what to call, or the gate's refusal.
type planned struct {
	cmd     *command
	flags   Flags // the command's, and what this call has besides
	refusal string
	kind    kind
	asked   bool // its session's rules have let it through
	end     int  // of its reply
}

// kind says how a planned command runs.
type kind uint8

const (
	kindRefused kind = iota
	kindPlain        // touches no rows
	kindData         // in the run's transaction
	kindAlone        // FlagSession or FlagNetwork: a run of its own, no transaction
	kindForward      // a write on a replica
	kindQueue        // is kept for EXEC
)

// stats are the counters of INFO.
type stats struct {
	commands   []commandStats // by command.order
	namespaces sync.Map       // uint64 to *namespaceStats
	holders    holders
	base       atomic.Pointer[counts] // what the node had counted at an admin's CONFIG RESETSTAT
	goneMu     sync.Mutex
	gone       counts // of namespaces that are not in namespaces any more
	marksMu    sync.Mutex
	marks      []*namespaceStats // what Usage has to look at

	authFailures atomic.Uint64

	published, delivered atomic.Uint64 // messages: of this node's clients, and to them, each time
	starved              atomic.Uint64 // messages that were not held against all patterns
	dropped              atomic.Uint64 // sessions that didn't read what they were sent
}
