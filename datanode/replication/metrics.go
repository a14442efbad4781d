package replication

import (
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc/metric"
	"github.com/prometheus/client_golang/prometheus"
)

// syncCounts counts the full syncs that this node took since its start.
type syncCounts struct {
	started, ended, broken atomic.Uint64
}

// reading is what the metrics are made of.
type reading struct {
	status  Status
	log     replog.State
	applied store.Applied
	primary bool
	syncs   *syncCounts
	now     time.Time
}

// silence is since when the source is silent, in seconds; 0 on the primary.
func (r *reading) silence() float64 {
	if r.primary || r.status.Heard.IsZero() {
		return 0
	}
	return r.now.Sub(r.status.Heard).Seconds()
}

// commit is the primary's own log's end: what it has written is what its sinks may show.
func (r *reading) commit() uint64 {
	if r.primary {
		return r.log.Last
	}
	return r.status.Commit
}

// lagging is one sink, and the end of the log that it follows.
type lagging struct {
	SinkStatus
	last uint64
	now  time.Time
}

// behind is how many entries there are beyond index.
func (l lagging) behind(index uint64) float64 { return float64(l.last - min(l.last, index)) }

// Metrics returns the collectors of the member that member returns at a scrape.
func Metrics(member func() *Member) []prometheus.Collector {
	type row = metric.Row[*reading]
	of := metric.Of[*reading]
	rows := []row{
		of("atoll_replication_primary", "1 on the primary of the group.", func(r *reading) float64 { return metric.Bool(r.primary) }),
		of("atoll_replication_epoch", "Epoch of the last written entry.", func(r *reading) float64 { return float64(r.log.LastEpoch) }),
		of("atoll_replication_written_index", "Index of the last entry in the log.", func(r *reading) float64 { return float64(r.log.Last) }),
		of("atoll_replication_synced_index", "Index of the last entry that is fsynced.", func(r *reading) float64 { return float64(r.log.SyncedIndex) }),
		of("atoll_replication_commit_index", "Index of the last entry that a replica may show, as this node knows.", func(r *reading) float64 { return float64(r.commit()) }),
		of("atoll_replication_applied_index", "Index of the last entry that reads show.", func(r *reading) float64 { return float64(r.applied.Index) }),
		of("atoll_replication_source_up", "1 on a replica that follows the primary.", func(r *reading) float64 { return metric.Bool(r.status.SourceUp) }),
		of("atoll_replication_source_silence_seconds", "Time since a replica last heard the primary; 0 on the primary.", (*reading).silence),
		of("atoll_replication_syncing", "1 while a full sync is taken.", func(r *reading) float64 { return metric.Bool(r.status.Syncing) }),
		of("atoll_replication_full_syncs_started_total", "Full syncs that this node has begun to take.", func(r *reading) float64 { return float64(r.syncs.started.Load()) }),
		of("atoll_replication_full_syncs_ended_total", "Full syncs that this node has taken to the end.", func(r *reading) float64 { return float64(r.syncs.ended.Load()) }),
		of("atoll_replication_full_syncs_failed_total", "Transfers of a full sync that broke off; the next one goes on where it did.", func(r *reading) float64 { return float64(r.syncs.broken.Load()) }),
		of("atoll_log_first_index", "Index of the oldest entry that is kept.", func(r *reading) float64 { return float64(r.log.First) }),
		of("atoll_log_last_index", "Index of the newest entry.", func(r *reading) float64 { return float64(r.log.Last) }),
		of("atoll_log_written_bytes", "Offset of the log's end, in bytes of its history.", func(r *reading) float64 { return float64(r.log.EndOffset) }),
		of("atoll_log_unsynced_bytes", "Bytes of the log that the disk may not have yet.", func(r *reading) float64 { return float64(r.log.EndOffset - min(r.log.EndOffset, r.log.SyncedOffset)) }),
		of("atoll_log_fsyncs_total", "Fsyncs of the log.", func(r *reading) float64 { return float64(r.log.Syncs) }),
		of("atoll_log_fsync_seconds_total", "Time that fsyncs of the log took altogether.", func(r *reading) float64 { return r.log.SyncTime.Seconds() }),
	}
	sinks := []metric.Row[lagging]{
		metric.Of("atoll_replication_sink_lag_entries", "Entries of this node's log that the replica doesn't show yet.", func(l lagging) float64 { return l.behind(l.Applied) }),
		metric.Of("atoll_replication_sink_unwritten_entries", "Entries of this node's log that the replica has not written yet.", func(l lagging) float64 { return l.behind(l.Written) }),
		metric.Of("atoll_replication_sink_silence_seconds", "Time since the replica was last heard; it answers at least four times a second.", func(l lagging) float64 { return l.now.Sub(l.Heard).Seconds() }),
	}
	return []prometheus.Collector{
		metric.New(nil, func(emit func(*reading, ...string)) {
			m := member()
			s := m.Store()
			if s == nil {
				return
			}
			emit(&reading{m.Status(), s.Log().State(), s.Applied(), s.Role() == store.Primary, &m.syncs, m.cfg.Now()})
		}, rows...),
		metric.New([]string{"node"}, func(emit func(lagging, ...string)) {
			m := member()
			s := m.Store()
			if s == nil {
				return
			}
			newest := map[string]SinkStatus{} // a node that reconnects has two streams for a moment
			for _, k := range m.Sinks() {
				if old, ok := newest[k.NodeID]; !ok || old.Heard.Before(k.Heard) {
					newest[k.NodeID] = k
				}
			}
			last := s.Log().State().Last
			for id, k := range newest {
				emit(lagging{k, last, m.cfg.Now()}, id)
			}
		}, sinks...),
	}
}
