package command

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atolldb/atoll/datanode/datatype"
)

// A slow log's size is bounded three times: by slowlog-max-len for each namespace, and for all by these.
const (
	slowNamespacesMax = 4096
	slowBytesMax      = 64 << 20
	slowEntryBytes    = 256 // of an entry beside its texts
)

// slowShown is how much of a command is in the slow log, as in Redis.
var slowShown = shownArgs{count: 32, bytes: 128}

// slowEntry is one slow command.
type slowEntry struct {
	id, nodeID int64 // in the namespace's log, and in the node's
	namespace  uint64
	at         time.Time
	took       time.Duration
	args       []string
	addr, name string
	bytes      int
}

// slowRing is the slow log of one namespace, oldest first.
type slowRing struct {
	entries []slowEntry
	nextID  int64
	bytes   int
}

// slowLogs are the slow logs of a node's namespaces. Those of operators, which tenants don't see, are in one of
// their own.
type slowLogs struct {
	mu     sync.Mutex
	rings  map[uint64]*slowRing
	nextID int64
	bytes  int
}

// partOf is whose log a session's commands are in: its namespace's, or operators'.
func (s *Session) partOf() uint64 {
	if s.grant.Admin() {
		return operators
	}
	return s.grant.NamespaceID
}

// operators is no namespace's id.
const operators = 0

// add notes an entry, and drops what is beyond the bounds.
func (l *slowLogs) add(part uint64, e slowEntry, keep int64) {
	e.bytes = slowEntryBytes + len(e.addr) + len(e.name)
	for _, a := range e.args {
		e.bytes += len(a) + 16
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rings == nil {
		l.rings = make(map[uint64]*slowRing)
	}
	r := l.rings[part]
	if r == nil {
		if len(l.rings) >= slowNamespacesMax {
			l.forgetOldest()
		}
		r = new(slowRing)
		l.rings[part] = r
	}
	e.id, e.nodeID = r.nextID, l.nextID
	r.nextID++
	l.nextID++
	r.entries = append(r.entries, e)
	r.bytes += e.bytes
	l.bytes += e.bytes
	for int64(len(r.entries)) > keep {
		l.drop(r)
	}
	for l.bytes > slowBytesMax { // of who holds most: nobody's log can push out another's
		most := r
		for _, other := range l.rings {
			if other.bytes > most.bytes {
				most = other
			}
		}
		l.drop(most)
	}
}

// drop drops the oldest entry of a ring.
func (l *slowLogs) drop(r *slowRing) {
	r.bytes -= r.entries[0].bytes
	l.bytes -= r.entries[0].bytes
	r.entries[0] = slowEntry{}
	r.entries = r.entries[1:]
}

// forgetOldest forgets the log that has had no entry for longest.
func (l *slowLogs) forgetOldest() {
	var oldest uint64
	last := int64(-1)
	for part, r := range l.rings {
		newest := int64(0)
		if n := len(r.entries); n > 0 {
			newest = r.entries[n-1].nodeID
		}
		if last < 0 || newest < last {
			oldest, last = part, newest
		}
	}
	l.bytes -= l.rings[oldest].bytes
	delete(l.rings, oldest)
}

// list returns the newest entries of one log, or of all, newest first: count of them, or with -1 all.
func (l *slowLogs) list(part uint64, count int64) (list []slowEntry) {
	l.mu.Lock()
	for of, r := range l.rings {
		if part == operators || of == part {
			n := int64(len(r.entries))
			if count >= 0 {
				n = min(n, count)
			}
			list = append(list, r.entries[int64(len(r.entries))-n:]...)
		}
	}
	l.mu.Unlock() // those that have a slow command to note, and may hold a run's locks, don't wait for the sorting
	slices.SortFunc(list, func(a, b slowEntry) int { return cmp.Compare(b.nodeID, a.nodeID) })
	if count >= 0 {
		list = list[:min(int64(len(list)), count)]
	}
	return list
}

// count returns how many entries list has.
func (l *slowLogs) count(part uint64) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if part != operators {
		if r := l.rings[part]; r != nil {
			n = len(r.entries)
		}
		return n
	}
	for _, r := range l.rings {
		n += len(r.entries)
	}
	return n
}

// reset empties one log, or all. Ids go on.
func (l *slowLogs) reset(part uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for of, r := range l.rings {
		if part == operators || of == part {
			l.bytes -= r.bytes
			r.entries, r.bytes = nil, 0
		}
	}
}

