package consensus

import (
	"github.com/atolldb/atoll/rpc/metric"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics returns the collectors of the node that node returns at a scrape.
func Metrics(node func() *Node) []prometheus.Collector {
	of := metric.Of[Status]
	return []prometheus.Collector{metric.New(nil, func(emit func(Status, ...string)) { emit(node().Status()) },
		of("atoll_raft_leader", "1 on the leader.", func(s Status) float64 { return metric.Bool(s.Role == RoleLeader) }),
		of("atoll_raft_has_leader", "1 while this node knows a leader.", func(s Status) float64 { return metric.Bool(s.LeaderID != "") }),
		of("atoll_raft_ready", "1 while this node can serve.", func(s Status) float64 { return metric.Bool(s.Ready() == nil) }),
		of("atoll_raft_term", "Raft's term.", func(s Status) float64 { return float64(s.Term) }),
		of("atoll_raft_last_log_index", "Index of the last entry of Raft's log.", func(s Status) float64 { return float64(s.LastLogIndex) }),
		of("atoll_raft_commit_index", "Index of the last committed entry that this node knows of.", func(s Status) float64 { return float64(s.CommitIndex) }),
		of("atoll_raft_applied_index", "Index of the last entry in the state.", func(s Status) float64 { return float64(s.AppliedIndex) }),
		of("atoll_raft_revision", "Revision of the state: the index of the last change.", func(s Status) float64 { return float64(s.Revision) }),
		of("atoll_raft_last_contact_seconds", "Time since the leader was heard; 0 on the leader.", func(s Status) float64 { return s.LastContact.Seconds() }),
		of("atoll_raft_voters", "Metadata nodes of the newest configuration.", func(s Status) float64 { return float64(len(s.Voters)) }),
	)}
}
