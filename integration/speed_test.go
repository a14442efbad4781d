package integration

import (
	"encoding/csv"
	"flag"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
)

// What Atoll's speed is held against redis-server on the same machine in the same run. On an otherwise idle
// machine, in about ten minutes:
//
//	go test ./integration -run TestSpeed -speed -v -timeout 30m
//
// Nothing is asserted: the targets stand beside what was measured. Smaller counts show that it works.
var (
	speed           = flag.Bool("speed", false, "measure speed against redis-server")
	speedRounds     = flag.Int("speed.rounds", 5, "rounds, of which medians are taken")
	speedP1         = flag.Int("speed.p1", 200_000, "commands of one run of redis-benchmark without pipelining")
	speedP16        = flag.Int("speed.p16", 1_000_000, "commands of one run of redis-benchmark with -P 16, and of the filling")
	speedKeys       = flag.Int("speed.keys", 500_000, "keys of the full sync, over 17 namespaces")
	speedRedisLoad  = flag.String("speed.redis-load", "disabled", "redis-server's repl-diskless-load in the full sync")
	speedNamespaces = flag.Int("speed.namespaces", 100_000, "namespaces to create")
)

func TestSpeed(t *testing.T) {
	if !*speed {
		t.Skip("needs -speed: it measures for minutes, and wants the machine for itself")
	}
	if raceEnabled {
		t.Skip("the race detector is on: it would be measured")
	}
	needProgram(t, "redis-server")
	needProgram(t, "redis-benchmark")
	t.Run("commands", testSpeedCommands)
	t.Run("full sync", testSpeedSync)
	t.Run("namespaces", testSpeedNamespaces)
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

// redisBenchmark runs SET and GET of 100 bytes over a million keys by 50 clients, and returns the requests
// per second of each test.
func redisBenchmark(t *testing.T, addr string, tests string, commands, pipeline int) map[string]float64 {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("redis-benchmark", "-h", host, "-p", port, "-c", "50", "-d", "100", "-r", "1000000", "--csv",
		"-t", tests, "-n", strconv.Itoa(commands), "-P", strconv.Itoa(pipeline)).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-benchmark: %v\n%s", err, out)
	}
	rows, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("redis-benchmark printed %q: %v", out, err)
	}
	rates := make(map[string]float64)
	for _, row := range rows {
		if row[0] == "test" {
			continue
		}
		if rates[row[0]], err = strconv.ParseFloat(row[1], 64); err != nil || rates[row[0]] <= 0 {
			t.Fatalf("redis-benchmark printed %q: %v", out, err)
		}
	}
	for name := range strings.SplitSeq(tests, ",") {
		if rates[strings.ToUpper(name)] == 0 {
			t.Fatalf("redis-benchmark printed no %s: %q", name, out)
		}
	}
	return rates
}

// testSpeedCommands runs redis-benchmark against both in turn; who comes first alternates.
func testSpeedCommands(t *testing.T) {
	atollAddr := startServer(t).respAddr
	redisAddr, _ := startRedis(t)
	for _, addr := range []string{atollAddr, redisAddr} {
		redisBenchmark(t, addr, "set", *speedP16, 16)
	}
	w := table(t, "command\tpipeline\tatoll/s\tredis/s\tratio (least-most)\ttarget")
	for _, c := range []struct {
		pipeline, commands int
		target             map[string]float64
	}{
		{1, *speedP1, map[string]float64{"SET": 0.65, "GET": 0.65}},
		{16, *speedP16, map[string]float64{"SET": 0.35, "GET": 0.5}},
	} {
		ours, theirs, ratios := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
		for round := range *speedRounds {
			rates := make(map[string]map[string]float64)
			addrs := []string{atollAddr, redisAddr}
			if round%2 == 1 {
				slices.Reverse(addrs)
			}
			for _, addr := range addrs {
				rates[addr] = redisBenchmark(t, addr, "set,get", c.commands, c.pipeline)
			}
			for name := range c.target {
				a, r := rates[atollAddr][name], rates[redisAddr][name]
				ours[name], theirs[name], ratios[name] = append(ours[name], a), append(theirs[name], r), append(ratios[name], a/r)
			}
		}
		for _, name := range []string{"SET", "GET"} {
			fmt.Fprintf(w, "%s\t-P %d\t%.0f\t%.0f\t%s\tat least %.2f\n", name, c.pipeline,
				median(ours[name]), median(theirs[name]), spread(ratios[name]), c.target[name])
		}
	}
}
