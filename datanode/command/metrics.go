package command

import (
	"cmp"
	"slices"
	"sync"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/metric"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics returns the collectors of a node's clients, and of its namespaces: at most so many of these have labels.
func Metrics(scene func() Scene, most int) []prometheus.Collector {
	of := metric.Of[*Executor]
	return []prometheus.Collector{
		NewNamespaceMetrics(scene, most),
		metric.New(nil, func(emit func(*Executor, ...string)) {
			if s := scene(); s.Executor != nil {
				emit(s.Executor)
			}
		},
			of("atoll_resp_connections", "Connections of Redis clients now.", func(e *Executor) float64 { return float64(e.sessions.Len()) }),
			of("atoll_resp_connections_max", "Connections that the node takes at once.", func(e *Executor) float64 { return float64(e.Edge().MaxClients.Load()) }),
			of("atoll_resp_connections_accepted_total", "Connections that were taken.", func(e *Executor) float64 { return float64(e.sessions.total.Load()) }),
			of("atoll_resp_connections_rejected_total", "Connections that were turned away, or made way, at the most that the node takes.", func(e *Executor) float64 { return float64(e.sessions.rejected.Load()) }),
			of("atoll_resp_connections_evicted_total", "Connections that were cut since clients' buffers held too much.", func(e *Executor) float64 { return float64(e.sessions.evicted.Load()) }),
			of("atoll_pubsub_published_total", "Messages that clients of this node have published.", func(e *Executor) float64 { return float64(e.stats.published.Load()) }),
			of("atoll_pubsub_delivered_total", "Messages to clients of this node: one counts for each that it is for.", func(e *Executor) float64 { return float64(e.stats.delivered.Load()) }),
			of("atoll_pubsub_waiting_bytes", "Bytes of messages, and of lines of MONITOR, that wait to be sent to clients.", func(e *Executor) float64 { return float64(e.sessions.Pushed()) }),
			of("atoll_pubsub_unmatched_total", "Messages that were not held against all patterns of their namespace, since those take too many steps.", func(e *Executor) float64 { return float64(e.stats.starved.Load()) }),
			of("atoll_pubsub_dropped_subscribers_total", "Connections that were cut since they read too little of what was published, or of MONITOR.", func(e *Executor) float64 { return float64(e.stats.dropped.Load()) }),
			of("atoll_resp_auth_failures_total", "AUTH and HELLO AUTH with a wrong token.", func(e *Executor) float64 { return float64(e.stats.authFailures.Load()) }),
		),
	}
}

// otherNamespaces is the label of those that have none of their own. A namespace of that name is among them.
const otherNamespaces = "_other"

// Scene is what the metrics of a node are read from at a scrape. View and Store are nil before there is one.
type Scene struct {
	Executor *Executor
	View     *tenant.View
	Store    *store.Store
}

// sums are a namespace's counters, or those of many together.
type sums struct {
	counts
	families [familiesMax]familySums
}

type familySums struct {
	buckets [len(durationBounds) + 1]uint64
	nanos   uint64
}

// plus adds o, times by (1 or -1, modulo 2^64).
func (s *sums) plus(o *sums, by uint64) {
	s.counts.plus(&o.counts, by)
	for i := range o.families {
		f, of := &s.families[i], &o.families[i]
		for k, n := range of.buckets {
			f.buckets[k] += by * n
		}
		f.nanos += by * of.nanos
	}
}

// sums reads the counters.
func (st *namespaceStats) sums() *sums {
	s := &sums{counts: st.counts()}
	for i := range st.families {
		if f := st.families[i].Load(); f != nil {
			for k := range f.buckets {
				s.families[i].buckets[k] = f.buckets[k].Load()
			}
			s.families[i].nanos = f.nanos.Load()
		}
	}
	return s
}

// gauges are what a namespace has now.
type gauges struct {
	counters store.Counters
	sessions int
}

// NamespaceMetrics tells of every namespace what it did and has on this node. The busiest since the node's start, those
// that executed most commands, have labels, the others are told as one. It is a prometheus.Collector.
type NamespaceMetrics struct {
	scene func() Scene
	most  int

	mu sync.Mutex // a scrape at a time
	// The sum of the others must not shrink when one of them gets a label, or loses it. So it has what those that have a
	// label now had counted before, and lacks what those that lost it had counted until then.
	labelled map[uint64]*sums // what it counted as one of the others
	lost     map[uint64]*sums // what it counted with its label
	crowded  bool             // there were namespaces without a label

	perName             map[string]*prometheus.Desc
	commands, durations *prometheus.Desc
	errors              *prometheus.Desc
}

// The names of the metrics that have no label but the namespace.
const (
	metricIn          = "atoll_namespace_in_bytes_total"
	metricOut         = "atoll_namespace_out_bytes_total"
	metricLimited     = "atoll_namespace_limited_total"
	metricOpened      = "atoll_namespace_connections_opened_total"
	metricConnections = "atoll_namespace_connections"
	metricKeys        = "atoll_namespace_keys"
	metricBytes       = "atoll_namespace_stored_bytes"
	metricHits        = "atoll_namespace_keyspace_hits_total"
	metricMisses      = "atoll_namespace_keyspace_misses_total"
	metricExpired     = "atoll_namespace_expired_keys_total"
)

// NewNamespaceMetrics returns a collector that gives labels to at most so many namespaces.
func NewNamespaceMetrics(scene func() Scene, most int) *NamespaceMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"namespace"}, labels...), nil)
	}
	return &NamespaceMetrics{
		scene: scene, most: most, labelled: map[uint64]*sums{}, lost: map[uint64]*sums{},
		perName: map[string]*prometheus.Desc{
			metricIn:          desc(metricIn, "Bytes of requests of this node's clients."),
			metricOut:         desc(metricOut, "Bytes of replies to this node's clients."),
			metricLimited:     desc(metricLimited, "Commands and connections that a hard limit of the namespace refused."),
			metricOpened:      desc(metricOpened, "Connections that authenticated for the namespace."),
			metricConnections: desc(metricConnections, "Connections that are in the namespace now."),
			metricKeys:        desc(metricKeys, "Keys of the namespace on this node."),
			metricBytes:       desc(metricBytes, "Bytes of keys and values of the namespace on this node, before compression."),
			metricHits:        desc(metricHits, "Keys that commands looked up on this node to read them, and that were there."),
			metricMisses:      desc(metricMisses, "Keys that commands looked up on this node to read them, and that were not there."),
			metricExpired:     desc(metricExpired, "Keys that were deleted, or replaced, since their time had run out; the primary counts them."),
		},
		commands:  desc("atoll_namespace_commands_total", "Commands that this node executed for its clients, by the family of COMMAND DOCS.", "family"),
		durations: desc("atoll_namespace_command_duration_seconds", "Time of a command, a run's shared evenly by its commands, without reading and writing the socket.", "family"),
		errors:    desc("atoll_namespace_errors_total", "Error replies to this node's clients, by their code; rare codes are other.", "code"),
	}
}

