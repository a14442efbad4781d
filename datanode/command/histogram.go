package command

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// histogramBuckets of LATENCY HISTOGRAM are Redis': bucket i is of times below histogramUnit << i, and the last one
	// of all that are longer, too.
	histogramBuckets = 21
	histogramUnit    = 1032 * time.Nanosecond
	// histogramHolders bounds the namespaces that have histograms: 168 bytes for each command that one has sent, 40 MiB
	// if every one of them has sent all there are.
	histogramHolders = 1024
)

// histogram counts a command's calls by their time.
type histogram [histogramBuckets]atomic.Uint64

// bucketOf returns the bucket of a time.
func bucketOf(took time.Duration) int {
	return min(bits.Len64(uint64(max(0, took)/histogramUnit)), histogramBuckets-1)
}

// bucketMicros is what Redis calls a bucket: its longest time, in microseconds. Its histograms end at 2^30 ns.
func bucketMicros(i int) int64 { return (min(int64(histogramUnit)<<i, 1<<30) - 1) / 1000 }

// calls is the number of all calls.
func (h *histogram) calls() (n uint64) {
	for i := range h {
		n += h[i].Load()
	}
	return n
}

// reset forgets the calls.
func (h *histogram) reset() {
	for i := range h {
		h[i].Store(0)
	}
}

// histograms are a namespace's, by command.order; nil before the first call of one.
type histograms []atomic.Pointer[histogram]

// of returns a command's histogram, made at first use.
func (hs histograms) of(cmd *command) *histogram {
	h := hs[cmd.order].Load()
	if h == nil {
		hs[cmd.order].CompareAndSwap(nil, new(histogram))
		if h = hs[cmd.order].Load(); h == nil { // reset just now
			h = new(histogram)
		}
	}
	return h
}

// holders are the namespaces that have histograms.
type holders struct {
	mu   sync.Mutex
	list []*namespaceStats
	// floor is how many commands a namespace must have executed to get a place: 0 while there is room. When there is
	// none, it takes that of the one that has executed fewest, once it has executed twice as many: so that namespaces
	// that are equally busy don't take it from each other again and again.
	floor atomic.Uint64
}

// admit gives a namespace histograms of so many commands, and returns them; nil if it doesn't get any.
func (o *holders) admit(st *namespaceStats, commands int) *histograms {
	n := st.commands.Load()
	if n < o.floor.Load() {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if hs := st.histograms.Load(); hs != nil {
		return hs
	}
	if len(o.list) >= histogramHolders {
		least := 0
		for i, other := range o.list {
			if other.commands.Load() < o.list[least].commands.Load() {
				least = i
			}
		}
		floor := 2 * o.list[least].commands.Load()
		if o.floor.Store(floor); n < floor {
			return nil
		}
		o.list[least].histograms.Store(nil)
		o.list[least] = o.list[len(o.list)-1]
		o.list = o.list[:len(o.list)-1]
	}
	hs := make(histograms, commands)
	st.histograms.Store(&hs)
	o.list = append(o.list, st)
	return &hs
}

// dismiss takes the place of a namespace that is gone.
func (o *holders) dismiss(st *namespaceStats) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if st.histograms.Swap(nil) == nil {
		return
	}
	for i := range o.list {
		if o.list[i] == st {
			o.list[i] = o.list[len(o.list)-1]
			o.list = o.list[:len(o.list)-1]
			break
		}
	}
	o.floor.Store(0)
}

// clock counts n calls of a namespace's in a bucket.
func (e *Executor) clock(st *namespaceStats, cmd *command, n, bucket int) {
	hs := st.histograms.Load()
	if hs == nil {
		if hs = e.stats.holders.admit(st, len(e.table.list)); hs == nil {
			return
		}
	}
	(*hs).of(cmd)[bucket].Add(uint64(n))
}

// histogramOf returns what the session may see of a command's times: its namespace's, or, an admin, the node's. It is nil
// if there were no calls.
func (c *Ctx) histogramOf(cmd *command) *histogram {
	if c.Session.grant.Admin() {
		if h := &c.ex.stats.commands[cmd.order].times; h.calls() > 0 {
			return h
		}
		return nil
	}
	if hs := c.Session.stats.histograms.Load(); hs != nil {
		return (*hs)[cmd.order].Load()
	}
	return nil
}

// latencyHistogram answers with the commands that are named, and their subcommands, or with all.
func latencyHistogram(c *Ctx) {
	list := c.ex.table.list
	if len(c.Args) > 2 {
		list = nil
		for i := range c.Args[2:] {
			cmd := c.ex.table.lookup(c.Arg(2 + i))
			if cmd == nil {
				continue
			}
			list = append(list, cmd)
			for k := range cmd.Subs {
				list = append(list, cmd.subs[cmd.Subs[k].Name])
			}
		}
	}
	type shown struct {
		cmd   *command
		times *histogram
	}
	var found []shown
	for _, cmd := range list {
		if h := c.histogramOf(cmd); h != nil {
			found = append(found, shown{cmd, h})
		}
	}
	c.Out.Map(len(found))
	for _, f := range found {
		c.Out.BulkString(f.cmd.full)
		writeHistogram(c.Out, f.times)
	}
}

// writeHistogram writes, for each bucket that isn't empty, how many calls took no longer.
func writeHistogram(out *Reply, h *histogram) {
	var sums [histogramBuckets]int64
	total, shown := int64(0), 0
	for i := range h {
		if n := int64(h[i].Load()); n > 0 {
			total += n
			sums[i] = total
			shown++
		}
	}
	out.Map(2)
	out.BulkString("calls")
	out.Int(total)
	out.BulkString("histogram_usec")
	out.Map(shown)
	for i, sum := range sums {
		if sum > 0 {
			out.Int(bucketMicros(i))
			out.Int(sum)
		}
	}
}
