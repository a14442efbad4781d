package integration

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// exported runs a real redis exporter against a node, and returns what it served, once.
func exported(t *testing.T, p *process, token string) map[string]float64 {
	t.Helper()
	addr := freeAddrs(t, 1)[0]
	cmd := exec.Command("prometheus-redis-exporter", "--redis.addr", "redis://"+p.respAddr, "--web.listen-address", addr, "--export-client-list")
	cmd.Env = environ("REDIS_PASSWORD=" + token)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill() // it keeps nothing
		_ = cmd.Wait()
		if strings.Contains(log.String(), "level=error") {
			t.Errorf("the exporter logged errors:\n%s", tail(log.String()))
		}
	}()
	var text string
	p.until("exported", func(ctx context.Context) (err error) {
		text, err = getText(ctx, "http://"+addr+"/metrics")
		return err
	})
	values := map[string]float64{}
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		name, value, ok := cutLast(s.Text(), " ")
		if f, err := strconv.ParseFloat(value, 64); ok && err == nil && strings.HasPrefix(name, "redis_") {
			values[name] = f
		}
	}
	return values
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// TestRedisExporter has the exporter that people run beside Redis look at Atoll as a tenant, who sees its own namespace,
// and as an admin, who sees the node.
func TestRedisExporter(t *testing.T) {
	needProgram(t, "prometheus-redis-exporter")
	s := startServer(t)
	token, other := s.createNamespace("acme"), s.createNamespace("globex")
	ctx := context.Background()
	for i := range 5 {
		if _, err := s.do(ctx, token, "SET", fmt.Sprint("k", i), "v", "EX", 1000); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.do(ctx, token, "SET", "forever", "v"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.do(ctx, token, "INCR", "forever"); err == nil {
		t.Fatal("INCR of a text succeeded")
	}
	if _, err := s.do(ctx, other, "SET", "k", strings.Repeat("v", 10_000)); err != nil {
		t.Fatal(err)
	}

	tenant := exported(t, s, token)
	for name, want := range map[string]float64{
		"redis_up": 1, `redis_exporter_last_scrape_error{err=""}`: 0, `redis_db_keys{db="db0"}`: 6, `redis_db_keys_expiring{db="db0"}`: 5,
		"redis_connected_clients": 1, "redis_config_maxclients": 10000, "redis_evicted_keys_total": 0,
	} {
		if got, ok := tenant[name]; !ok || got != want {
			t.Errorf("a tenant's %s is %v (%t), not %v", name, got, ok, want)
		}
	}
	if in := tenant["redis_net_input_bytes_total"]; in < 100 || in > 9_000 {
		t.Errorf("a tenant's commands had %v bytes", in)
	}
	if n := tenant["redis_total_error_replies"]; n < 1 { // the exporter asks for what Atoll lacks, too
		t.Errorf("a tenant got %v error replies", n)
	}
	if used := tenant["redis_memory_used_bytes"]; used <= 0 || used > 9_000 {
		t.Errorf("a tenant uses %v bytes", used)
	}

	admin := exported(t, s, s.adminToken())
	for name, want := range map[string]float64{
		"redis_up": 1, `redis_exporter_last_scrape_error{err=""}`: 0, `redis_commands_total{cmd="set"}`: 7,
		`redis_commands_total{cmd="incr"}`: 1, "redis_connected_slaves": 0,
	} {
		if got, ok := admin[name]; !ok || got != want {
			t.Errorf("an admin's %s is %v (%t), not %v", name, got, ok, want)
		}
	}
	for _, name := range []string{"redis_cpu_user_seconds_total", "redis_uptime_in_seconds", "redis_master_repl_offset"} {
		if _, ok := admin[name]; !ok {
			t.Errorf("an admin's %s is missing", name)
		}
	}
	if in := admin["redis_net_input_bytes_total"]; in < 10_000 {
		t.Errorf("all commands had %v bytes", in)
	}
}
