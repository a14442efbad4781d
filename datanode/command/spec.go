package command

import (
	"math"
	"slices"
	"strings"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

// Flags are the facts about a command that the gates, the cutting of runs and COMMAND INFO read.
type Flags uint32

const (
	// FlagWrite marks a command that may change rows. Every command that touches rows has this or
	// FlagReadOnly: without either it gets no transaction.
	FlagWrite Flags = 1 << iota
	// FlagReadOnly marks a command that reads rows and changes none.
	FlagReadOnly
	// FlagDenyOOM marks a write that can make a namespace larger.
	FlagDenyOOM
	// FlagFast marks a command of constant or logarithmic time in Redis. Here ZRANK, ZREVRANK, ZCOUNT and
	// ZLEXCOUNT walk, and clients still see Redis' flags: FlagShort says what is short here.
	FlagFast
	// FlagAdmin marks a command of operators, as Redis shows it.
	FlagAdmin
	// FlagLoading, FlagStale, FlagNoAuth and FlagNoScript are shown by COMMAND INFO for clients that
	// ask; Atoll answers LOADING to every command before it has a view and data.
	FlagLoading
	FlagStale
	FlagNoAuth
	FlagNoScript
	// FlagSession marks a command that reads or changes the session or the server and no rows: it
	// runs alone, outside a transaction.
	FlagSession
	// FlagExclusive marks a command that takes its namespace's gate: it is a run of its own.
	FlagExclusive
	// FlagBlocking marks a command that may wait for another client.
	FlagBlocking
	// FlagNetwork marks a command that waits for another process: it runs alone, under no lock and
	// without holding a generation.
	FlagNetwork
	// FlagShort marks a command on rows that takes hardly longer than its arguments are long: it may share a run with
	// those of other connections, which then wait for it.
	FlagShort
	// FlagInMulti marks a command that is executed at once between MULTI and EXEC, where others are queued.
	FlagInMulti
	// FlagNoMulti marks a command that is refused there.
	FlagNoMulti
	// FlagWatch marks a command that neither reads nor changes rows, and is called under their locks.
	FlagWatch
	// FlagShared marks a command that changes no rows but what the namespace's other connections meet: like a write,
	// a read-only token may not call it.
	FlagShared
	// FlagPubSub marks a command on channels, as Redis shows it.
	FlagPubSub
	// FlagSubscribed marks a command that a RESP2 connection may call while it listens for messages.
	FlagSubscribed
	// FlagNotes marks a reading command that notes what it has found in the rows, where its call may write.
	FlagNotes
)

// Scope says who may call a command. Its zero value is nobody.
type Scope uint8

const (
	// ScopeDeny is the scope of a spec that names none: the command is refused to everyone.
	ScopeDeny Scope = iota
	// ScopeConnection is for every connection, before AUTH too.
	ScopeConnection
	// ScopeTenant is for sessions of a namespace, on that namespace's data.
	ScopeTenant
	// ScopeAdmin is for sessions whose token has the role admin.
	ScopeAdmin
)

// KeySpec says which arguments are keys. First, Last and Step are as in COMMAND INFO: positions
// count from the name at 0, a negative Last from the end, First 0 is no key.
type KeySpec struct {
	First, Last, Step int
	// NotKey says that they are names of something else, which clusters find the node by.
	NotKey bool
	// Find, for commands whose keys aren't a plain range, appends the positions of the keys to dst. It
	// is called after the arity gate, and returns dst unchanged for arguments that make no sense.
	Find func(args [][]byte, dst []int) []int
	// Hashes, for commands that touch another database than the session's, appends the lock hashes
	// of every key that the command may touch. It is used instead of the positions.
	Hashes func(db int, args [][]byte, dst []uint64) []uint64
}

// Positions appends the positions of the keys among args to dst.
func (k KeySpec) Positions(args [][]byte, dst []int) []int {
	if k.Find != nil {
		return k.Find(args, dst)
	}
	if k.First <= 0 {
		return dst
	}
	last, step := k.Last, max(k.Step, 1)
	if last < 0 {
		last += len(args)
	}
	for i := k.First; i <= min(last, len(args)-1); i += step {
		dst = append(dst, i)
	}
	return dst
}

// oneKey is the KeySpec of a command whose only key is its first argument.
var oneKey = KeySpec{First: 1, Last: 1, Step: 1}

// numberedKeys finds the keys behind their number, which is in Args[at].
func numberedKeys(at int) func(args [][]byte, dst []int) []int {
	return func(args [][]byte, dst []int) []int {
		n, ok := datatype.ParseInt(args[at])
		if !ok || n <= 0 || n > int64(len(args)-at-1) {
			return dst
		}
		for i := range int(n) {
			dst = append(dst, at+1+i)
		}
		return dst
	}
}

// counted has a command's Unsent say how many keys it makes, where not each of its keys may be one.
func counted(k KeySpec) KeySpec {
	positions := k
	k.Hashes = func(db int, args [][]byte, dst []uint64) []uint64 {
		for _, at := range positions.Positions(args, nil) {
			dst = append(dst, store.HashKey(db, args[at]))
		}
		return dst
	}
	return k
}

// Spec is everything that is known about one command.
type Spec struct {
	// Name is in lower case; that of a subcommand is the second word alone.
	Name string
	// Arity counts the arguments with the name (for a subcommand: with both words); negative: at least.
	Arity   int
	Flags   Flags
	Scope   Scope
	Keys    KeySpec
	Group   string // as in COMMAND DOCS: string, hash, sorted-set, generic, connection, server, ...
	Since   string // the Redis version that has it first
	Summary string // one line
	Run     func(*Ctx)
	// Unsent, for commands that make more than they are sent, returns how many bytes more they would add, and, if there
	// is KeySpec.Hashes, how many keys.
	Unsent func(tx *store.Tx, db int, args [][]byte) (keys, bytes int64)
	// More, for commands whose flags depend on their arguments, returns those that a call has besides.
	More func(args [][]byte) Flags
	// Waits, for a FlagBlocking command that doesn't always, says whether it may wait.
	Waits func(args [][]byte) bool
	// Subs are the subcommands of a container. A container with Run runs it when no subcommand fits.
	Subs []Spec
}

// blocks reports whether a call may wait for others.
func (s *Spec) blocks(args [][]byte) bool {
	return s.Flags&FlagBlocking != 0 && (s.Waits == nil || s.Waits(args))
}

// arityOK reports whether n arguments, the name among them, fit the spec.
func (s *Spec) arityOK(n int) bool {
	if s.Arity >= 0 {
		return n == s.Arity
	}
	return n >= -s.Arity
}

// command is a spec in the table, with what the executor keeps about it.
type command struct {
	Spec
	full   string // "client|list" for a subcommand
	order  int    // place in the table: the index of its counters
	family int    // place of its group in the table's families
	subs   map[string]*command
}

// Table finds commands by name. It is immutable.
type Table struct {
	byName   map[string]*command
	list     []*command // containers before their subcommands, in the order of the specs
	families []string   // the groups, in the order of the specs; at most familiesMax
}

// nameBytesMax bounds the names that are looked up; no command has a longer one.
const nameBytesMax = 32

// NewTable builds the look-up table. Two specs of one name, or a name out of bounds, panic: the table
// is a constant of the program.
func NewTable(specs []Spec) *Table {
	t := &Table{byName: make(map[string]*command, 2*len(specs))}
	for i := range specs {
		c := t.add(specs[i], t.byName, "")
		for j := range c.Subs {
			if c.subs == nil {
				c.subs = make(map[string]*command, len(c.Subs))
			}
			sub := c.Subs[j]
			if sub.Group == "" {
				sub.Group = c.Group
			}
			t.add(sub, c.subs, c.Name+"|")
		}
	}
	return t
}

func (t *Table) add(s Spec, into map[string]*command, prefix string) *command {
	if s.Name == "" || len(s.Name) > nameBytesMax || s.Name != strings.ToLower(s.Name) {
		panic("command: bad name " + s.Name)
	}
	if into[s.Name] != nil {
		panic("command: two specs of " + prefix + s.Name)
	}
	if s.Arity == 0 || s.Arity == math.MinInt {
		panic("command: no arity for " + prefix + s.Name)
	}
	family := slices.Index(t.families, s.Group)
	if family < 0 {
		if family = len(t.families); family == familiesMax {
			panic("command: too many groups: " + s.Group)
		}
		t.families = append(t.families, s.Group)
	}
	c := &command{Spec: s, full: prefix + s.Name, order: len(t.list), family: family}
	into[s.Name] = c
	t.list = append(t.list, c)
	return c
}

// find returns the command of that name in whatever case, or nil. It allocates nothing.
func find(m map[string]*command, name []byte) *command {
	var low [nameBytesMax]byte
	if len(name) > len(low) {
		return nil
	}
	for i, b := range name {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		low[i] = b
	}
	return m[string(low[:len(name)])]
}
