package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	alertsFile    = "../deploy/prometheus/alerts.yml"
	dashboardFile = "../deploy/grafana/atoll.json"
)

// alert is a rule of alerts.yml.
type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func readAlerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alert }
	}
	if err := yaml.Unmarshal([]byte(readText(alertsFile)), &file); err != nil {
		t.Fatal(err)
	}
	var list []alert
	for _, g := range file.Groups {
		list = append(list, g.Rules...)
	}
	if len(list) == 0 {
		t.Fatal("there are no alerts")
	}
	return list
}

// readPanels returns the expressions of the dashboard, with Grafana's variables filled in.
func readPanels(t *testing.T) []string {
	t.Helper()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readText(dashboardFile)), &board); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$__rate_interval", "1m", "$namespace", ".*")
	var list []string
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			list = append(list, fill.Replace(target.Expr))
		}
	}
	if len(list) == 0 {
		t.Fatal("there are no panels")
	}
	return list
}

// monitored is a cluster of two processes with metrics, which have done a little of everything.
type monitored struct {
	server, replica *process
	addrs           []string // of metrics
	token           string
}

func startMonitored(t *testing.T) *monitored {
	t.Helper()
	m := &monitored{addrs: freeAddrs(t, 2)}
	m.server = startServer(t, "--metrics-addr", m.addrs[0])
	m.replica = m.server.joinData("--metrics-addr", m.addrs[1])
	m.replica.waitReady()
	m.token = m.server.createNamespace("acme")
	ctx := context.Background()
	for _, p := range []*process{m.server, m.replica} {
		for _, words := range [][]any{{"SET", "k", "v"}, {"GET", "k"}, {"HSET", "h", "f", "v"}, {"ZADD", "z", 1, "m"}} {
			if _, err := p.do(ctx, m.token, words...); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.do(ctx, m.token, "HGET", "k", "f"); err == nil {
			t.Fatal("HGET of a string succeeded")
		}
		if _, err := p.do(ctx, "no-token-of-this-cluster", "PING"); err == nil {
			t.Fatal("a wrong token was taken")
		}
	}
	m.server.mustCLI("ns", "list")
	return m
}

// getText returns what a URL of a test's own process answers with 200.
func getText(ctx context.Context, at string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", at, resp.Status, body)
	}
	return string(body), err
}

// kinds returns the kind of every metric that the processes serve.
func (m *monitored) kinds(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, addr := range m.addrs {
		text, err := getText(context.Background(), "http://"+addr+"/metrics")
		if err != nil {
			t.Fatal(err)
		}
		for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
			if words := strings.Fields(s.Text()); len(words) == 4 && words[0] == "#" && words[1] == "TYPE" {
				all[words[2]] = words[3]
			}
		}
	}
	return all
}

// TestMetricsAreTrue holds alerts, dashboard and METRICS.md to what processes serve.
func TestMetricsAreTrue(t *testing.T) {
	m := startMonitored(t)
	var served map[string]string
	m.replica.until("told of by every metric", func(context.Context) error { // the replica is a sink soon
		if served = m.kinds(t); served["atoll_replication_sink_lag_entries"] == "" {
			return fmt.Errorf("no sink among %d metrics", len(served))
		}
		return nil
	})
	told := map[string]string{}
	for _, line := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) ").FindAllStringSubmatch(readText("../deploy/METRICS.md"), -1) {
		told[line[1]] = line[2]
	}
	for name, kind := range served {
		if strings.HasPrefix(name, "atoll_") && told[name] != kind {
			t.Errorf("METRICS.md calls %s a %q, and it is a %s", name, told[name], kind)
		}
	}
	for name := range told {
		if served[name] == "" {
			t.Errorf("METRICS.md tells of %s, which nobody serves", name)
		}
	}
	names := regexp.MustCompile(`\b(?:atoll|go|process)_[a-z0-9_]+`)
	used := 0
	check := func(where, expr string) {
		for _, name := range names.FindAllString(expr, -1) {
			used++
			base := strings.TrimSuffix(name, "_bucket")
			if served[name] == "" && (base == name || served[base] != "histogram") {
				t.Errorf("%s uses %s, which nobody serves", where, name)
			}
		}
	}
	for _, a := range readAlerts(t) {
		check(a.Alert, a.Expr)
		if a.Annotations["summary"] == "" || a.Annotations["action"] == "" || a.Labels["severity"] == "" {
			t.Errorf("%s lacks a summary, an action or a severity", a.Alert)
		}
	}
	for _, expr := range readPanels(t) {
		check("the dashboard", expr)
	}
	if used < 50 {
		t.Errorf("only %d uses of metrics were found", used)
	}
}

// prometheus is a real one that scrapes a cluster.
type prometheus struct {
	t    *testing.T
	addr string
}

func startPrometheus(t *testing.T, targets []string) *prometheus {
	t.Helper()
	p := &prometheus{t: t, addr: freeAddrs(t, 1)[0]}
	rules, err := filepath.Abs(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\nrule_files: [%q]\n"+
		"scrape_configs: [{job_name: atoll, static_configs: [{targets: [%q]}]}]\n", rules, strings.Join(targets, `", "`))
	text = strings.ReplaceAll(text, `\"`, `"`)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("prometheus", "--config.file", config, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", p.addr)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // its data is the test's
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(tail(log.String()))
		}
	})
	return p
}

