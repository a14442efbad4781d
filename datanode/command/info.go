package command

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"

	"github.com/atolldb/atoll/datanode/store"
)

// infoWriter writes one section after another. A tenant sees of each what concerns its namespace.
type infoWriter struct {
	*Ctx
	strings.Builder
	facts Facts
	admin bool
}

// infoSection is one section of INFO.
type infoSection struct {
	name    string // in lower case
	title   string
	always  bool // without arguments too
	admins  bool // for admins only
	section func(*infoWriter)
}

func infoSections() []infoSection {
	return []infoSection{
		{"server", "Server", true, false, infoServer},
		{"clients", "Clients", true, false, infoClients},
		{"memory", "Memory", true, false, infoMemory},
		{"persistence", "Persistence", true, false, infoPersistence},
		{"stats", "Stats", true, false, infoStats},
		{"replication", "Replication", true, false, infoReplication},
		{"cpu", "CPU", true, true, infoCPU},
		{"commandstats", "Commandstats", false, true, infoCommandStats},
		{"node", "Node", true, true, infoNode},
		{"group", "Group", true, true, infoGroup},
		{"namespace", "Namespace", true, false, infoNamespace},
		{"errorstats", "Errorstats", true, false, infoErrorStats},
		{"cluster", "Cluster", true, false, infoCluster},
		{"keyspace", "Keyspace", true, false, infoKeyspace},
	}
}

func info(c *Ctx) {
	w := &infoWriter{Ctx: c, facts: c.ex.node.Facts(), admin: c.Session.grant.Admin()}
	for _, s := range infoSections() {
		if (s.admins && !w.admin) || !infoAsked(c.Args[1:], &s) {
			continue
		}
		if w.Len() > 0 {
			w.WriteString("\r\n")
		}
		w.WriteString("# " + s.title + "\r\n")
		s.section(w)
	}
	c.Out.Verbatim("txt", w.String())
}

func infoAsked(names [][]byte, s *infoSection) bool {
	if len(names) == 0 {
		return s.always
	}
	for _, n := range names {
		if is(n, "all") || is(n, "everything") || (is(n, "default") && s.always) || is(n, s.name) {
			return true
		}
	}
	return false
}

// line writes one field.
func (w *infoWriter) line(name string, value any) { fmt.Fprintf(w, "%s:%v\r\n", name, value) }

func infoServer(w *infoWriter) {
	up := max(0, int64(w.Env.Clock().Sub(w.ex.started).Seconds()))
	_, port, _ := net.SplitHostPort(w.facts.RESPAddr)
	w.line("redis_version", redisVersion)
	w.line("atoll_version", w.ex.version)
	w.line("redis_mode", "standalone")
	w.line("os", runtime.GOOS+" "+runtime.GOARCH)
	w.line("arch_bits", strconv.IntSize)
	w.line("multiplexing_api", "go")
	w.line("go_version", runtime.Version())
	w.line("process_id", os.Getpid())
	w.line("run_id", w.facts.Incarnation)
	w.line("tcp_port", port)
	w.line("server_time_usec", w.Env.Clock().UnixMicro())
	w.line("uptime_in_seconds", up)
	w.line("uptime_in_days", up/86400)
	w.line("hz", 10)
	w.line("configured_hz", 10)
}

func infoClients(w *infoWriter) {
	n := 0
	for range w.visible {
		n++
	}
	w.line("connected_clients", n)
	w.line("maxclients", w.ex.Edge().MaxClients.Load())
	if w.admin {
		w.line("blocked_clients", w.ex.blocked.Load())
	} else {
		w.line("blocked_clients", w.Session.stats.waiting.any.Load())
	}
	w.line("tracking_clients", 0)
}

// counters are those of the session's namespace.
func (w *infoWriter) counters() store.Counters {
	return w.Session.namespaceIn(w.lease.Store()).Counters()
}

func infoMemory(w *infoWriter) {
	used := w.counters().Bytes
	if w.admin {
		used = int64(memoryUsed())
	}
	w.line("used_memory", used)
	w.line("used_memory_human", human(used))
	w.line("used_memory_rss", used)
	w.line("used_memory_peak", used)
	w.line("used_memory_lua", 0)
	w.line("maxmemory", 0)
	w.line("maxmemory_human", "0B")
	w.line("maxmemory_policy", "noeviction")
	w.line("mem_fragmentation_ratio", "1.00")
	w.line("mem_allocator", "go")
}

