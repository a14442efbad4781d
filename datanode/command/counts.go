package command

import (
	"fmt"

	"github.com/atolldb/atoll/datanode/datatype"
)

// counts are what INFO shows of a namespace, or of a node, since it was reset.
type counts struct {
	in, out, limited, connections, commands uint64
	hits, misses, expired                   uint64
	rejected, evicted                       uint64 // connections; a node's alone
	errors                                  [len(errorCodes)]uint64
}

// plus adds o, times by (1 or -1, modulo 2^64).
func (c *counts) plus(o *counts, by uint64) {
	c.in += by * o.in
	c.out += by * o.out
	c.limited += by * o.limited
	c.connections += by * o.connections
	c.commands += by * o.commands
	c.hits += by * o.hits
	c.misses += by * o.misses
	c.expired += by * o.expired
	c.rejected += by * o.rejected
	c.evicted += by * o.evicted
	for i, n := range o.errors {
		c.errors[i] += by * n
	}
}

// since returns what was counted since a reset, nil for none.
func (c counts) since(base *counts) counts {
	if base != nil {
		c.plus(base, ^uint64(0))
	}
	return c
}

func (c *counts) errorReplies() (n uint64) {
	for _, e := range c.errors {
		n += e
	}
	return n
}

// counts reads a namespace's.
func (st *namespaceStats) counts() counts {
	c := counts{
		in: st.in.Load(), out: st.out.Load(), limited: st.limited.Load(), connections: st.connections.Load(), commands: st.commands.Load(),
		hits: st.hits.Load(), misses: st.misses.Load(), expired: st.expired.Load(),
	}
	for i := range st.errors {
		c.errors[i] = st.errors[i].Load()
	}
	return c
}

// looked counts what a run has looked up.
func (st *namespaceStats) looked(l *datatype.Looks) {
	if l.Hits > 0 {
		st.hits.Add(l.Hits)
	}
	if l.Misses > 0 {
		st.misses.Add(l.Misses)
	}
}

// Expired counts keys of a namespace that ran out, and were deleted.
func (e *Executor) Expired(namespace uint64, keys int) {
	e.namespaceStats(namespace).expired.Add(uint64(keys))
}

// counts are those of the node, whose commands and connections are also nobody's.
func (e *Executor) counts() counts {
	e.stats.goneMu.Lock()
	all := e.stats.gone
	e.stats.namespaces.Range(func(_, st any) bool {
		c := st.(*namespaceStats).counts()
		all.plus(&c, 1)
		return true
	})
	e.stats.goneMu.Unlock()
	all.connections, all.commands = e.sessions.Total(), 0
	all.rejected, all.evicted = e.sessions.rejected.Load(), e.sessions.evicted.Load()
	for i := range e.stats.commands {
		all.commands += e.stats.commands[i].times.calls()
	}
	return all
}

// forgetNamespace forgets a namespace that is gone, but for what the node has counted with it.
func (e *Executor) forgetNamespace(st *namespaceStats) {
	e.stats.holders.dismiss(st)
	e.stats.goneMu.Lock()
	defer e.stats.goneMu.Unlock()
	if e.stats.namespaces.CompareAndDelete(st.id, st) {
		c := st.counts()
		e.stats.gone.plus(&c, 1)
	}
}

// counts are those of the session's namespace, or, for an admin, of the node.
func (w *infoWriter) counts() counts {
	if w.admin {
		return w.ex.counts().since(w.ex.stats.base.Load())
	}
	return w.Session.stats.counts().since(w.Session.stats.base.Load())
}

// infoErrorStats is Redis' section of error replies by code.
func infoErrorStats(w *infoWriter) {
	sum := w.counts()
	for i, n := range sum.errors {
		if n > 0 {
			fmt.Fprintf(w, "errorstat_%s:count=%d\r\n", errorCodes[i], n)
		}
	}
}

// configResetStat begins anew what INFO stats, commandstats and errorstats and LATENCY HISTOGRAM show whom: a tenant what
// is of its namespace, an admin what is of the node. Neither changes what the other sees, and metrics go on.
func configResetStat(c *Ctx) {
	if c.Session.grant.Admin() {
		for i := range c.ex.stats.commands {
			st := &c.ex.stats.commands[i]
			st.times.reset()
			st.micros.Store(0)
			st.rejected.Store(0)
		}
		now := c.ex.counts()
		now.commands = 0 // they were reset
		c.ex.stats.base.Store(&now)
	} else {
		st := c.Session.stats
		now := st.counts()
		st.base.Store(&now)
		if hs := st.histograms.Load(); hs != nil {
			for i := range *hs {
				(*hs)[i].Store(nil)
			}
		}
	}
	c.Out.OK()
}
