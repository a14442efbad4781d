package integration

import (
	"strings"
	"testing"
)

// TestBench compares a server with itself, one of them through a namespace's token.
func TestBench(t *testing.T) {
	p := startServer(t)
	token := p.createNamespace("bench")
	args := []string{"--a", p.respAddr, "--b", p.respAddr, "--b-token", token, "--keys", "200", "--size", "20", "--connections", "5",
		"--rounds", "2", "--requests", "400", "--pipelines", "1,8"}
	lines := p.bench(args...)
	if len(lines) != 18 {
		t.Errorf("%d lines, want 9 workloads at 2 pipelines", len(lines))
	}
	for _, l := range lines {
		if l.A.Rate <= 0 || l.B.Rate <= 0 || l.Ratio.Median <= 0 || l.P99Ratio.Median <= 0 {
			t.Errorf("an empty line: %+v", l)
		}
	}
	for _, token := range []string{"", token} { // both were written, and not by each other
		n, err := p.do(t.Context(), token, "DBSIZE")
		if err != nil || n.(int64) < 200+200 {
			t.Errorf("%v keys: %v", n, err)
		}
	}
	out, stderr, err := p.cli("bench", "--a", p.respAddr, "--workloads", "get", "--pipelines", "4", "--requests", "100", "--keys", "10")
	if err != nil || !strings.Contains(stderr, "filling "+p.respAddr) {
		t.Errorf("%v: %s", err, stderr)
	}
	if head, row, _ := strings.Cut(out, "\n"); !strings.HasPrefix(head, "WORKLOAD") || strings.Contains(head, "RATIO") || !strings.HasPrefix(row, "get") {
		t.Errorf("printed %q", out)
	}
	for _, c := range []struct{ args, want string }{
		{"--workloads|fly", "fly"},
		{"--pipelines|0", "--pipelines: 0 is not between 1 and 1024"},
		{"--connections|0", "connections: 0 is not between 1 and 10000"},
		{"--rounds|0", "--rounds: 0 is below 1"},
		{"--keys|0", "keys: 0 is not between"},
		{"--duration|1ms", "--duration: 1ms is below 10ms"},
		{"--a|127.0.0.1:1", "connection refused"},
		{"--a-token|wrong", "WRONGPASS"},
	} {
		_, stderr, err := p.cli(append([]string{"bench", "--a", p.respAddr}, strings.Split(c.args, "|")...)...)
		if err == nil || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: %v, %q", c.args, err, stderr)
		}
	}
}