// memoryUsed is what the Go runtime has mapped and not given back.
func memoryUsed() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 || s[1].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// human writes a size as Redis does: 1.50K, 2.00M.
func human(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + "B"
	}
	f, units := float64(n), "KMGTP"
	for i := range len(units) {
		if f /= 1024; f < 1024 || i == len(units)-1 {
			return strconv.FormatFloat(f, 'f', 2, 64) + units[i:i+1]
		}
	}
	return ""
}

func infoPersistence(w *infoWriter) {
	w.line("loading", 0)
	w.line("async_loading", 0)
	w.line("rdb_changes_since_last_save", 0)
	saves, status, took, busy := w.ex.node.Saves(), "ok", int64(-1), int64(-1)
	if saves.Failed {
		status = "err"
	}
	if saves.Took >= 0 {
		took = int64(saves.Took.Seconds())
	}
	if saves.Busy {
		busy = int64(w.Env.Clock().Sub(saves.Began).Seconds())
	}
	w.line("rdb_bgsave_in_progress", boolInt(saves.Busy))
	w.line("rdb_last_save_time", w.ex.lastSave(saves))
	w.line("rdb_last_bgsave_status", status)
	w.line("rdb_last_bgsave_time_sec", took)
	w.line("rdb_current_bgsave_time_sec", busy)
	w.line("aof_enabled", 1)
	w.line("aof_rewrite_in_progress", 0)
	w.line("aof_last_write_status", "ok")
	if w.admin {
		log := w.lease.Store().Log().State()
		w.line("log_first_index", log.First)
		w.line("log_last_index", log.Last)
		w.line("log_synced_index", log.SyncedIndex)
		w.line("log_fsyncs", log.Syncs)
	}
}

func infoStats(w *infoWriter) {
	sum := w.counts()
	w.line("total_connections_received", sum.connections)
	w.line("total_commands_processed", sum.commands)
	w.line("total_net_input_bytes", sum.in)
	w.line("total_net_output_bytes", sum.out)
	w.line("total_error_replies", sum.errorReplies())
	w.line("rejected_connections", sum.rejected)
	w.line("expired_keys", sum.expired)
	w.line("expired_stale_perc", "0.00") // the sweeper knows what has run out, where Redis draws samples
	w.line("evicted_keys", 0)
	w.line("evicted_clients", sum.evicted)
	w.line("keyspace_hits", sum.hits)
	w.line("keyspace_misses", sum.misses)
	w.line("pubsub_channels", 0)
	w.line("pubsub_patterns", 0)
}

func infoReplication(w *infoWriter) {
	f := &w.facts
	if w.lease.Primary() {
		w.line("role", "master")
		sinks := f.Sinks
		if !w.admin {
			sinks = nil
		}
		w.line("connected_slaves", len(sinks))
		for i, s := range sinks {
			host, port, _ := net.SplitHostPort(s.RESPAddr)
			fmt.Fprintf(w, "slave%d:ip=%s,port=%s,state=online,offset=%d,lag=%d\r\n", i, host, port, s.AppliedIndex, s.LagSeconds)
		}
	} else {
		host, port := primaryAddress(w.lease.View())
		status := "down"
		if f.SourceUp {
			status = "up"
		}
		w.line("role", "slave")
		w.line("master_host", host)
		w.line("master_port", port)
		w.line("master_link_status", status)
		w.line("master_last_io_seconds_ago", f.LagSeconds)
		w.line("master_sync_in_progress", boolInt(f.Syncing))
		if w.admin {
			w.line("slave_repl_offset", f.AppliedIndex)
		}
		w.line("slave_read_only", boolInt(!w.ex.limits.ForwardWrites))
		w.line("connected_slaves", 0)
	}
	w.line("master_failover_state", "no-failover")
	w.line("master_replid", f.Written.History)
	if w.admin { // the log's end moves with every tenant's writes
		w.line("master_repl_offset", f.Written.Index)
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func infoCPU(w *infoWriter) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return
	}
	w.line("used_cpu_sys", fmt.Sprintf("%d.%06d", u.Stime.Sec, u.Stime.Usec))
	w.line("used_cpu_user", fmt.Sprintf("%d.%06d", u.Utime.Sec, u.Utime.Usec))
}

