package integration

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// testSpeedLocal measures writes that wait for their fsync, 200 connections at once, against a redis-server
// that fsyncs its append-only file before each reply.
func testSpeedLocal(t *testing.T) {
	p := startServer(t)
	p.mustCLI("ns", "create", "local", "--durability", "local", "--secret", "secret-of-the-local-namespace")
	redisAddr, _ := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	before := infoNumber(t, p, "persistence", "log_fsyncs")
	args := []string{
		"--a", p.respAddr, "--a-token", "secret-of-the-local-namespace", "--b", redisAddr, "--connections", "200",
		"--workloads", "set", "--pipelines", "1", "--fill=false", "--warm=false",
		"--rounds", strconv.Itoa(*speedRounds), "--duration", speedRun.String(),
	}
	l := p.bench(args...)[0]
	syncs := infoNumber(t, p, "persistence", "log_fsyncs") - before
	writes := l.A.Rate * float64(*speedRounds) * speedRun.Seconds()
	w := table(t, "local, 200 connections\tatoll/s\tredis/s\tratio (least-most)\ttarget\twrites an fsync\ttarget")
	fmt.Fprintf(w, "SET\t%.0f\t%.0f\t%.2f (%.2f-%.2f)\tat least 0.80\t%.0f\tat least 20\n", l.A.Rate, l.B.Rate,
		l.Ratio.Median, l.Ratio.Least, l.Ratio.Most, writes/max(syncs, 1))
}

// infoNumber returns a field of INFO as an admin sees it.
func infoNumber(t *testing.T, p *process, section, field string) float64 {
	t.Helper()
	text, err := p.do(t.Context(), p.adminToken(), "INFO", section)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(fmt.Sprint(text), "\r\n") {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.ParseFloat(v, 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return n
		}
	}
	t.Fatalf("INFO %s has no %s", section, field)
	return 0
}
