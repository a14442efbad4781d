package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/atolldb/atoll/cmd/atoll/loadgen"
)

// benchFlags say what to put on which servers.
type benchFlags struct {
	a, b           string
	tokenA, tokenB string
	workloads      []string
	pipelines      []int
	conns          int
	keys, size     int
	rounds         int
	duration       time.Duration
	requests       int64
	fill, warm     bool
}

func (f *benchFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.a, "a", "127.0.0.1:6379", "the first server: host:port, or the path of a unix socket")
	flags.StringVar(&f.b, "b", "", "the second server, that the first is compared with (default: none)")
	flags.StringVar(&f.tokenA, "a-token", "", "token or password of the first server; other users of this machine can see it")
	flags.StringVar(&f.tokenB, "b-token", "", "token or password of the second server; other users of this machine can see it")
	flags.StringSliceVar(&f.workloads, "workloads", []string{"set", "get", "get-hot", "incr", "hset", "hset-one", "zadd", "zadd-one", "mset"},
		"what to measure, of "+strings.Join(loadgen.Names(), ", "))
	flags.IntSliceVarP(&f.pipelines, "pipelines", "P", []int{1, 16}, "commands that a connection sends before it waits for replies")
	flags.IntVarP(&f.conns, "connections", "c", 50, "connections at once, 1 to 10000")
	flags.IntVarP(&f.keys, "keys", "r", 1_000_000, "keys from which each command draws evenly; get-hot draws from 50,000, hset and zadd from 1,000 of 1,000 members")
	flags.IntVarP(&f.size, "size", "d", 100, "bytes of a value, at most 1048576")
	flags.IntVar(&f.rounds, "rounds", 5, "rounds, of which medians are taken; which server comes first alternates")
	flags.DurationVar(&f.duration, "duration", 3*time.Second, "how long one run takes")
	flags.Int64VarP(&f.requests, "requests", "n", 0, "commands of one run, instead of --duration (default: none)")
	flags.BoolVar(&f.fill, "fill", true, "set every key once before the first round")
	flags.BoolVar(&f.warm, "warm", true, "run each workload once before the first round, without counting it")
}

// benchLine is what was measured of one workload at one pipeline: medians, and ratios of the first server to the
// second in the same round.
type benchLine struct {
	Workload string       `json:"workload"`
	Pipeline int          `json:"pipeline"`
	A        benchServer  `json:"a"`
	B        *benchServer `json:"b,omitempty"`
	Ratio    *benchSpread `json:"ratio,omitempty"`
	P99Ratio *benchSpread `json:"p99_ratio,omitempty"`
}

type benchServer struct {
	Rate  float64 `json:"commands_per_second"`
	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
	Worst float64 `json:"worst_us"`         // of all rounds
	CPU   float64 `json:"cpu_us,omitempty"` // of the server's process for one command; 0: not known

	rates, p50s, p99s, cpus []float64
}

