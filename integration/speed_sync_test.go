package integration

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// syncSteps are what a joining node logs on its way, in order.
var syncSteps = []string{"atoll runs", "joined the cluster", "a full sync is needed", "took the files of a snapshot", "the full sync is done"}

var logTime = regexp.MustCompile(`time=(\S+)`)

// checkpointShared is longer than a primary gives one checkpoint to every sink that comes.
const checkpointShared = 6 * time.Second

// tenantLoad is the same keys in any store that divides them by a command: AUTH or SELECT.
type tenantLoad struct {
	t     *testing.T
	enter [][]string // a tenant each
}

func (l tenantLoad) size(i int) int {
	size := *speedKeys / len(l.enter)
	if i < *speedKeys%len(l.enter) {
		size++
	}
	return size
}

// fill writes every tenant's keys through one connection.
func (l tenantLoad) fill(addr string) {
	l.t.Helper()
	c, err := dialRESP(addr)
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.close()
	for i, enter := range l.enter {
		if r, err := c.do(enter...); err != nil || r[0] != "OK" {
			l.t.Fatalf("%s: %v %v", enter[0], r, err)
		}
		const batch = 500
		for at := 0; at < l.size(i); at += batch {
			n := min(batch, l.size(i)-at)
			_ = c.conn.SetDeadline(time.Now().Add(readyWait))
			w := bufio.NewWriterSize(c.conn, 1<<17)
			for k := at; k < at+n; k++ {
				key, value := fmt.Sprintf("key:%d", k), valueOf("tenant", k)
				fmt.Fprintf(w, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)
			}
			if err := w.Flush(); err != nil {
				l.t.Fatal(err)
			}
			for range n {
				if r, err := c.reply(); err != nil || r[0] != "OK" {
					l.t.Fatalf("SET: %v %v", r, err)
				}
			}
		}
	}
}

// awaitSizes polls one connection without pause until it has read every tenant's DBSIZE as the full one.
func (l tenantLoad) awaitSizes(addr string) {
	l.t.Helper()
	end := time.Now().Add(5 * time.Minute)
	var c *respClient
	for i := 0; i < len(l.enter); {
		if time.Now().After(end) {
			l.t.Fatalf("tenant %d is not there after five minutes", i)
		}
		if c == nil {
			var err error
			if c, err = dialRESP(addr); err != nil {
				time.Sleep(time.Millisecond) // not ordering: nobody listens yet
				continue
			}
		}
		r, err := c.do(l.enter[i]...)
		if err == nil && r[0] == "OK" {
			r, err = c.do("DBSIZE")
		}
		switch {
		case err != nil:
			c.close()
			c = nil
		case r[0] == strconv.Itoa(l.size(i)):
			i++
		}
	}
	if c != nil {
		c.close()
	}
}

// testSpeedSync measures how long a new, empty node takes from its start until it serves every key.
func testSpeedSync(t *testing.T) {
	primary := startServer(t)
	ours, theirs := tenantLoad{t: t}, tenantLoad{t: t}
	for i := range tenants {
		ours.enter = append(ours.enter, []string{"AUTH", primary.createNamespace(fmt.Sprintf("tenant-%02d", i))})
		theirs.enter = append(theirs.enter, []string{"SELECT", strconv.Itoa(i)})
	}
	redisAddr, _ := startRedis(t, "--databases", strconv.Itoa(tenants), "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
	ours.fill(primary.respAddr)
	theirs.fill(redisAddr)

	var atollTook, redisTook, ratios []float64
	parts := make(map[string][]float64)
	for round := range *speedRounds {
		var a, r float64
		runs := []func(){
			func() { a = ours.syncAtoll(primary, parts) },
			func() { r = theirs.syncRedis(redisAddr) },
		}
		if round%2 == 1 {
			slices.Reverse(runs)
		}
		for _, run := range runs {
			run()
		}
		atollTook, redisTook, ratios = append(atollTook, a), append(redisTook, r), append(ratios, a/r)
	}
	w := table(t, "full sync\tatoll s\tredis s\tratio (least-most)\ttarget")
	fmt.Fprintf(w, "%d keys, %d tenants\t%.3f\t%.3f\t%s\tat most 0.125\n", *speedKeys, tenants,
		median(atollTook), median(redisTook), spread(ratios))
	for _, step := range syncSteps {
		if len(parts[step]) > 0 {
			fmt.Fprintf(w, "- until %q\t%.3f\n", step, median(parts[step]))
		}
	}
	fmt.Fprintf(w, "- checkpoints made\t%d\n", strings.Count(primary.log(), "made a checkpoint"))
}

// syncAtoll runs one joining node, takes it away again, and returns its seconds.
func (l tenantLoad) syncAtoll(primary *process, parts map[string][]float64) float64 {
	l.t.Helper()
	time.Sleep(checkpointShared) // not ordering: each sink's checkpoint is its own, and counts
	sink := newProcess(l.t, "data", "--join", primary.cluster)
	began := time.Now()
	sink.start()
	l.awaitSizes(sink.respAddr)
	took := time.Since(began)
	for line := range strings.Lines(sink.log()) {
		for _, step := range syncSteps {
			m := logTime.FindStringSubmatch(line)
			if m == nil || !strings.Contains(line, step) {
				continue
			}
			if at, err := time.Parse(time.RFC3339Nano, m[1]); err == nil {
				parts[step] = append(parts[step], at.Sub(began).Seconds())
			}
		}
	}
	sink.stop()
	removeNode(l.t, primary.admin(), sink.cluster)
	return took.Seconds()
}

func removeNode(t *testing.T, admin *adminapi.Client, cluster string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), readyWait)
	defer cancel()
	nodes, err := admin.Nodes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes.Nodes {
		if n.ClusterAddr != cluster {
			continue
		}
		for { // it counts as live for a while
			_, err := admin.RemoveNode(ctx, n.ID)
			if err == nil {
				break
			}
			if !strings.Contains(err.Error(), "is live") || ctx.Err() != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// syncRedis runs one redis-server that replicates another, and returns its seconds.
func (l tenantLoad) syncRedis(primary string) float64 {
	l.t.Helper()
	host, port, err := net.SplitHostPort(primary)
	if err != nil {
		l.t.Fatal(err)
	}
	addr := freeAddrs(l.t, 1)[0]
	began := time.Now()
	stop := startRedisAt(l.t, addr, "--databases", strconv.Itoa(len(l.enter)), "--replicaof", host+" "+port,
		"--repl-diskless-load", *speedRedisLoad)
	l.awaitSizes(addr)
	took := time.Since(began)
	stop()
	return took.Seconds()
}
