package command_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// scraped returns the registry of a bench's metrics.
func scraped(b *commandtest.Bench, most int) *prometheus.Registry {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(command.Metrics(func() command.Scene {
		return command.Scene{Executor: b.Executor, View: b.Node.Views.Current(), Store: b.Node.Data}
	}, most)...)
	return r
}

// A namespace's metrics count what it did: commands by family, error replies by code, and not those of another one.
func TestNamespaceMetrics(t *testing.T) {
	b := commandtest.New(t)
	a, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.BWriteSecret)
	b.Do(t, a, "SET", "k", "v")
	b.Do(t, a, "GET", "k")
	b.Pipeline(t, a, []string{"HGET", "k", "f"}, []string{"HGET", "k", "f"}, []string{"NOSUCHCOMMAND"})
	b.Do(t, other, "PING")
	b.Do(t, other, "AUTH", "wrong")
	want := `
# HELP atoll_namespace_commands_total Commands that this node executed for its clients, by the family of COMMAND DOCS.
# TYPE atoll_namespace_commands_total counter
atoll_namespace_commands_total{family="connection",namespace="a"} 1
atoll_namespace_commands_total{family="hash",namespace="a"} 2
atoll_namespace_commands_total{family="string",namespace="a"} 2
atoll_namespace_commands_total{family="connection",namespace="b"} 3
# HELP atoll_namespace_errors_total Error replies to this node's clients, by their code; rare codes are other.
# TYPE atoll_namespace_errors_total counter
atoll_namespace_errors_total{code="ERR",namespace="a"} 1
atoll_namespace_errors_total{code="WRONGTYPE",namespace="a"} 2
atoll_namespace_errors_total{code="WRONGPASS",namespace="b"} 1
# HELP atoll_namespace_keys Keys of the namespace on this node.
# TYPE atoll_namespace_keys gauge
atoll_namespace_keys{namespace="__namespace"} 0
atoll_namespace_keys{namespace="a"} 1
atoll_namespace_keys{namespace="b"} 0
# HELP atoll_resp_auth_failures_total AUTH and HELLO AUTH with a wrong token.
# TYPE atoll_resp_auth_failures_total counter
atoll_resp_auth_failures_total 1
`
	if err := testutil.GatherAndCompare(scraped(b, 10), strings.NewReader(want), "atoll_namespace_commands_total", "atoll_namespace_errors_total",
		"atoll_namespace_keys", "atoll_resp_auth_failures_total"); err != nil {
		t.Error(err)
	}
}

// The busiest namespaces have labels. Who gets or loses one, neither its own counters nor the sum of the others shrink,
// and nothing is counted twice.
func TestNamespaceLabels(t *testing.T) {
	b := commandtest.New(t)
	sessions := []*command.Session{b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.BWriteSecret)}
	r := scraped(b, 1)
	before, done := map[string]float64{}, 0.0
	for round, n := range []int{3, 3, 9, 4, 20, 2, 90, 5, 300, 1} {
		s := sessions[round/2%2]
		for i := range n {
			b.Do(t, s, "SET", fmt.Sprint("k", i), "v")
		}
		done += float64(n)
		now := map[string]float64{}
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != "atoll_namespace_commands_total" {
				continue
			}
			for _, m := range f.GetMetric() {
				if m.GetLabel()[0].GetValue() != "string" {
					continue
				}
				now[m.GetLabel()[1].GetValue()] = m.GetCounter().GetValue()
			}
		}
		labels := 0
		for name, v := range now {
			if name != "_other" {
				labels++
			}
			if v < before[name] {
				t.Errorf("round %d: %s went from %v to %v", round, name, before[name], v)
			}
			before[name] = v
		}
		total := 0.0 // of every series that ever was
		for _, v := range before {
			total += v
		}
		if labels > 1 || total != done {
			t.Fatalf("round %d: %v now, %v altogether, want %v", round, now, before, done)
		}
	}
	if before["_other"] == 0 || before["a"] == 0 || before["b"] == 0 {
		t.Errorf("the label never changed hands: %v", before)
	}
}
