package metric

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A table tells a row for each combination of labels, counters by their name, and nothing where nothing was emitted.
func TestTable(t *testing.T) {
	sizes := map[string]int{}
	table := New([]string{"part"}, func(emit func(int, ...string)) {
		for name, n := range sizes {
			emit(n, name)
		}
	}, Of("atoll_test_bytes", "Size.", func(n int) float64 { return float64(n) }),
		Of("atoll_test_reads_total", "Reads.", func(n int) float64 { return float64(2 * n) }))
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(table)
	if n, err := testutil.GatherAndCount(r); n != 0 || err != nil {
		t.Fatalf("an empty table gave %d metrics, %v", n, err)
	}
	sizes["a"], sizes["b"] = 1, 2
	want := `# HELP atoll_test_bytes Size.
# TYPE atoll_test_bytes gauge
atoll_test_bytes{part="a"} 1
atoll_test_bytes{part="b"} 2
# HELP atoll_test_reads_total Reads.
# TYPE atoll_test_reads_total counter
atoll_test_reads_total{part="a"} 2
atoll_test_reads_total{part="b"} 4
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
