package integration

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"text/tabwriter"
	"time"
)

// What Atoll's speed is held against redis-server on the same machine in the same run. On an otherwise idle
// machine, in about an hour:
//
//	go test ./integration -run TestSpeed -speed -v -timeout 2h
//
// Nothing is asserted: the targets stand beside what was measured. Smaller counts show that it works.
var (
	speed            = flag.Bool("speed", false, "measure speed against redis-server")
	speedRounds      = flag.Int("speed.rounds", 5, "rounds, of which medians are taken")
	speedRun         = flag.Duration("speed.run", 3*time.Second, "how long one run of commands takes")
	speedBenchKeys   = flag.Int("speed.bench-keys", 1_000_000, "keys that the commands are spread over")
	speedKeys        = flag.Int("speed.keys", 500_000, "keys of the full sync, over 17 namespaces")
	speedRedisLoad   = flag.String("speed.redis-load", "disabled", "redis-server's repl-diskless-load in the full sync")
	speedRestartKeys = flag.Int("speed.restart-keys", 5_000_000, "keys of the restarts, and of the full sync that cp is compared with")
	speedNamespaces  = flag.Int("speed.namespaces", 100_000, "namespaces to create")
)

func TestSpeed(t *testing.T) {
	if !*speed {
		t.Skip("needs -speed: it measures for minutes, and wants the machine for itself")
	}
	if raceEnabled {
		t.Skip("the race detector is on: it would be measured")
	}
	needProgram(t, "redis-server")
	t.Run("commands", testSpeedCommands)
	t.Run("local", testSpeedLocal)
	t.Run("growth", testSpeedGrowth)
	t.Run("restart", testSpeedRestart)
	t.Run("copy", testSpeedCopy)
	t.Run("full sync", testSpeedSync)
	t.Run("namespaces", testSpeedNamespaces)
	t.Run("fair", testSpeedFair)
}

// table prints rows of cells that are separated by tabs, when the test ends.
func table(t *testing.T, head string) io.Writer {
	w := tabwriter.NewWriter(t.Output(), 0, 0, 2, ' ', 0)
	t.Cleanup(func() { _ = w.Flush() })
	fmt.Fprintln(w, head)
	return w
}

// median sorts values.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// spread writes a median with the least and the most.
func spread(values []float64) string {
	m := median(values)
	return fmt.Sprintf("%.2f (%.2f-%.2f)", m, values[0], values[len(values)-1])
}

// startRedis starts a redis-server without persistence and waits until it answers. The returned function
// ends it, as the test's end does.
func startRedis(t *testing.T, args ...string) (addr string, stop func()) {
	t.Helper()
	addr = freeAddrs(t, 1)[0]
	stop = startRedisAt(t, addr, args...)
	waitFor(t, func() bool {
		c, err := dialRESP(addr)
		if err != nil {
			return false
		}
		defer c.close()
		_, err = c.do("PING")
		return err == nil
	})
	return addr, stop
}

func startRedisAt(t *testing.T, addr string, args ...string) (stop func()) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, args...)
	cmd := exec.Command("redis-server", args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // the end that was ordered
		}
	}
	t.Cleanup(stop)
	return stop
}

// speedTargets are the least ratios to redis-server that are aimed at, without pipelining and with -P 16.
var speedTargets = map[string][2]float64{
	"set": {0.75, 0.5}, "get": {0.75, 0.6}, "get-hot": {0.85, 0.85}, "incr": {0.72, 0.35},
	"hset": {0.65, 0.3}, "hset-one": {0.65, 0.3}, "zadd": {0.65, 0.3}, "zadd-one": {0.65, 0.3}, "mset": {0.55, 0.4},
}

// benchLine is a line of `atoll bench --output json`.
type benchLine struct {
	Workload string
	Pipeline int
	A, B     struct {
		Rate float64 `json:"commands_per_second"`
		P99  float64 `json:"p99_us"`
	}
	Ratio    struct{ Median, Least, Most float64 }
	P99Ratio struct{ Median float64 } `json:"p99_ratio"`
}

// bench runs `atoll bench`, which tells on stderr how it gets on.
func (p *process) bench(args ...string) (lines []benchLine) {
	p.t.Helper()
	out, stderr, err := p.cli(append([]string{"bench", "--output", "json"}, args...)...)
	if err != nil {
		p.t.Fatalf("atoll bench: %v\n%s", err, stderr)
	}
	if err := json.Unmarshal([]byte(out), &lines); err != nil {
		p.t.Fatalf("%v: %s", err, out)
	}
	return lines
}

// testSpeedCommands has `atoll bench` compare the two.
func testSpeedCommands(t *testing.T) {
	p := startServer(t)
	redisAddr, _ := startRedis(t)
	lines := p.bench("--a", p.respAddr, "--b", redisAddr, "--keys", strconv.Itoa(*speedBenchKeys),
		"--rounds", strconv.Itoa(*speedRounds), "--duration", speedRun.String())
	w := table(t, "command\tpipeline\tatoll/s\tredis/s\tratio (least-most)\ttarget\tatoll p99 us\tredis p99 us\tratio")
	measured := 0
	for _, l := range lines {
		target, ok := speedTargets[l.Workload]
		if !ok || l.A.Rate <= 0 || l.B.Rate <= 0 {
			t.Fatalf("an unknown line: %+v", l)
		}
		least := target[0]
		if l.Pipeline > 1 {
			least = target[1]
		}
		fmt.Fprintf(w, "%s\t-P %d\t%.0f\t%.0f\t%.2f (%.2f-%.2f)\tat least %.2f\t%.0f\t%.0f\t%.2f\n", l.Workload, l.Pipeline,
			l.A.Rate, l.B.Rate, l.Ratio.Median, l.Ratio.Least, l.Ratio.Most, least, l.A.P99, l.B.P99, l.P99Ratio.Median)
		measured++
	}
	if measured != 2*len(speedTargets) {
		t.Fatalf("%d lines, want %d", measured, 2*len(speedTargets))
	}
}