func infoCommandStats(w *infoWriter) {
	for i, cmd := range w.ex.table.list {
		st := &w.ex.stats.commands[i]
		calls, micros, rejected := st.times.calls(), st.micros.Load(), st.rejected.Load()
		if calls+rejected == 0 {
			continue
		}
		fmt.Fprintf(w, "cmdstat_%s:calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=0\r\n",
			cmd.full, calls, micros, float64(micros)/float64(max(1, calls)), rejected)
	}
}

func infoNode(w *infoWriter) {
	f := &w.facts
	total := w.lease.Store().Total()
	w.line("node_id", f.NodeID)
	w.line("incarnation", f.Incarnation)
	w.line("node_state", f.State)
	w.line("node_note", f.Note)
	w.line("node_damaged", boolInt(f.Damaged))
	w.line("resp_addr", f.RESPAddr)
	w.line("cluster_addr", f.ClusterAddr)
	w.line("view_revision", w.lease.View().Revision())
	w.line("written_index", f.Written.Index)
	w.line("synced_index", f.SyncedIndex)
	w.line("commit_index", f.CommitIndex)
	w.line("applied_index", f.AppliedIndex)
	w.line("node_keys", total.Keys)
	w.line("node_bytes", total.Bytes)
}

func infoGroup(w *infoWriter) {
	g := w.lease.View().Group(groupID)
	role := "replica"
	if w.lease.Primary() {
		role = "primary"
	}
	w.line("group_id", g.GetId())
	w.line("group_role", role)
	w.line("group_primary", g.GetPrimary())
	w.line("group_replicas", strings.Join(g.GetReplicas(), ","))
	w.line("group_epoch", g.GetEpoch())
	w.line("log_epoch", w.facts.Written.Epoch)
	w.line("group_history", g.GetHistoryId())
}

func infoNamespace(w *infoWriter) {
	ns := w.lease.View().Namespace(w.Session.grant.NamespaceID)
	sum := w.counters()
	w.line("namespace", ns.Name)
	w.line("namespace_id", ns.ID)
	w.line("namespace_durability", strings.ToLower(strings.TrimPrefix(ns.Durability.String(), "DURABILITY_")))
	w.line("namespace_keys", sum.Keys)
	w.line("namespace_bytes", sum.Bytes)
	w.line("namespace_expires", sum.Expires)
	w.line("namespace_commands", w.Session.stats.commands.Load())
	w.line("namespace_connections", w.Session.stats.connections.Load())
	w.line("namespace_sessions", w.Session.stats.count())
	w.line("namespace_limited_commands", w.Session.stats.limited.Load())
	w.line("namespace_read_only", boolInt(ns.ReadOnly))
	if l := ns.Limits; l != nil {
		for _, bound := range []struct {
			name string
			hard uint64
		}{
			{"keys", l.Keys.Hard}, {"bytes", l.Bytes.Hard}, {"connections", l.Connections.Hard}, {"commands_per_second", l.Commands.Hard},
			{"in_bytes_per_second", l.InBytes.Hard}, {"out_bytes_per_second", l.OutBytes.Hard}, {"value_bytes", l.ValueBytes.Hard},
		} {
			if bound.hard != 0 {
				w.line("namespace_limit_"+bound.name, bound.hard)
			}
		}
	}
	if w.admin {
		w.line("namespaces", w.lease.View().Len())
	}
}

// infoCluster has Redis' one field; what Atoll's cluster is, an admin reads below it.
func infoCluster(w *infoWriter) {
	w.line("cluster_enabled", 0)
	if !w.admin {
		return
	}
	v := w.lease.View()
	nodes := 0
	for range v.Nodes() {
		nodes++
	}
	w.line("cluster_id", v.Cluster().GetClusterId())
	w.line("metadata_history", v.Cluster().GetMetadataHistoryId())
	w.line("metadata_nodes", len(v.Cluster().GetMetadataNodes()))
	w.line("data_nodes", nodes)
}

func infoKeyspace(w *infoWriter) {
	ns := w.Session.namespaceIn(w.lease.Store())
	for i := range databases {
		if c := ns.DBCounters(i); c.Keys > 0 {
			fmt.Fprintf(w, "db%d:keys=%d,expires=%d,avg_ttl=0\r\n", i, c.Keys, c.Expires)
		}
	}
}
