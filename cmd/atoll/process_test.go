package main

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestMemoryLimit: what the parts may take is the whole's bound, unless an operator says otherwise.
func TestMemoryLimit(t *testing.T) {
	keys := []string{"block-cache", "row-cache", "memtable", "client-memory", "memory-limit"}
	for _, c := range []struct {
		args       []string
		environ    []string
		want, heap int64 // heap: where Pebble has its memory from C
	}{
		{[]string{"--block-cache=8MiB", "--row-cache=1MiB", "--memtable=1MiB", "--client-memory=16MiB"}, nil, (8 + 1 + 5 + 16 + 256) << 20, (1 + 16 + 256) << 20},
		{[]string{"--memory-limit=3GiB"}, []string{"PATH=x"}, 3 << 30, (3<<10 - 256 - 5*16) << 20},
		{[]string{"--memory-limit=400MiB"}, nil, 400 << 20, 100 << 20},
		{[]string{"--memory-limit=3GiB"}, []string{"GOMEMLIMIT=1GiB"}, 0, 0},
	} {
		flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
		addFlags(flags, keys)
		if err := flags.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		conf, err := loadConfig(flags, c.environ)
		if err != nil {
			t.Fatal(err)
		}
		if got := memoryLimit(conf, c.environ); got != c.want {
			t.Errorf("%v: %d, want %d", c.args, got, c.want)
		}
		heap := c.heap
		if !pebbleInC {
			heap = c.want
		}
		if got := heapLimit(conf, c.want); got != heap {
			t.Errorf("%v: %d for the heap, want %d", c.args, got, heap)
		}
	}
}

func TestProfiles(t *testing.T) {
	if _, err := listenProfiles(t.Context(), "0.0.0.0:0"); err == nil || !strings.Contains(err.Error(), "--pprof-addr (ATOLL_PPROF_ADDR)") {
		t.Errorf("profiles for everybody: %v", err)
	}
	l, err := listenProfiles(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serveProfiles(ctx, l) }()
	client := &http.Client{Transport: new(http.Transport)}
	r, err := client.Get("http://" + l.Addr().String() + "/debug/pprof/heap?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != http.StatusOK {
		t.Errorf("%s", r.Status)
	}
	if err := r.Body.Close(); err != nil {
		t.Error(err)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
