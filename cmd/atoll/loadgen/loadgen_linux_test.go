package loadgen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/redcon"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers every command with what reply returns, a few bytes at a time if slowly; an empty reply ends the connection. It
// returns the server's address, and what it was sent.
func serve(t *testing.T, slowly bool, reply func(args []string) string) (addr string, got func() [][]string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var commands [][]string
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				r := redcon.NewReader(c)
				for {
					cmd, err := r.ReadCommand()
					if err != nil {
						return
					}
					var args []string
					for _, a := range cmd.Args {
						args = append(args, string(a))
					}
					mu.Lock()
					if args[0] != "INFO" {
						commands = append(commands, args)
					}
					mu.Unlock()
					text := reply(args)
					if text == "" {
						return
					}
					for step := len(text); len(text) > 0; text = text[min(step, len(text)):] {
						if slowly {
							step = 3
						}
						if _, err := c.Write([]byte(text[:min(step, len(text))])); err != nil {
							return
						}
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String(), func() [][]string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(commands)
	}
}

func named(t *testing.T, name string, keys int) Workload {
	t.Helper()
	w, err := Named(name, keys, 8)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestLoadIsWhatWasAsked: every command is sent and answered once, whatever the shape of the load and of the replies.
func TestLoadIsWhatWasAsked(t *testing.T) {
	for _, slowly := range []bool{false, true} {
		for _, pipeline := range []int{1, 7} {
			t.Run(fmt.Sprintf("slowly %v, pipeline %d", slowly, pipeline), func(t *testing.T) {
				addr, got := serve(t, slowly, func([]string) string { return "*2\r\n$5\r\nhe\r\no\r\n*1\r\n:7\r\n" })
				l := &Load{Addr: addr, Conns: 3, Pipeline: pipeline, Requests: 500, Workload: named(t, "set", 50)}
				r, err := l.Run(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if n := len(got()); n != 500 || r.Requests != 500 || r.Errors != 0 {
					t.Errorf("%d commands arrived, %d were counted, %d errors; want 500", n, r.Requests, r.Errors)
				}
				if r.Latency.total != 500 || r.Latency.Max() > r.Took || r.Latency.Quantile(0.5) > r.Latency.Max() {
					t.Errorf("%d latencies, the longest %s in a run of %s", r.Latency.total, r.Latency.Max(), r.Took)
				}
			})
		}
	}
}

func TestLoadEndsByTime(t *testing.T) {
	addr, got := serve(t, false, func([]string) string { return "+OK\r\n" })
	l := &Load{Addr: addr, Conns: 2, Pipeline: 2, Duration: 50 * time.Millisecond, Workload: named(t, "ping", 1)}
	r, err := l.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Took < l.Duration || int64(len(got())) != r.Requests {
		t.Errorf("%d commands in %s, %d arrived", r.Requests, r.Took, len(got()))
	}
}

func TestLoadTellsWhatWentWrong(t *testing.T) {
	t.Run("error replies", func(t *testing.T) {
		addr, _ := serve(t, false, func(args []string) string {
			if args[0] == "GET" && args[1] == "key:000000000000" {
				return "-WRONGTYPE what\r\n"
			}
			return "$-1\r\n"
		})
		l := &Load{Addr: addr, Conns: 1, Pipeline: 4, Requests: 400, Workload: named(t, "get", 2)}
		r, err := l.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.Error != "WRONGTYPE what" || r.Errors < 100 || r.Errors > 300 {
			t.Errorf("%d errors, the first %q", r.Errors, r.Error)
		}
	})
	t.Run("a connection that ends", func(t *testing.T) {
		addr, _ := serve(t, false, func(args []string) string {
			if args[0] == "INFO" {
				return "$0\r\n\r\n"
			}
			return ""
		})
		l := &Load{Addr: addr, Conns: 1, Pipeline: 1, Requests: 4, Workload: named(t, "get", 2)}
		if _, err := l.Run(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("%v, want %v", err, ErrClosed)
		}
	})
	t.Run("a wrong token", func(t *testing.T) {
		addr, got := serve(t, false, func([]string) string { return "-WRONGPASS no\r\n" })
		l := &Load{Addr: addr, Token: "secret", Conns: 1, Pipeline: 1, Requests: 4, Workload: named(t, "get", 2)}
		if _, err := l.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "WRONGPASS no") {
			t.Errorf("%v", err)
		}
		if first := got()[0]; !slices.Equal(first, []string{"AUTH", "secret"}) {
			t.Errorf("sent %q", first)
		}
	})
	t.Run("a server that is silent", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		addr, _ := serve(t, false, func(args []string) string {
			if args[0] == "INFO" {
				return "$0\r\n\r\n"
			}
			cancel()
			return "$"
		})
		l := &Load{Addr: addr, Conns: 1, Pipeline: 1, Requests: 4, Workload: named(t, "get", 2)}
		if _, err := l.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
	t.Run("a server that doesn't answer AUTH", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		addr, _ := serve(t, false, func([]string) string {
			cancel()
			return "$"
		})
		l := &Load{Addr: addr, Token: "secret", Conns: 1, Pipeline: 1, Requests: 4, Workload: named(t, "get", 2)}
		if _, err := l.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
	t.Run("a server of another protocol", func(t *testing.T) {
		addr, _ := serve(t, false, func([]string) string { return "HTTP/1.1 400 Bad Request\r\n\r\n" })
		l := &Load{Addr: addr, Token: "secret", Conns: 1, Pipeline: 1, Requests: 4, Workload: named(t, "get", 2)}
		if _, err := l.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "unknown type 'H'") {
			t.Errorf("%v", err)
		}
	})
	for _, l := range []Load{
		{Conns: 0, Pipeline: 1, Requests: 1},
		{Conns: ConnsMax + 1, Pipeline: 1, Requests: 1},
		{Conns: 1, Pipeline: 0, Requests: 1},
		{Conns: 1, Pipeline: PipelineMax + 1, Requests: 1},
		{Conns: 1, Pipeline: 1},
	} {
		if _, err := l.Run(t.Context()); err == nil {
			t.Errorf("%+v: no error", l)
		}
	}
}

// TestWorkloads: every workload makes whole commands, over the keys that it was given.
func TestWorkloads(t *testing.T) {
	for _, name := range Names() {
		w := named(t, name, 5)
		keys, r := map[string]bool{}, random(9)
		for range 2000 {
			b := w.command(nil, &r)
			complete, args, _, left, err := redcon.ReadNextCommand(b, nil)
			if err != nil || !complete || len(left) > 0 {
				t.Fatalf("%s: %q: %v", name, b, err)
			}
			if len(args) > 1 {
				keys[string(args[1])] = true
			}
		}
		want := map[string]int{"hset": collections, "zadd": collections, "hset-one": 1, "zadd-one": 1, "ping": 0,
			"lpush": 1, "rpush": 1, "lpop": 1, "rpop": 1, "lrange-100": 1, "xadd": 1}
		n, special := want[name]
		if !special {
			n = 5
		}
		if len(keys) < n*8/10 || len(keys) > n {
			t.Errorf("%s: %d keys, want %d", name, len(keys), n)
		}
	}
	for _, bad := range []error{
		second(Named("nothing", 1, 1)), second(Named("set", 0, 1)), second(Named("set", 1, -1)), second(Named("set", 1, 2<<20)),
	} {
		if bad == nil {
			t.Error("a bad workload was taken")
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestHistogram holds quantiles against sorted values.
func TestHistogram(t *testing.T) {
	var h Histogram
	var values []time.Duration
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		d := time.Duration(rng.ExpFloat64() * float64(700*time.Microsecond))
		values = append(values, d)
		h.Add(d, 1)
	}
	slices.Sort(values)
	for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.99, 0.999} {
		exact, got := values[int(q*10_000)], h.Quantile(q)
		if got < exact-time.Microsecond || got > exact+exact/32+2*time.Microsecond {
			t.Errorf("quantile %v: %s, want %s", q, got, exact)
		}
	}
	if h.Quantile(1) != values[len(values)-1] || h.Max() != h.Quantile(1) {
		t.Errorf("the longest is %s, want %s", h.Max(), values[len(values)-1])
	}
}

func FuzzReplyLength(f *testing.F) {
	for _, s := range []string{"+OK\r\n", "$3\r\nabc\r\n", "*2\r\n:1\r\n$-1\r\n", "%1\r\n+a\r\n+b\r\n", "$99999999999999999999\r\n", "*-1\r\n", "x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := replyLength(b)
		if n > len(b) || n < -1 {
			t.Fatalf("%q: %d", b, n)
		}
		if n > 0 && replyLength(b[:n]) != n {
			t.Fatalf("%q: %d, and not of that alone", b, n)
		}
		for i := 0; n > 0 && i < n; i++ {
			if m := replyLength(b[:i]); m > 0 {
				t.Fatalf("%q: %d, but %d of the first %d bytes", b, n, m, i)
			}
		}
	})
}
