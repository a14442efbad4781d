package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// clientWait bounds one run of a client program.
const clientWait = 2 * time.Minute

// need skips a test whose tool is missing, or fails it when ATOLL_REQUIRE names the tool.
func need(t *testing.T, tool string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if slices.Contains(strings.FieldsFunc(os.Getenv("ATOLL_REQUIRE"), func(r rune) bool { return r == ',' || r == ' ' }), tool) {
		t.Fatalf("ATOLL_REQUIRE names %s, which is missing: %v", tool, err)
	}
	t.Skipf("needs %s, which is missing: %v", tool, err)
}

func needProgram(t *testing.T, name string) {
	t.Helper()
	_, err := exec.LookPath(name)
	need(t, name, err)
}

// client runs a client program that must succeed in silence on stderr, and returns its output.
func client(t *testing.T, stdin string, env []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func TestRedisCLI(t *testing.T) {
	needProgram(t, "redis-cli")
	s := startServer(t)
	token := s.createNamespace("acme")
	host, port, err := net.SplitHostPort(s.respAddr)
	if err != nil {
		t.Fatal(err)
	}
	run := func(stdin string, args ...string) string {
		t.Helper()
		return client(t, stdin, []string{"REDISCLI_AUTH=" + token}, append([]string{"redis-cli", "-h", host, "-p", port}, args...)...)
	}
	for _, protocol := range []string{"-2", "-3"} {
		out := run("set a 1\nget a\nhset h f v\nhgetall h\nzadd z 1 m\ndbsize\nselect 3\ndbsize\nnope\n", protocol)
		for _, want := range []string{"OK", "1", "f", "v", "ERR unknown command"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q isn't in\n%s", protocol, want, out)
			}
		}
		run("", protocol, "flushall")
	}
	run("", "mset", "k1", "v", "k2", "v", "other", "v")
	if got := strings.Fields(run("", "--scan", "--pattern", "k*")); len(got) != 2 {
		t.Errorf("--scan found %v", got)
	}
	if out := run("", "--bigkeys"); !strings.Contains(out, "Sampled 3 keys") {
		t.Errorf("--bigkeys:\n%s", out)
	}
	if out := run("*3\r\n$3\r\nSET\r\n$2\r\npk\r\n$1\r\nv\r\n", "--pipe"); !strings.Contains(out, "errors: 0, replies: 1") {
		t.Errorf("--pipe:\n%s", out)
	}
	if out := run("", "info", "server"); !strings.Contains(out, "redis_version:7.") || !strings.Contains(out, "atoll_version:") {
		t.Errorf("info server:\n%s", out)
	}
	if out := run("", "command", "docs", "get"); !strings.Contains(out, "get") {
		t.Errorf("command docs:\n%s", out)
	}
	if out := run("", "-r", "2", "ping"); strings.Count(out, "PONG") != 2 {
		t.Errorf("ping twice:\n%s", out)
	}
}

func TestRedisBenchmark(t *testing.T) {
	needProgram(t, "redis-benchmark")
	s := startServer(t)
	token := s.createNamespace("acme")
	host, port, err := net.SplitHostPort(s.respAddr)
	if err != nil {
		t.Fatal(err)
	}
	for _, pipeline := range []string{"1", "16"} {
		out := client(t, "", nil, "redis-benchmark", "-h", host, "-p", port, "-a", token, "-n", "2000", "-c", "10", "-P", pipeline,
			"-r", "1000", "-q", "-t", "ping_inline,ping_mbulk,set,get,incr,hset,zadd,zpopmin,mset")
		for _, want := range []string{"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "HSET", "ZADD", "ZPOPMIN", "MSET (10 keys)"} {
			if !strings.Contains(out, want+": ") || strings.Contains(out, "WARNING") || strings.Contains(out, "rror") {
				t.Errorf("-P %s: want %q, no warning and no error in\n%s", pipeline, want, out)
			}
		}
	}
}

func TestGoRedis(t *testing.T) {
	s := startServer(t)
	token := s.createNamespace("acme")
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", protocol), func(t *testing.T) {
			useGoRedis(t, s, token, protocol)
		})
	}
}

func useGoRedis(t *testing.T, s *process, token string, protocol int) {
	ctx := t.Context()
	c := redis.NewClient(&redis.Options{Addr: s.respAddr, Password: token, Protocol: protocol, DB: 1, ClientName: "go"})
	defer c.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.FlushDB(ctx).Err())
	must(c.Set(ctx, "s", "v", time.Minute).Err())
	if got, err := c.TTL(ctx, "s").Result(); err != nil || got <= 0 || got > time.Minute {
		t.Errorf("ttl %v, %v", got, err)
	}
	if _, err := c.Get(ctx, "none").Result(); !errors.Is(err, redis.Nil) {
		t.Errorf("a missing key: %v", err)
	}
	must(c.HSet(ctx, "h", "a", 1, "b", 2).Err())
	if got, err := c.HGetAll(ctx, "h").Result(); err != nil || len(got) != 2 || got["b"] != "2" {
		t.Errorf("hgetall %v, %v", got, err)
	}
	must(c.ZAdd(ctx, "z", redis.Z{Score: 1.5, Member: "x"}, redis.Z{Score: 2, Member: "y"}).Err())
	if got, err := c.ZRangeWithScores(ctx, "z", 0, -1).Result(); err != nil || len(got) != 2 || got[0].Score != 1.5 || got[1].Member != "y" {
		t.Errorf("zrange %v, %v", got, err)
	}
	commands, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range 500 {
			p.Set(ctx, fmt.Sprint("p", i), i, 0)
		}
		p.HIncrBy(ctx, "h", "a", 41)
		return nil
	})
	if err != nil || len(commands) != 501 {
		t.Fatalf("pipeline of %d: %v", len(commands), err)
	}
	keys := map[string]bool{}
	for scan := c.Scan(ctx, 0, "p*", 50).Iterator(); scan.Next(ctx); {
		keys[scan.Val()] = true
	}
	if len(keys) != 500 {
		t.Errorf("scan found %d keys", len(keys))
	}
	if n, err := c.DBSize(ctx).Result(); err != nil || n != 503 {
		t.Errorf("dbsize %d, %v", n, err)
	}
	if name, err := c.ClientGetName(ctx).Result(); err != nil || name != "go" {
		t.Errorf("client name %q, %v", name, err)
	}
	must(c.FlushDB(ctx).Err())
}

func TestPythonRedis(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's, which sees Debian's packages
	out, err := exec.Command(python, "-c", "import redis").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	need(t, "python3-redis", err)
	s := startServer(t)
	token := s.createNamespace("acme")
	host, port, err := net.SplitHostPort(s.respAddr)
	if err != nil {
		t.Fatal(err)
	}
	if out := client(t, "", nil, python, "-W", "error::DeprecationWarning:__main__", "testdata/clients/python.py", host, port, token, s.adminToken()); out != "ok\n" {
		t.Error(out)
	}
}

func TestNodeRedis(t *testing.T) {
	const path = "NODE_PATH=/usr/share/nodejs"
	probe := exec.Command("node", "-e", "require('redis')")
	probe.Env = append(os.Environ(), path)
	out, err := probe.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	need(t, "node-redis", err)
	s := startServer(t)
	token := s.createNamespace("acme")
	host, port, err := net.SplitHostPort(s.respAddr)
	if err != nil {
		t.Fatal(err)
	}
	if out := client(t, "", []string{path}, "node", "testdata/clients/node.js", host, port, token); out != "ok\n" {
		t.Error(out)
	}
}