// Describe is prometheus.Collector.
func (m *NamespaceMetrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range m.perName {
		c <- d
	}
	c <- m.commands
	c <- m.durations
	c <- m.errors
}

// Collect is prometheus.Collector.
func (m *NamespaceMetrics) Collect(c chan<- prometheus.Metric) {
	s := m.scene()
	if s.Executor == nil || s.View == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[uint64]*namespaceStats{}
	s.Executor.stats.namespaces.Range(func(id, st any) bool {
		all[id.(uint64)] = st.(*namespaceStats)
		return true
	})
	chosen := m.choose(s, all)
	m.relabel(chosen, all)
	families := s.Executor.table.families
	for id, name := range chosen {
		now := new(sums)
		if st := all[id]; st != nil {
			now = st.sums()
			now.plus(m.labelled[id], ^uint64(0))
		}
		m.emit(c, name, families, now, s.gauges(id, all[id]))
	}
	m.emitOthers(c, s, chosen, all)
	m.crowded = m.crowded || len(chosen) < s.View.Len()
}

// choose returns the names of the namespaces that have labels, by id.
func (m *NamespaceMetrics) choose(s Scene, all map[uint64]*namespaceStats) map[uint64]string {
	type candidate struct {
		id       uint64
		commands uint64
		name     string
	}
	var list []candidate
	for ns := range s.View.Namespaces() {
		if ns.Name == otherNamespaces {
			continue
		}
		n := candidate{id: ns.ID, name: ns.Name}
		if st := all[ns.ID]; st != nil {
			n.commands = st.commands.Load()
		}
		list = append(list, n)
	}
	if len(list) > m.most { // of two that did as much, the one that has a label keeps it
		slices.SortFunc(list, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(b.commands, a.commands), m.has(b.id)-m.has(a.id), cmp.Compare(a.id, b.id))
		})
		list = list[:m.most]
	}
	chosen := make(map[uint64]string, len(list))
	for _, n := range list {
		chosen[n.id] = n.name
	}
	return chosen
}

