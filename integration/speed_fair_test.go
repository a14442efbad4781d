package integration

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
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

// testSpeedFair measures the latency of one namespace's commands while another storms, without limits. Storm, server
// and measurement share the machine's processors.
func testSpeedFair(t *testing.T) {
	p := startServer(t)
	loud, quiet := p.createNamespace("loud"), p.createNamespace("quiet")
	w := table(t, "storm of another namespace\tcommands/s\tSET p50, ms\tp99, ms\ttimes\tbare socket p99, ms\ttarget of times")
	alone := 0.0
	for _, s := range storms() {
		stop, done := make(chan struct{}), new(sync.WaitGroup)
		rounds := make([]int, s.conns)
		for i := range s.conns {
			c := stormConn(t, p.respAddr, loud)
			done.Go(func() {
				defer c.Close()
				for {
					select {
					case <-stop:
						return
					default:
					}
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
		took := latencies(t, stormConn(t, p.respAddr, quiet), []byte(respOf("SET", "k", "value")))
		bare := latencies(t, echoConn(t), []byte("12345"))
		close(stop)
		done.Wait()
		sum := 0
		for _, n := range rounds {
			sum += n
		}
		p99 := took[len(took)*99/100]
		if s.conns == 0 {
			alone = p99
		}
		commands := float64(sum*max(1, bytes.Count(s.send, []byte("SET\r\n")))) / (2 * speedRun.Seconds())
		fmt.Fprintf(w, "%s\t%.0f\t%.3f\t%.3f\t%.1f\t%.3f\tat most 3\n", s.name, commands, took[len(took)/2], p99, p99/alone, bare[len(bare)*99/100])
	}
}

func stormConn(t *testing.T, addr, token string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, respOf("AUTH", token)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, c, 5); err != nil {
		t.Fatal(err)
	}
	return c
}

// echoConn is a connection whose other end, a goroutine, sends back what it gets: what the processors being busy costs.
func echoConn(t *testing.T) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, c)
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// latencies returns how long commands took whose replies have five bytes, one after the other for the time of a run, in
// milliseconds, sorted.
func latencies(t *testing.T, c net.Conn, send []byte) []float64 {
	t.Helper()
	var took []float64
	reply := make([]byte, 5)
	for end := time.Now().Add(*speedRun); time.Now().Before(end); {
		began := time.Now()
		if _, err := c.Write(send); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, reply); err != nil {
			t.Fatal(err)
		}
		took = append(took, float64(time.Since(began).Microseconds())/1000)
	}
	slices.Sort(took)
	return took
}