// query evaluates an expression now, and returns how many series it has.
func (p *prometheus) query(ctx context.Context, expr string) (int, error) {
	text, err := getText(ctx, "http://"+p.addr+"/api/v1/query?query="+url.QueryEscape(expr))
	if err != nil {
		return 0, err
	}
	var answer struct {
		Status string
		Data   struct {
			ResultType string
			Result     []json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Status != "success" || answer.Data.ResultType != "vector" {
		return 0, fmt.Errorf("%s: %v %s", expr, err, text)
	}
	return len(answer.Data.Result), nil
}

// rules returns the health of every rule that was evaluated.
func (p *prometheus) rules(ctx context.Context) (map[string]string, error) {
	text, err := getText(ctx, "http://"+p.addr+"/api/v1/rules")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return nil, err
	}
	health := map[string]string{}
	for _, g := range answer.Data.Groups {
		for _, r := range g.Rules {
			health[r.Name] = strings.TrimSpace(r.Health + " " + r.LastError)
		}
	}
	return health, nil
}

// TestPrometheus has a real Prometheus scrape a cluster: its rules are sound, no alert is raised of a cluster that is
// well, every panel of the dashboard shows something, and a replica that dies is noticed.
func TestPrometheus(t *testing.T) {
	needProgram(t, "prometheus")
	needProgram(t, "promtool")
	if out, err := exec.Command("promtool", "check", "rules", alertsFile).CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	m := startMonitored(t)
	p := startPrometheus(t, m.addrs)
	alerts := readAlerts(t)
	m.server.until("scraped, with every rule evaluated", func(ctx context.Context) error {
		health, err := p.rules(ctx)
		if err != nil {
			return err
		}
		for _, a := range alerts {
			if health[a.Alert] != "ok" {
				return fmt.Errorf("%s: %q", a.Alert, health[a.Alert])
			}
		}
		if n, err := p.query(ctx, `up{job="atoll"} == 1`); n != 2 {
			return fmt.Errorf("%d targets are up: %v", n, err)
		}
		return nil
	})
	m.server.until("shown in every panel", func(ctx context.Context) error {
		empty := map[string]bool{}
		for _, expr := range readPanels(t) {
			n, err := p.query(ctx, expr)
			if err != nil {
				return err
			}
			if n == 0 {
				empty[expr] = true
			}
		}
		if len(empty) > 0 {
			return fmt.Errorf("nothing of %s", strings.Join(slices.Sorted(maps.Keys(empty)), "; "))
		}
		return nil
	})
	m.server.until("well without an alert", func(ctx context.Context) error {
		for _, a := range alerts {
			if n, err := p.query(ctx, a.Expr); n > 0 || err != nil {
				return fmt.Errorf("%s is raised (%v)", a.Alert, err)
			}
		}
		return nil
	})
	m.replica.kill()
	for _, name := range []string{"AtollDown", "AtollNodeMissing"} {
		i := slices.IndexFunc(alerts, func(a alert) bool { return a.Alert == name })
		m.server.until("missed by "+name, func(ctx context.Context) error {
			n, err := p.query(ctx, alerts[i].Expr)
			if n == 0 {
				return fmt.Errorf("%s isn't raised: %v", name, err)
			}
			return nil
		})
	}
}

// TestMetricsAreAskedFor: without the key nothing listens, and the metrics' port serves nothing else.
func TestMetricsAreAskedFor(t *testing.T) {
	addr := freeAddrs(t, 1)[0]
	s := startServer(t)
	if _, err := getText(t.Context(), "http://"+addr+"/metrics"); err == nil {
		t.Error("metrics without metrics-addr")
	}
	if strings.Contains(s.log(), "metrics") {
		t.Errorf("the log tells of metrics:\n%s", tail(s.log()))
	}
	s.stop()
	s.args = []string{"--metrics-addr", addr}
	s.restart()
	if code := httpGet(t, "http://"+addr+"/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("another path: %d", code)
	}
	if code := httpGet(t, "http://"+addr+"/metrics"); code != http.StatusOK {
		t.Errorf("/metrics: %d", code)
	}
	began := time.Now()
	s.stop()
	t.Logf("stopped after %v", time.Since(began).Round(time.Millisecond))
}

// TestMonitoringProfile holds the files of the monitoring profile together: Prometheus takes its configuration,
// docker-compose the project, every file that is mounted is there, and every target is a process of it.
func TestMonitoringProfile(t *testing.T) {
	needProgram(t, "promtool")
	if out, err := exec.Command("promtool", "check", "config", "../deploy/prometheus/prometheus.yml").CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	needProgram(t, "docker-compose")
	out, err := exec.Command("docker-compose", "-f", "../deploy/compose/docker-compose.yml", "--profile", "monitoring", "config").Output()
	if err != nil {
		t.Fatalf("docker-compose: %v\n%s", err, out)
	}
	var project struct {
		Services map[string]struct {
			Environment map[string]string
		}
	}
	if err := yaml.Unmarshal(out, &project); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"prometheus", "grafana"} {
		if _, ok := project.Services[name]; !ok {
			t.Errorf("there is no service %s", name)
		}
	}
	targets := regexp.MustCompile(`"([\w-]+):(\d+)"`).FindAllStringSubmatch(readText("../deploy/prometheus/prometheus.yml"), -1)
	if len(targets) != 6 {
		t.Errorf("%d targets", len(targets))
	}
	for _, target := range targets {
		if addr := project.Services[target[1]].Environment["ATOLL_METRICS_ADDR"]; addr != "0.0.0.0:"+target[2] {
			t.Errorf("%s serves metrics at %q, and is scraped at %s", target[1], addr, target[2])
		}
	}
	mounts := regexp.MustCompile(`- \.\./([\w./-]+):/`).FindAllStringSubmatch(readText("../deploy/compose/docker-compose.yml"), -1)
	if len(mounts) < 3 {
		t.Errorf("%d mounts", len(mounts))
	}
	for _, m := range mounts {
		if _, err := os.Stat("../deploy/" + m[1]); err != nil {
			t.Error(err)
		}
	}
}
