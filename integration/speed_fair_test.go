package integration

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// storm is what one namespace does while another is measured: each connection sends a pipeline, and reads its replies.
type storm struct {
	name  string
	conns int
	send  []byte
	reply int // bytes
}

func storms() []storm {
	set := func(key string, bytes int) string { return respOf("SET", key, strings.Repeat("v", bytes)) }
	mset := []string{"MSET"}
	for i := range 100 {
		mset = append(mset, fmt.Sprint("m", i), strings.Repeat("v", 1000))
	}
	return []storm{
		{"none", 0, nil, 0},
		{"64 connections, SET", 64, []byte(set("s", 100)), 5},
		{"1,000 connections, GET", 1000, []byte(respOf("GET", "absent")), 5},
		{"16 connections, 512 SET at once", 16, []byte(strings.Repeat(set("s", 100), 512)), 512 * 5},
		{"16 connections, 16 MSET of 100 KB at once", 16, []byte(strings.Repeat(respOf(mset...), 16)), 16 * 5},
		{"8 connections, SET of 4 MiB", 8, []byte(set("l", 4<<20)), 5},
	}
}

func respOf(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

// testSpeedFair measures the latency of one namespace's commands while another storms, without limits. What is measured
// is the server, so the storm's process runs only where nothing else would: else the kernel would keep the others waiting
// for it, which it doesn't where clients have machines of their own. The same storm on redis-server, where nobody is kept
// from anybody, shows what a server costs that does one thing after the other.
func testSpeedFair(t *testing.T) {
	p := startServer(t)
	redisAddr, _ := startRedis(t)
	loud, quiet := p.createNamespace("loud"), p.createNamespace("quiet")
	w := table(t, "storm of another namespace\tcommands/s\tp99 of SET, us\ttimes\tredis: commands/s\tp99, us\ttimes\ttarget of times")
	alone, redisAlone := 0.0, 0.0
	for i, s := range storms() {
		rate, p99 := s.weather(t, i, p, p.respAddr, loud, quiet)
		redisRate, redisP99 := s.weather(t, i, p, redisAddr, "", "")
		if s.conns == 0 {
			alone, redisAlone = p99, redisP99
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.1f\t%.0f\t%.0f\t%.1f\tat most 3\n", s.name, rate, p99, p99/alone, redisRate, redisP99, redisP99/redisAlone)
	}
}

// weather has the storm go on in a process while another one measures, and returns its commands a second, and the 99th
// percentile of one connection's SETs in microseconds.
func (s *storm) weather(t *testing.T, i int, p *process, addr, loud, quiet string) (rate, p99 float64) {
	t.Helper()
	cmd := exec.Command("chrt", "--idle", "0", os.Args[0], "-test.run", "^TestStorm$", "-speed.storm", strconv.Itoa(i))
	cmd.Env = append(environ(), "STORM_ADDR="+addr, "STORM_TOKEN="+loud)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l := p.bench("--a", addr, "--a-token", quiet, "--connections", "1", "--keys", "100", "--workloads", "set",
		"--pipelines", "1", "--fill=false", "--warm=false", "--rounds", strconv.Itoa(*speedRounds), "--duration", speedRun.String())[0]
	took := time.Since(began).Seconds()
	err = errors.Join(in.Close(), cmd.Wait())
	var rounds int
	if at := strings.Index(out.String(), "rounds: "); err != nil || at < 0 {
		t.Fatalf("the storm: %v\n%s", err, &out)
	} else if _, err := fmt.Sscanf(out.String()[at:], "rounds: %d", &rounds); err != nil {
		t.Fatal(err)
	}
	return float64(rounds*max(1, bytes.Count(s.send, []byte("SET\r\n")))) / took, l.A.P99
}

var speedStorm = flag.Int("speed.storm", -1, "be the storm of that number, until stdin ends")

// TestStorm is the process that testSpeedFair starts.
func TestStorm(t *testing.T) {
	if *speedStorm < 0 {
		t.Skip("it is a part of TestSpeed/fair")
	}
	s := storms()[*speedStorm]
	var stopping atomic.Bool
	var done sync.WaitGroup
	rounds := make([]int, s.conns)
	for i := range s.conns {
		c := stormConn(t, os.Getenv("STORM_ADDR"), os.Getenv("STORM_TOKEN"))
		done.Go(func() {
			for !stopping.Load() {
				if _, err := c.Write(s.send); err != nil {
					t.Error(err)
					return
				}
				if _, err := io.CopyN(io.Discard, c, int64(s.reply)); err != nil {
					t.Error(err)
					return
				}
				rounds[i]++
			}
		})
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Error(err)
	}
	stopping.Store(true)
	done.Wait()
	sum := 0
	for _, n := range rounds {
		sum += n
	}
	fmt.Printf("rounds: %d\n", sum)
}

func stormConn(t *testing.T, addr, token string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if token == "" {
		return c
	}
	if _, err := io.WriteString(c, respOf("AUTH", token)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, c, 5); err != nil {
		t.Fatal(err)
	}
	return c
}
