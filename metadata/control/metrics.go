package control

import (
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/metric"
	"github.com/prometheus/client_golang/prometheus"
)

// reading counts the data nodes, as the leader sees them.
type reading struct{ registered, live, serving int }

// Metrics returns the collectors of the controller that controller returns at a scrape. Only the leader tells anything.
func Metrics(controller func() *Controller) []prometheus.Collector {
	of := metric.Of[reading]
	return []prometheus.Collector{metric.New(nil, func(emit func(reading, ...string)) {
		c := controller()
		if _, ok := c.lead(); !ok {
			return
		}
		var r reading
		for _, report := range c.here(&atollpb.ReportsRequest{}) {
			r.registered++
			if report.Live {
				r.live++
				if report.State == atollpb.NodeState_NODE_STATE_SERVING {
					r.serving++
				}
			}
		}
		emit(r)
	},
		of("atoll_control_nodes", "Data nodes that are registered; told by the leader.", func(r reading) float64 { return float64(r.registered) }),
		of("atoll_control_live_nodes", "Data nodes that reported in the last 3 s; told by the leader.", func(r reading) float64 { return float64(r.live) }),
		of("atoll_control_serving_nodes", "Live data nodes that serve, and take writes or pass them on; told by the leader.", func(r reading) float64 { return float64(r.serving) }),
	)}
}