// late notes a command that took as long as somebody watches for. Its time is its own, without that of waiting for
// locks or for the commit.
func (e *Executor) late(s *Session, cmd *command, args [][]byte, took time.Duration) {
	if !s.grant.Valid() { // a stranger's: nobody's log
		return
	}
	now := e.env.Clock()
	if us, keep := e.tunables.slowMicros.Load(), e.tunables.slowLen.Load(); us >= 0 && keep > 0 && took.Microseconds() >= us {
		entry := slowEntry{namespace: s.grant.NamespaceID, at: now, took: took, addr: s.Peer.Remote, name: s.Name()}
		for a := range slowShown.of(cmd, args) {
			entry.args = append(entry.args, string(a))
		}
		e.slow.add(s.partOf(), entry, keep)
	}
	if ms := e.tunables.latencyMS.Load(); ms > 0 && took.Milliseconds() >= ms {
		event := "command"
		if cmd.Flags&FlagFast != 0 {
			event = "fast-command"
		}
		e.latency.add(s.partOf(), event, now, took.Milliseconds())
	}
}

func slowlogSpec() Spec {
	const flags = FlagAdmin | FlagLoading | FlagStale | FlagSession
	sub := func(name string, arity int, since, summary string, run func(*Ctx)) Spec {
		return Spec{Name: name, Arity: arity, Flags: flags, Scope: ScopeTenant, Since: since, Summary: summary, Run: run}
	}
	return Spec{Name: "slowlog", Arity: -2, Flags: FlagSession, Scope: ScopeTenant, Group: "server", Since: "2.2.12",
		Summary: "A container for slow log commands.", Subs: []Spec{
			sub("get", -2, "2.2.12", "Returns the slow log's entries of the namespace.", slowlogGet),
			sub("len", 2, "2.2.12", "Returns the number of entries in the slow log.", slowlogLen),
			{Name: "reset", Arity: 2, Flags: flags | FlagShared, Scope: ScopeTenant, Since: "2.2.12",
				Summary: "Empties the slow log of the namespace.", Run: slowlogReset},
			{Name: "help", Arity: 2, Flags: FlagLoading | FlagStale | FlagSession, Scope: ScopeTenant, Since: "6.2.0",
				Summary: "Lists the subcommands.", Run: slowlogHelp},
		}}
}

// slowlogGet answers Redis' six fields; an admin reads all namespaces' entries, with the namespace before
// the client's name: client libraries refuse a seventh field.
func slowlogGet(c *Ctx) {
	count := int64(10)
	if len(c.Args) > 3 {
		c.Out.Error("ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.")
		return
	}
	if len(c.Args) == 3 {
		var ok bool
		if count, ok = datatype.ParseInt(c.Args[2]); !ok || count < -1 {
			c.Out.Error("ERR count should be greater than or equal to -1")
			return
		}
	}
	list := c.ex.slow.list(c.Session.partOf(), count)
	admin := c.Session.grant.Admin()
	c.Out.Array(len(list))
	for i := range list {
		e := &list[i]
		id, name := e.id, e.name
		if admin {
			id, name = e.nodeID, strings.TrimSuffix(c.namespaceName(e.namespace)+" "+name, " ")
		}
		c.Out.Array(6)
		c.Out.Int(id)
		c.Out.Int(e.at.Unix())
		c.Out.Int(e.took.Microseconds())
		c.Out.Array(len(e.args))
		for _, a := range e.args {
			c.Out.BulkString(a)
		}
		c.Out.BulkString(e.addr)
		c.Out.BulkString(name)
	}
}

// namespaceName is empty for a namespace that is gone.
func (c *Ctx) namespaceName(id uint64) string {
	if ns := c.lease.View().Namespace(id); ns != nil {
		return ns.Name
	}
	return ""
}

func slowlogLen(c *Ctx) { c.Out.Int(int64(c.ex.slow.count(c.Session.partOf()))) }

func slowlogReset(c *Ctx) {
	c.ex.slow.reset(c.Session.partOf())
	c.Out.OK()
}

func slowlogHelp(c *Ctx) {
	writeLines(c, "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
		"GET [<count>]",
		"    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
		"    Entries are made of:",
		"    id, timestamp, time in microseconds, arguments array, client IP and port,",
		"    client name",
		"LEN",
		"    Return the length of the slowlog.",
		"RESET",
		"    Reset the slowlog.",
		"HELP",
		"    Prints this help.")
}

// writeLines answers a help text.
func writeLines(c *Ctx, lines ...string) {
	c.Out.Array(len(lines))
	for _, line := range lines {
		c.Out.Simple(line)
	}
}
