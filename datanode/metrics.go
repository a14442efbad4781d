package datanode

import (
	"slices"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/replication"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/metric"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics returns the node's collectors. At most so many namespaces get labels of their own. Nothing is read before a
// scrape, which may come at any time from Open to Close.
func (n *Node) Metrics(namespaces int) []prometheus.Collector {
	return slices.Concat(
		[]prometheus.Collector{n.stateMetrics(), n.storeMetrics(), n.relayMetrics()},
		replication.Metrics(func() *replication.Member { return n.member }),
		tenant.Metrics(func() *tenant.Views { return n.views }),
		command.Metrics(func() command.Scene {
			return command.Scene{Executor: n.executor, View: n.views.Current(), Store: n.member.Store()}
		}, namespaces),
	)
}

// stateMetrics says which of the states the node is in.
func (n *Node) stateMetrics() prometheus.Collector {
	return metric.New([]string{"state"}, func(emit func(bool, ...string)) {
		now := n.Facts().State
		for _, state := range []string{"loading", "syncing", "serving", "read-only"} {
			emit(state == now, state)
		}
	}, metric.Of("atoll_node_state", "1 for the state that the node is in, as in atoll node list, 0 for the others.", metric.Bool))
}

func (n *Node) relayMetrics() prometheus.Collector {
	of := metric.Of[*relay]
	return metric.New(nil, func(emit func(*relay, ...string)) { emit(&n.relay) },
		of("atoll_pubsub_peer_sent_total", "Published messages that were sent to other nodes of the group.", func(r *relay) float64 { return float64(r.sent.Load()) }),
		of("atoll_pubsub_peer_received_total", "Published messages of other nodes of the group.", func(r *relay) float64 { return float64(r.received.Load()) }),
		of("atoll_pubsub_peer_dropped_total", "Published messages that didn't get to another node of the group: too many waited, or for too long.", func(r *relay) float64 { return float64(r.dropped.Load()) }),
	)
}

func (n *Node) storeMetrics() prometheus.Collector {
	of := metric.Of[store.Reading]
	return metric.New(nil, func(emit func(store.Reading, ...string)) {
		if s := n.member.Store(); s != nil {
			if r, ok := s.Read(); ok {
				emit(r)
			}
		}
	},
		of("atoll_store_keys", "Keys of all namespaces.", func(r store.Reading) float64 { return float64(r.Total.Keys) }),
		of("atoll_store_expiring_keys", "Keys with an expiry.", func(r store.Reading) float64 { return float64(r.Total.Expires) }),
		of("atoll_store_bytes", "Bytes of keys and values of all namespaces, before compression.", func(r store.Reading) float64 { return float64(r.Total.Bytes) }),
		of("atoll_store_damaged", "1 once damaged data was found: the node takes no writes.", func(r store.Reading) float64 { return metric.Bool(r.Damaged) }),
		of("atoll_store_disk_full", "1 while writes are refused for want of disk space.", func(r store.Reading) float64 { return metric.Bool(r.DiskFull) }),
		of("atoll_rowcache_hits_total", "Reads of rows that the row cache answered.", func(r store.Reading) float64 { return float64(r.RowHits) }),
		of("atoll_rowcache_misses_total", "Reads of rows that it didn't.", func(r store.Reading) float64 { return float64(r.RowMisses) }),
		of("atoll_rowcache_bytes", "Memory of the row cache.", func(r store.Reading) float64 { return float64(r.RowBytes) }),
		of("atoll_pebble_block_cache_bytes", "Memory of the block cache in use.", func(r store.Reading) float64 { return float64(r.BlockCache.Size) }),
		of("atoll_pebble_block_cache_hits_total", "Reads of blocks that the block cache answered.", func(r store.Reading) float64 { return float64(r.BlockCache.Hits) }),
		of("atoll_pebble_block_cache_misses_total", "Reads of blocks that went to the file.", func(r store.Reading) float64 { return float64(r.BlockCache.Misses) }),
		of("atoll_pebble_compactions_total", "Compactions that have ended.", func(r store.Reading) float64 { return float64(r.Compact.Count) }),
		of("atoll_pebble_compactions_failed_total", "Compactions that met an error.", func(r store.Reading) float64 { return float64(r.Compact.FailedCount) }),
		of("atoll_pebble_compactions", "Compactions under way.", func(r store.Reading) float64 { return float64(r.Compact.NumInProgress) }),
		of("atoll_pebble_compaction_seconds_total", "Time that compactions took altogether.", func(r store.Reading) float64 { return r.Compact.Duration.Seconds() }),
		of("atoll_pebble_compaction_debt_bytes", "Bytes that have yet to be compacted, as Pebble estimates.", func(r store.Reading) float64 { return float64(r.Compact.EstimatedDebt) }),
		of("atoll_pebble_flushes_total", "Flushes of memtables.", func(r store.Reading) float64 { return float64(r.Flush.Count) }),
		of("atoll_pebble_l0_sublevels", "Sublevels of level 0; writes are held up at many.", func(r store.Reading) float64 { return float64(r.Levels[0].Sublevels) }),
		of("atoll_pebble_l0_tables", "Tables of level 0.", func(r store.Reading) float64 { return float64(r.Levels[0].TablesCount) }),
		of("atoll_pebble_read_amplification", "Places that a read may have to look at.", func(r store.Reading) float64 { return float64(r.ReadAmp()) }),
		of("atoll_pebble_memtables", "Memtables.", func(r store.Reading) float64 { return float64(r.MemTable.Count) }),
		of("atoll_pebble_memtable_bytes", "Memory of memtables.", func(r store.Reading) float64 { return float64(r.MemTable.Size) }),
		of("atoll_pebble_disk_bytes", "Bytes of the store's files, without the log.", func(r store.Reading) float64 { return float64(r.DiskSpaceUsage()) }),
	)
}
