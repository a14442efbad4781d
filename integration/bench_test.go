package integration

import "testing"

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
}
