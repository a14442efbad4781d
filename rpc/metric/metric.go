// Package metric makes Prometheus collectors from tables: a metric is one row, and reads what the process keeps anyway
// when it is scraped. Names are atoll_<part>_<what>_<unit>; a counter's ends in _total, a histogram's in
// _duration_seconds.
package metric

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Row is one metric of a part whose state is a T.
type Row[T any] struct {
	name, help string
	value      func(T) float64
	desc       *prometheus.Desc
}

// Of returns a row. It is a counter if the name ends in _total, else a gauge.
func Of[T any](name, help string, value func(T) float64) Row[T] {
	return Row[T]{name: name, help: help, value: value}
}

// Table is the metrics of one part. It is a prometheus.Collector.
type Table[T any] struct {
	rows []Row[T]
	read func(emit func(state T, labels ...string))
}

// New returns the table of rows with these labels. At each scrape read calls emit with the part's state, once for each
// combination of labels; it doesn't where there is nothing to tell.
func New[T any](labels []string, read func(emit func(state T, labels ...string)), rows ...Row[T]) *Table[T] {
	for i := range rows {
		rows[i].desc = prometheus.NewDesc(rows[i].name, rows[i].help, labels, nil)
	}
	return &Table[T]{rows, read}
}

// Describe is prometheus.Collector.
func (t *Table[T]) Describe(c chan<- *prometheus.Desc) {
	for i := range t.rows {
		c <- t.rows[i].desc
	}
}

// Collect is prometheus.Collector.
func (t *Table[T]) Collect(c chan<- prometheus.Metric) {
	t.read(func(state T, labels ...string) {
		for i := range t.rows {
			r := &t.rows[i]
			kind := prometheus.GaugeValue
			if IsCounter(r.name) {
				kind = prometheus.CounterValue
			}
			c <- prometheus.MustNewConstMetric(r.desc, kind, r.value(state), labels...)
		}
	})
}

// IsCounter says whether a metric of that name is a counter.
func IsCounter(name string) bool { return strings.HasSuffix(name, "_total") }

// IsHistogram says whether a metric of that name is a histogram.
func IsHistogram(name string) bool { return strings.HasSuffix(name, "_duration_seconds") }

// Bool is 1 for true.
func Bool(v bool) float64 {
	if v {
		return 1
	}
	return 0
}
