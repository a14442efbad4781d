package command

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	latencySamples       = 160 // of one event, as in Redis
	latencyNamespacesMax = 4096
)

// latencySample is the slowest of one second.
type latencySample struct{ at, ms int64 }

// latencyEvent is what one kind of event has seen, oldest first.
type latencyEvent struct {
	samples []latencySample
	most    int64 // ms, since the last reset
}

// latencies are the latency events of a node's namespaces, and, as operators', of the whole node.
type latencies struct {
	mu    sync.Mutex
	parts map[uint64]map[string]*latencyEvent
}

func (l *latencies) add(part uint64, event string, now time.Time, ms int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parts == nil {
		l.parts = map[uint64]map[string]*latencyEvent{operators: {}}
	}
	if l.parts[part] == nil {
		if len(l.parts) >= latencyNamespacesMax {
			l.forgetOldest()
		}
		l.parts[part] = make(map[string]*latencyEvent, 1)
	}
	l.parts[part][event] = l.parts[part][event].with(now.Unix(), ms)
	if part != operators {
		l.parts[operators][event] = l.parts[operators][event].with(now.Unix(), ms)
	}
}

// with adds a sample. Those of one second are one, as in Redis.
func (e *latencyEvent) with(at, ms int64) *latencyEvent {
	if e == nil {
		e = new(latencyEvent)
	}
	e.most = max(e.most, ms)
	if n := len(e.samples); n > 0 && e.samples[n-1].at == at {
		e.samples[n-1].ms = max(e.samples[n-1].ms, ms)
		return e
	}
	if len(e.samples) == latencySamples {
		e.samples = append(e.samples[:0], e.samples[1:]...)
	}
	e.samples = append(e.samples, latencySample{at, ms})
	return e
}

// forgetOldest forgets the namespace that has had no event for longest.
func (l *latencies) forgetOldest() {
	newest := func(events map[string]*latencyEvent) (at int64) {
		for _, e := range events {
			at = max(at, e.samples[len(e.samples)-1].at)
		}
		return at
	}
	var oldest uint64
	least := int64(-1)
	for part, events := range l.parts {
		if at := newest(events); part != operators && (least < 0 || at < least) {
			oldest, least = part, at
		}
	}
	delete(l.parts, oldest)
}

// namedEvent is a copy of an event with its name.
type namedEvent struct {
	name string
	latencyEvent
}

// list returns the events of a part, by name.
func (l *latencies) list(part uint64) []namedEvent {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]namedEvent, 0, 2)
	for name, e := range l.parts[part] {
		list = append(list, namedEvent{name, latencyEvent{slices.Clone(e.samples), e.most}})
	}
	slices.SortFunc(list, func(a, b namedEvent) int { return cmp.Compare(a.name, b.name) })
	return list
}

func (l *latencies) get(part uint64, event []byte) (latencyEvent, bool) {
	for _, e := range l.list(part) {
		if e.name == string(event) {
			return e.latencyEvent, true
		}
	}
	return latencyEvent{}, false
}

// reset forgets the named events of a part, or all, and returns how many there were.
func (l *latencies) reset(part uint64, names [][]byte) (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events := l.parts[part]
	if len(names) == 0 {
		n = int64(len(events))
		clear(events)
	}
	for _, name := range names {
		if events[string(name)] != nil {
			delete(events, string(name))
			n++
		}
	}
	if part != operators && len(events) == 0 {
		delete(l.parts, part)
	}
	return n
}