type benchSpread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`

	all []float64
}

func (p *program) benchCommand() *cobra.Command {
	var f benchFlags
	c := p.command("bench", "Measure a RESP server, or compare two in alternating rounds", cobra.NoArgs, []string{"output"},
		func(ctx context.Context, conf *config, _ []string) error {
			lines, err := p.bench(ctx, &f)
			if err != nil {
				return err
			}
			return p.print(conf, lines, benchTable(lines, f.b != ""))
		})
	c.Long = "Measures a RESP server, or compares two in alternating rounds. It writes keys that begin with key:, counter:, hash:, zset:, onehash: and\n" +
		"onezset: to the servers, and leaves them there. Numbers are medians of the rounds; cpu_us is the processor time that the server's\n" +
		"process took for a command, known when it runs on this machine. The machine should be idle otherwise."
	f.add(c.Flags())
	return c
}

// check refuses what no run can do, before the first one writes.
func (f *benchFlags) check() error {
	switch {
	case f.a == "":
		return errors.New("--a: it names no server")
	case f.rounds < 1:
		return fmt.Errorf("--rounds: %d is below 1", f.rounds)
	case f.requests < 0:
		return fmt.Errorf("--requests: %d is below 0", f.requests)
	case f.requests == 0 && f.duration < 10*time.Millisecond:
		return fmt.Errorf("--duration: %s is below 10ms", f.duration)
	case len(f.workloads) == 0 || len(f.pipelines) == 0:
		return errors.New("--workloads and --pipelines: nothing to measure")
	}
	for _, name := range f.workloads {
		if _, err := loadgen.Named(name, f.keys, f.size); err != nil {
			return err
		}
	}
	for _, n := range f.pipelines {
		if n < 1 || n > loadgen.PipelineMax {
			return fmt.Errorf("--pipelines: %d is not between 1 and %d", n, loadgen.PipelineMax)
		}
	}
	return nil
}

// bench runs everything; what goes on is told on stderr.
func (p *program) bench(ctx context.Context, f *benchFlags) ([]*benchLine, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if err := p.prepare(ctx, f); err != nil {
		return nil, err
	}
	var lines []*benchLine
	for _, n := range f.pipelines {
		for _, name := range f.workloads {
			l := &benchLine{Workload: name, Pipeline: n}
			if f.b != "" {
				l.B, l.Ratio, l.P99Ratio = new(benchServer), new(benchSpread), new(benchSpread)
			}
			for round := range f.rounds {
				if err := l.measure(ctx, f, round); err != nil {
					return nil, err
				}
			}
			l.sum()
			fmt.Fprintf(p.stderr, "%s\n", strings.Join(l.cells(), "  "))
			lines = append(lines, l)
		}
	}
	return lines, nil
}

// prepare fills the servers and warms them up.
func (p *program) prepare(ctx context.Context, f *benchFlags) error {
	for _, server := range f.servers() {
		if f.fill {
			fmt.Fprintf(p.stderr, "filling %s with %d keys\n", server.addr, f.keys)
			if _, err := f.run(ctx, server, "fill", 16, int64(f.keys), 0); err != nil {
				return err
			}
		}
		for _, name := range f.workloads {
			if !f.warm {
				break
			}
			if _, err := f.run(ctx, server, name, slices.Max(f.pipelines), f.requests, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

type benchTarget struct{ addr, token string }

func (f *benchFlags) servers() []benchTarget {
	if f.b == "" {
		return []benchTarget{{f.a, f.tokenA}}
	}
	return []benchTarget{{f.a, f.tokenA}, {f.b, f.tokenB}}
}

func (f *benchFlags) run(ctx context.Context, server benchTarget, workload string, pipeline int, requests int64, seed int) (*loadgen.Result, error) {
	w, err := loadgen.Named(workload, f.keys, f.size)
	if err != nil {
		return nil, err
	}
	l := &loadgen.Load{
		Addr: server.addr, Token: server.token, Conns: f.conns, Pipeline: pipeline, Requests: requests, Workload: w, Seed: uint64(seed),
	}
	if requests == 0 {
		l.Duration = f.duration
	}
	r, err := l.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s on %s: %w", workload, server.addr, err)
	}
	if r.Errors > 0 {
		return nil, fmt.Errorf("%s on %s: %d of %d commands were refused: %s", workload, server.addr, r.Errors, r.Requests, r.Error)
	}
	return r, nil
}

// measure runs one round.
func (l *benchLine) measure(ctx context.Context, f *benchFlags, round int) error {
	servers := f.servers()
	results := make([]*loadgen.Result, len(servers))
	for i := range servers {
		at := (i + round) % len(servers)
		r, err := f.run(ctx, servers[at], l.Workload, l.Pipeline, f.requests, round+1)
		if err != nil {
			return err
		}
		results[at] = r
	}
	l.A.take(results[0])
	if l.B != nil {
		l.B.take(results[1])
		l.Ratio.all = append(l.Ratio.all, results[0].Rate()/results[1].Rate())
		l.P99Ratio.all = append(l.P99Ratio.all, microseconds(results[0].Latency.Quantile(0.99))/max(microseconds(results[1].Latency.Quantile(0.99)), 1))
	}
	return nil
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func (s *benchServer) take(r *loadgen.Result) {
	s.rates = append(s.rates, r.Rate())
	s.p50s = append(s.p50s, microseconds(r.Latency.Quantile(0.5)))
	s.p99s = append(s.p99s, microseconds(r.Latency.Quantile(0.99)))
	s.cpus = append(s.cpus, microseconds(r.CPU)/float64(max(r.Requests, 1)))
	s.Worst = max(s.Worst, microseconds(r.Latency.Max()))
}

func (l *benchLine) sum() {
	l.A.sum()
	if l.B != nil {
		l.B.sum()
		l.Ratio.sum()
		l.P99Ratio.sum()
	}
}

func (s *benchServer) sum() {
	s.Rate, s.P50, s.P99, s.CPU = middle(s.rates), middle(s.p50s), middle(s.p99s), middle(s.cpus)
}

func (s *benchSpread) sum() {
	s.Median, s.Least, s.Most = middle(s.all), slices.Min(s.all), slices.Max(s.all)
}

func (s *benchSpread) String() string {
	return fmt.Sprintf("%.2f (%.2f-%.2f)", s.Median, s.Least, s.Most)
}

// middle returns the median.
func middle(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func (l *benchLine) cells() []string {
	cells := append([]string{l.Workload, fmt.Sprint(l.Pipeline)}, l.A.cells()...)
	if l.B != nil {
		cells = append(append(cells, l.B.cells()...), l.Ratio.String(), l.P99Ratio.String())
	}
	return cells
}

func (s *benchServer) cells() []string {
	return []string{
		fmt.Sprintf("%.0f", s.Rate), fmt.Sprintf("%.2f", s.CPU), fmt.Sprintf("%.0f", s.P50), fmt.Sprintf("%.0f", s.P99), fmt.Sprintf("%.0f", s.Worst),
	}
}

func benchTable(lines []*benchLine, both bool) *table {
	t := &table{head: []string{"WORKLOAD", "PIPELINE", "A/S", "A CPU_US", "A P50_US", "A P99_US", "A WORST_US"}}
	if both {
		t.head = append(t.head, "B/S", "B CPU_US", "B P50_US", "B P99_US", "B WORST_US", "RATIO", "P99 RATIO")
	}
	for _, l := range lines {
		t.rows = append(t.rows, l.cells())
	}
	return t
}
