package tenant

import (
	"time"

	"github.com/atolldb/atoll/rpc/metric"
	"github.com/prometheus/client_golang/prometheus"
)

// reading is what the metrics are made of.
type reading struct {
	view    *View // nil before the first one
	silence time.Duration
}

// Metrics returns the collectors of the views that views returns at a scrape.
func Metrics(views func() *Views) []prometheus.Collector {
	of := metric.Of[reading]
	return []prometheus.Collector{metric.New(nil, func(emit func(reading, ...string)) {
		s := views()
		emit(reading{s.Current(), time.Since(s.Heard())})
	},
		of("atoll_view_revision", "Revision of the node's view; 0 before it has one.", func(r reading) float64 {
			if r.view == nil {
				return 0
			}
			return float64(r.view.Revision())
		}),
		of("atoll_view_namespaces", "Namespaces of the view.", func(r reading) float64 {
			if r.view == nil {
				return 0
			}
			return float64(r.view.Len())
		}),
		of("atoll_view_silence_seconds", "Time since a metadata node was last heard, or since the start.", func(r reading) float64 { return r.silence.Seconds() }),
	)}
}
