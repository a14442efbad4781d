package admin

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts requests. It is a prometheus.Collector, and the zero value of none: NewMetrics makes one.
type Metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
}

// NewMetrics returns counters of requests by operation, such as "GET /v1/namespaces", and status.
func NewMetrics() *Metrics {
	return &Metrics{
		requests:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "atoll_admin_requests_total", Help: "Requests of the admin API by operation and status; what matches no operation is other."}, []string{"operation", "status"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "atoll_admin_request_duration_seconds", Help: "Time of a request of the admin API, but for streams.", Buckets: []float64{.002, .01, .05, .25, 1, 5, 30}}, []string{"operation"}),
	}
}

// Describe is prometheus.Collector.
func (m *Metrics) Describe(c chan<- *prometheus.Desc) {
	m.requests.Describe(c)
	m.durations.Describe(c)
}

// Collect is prometheus.Collector.
func (m *Metrics) Collect(c chan<- prometheus.Metric) {
	m.requests.Collect(c)
	m.durations.Collect(c)
}

// otherOperation is the label of requests that match no operation.
const otherOperation = "other"

// Around returns a handler that counts what h answers. pattern names a request's operation, empty for none.
func (m *Metrics) Around(h http.Handler, pattern func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began, operation := time.Now(), pattern(r)
		if operation == "" {
			operation = otherOperation
		}
		o := &observed{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			m.requests.WithLabelValues(operation, strconv.Itoa(o.status)).Inc()
			if w.Header().Get("Content-Type") != "text/event-stream" {
				m.durations.WithLabelValues(operation).Observe(time.Since(began).Seconds())
			}
		}()
		h.ServeHTTP(o, r)
	})
}

// observed is a ResponseWriter that remembers the status.
type observed struct {
	http.ResponseWriter
	status int
}

// WriteHeader is http.ResponseWriter's.
func (o *observed) WriteHeader(status int) {
	o.status = status
	o.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController, by which streams set their time limits.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }
