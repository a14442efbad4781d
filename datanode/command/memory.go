package command

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/atolldb/atoll/datanode/datatype"
)

// keyOverhead is about what a key costs on disk beside its bytes: its place in a table, its filters, its checksum.
const keyOverhead = 32

func memorySpec() Spec {
	const flags = FlagLoading | FlagStale | FlagSession
	return Spec{Name: "memory", Arity: -2, Flags: FlagReadOnly, Scope: ScopeTenant, Group: "server", Since: "4.0.0",
		Summary: "A container for memory diagnostics commands.", Subs: []Spec{
			{Name: "doctor", Arity: 2, Flags: flags, Scope: ScopeTenant, Since: "4.0.0", Summary: "Returns a report about memory.", Run: memoryDoctor},
			{Name: "malloc-stats", Arity: 2, Flags: flags, Scope: ScopeAdmin, Since: "4.0.0", Summary: "Returns the Go runtime's figures.", Run: memoryMallocStats},
			{Name: "purge", Arity: 2, Flags: flags, Scope: ScopeAdmin, Since: "4.0.0", Summary: "Gives memory back to the system.", Run: memoryPurge},
			{Name: "stats", Arity: 2, Flags: flags, Scope: ScopeTenant, Since: "4.0.0", Summary: "Returns figures about memory and rows.", Run: memoryStats},
			{Name: "usage", Arity: -3, Flags: FlagReadOnly, Scope: ScopeTenant, Keys: KeySpec{First: 2, Last: 2, Step: 1}, Since: "4.0.0",
				Summary: "Estimates the bytes that a key and its value take on disk.", Run: onData(memoryUsage)},
			{Name: "help", Arity: 2, Flags: flags, Scope: ScopeTenant, Since: "4.0.0", Summary: "Lists the subcommands.", Run: memoryHelp},
		}}
}

// memoryUsage is an estimate that looks at one row: of a spread collection that has the sum. SAMPLES changes nothing.
func memoryUsage(c *Ctx, w *work) {
	for i := 3; i < len(c.Args); i += 2 {
		if !is(c.Args[i], "samples") || i+1 == len(c.Args) {
			c.Fail(errSyntax)
			return
		}
		switch n, ok := datatype.ParseInt(c.Args[i+1]); {
		case !ok:
			c.Fail(errNotInteger)
			return
		case n < 0:
			c.Fail(errSyntax)
			return
		}
	}
	row, ok := w.Tx.Get(w.DB, c.Args[2])
	if !ok {
		c.Out.Null()
		return
	}
	c.Out.Int(int64(keyOverhead + len(c.Args[2]) + len(row.Data) + int(row.Bytes)))
}

func memoryDoctor(c *Ctx) {
	c.Out.Verbatim("txt", "Rows are on disk, and memory holds bounded caches of them: there is nothing to cure here. "+
		"INFO memory and INFO namespace have the figures.\n")
}

// memoryStats has the fields of Redis' that mean something here. A tenant's are about its namespace.
func memoryStats(c *Ctx) {
	ns := c.Session.namespaceIn(c.lease.Store())
	sum := ns.Counters()
	total := sum.Bytes
	if c.Session.grant.Admin() {
		t := c.lease.Store().Total()
		sum.Keys, sum.Bytes, total = t.Keys, t.Bytes, int64(memoryUsed())
	}
	figures := []struct {
		name string
		n    int64
	}{
		{"peak.allocated", total}, {"total.allocated", total}, {"startup.allocated", 0}, {"replication.backlog", 0},
		{"clients.slaves", 0}, {"clients.normal", 0}, {"cluster.links", 0}, {"aof.buffer", 0}, {"lua.caches", 0},
		{"functions.caches", 0}, {"overhead.total", max(0, total-sum.Bytes)}, {"keys.count", sum.Keys},
		{"keys.bytes-per-key", sum.Bytes / max(1, sum.Keys)}, {"dataset.bytes", sum.Bytes},
	}
	c.Out.Map(len(figures))
	for _, f := range figures {
		c.Out.BulkString(f.name)
		c.Out.Int(f.n)
	}
}

// memoryPurge collects garbage first, which stops nobody for long but costs a processor: it is for admins.
func memoryPurge(c *Ctx) {
	debug.FreeOSMemory()
	c.Out.OK()
}

func memoryMallocStats(c *Ctx) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c.Out.Verbatim("txt", fmt.Sprintf("heap_alloc:%d\nheap_sys:%d\nheap_idle:%d\nheap_released:%d\nheap_objects:%d\nnext_gc:%d\nnum_gc:%d\n",
		m.HeapAlloc, m.HeapSys, m.HeapIdle, m.HeapReleased, m.HeapObjects, m.NextGC, m.NumGC))
}

func memoryHelp(c *Ctx) {
	writeLines(c, "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
		"DOCTOR",
		"    Return memory problems reports.",
		"MALLOC-STATS",
		"    Return internal statistics report from the memory allocator.",
		"PURGE",
		"    Attempt to purge dirty pages for reclamation by the allocator.",
		"STATS",
		"    Return information about the memory usage of the server.",
		"USAGE <key> [SAMPLES <count>]",
		"    Return memory in bytes used by <key> and its value. Nested values are",
		"    sampled up to <count> times (default: 5, 0 means sample all).",
		"HELP",
		"    Prints this help.")
}
