package integration

import (
	"fmt"
	"io"
	"strconv"
	"testing"
)

// testSpeedGrowth measures how the cost of a command grows with connections, namespaces and keys.
func testSpeedGrowth(t *testing.T) {
	w := table(t, "growth\tcommand\tatoll/s\tredis/s\tratio (least-most)\tatoll p99 us\tredis p99 us")
	redisAddr, _ := startRedis(t)
	line := func(p *process, token, what, workload string, keys, conns int, fill bool) {
		for _, l := range p.bench("--a", p.respAddr, "--a-token", token, "--b", redisAddr, "--connections", strconv.Itoa(conns), "--keys", strconv.Itoa(keys),
			"--workloads", workload, "--pipelines", "1", "--fill="+strconv.FormatBool(fill), "--warm=false",
			"--rounds", strconv.Itoa(*speedRounds), "--duration", speedRun.String()) {
			writeGrowth(w, what, l)
		}
	}
	p := startServer(t)
	for i, conns := range []int{1, 10, 50, 200, 1000} {
		line(p, "", fmt.Sprintf("%d connections", conns), "set,get", *speedBenchKeys, conns, i == 0)
	}
	for _, keys := range []int{*speedBenchKeys / 10, *speedBenchKeys, *speedBenchKeys * 10} {
		line(p, "", fmt.Sprintf("%d keys", keys), "set,get", keys, 50, true)
	}
	made := 0
	for _, namespaces := range []int{1, 100, *speedNamespaces} {
		createTenants(t, p.admin(), 64, made+1, namespaces)
		made = namespaces
		token := fmt.Sprintf("the-secret-of-%08d", made)
		awaitToken(p, token)
		line(p, token, fmt.Sprintf("%d namespaces", made), "set,get", *speedBenchKeys/10, 50, true)
	}
}

func writeGrowth(w io.Writer, what string, l benchLine) {
	fmt.Fprintf(w, "%s\t%s\t%.0f\t%.0f\t%.2f (%.2f-%.2f)\t%.0f\t%.0f\n", what, l.Workload, l.A.Rate, l.B.Rate,
		l.Ratio.Median, l.Ratio.Least, l.Ratio.Most, l.A.P99, l.B.P99)
}
