package command

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/datatype"
)

// tunables are the settings of a node that CONFIG SET changes while it runs.
type tunables struct {
	mu         sync.Mutex   // one change at a time
	slowMicros atomic.Int64 // from which a command is in the slow log; negative: none is
	slowLen    atomic.Int64 // entries that a namespace's slow log keeps
	latencyMS  atomic.Int64 // from which a command is a latency event; 0: none is
	edge       Edge
	// watched is the shortest of these times, which is all that commands that take less cost. With notWatched nobody
	// asks, and no clock is read for each.
	watched atomic.Int64 // nanoseconds
}

// Edge are the limits of connections, which the edge asks for whenever it holds one against them.
type Edge struct {
	MaxClients  atomic.Int64
	MemoryBytes atomic.Int64 // of all clients' buffers
	IdleNanos   atomic.Int64 // 0: no limit
	memoryMost  int64        // that MemoryBytes had at the start
	clientsMost int64        // that the process has files for; 0: as many as may be
}

// Begin sets what holds until CONFIG SET, before any connection. The process may not open more than clientsMost
// connections; 0 is no bound. The bound of the process's memory counts on MemoryBytes growing no more.
func (e *Edge) Begin(maxClients, memoryBytes int, idle time.Duration, clientsMost int) {
	e.MaxClients.Store(int64(maxClients))
	e.MemoryBytes.Store(int64(memoryBytes))
	e.IdleNanos.Store(int64(idle))
	e.memoryMost, e.clientsMost = int64(memoryBytes), int64(clientsMost)
}

// Edge returns the limits of connections.
func (e *Executor) Edge() *Edge { return &e.tunables.edge }

const (
	notWatched      = math.MaxInt64
	slowMicrosFirst = 10_000
	slowLenFirst    = 128
	// memoryLeast is client-memory's least, in bytes.
	memoryLeast = 16 << 20
)

// begin sets what holds until CONFIG SET.
func (t *tunables) begin() {
	t.slowMicros.Store(slowMicrosFirst)
	t.slowLen.Store(slowLenFirst)
	t.edge.Begin(10_000, 1<<30, 0, 0) // where there is no edge
	t.rewatch()
}

// rewatch computes watched.
func (t *tunables) rewatch() {
	least := int64(notWatched)
	if us := t.slowMicros.Load(); us >= 0 && t.slowLen.Load() > 0 {
		least = nanoseconds(us, time.Microsecond)
	}
	if ms := t.latencyMS.Load(); ms > 0 {
		least = min(least, nanoseconds(ms, time.Millisecond))
	}
	t.watched.Store(least)
}

// nanoseconds is n units; more than fit are as many as fit.
func nanoseconds(n int64, unit time.Duration) int64 {
	if n > (notWatched-1)/int64(unit) {
		return notWatched - 1
	}
	return n * int64(unit)
}

// tunable is one of them, by Redis' name.
type tunable struct {
	name        string
	least, most int64 // in units
	unit        int64 // of value
	value       *atomic.Int64
	// read, unless nil, is how a value is read that isn't a plain integer.
	read func([]byte) (v int64, refusal string)
	// refuse, unless nil, refuses a value within the bounds.
	refuse func(v int64) (refusal string)
}

// list has every tunable, sorted by name.
func (t *tunables) list() []tunable {
	const unbounded = math.MaxInt64
	e := &t.edge
	return []tunable{
		{name: "latency-monitor-threshold", most: unbounded, unit: 1, value: &t.latencyMS},
		{name: "maxclients", least: 1, most: math.MaxUint32, unit: 1, value: &e.MaxClients, refuse: e.tooManyClients},
		{name: "maxmemory-clients", least: min(memoryLeast, e.memoryMost), most: e.memoryMost, unit: 1, value: &e.MemoryBytes, read: parseMemory},
		{name: "slowlog-log-slower-than", least: -1, most: unbounded, unit: 1, value: &t.slowMicros},
		{name: "slowlog-max-len", most: unbounded, unit: 1, value: &t.slowLen},
		{name: "timeout", most: math.MaxInt32, unit: int64(time.Second), value: &e.IdleNanos},
	}
}

// String is what CONFIG GET shows.
func (k *tunable) String() string { return strconv.FormatInt(k.value.Load()/k.unit, 10) }