// has is 1 for a namespace with a label.
func (m *NamespaceMetrics) has(id uint64) int {
	if m.labelled[id] != nil {
		return 1
	}
	return 0
}

// relabel notes who gets a label, and who loses it.
func (m *NamespaceMetrics) relabel(chosen map[uint64]string, all map[uint64]*namespaceStats) {
	for id, before := range m.labelled {
		if _, ok := chosen[id]; ok {
			continue
		}
		delete(m.labelled, id)
		kept := new(sums)
		if st := all[id]; st != nil {
			kept = st.sums()
			kept.plus(before, ^uint64(0))
		}
		m.lost[id] = kept
	}
	for id := range chosen {
		if m.labelled[id] != nil {
			continue
		}
		counted := new(sums)
		if kept := m.lost[id]; kept != nil { // its own series goes on where it was
			if st := all[id]; st != nil {
				counted = st.sums()
			}
			counted.plus(kept, ^uint64(0))
			delete(m.lost, id)
		} else if st := all[id]; st != nil && m.crowded {
			counted = st.sums()
		}
		m.labelled[id] = counted
	}
}

// gauges returns what a namespace has.
func (s Scene) gauges(id uint64, st *namespaceStats) (g gauges) {
	if s.Store != nil {
		g.counters = s.Store.Usage(id)
	}
	if st != nil {
		g.sessions = st.count()
	}
	return g
}

// emitOthers tells of the namespaces without a label, where there is something to tell.
func (m *NamespaceMetrics) emitOthers(c chan<- prometheus.Metric, s Scene, chosen map[uint64]string, all map[uint64]*namespaceStats) {
	var sum sums
	var now gauges
	for id, st := range all {
		if chosen[id] == "" {
			sum.plus(st.sums(), 1)
			now.sessions += st.count()
		}
	}
	for _, o := range m.labelled {
		sum.plus(o, 1)
	}
	for _, o := range m.lost {
		sum.plus(o, ^uint64(0))
	}
	for ns := range s.View.Namespaces() {
		if chosen[ns.ID] == "" && s.Store != nil {
			n := s.Store.Usage(ns.ID)
			now.counters.Keys += n.Keys
			now.counters.Bytes += n.Bytes
		}
	}
	if len(chosen) == s.View.Len() && sum == (sums{}) {
		return
	}
	m.emit(c, otherNamespaces, s.Executor.table.families, &sum, now)
}

// emit tells of one label.
func (m *NamespaceMetrics) emit(c chan<- prometheus.Metric, name string, families []string, s *sums, g gauges) {
	for metricName, value := range map[string]float64{
		metricIn: float64(s.in), metricOut: float64(s.out), metricLimited: float64(s.limited), metricOpened: float64(s.connections),
		metricConnections: float64(g.sessions), metricKeys: float64(max(0, g.counters.Keys)), metricBytes: float64(max(0, g.counters.Bytes)),
		metricHits: float64(s.hits), metricMisses: float64(s.misses), metricExpired: float64(s.expired),
	} {
		kind := prometheus.GaugeValue
		if metric.IsCounter(metricName) {
			kind = prometheus.CounterValue
		}
		c <- prometheus.MustNewConstMetric(m.perName[metricName], kind, value, name)
	}
	for i, n := range s.errors {
		if n > 0 {
			c <- prometheus.MustNewConstMetric(m.errors, prometheus.CounterValue, float64(n), name, errorCodes[i])
		}
	}
	for i, family := range families {
		f, total, buckets := &s.families[i], uint64(0), make(map[float64]uint64, len(durationBounds))
		for k, n := range f.buckets {
			if total += n; k < len(durationBounds) {
				buckets[durationBounds[k].Seconds()] = total
			}
		}
		if total == 0 {
			continue
		}
		c <- prometheus.MustNewConstMetric(m.commands, prometheus.CounterValue, float64(total), name, family)
		c <- prometheus.MustNewConstHistogram(m.durations, total, float64(f.nanos)/1e9, buckets, name, family)
	}
}
