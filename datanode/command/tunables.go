package command

import (
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// tunables are the settings of a node that CONFIG SET changes while it runs.
type tunables struct {
	mu         sync.Mutex   // one change at a time
	slowMicros atomic.Int64 // from which a command is in the slow log; negative: none is
	slowLen    atomic.Int64 // entries that a namespace's slow log keeps
	latencyMS  atomic.Int64 // from which a command is a latency event; 0: none is
	// watched is the shortest of these times, which is all that commands that take less cost. With notWatched nobody
	// asks, and no clock is read for each.
	watched atomic.Int64 // nanoseconds
}

const (
	notWatched      = math.MaxInt64
	slowMicrosFirst = 10_000
	slowLenFirst    = 128
)

// begin sets what holds until CONFIG SET.
func (t *tunables) begin() {
	t.slowMicros.Store(slowMicrosFirst)
	t.slowLen.Store(slowLenFirst)
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

// tunable is one of them.
type tunable struct {
	name  string
	least int64
	value *atomic.Int64
}

// list has every tunable, sorted by name.
func (t *tunables) list() []tunable {
	return []tunable{
		{"latency-monitor-threshold", 0, &t.latencyMS},
		{"slowlog-log-slower-than", -1, &t.slowMicros},
		{"slowlog-max-len", 0, &t.slowLen},
	}
}

// parse reads a value, or tells in Redis' words what is wrong with it.
func (k *tunable) parse(b []byte) (v int64, refusal string) {
	v, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0, "argument couldn't be parsed into an integer"
	}
	if v < k.least {
		return 0, "argument must be between " + strconv.FormatInt(k.least, 10) + " and 9223372036854775807 inclusive"
	}
	return v, ""
}

// configSet sets the tunables, all or none. Everything else is complete when a node starts.
func configSet(c *Ctx) {
	t := &c.ex.tunables
	if len(c.Args)%2 != 0 {
		c.Fail(errSyntax)
		return
	}
	known := settings(c)
	failed := func(name, why string) {
		c.Out.Error("ERR CONFIG SET failed (possibly related to argument '" + name + "') - " + why)
	}
	for i := 2; i < len(c.Args); i += 2 { // Redis looks at all names first
		if !knownSetting(known, c.Args[i]) {
			c.Out.Error("ERR Unknown option or number of arguments for CONFIG SET - '" + printable(c.Args[i], 128) + "'")
			return
		}
	}
	values := make(map[*atomic.Int64]int64, 1)
	for i := 2; i < len(c.Args); i += 2 {
		name, found := printable(c.Args[i], 128), false
		for _, k := range t.list() {
			if !is(c.Args[i], k.name) {
				continue
			}
			if _, twice := values[k.value]; twice {
				failed(name, "duplicate parameter")
				return
			}
			v, refusal := k.parse(c.Args[i+1])
			if refusal != "" {
				failed(name, refusal)
				return
			}
			values[k.value], found = v, true
		}
		if !found {
			failed(name, "can't set immutable config")
			return
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for to, v := range values {
		to.Store(v)
	}
	t.rewatch()
	c.Out.OK()
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