// tooManyClients refuses more clients than the process may open files for.
func (e *Edge) tooManyClients(n int64) string {
	if e.clientsMost == 0 || n <= e.clientsMost {
		return ""
	}
	return "The operating system is not able to handle the specified number of clients, try with " + strconv.FormatInt(e.clientsMost, 10)
}

// parse reads a value, or tells in Redis' words what is wrong with it.
func (k *tunable) parse(b []byte) (v int64, refusal string) {
	read := k.read
	if read == nil {
		read = parseInteger
	}
	if v, refusal = read(b); refusal != "" {
		return 0, refusal
	}
	if v < k.least || v > k.most {
		return 0, "argument must be between " + strconv.FormatInt(k.least, 10) + " and " + strconv.FormatInt(k.most, 10) + " inclusive"
	}
	if k.refuse != nil {
		refusal = k.refuse(v)
	}
	return v * k.unit, refusal
}

func parseInteger(b []byte) (v int64, refusal string) {
	v, ok := datatype.ParseInt(b)
	if !ok {
		return 0, "argument couldn't be parsed into an integer"
	}
	return v, ""
}

// parseMemory reads a size with a unit, as in Redis: k is 1,000 bytes, and kb 1,024. There is no maxmemory that a
// percentage could be of.
func parseMemory(b []byte) (v int64, refusal string) {
	const bad = "argument must be a memory or percent value"
	digits, by := strings.ToLower(string(b)), int64(1)
	if strings.HasSuffix(digits, "%") {
		return 0, "there is no maxmemory that a percentage could be of"
	}
	for _, u := range [...]struct {
		name string
		by   int64
	}{{"kb", 1 << 10}, {"mb", 1 << 20}, {"gb", 1 << 30}, {"k", 1e3}, {"m", 1e6}, {"g", 1e9}, {"b", 1}} {
		if rest, ok := strings.CutSuffix(digits, u.name); ok {
			digits, by = rest, u.by
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/by {
		return 0, bad
	}
	return int64(n) * by, ""
}

// configSet sets the tunables, all or none. Everything else is complete when a node starts.
func configSet(c *Ctx) {
	if len(c.Args)%2 != 0 {
		c.Fail(errSyntax)
		return
	}
	t := &c.ex.tunables
	t.mu.Lock()
	defer t.mu.Unlock()
	chosen, ok := t.choose(c)
	if !ok {
		return
	}
	values := make([]int64, len(chosen))
	for i := range chosen {
		var refusal string
		if values[i], refusal = chosen[i].parse(c.Args[3+2*i]); refusal != "" {
			c.failSetting(2+2*i, refusal)
			return
		}
	}
	changes := make([]any, 0, 2*len(chosen)+2)
	for i := range chosen {
		chosen[i].value.Store(values[i])
		changes = append(changes, chosen[i].name, chosen[i].String())
	}
	t.rewatch()
	c.ex.log.Info("settings were changed, until the process ends", append(changes, "token", c.Session.grant.TokenID)...)
	c.Out.OK()
}

// choose finds the tunables that are named, or answers with the error. As in Redis, it comes before any value is read.
func (t *tunables) choose(c *Ctx) (chosen []tunable, ok bool) {
	known, list := settings(c), t.list()
	for i := 2; i < len(c.Args); i += 2 {
		if !knownSetting(known, c.Args[i]) {
			c.Out.Error("ERR Unknown option or number of arguments for CONFIG SET - '" + printable(c.Args[i], 128) + "'")
			return nil, false
		}
		found := false
		for _, k := range list {
			if !is(c.Args[i], k.name) {
				continue
			}
			for j := range chosen {
				if chosen[j].value == k.value {
					c.failSetting(i, "duplicate parameter")
					return nil, false
				}
			}
			chosen, found = append(chosen, k), true
		}
		if !found {
			c.failSetting(i, "can't set immutable config")
			return nil, false
		}
	}
	return chosen, true
}

// failSetting answers what is wrong with the parameter in Args[i].
func (c *Ctx) failSetting(i int, why string) {
	c.Out.Error("ERR CONFIG SET failed (possibly related to argument '" + printable(c.Args[i], 128) + "') - " + why)
}

func knownSetting(known [][2]string, name []byte) bool {
	for _, s := range known {
		if is(name, s[0]) {
			return true
		}
	}
	return false
}

// configRewrite answers as a Redis does that was started by flags alone.
func configRewrite(c *Ctx) {
	c.Out.Error("ERR The server is running without a config file")
}
