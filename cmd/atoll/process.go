package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"strings"
	"time"

	"github.com/atolldb/atoll/datanode"
)

// Memory that a data node's keys don't bound: the runtime's own, the view, goroutines, Pebble's metadata.
const memoryBeside = 256 << 20

// memoryLimit returns the bound of the process, in bytes; 0: the runtime's own.
func memoryLimit(c *config, environ []string) int64 {
	for _, e := range environ {
		if strings.HasPrefix(e, "GOMEMLIMIT=") {
			return 0
		}
	}
	if limit := c.number("memory-limit"); limit > 0 {
		return limit
	}
	return c.number("block-cache") + c.number("row-cache") + datanode.MemTables*c.number("memtable") + c.number("client-memory") + memoryBeside
}

// heapLimit returns what of a bound the Go runtime may use: it counts nothing that Pebble takes from C.
func heapLimit(c *config, bound int64) int64 {
	if !pebbleInC {
		return bound
	}
	return max(bound-c.number("block-cache")-datanode.MemTables*c.number("memtable"), bound/4)
}

// boundMemory has the garbage collector work harder where the process would grow beyond its bound.
func (n *node) boundMemory(environ []string) {
	if bound := memoryLimit(n.config, environ); bound > 0 {
		limit := heapLimit(n.config, bound)
		debug.SetMemoryLimit(limit)
		n.log.Debug("the memory's soft limit is set", "bytes", bound, "heap_bytes", limit)
	}
}

// listenProfiles takes the address of the runtime's profiles. They tell whoever asks what the process does, and cost it
// time, so only this machine may.
func listenProfiles(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, listenError("pprof-addr", addr, err)
	}
	if !isLoopback(l.Addr()) {
		return nil, errors.Join(fmt.Errorf("--pprof-addr (%s): %s is no loopback address", envName("pprof-addr"), addr), l.Close())
	}
	return l, nil
}

// serveProfiles serves them until the context ends.
func serveProfiles(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