func latencySpec() Spec {
	const flags = FlagAdmin | FlagNoScript | FlagLoading | FlagStale | FlagSession
	sub := func(name string, arity int, since, summary string, run func(*Ctx)) Spec {
		return Spec{Name: name, Arity: arity, Flags: flags, Scope: ScopeTenant, Since: since, Summary: summary, Run: run}
	}
	return Spec{Name: "latency", Arity: -2, Flags: FlagSession, Scope: ScopeTenant, Group: "server", Since: "2.8.13",
		Summary: "A container for latency diagnostics commands.", Subs: []Spec{
			sub("doctor", 2, "2.8.13", "Returns a report about the namespace's latency.", latencyDoctor),
			sub("graph", 3, "2.8.13", "Returns a graph of a latency event.", latencyGraph),
			sub("histogram", -2, "7.0.0", "Returns the cumulative distribution of commands' times.", latencyHistogram),
			sub("history", 3, "2.8.13", "Returns the samples of a latency event.", latencyHistory),
			sub("latest", 2, "2.8.13", "Returns the latest samples of all events.", latencyLatest),
			{Name: "reset", Arity: -2, Flags: flags | FlagShared, Scope: ScopeTenant, Since: "2.8.13",
				Summary: "Forgets the samples of events.", Run: latencyReset},
			{Name: "help", Arity: 2, Flags: FlagLoading | FlagStale | FlagSession, Scope: ScopeTenant, Since: "2.8.13",
				Summary: "Lists the subcommands.", Run: func(c *Ctx) { writeHelp(c, "LATENCY") }},
		}}
}

func latencyHistory(c *Ctx) {
	e, _ := c.ex.latency.get(c.Session.partOf(), c.Args[2])
	c.Out.Array(len(e.samples))
	for _, s := range e.samples {
		c.Out.Array(2)
		c.Out.Int(s.at)
		c.Out.Int(s.ms)
	}
}

func latencyLatest(c *Ctx) {
	list := c.ex.latency.list(c.Session.partOf())
	c.Out.Array(len(list))
	for _, e := range list {
		last := e.samples[len(e.samples)-1]
		c.Out.Array(4)
		c.Out.BulkString(e.name)
		c.Out.Int(last.at)
		c.Out.Int(last.ms)
		c.Out.Int(e.most)
	}
}

func latencyReset(c *Ctx) { c.Out.Int(c.ex.latency.reset(c.Session.partOf(), c.Args[2:])) }

// graphRows is the height of a graph: a column has one of four marks in one of these rows.
const graphRows = 4

// latencyGraph draws the samples as columns, with their age in minutes, hours or days left to the reader's clock:
// the newest is on the right.
func latencyGraph(c *Ctx) {
	e, ok := c.ex.latency.get(c.Session.partOf(), c.Args[2])
	if !ok {
		c.Out.Error("ERR No samples available for event '" + printable(c.Args[2], 128) + "'")
		return
	}
	low, high := e.samples[0].ms, e.samples[0].ms
	for _, s := range e.samples {
		low, high = min(low, s.ms), max(high, s.ms)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s - high %d ms, low %d ms (all time high %d ms)\n%s\n", c.Arg(2), high, low, e.most, strings.Repeat("-", 80))
	shown := e.samples[max(0, len(e.samples)-80):]
	const marks = "_o#"
	for row := graphRows - 1; row >= 0; row-- {
		for _, s := range shown {
			steps := int64(graphRows*len(marks) - 1)
			level := int(steps)
			if high > low {
				level = int((s.ms - low) * steps / (high - low))
			}
			switch {
			case level/len(marks) == row:
				b.WriteByte(marks[level%len(marks)])
			case level/len(marks) > row:
				b.WriteByte('|')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteByte('\n')
	}
	c.Out.Verbatim("txt", b.String())
}

func latencyDoctor(c *Ctx) {
	threshold := c.ex.tunables.latencyMS.Load()
	if threshold == 0 {
		c.Out.Verbatim("txt", "Latency monitoring is disabled on this node. An admin may use \"CONFIG SET latency-monitor-threshold "+
			"<milliseconds>.\" in order to enable it.\n")
		return
	}
	list := c.ex.latency.list(c.Session.partOf())
	if len(list) == 0 {
		c.Out.Verbatim("txt", fmt.Sprintf("No latency spike of %d ms or more was observed. SLOWLOG GET shows slow commands.\n", threshold))
		return
	}
	var b strings.Builder
	for _, e := range list {
		sum, low := int64(0), e.samples[0].ms
		for _, s := range e.samples {
			sum, low = sum+s.ms, min(low, s.ms)
		}
		fmt.Fprintf(&b, "%s: %d latency spikes (average %d ms, least %d ms). Worst all time event %d ms.\n",
			e.name, len(e.samples), sum/int64(len(e.samples)), low, e.most)
	}
	b.WriteString("SLOWLOG GET shows which commands are slow.\n")
	c.Out.Verbatim("txt", b.String())
}
