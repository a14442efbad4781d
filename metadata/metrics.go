package metadata

import (
	"slices"

	"github.com/atolldb/atoll/metadata/admin"
	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/metadata/control"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics returns the node's collectors. A scrape may come at any time from Open to Close.
func (n *Node) Metrics() []prometheus.Collector {
	requests := n.metrics
	if requests == nil { // of a node that was never opened, to describe what there is
		requests = admin.NewMetrics()
	}
	return slices.Concat(
		consensus.Metrics(func() *consensus.Node { return n.consensus }),
		control.Metrics(func() *control.Controller { return n.control }),
		[]prometheus.Collector{requests},
	)
}
