package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Requests are counted by pattern and status, whatever is asked for, and a stream still sets its time limits.
func TestRequestMetrics(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/things/{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") == "none" {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	mux.HandleFunc("GET /v1/stream", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flush: %v", err)
		}
	})
	m := NewMetrics()
	h := m.Around(mux, func(r *http.Request) string {
		_, pattern := mux.Handler(r)
		return pattern
	})
	for _, path := range []string{"/v1/things/a", "/v1/things/b", "/v1/things/none", "/v1/stream", "/nothing/at/all"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(m)
	want := `
# HELP atoll_admin_requests_total Requests of the admin API by operation and status; what matches no operation is other.
# TYPE atoll_admin_requests_total counter
atoll_admin_requests_total{operation="GET /v1/stream",status="200"} 1
atoll_admin_requests_total{operation="GET /v1/things/{name}",status="200"} 2
atoll_admin_requests_total{operation="GET /v1/things/{name}",status="404"} 1
atoll_admin_requests_total{operation="other",status="404"} 1
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "atoll_admin_requests_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(r, "atoll_admin_request_duration_seconds"); n != 2 || err != nil { // not of the stream
		t.Errorf("%d histograms, %v", n, err)
	}
}
