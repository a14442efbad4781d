package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/atolldb/atoll/datanode"
	"github.com/atolldb/atoll/metadata"
	"github.com/atolldb/atoll/rpc/metric"
)

// scrapesMax bounds the scrapes at once; another one is answered 503.
const scrapesMax = 4

// scrapeDrain is how long a stop waits for scrapes.
const scrapeDrain = 2 * time.Second

// newRegistry registers the metrics of a process: of its metadata node and its data node, each nil where there is none.
func newRegistry(meta *metadata.Node, data *datanode.Node, namespaces int) (*prometheus.Registry, error) {
	list := []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		metric.New([]string{"version", "goversion"}, func(emit func(bool, ...string)) { emit(true, version, runtime.Version()) },
			metric.Of("atoll_build_info", "1, with the program's version.", metric.Bool)),
	}
	if meta != nil {
		list = append(list, meta.Metrics()...)
	}
	if data != nil {
		list = append(list, data.Metrics(namespaces)...)
	}
	r := prometheus.NewPedanticRegistry()
	var errs []error
	for _, c := range list {
		errs = append(errs, r.Register(c))
	}
	return r, errors.Join(errs...)
}

// listenMetrics takes the address of the metrics, if there is one.
func (n *node) listenMetrics(ctx context.Context) (net.Listener, error) {
	addr := n.config.text("metrics-addr")
	if addr == "" {
		return nil, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, listenError("metrics-addr", addr, err)
	}
	if !isLoopback(l.Addr()) {
		if !n.config.flag("allow-plaintext") {
			return nil, errors.Join(fmt.Errorf("--metrics-addr (%s): %s is beyond this machine, and would be plain text without authentication: put a proxy before it, or allow it with --allow-plaintext",
				envName("metrics-addr"), addr), l.Close())
		}
		n.log.Warn("serving metrics beyond this machine: whoever reaches them reads the names and the use of namespaces", "addr", l.Addr().String())
	}
	return l, nil
}

// serveMetrics answers /metrics until the context ends.
func (n *node) serveMetrics(ctx context.Context) error {
	r, err := newRegistry(n.meta, n.data, int(n.config.number("metrics-namespaces")))
	if err != nil {
		return errors.Join(err, n.lis.metrics.Close())
	}
	errorLog := slog.NewLogLogger(n.log.Handler(), slog.LevelWarn)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog: errorLog, ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: scrapesMax,
	}))
	s := &http.Server{
		Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		// A scrape reads what is closed next; who is slow to take the answer doesn't.
		wait, done := context.WithTimeout(context.WithoutCancel(ctx), scrapeDrain)
		defer done()
		if s.Shutdown(wait) != nil {
			_ = s.Close() // the connections' errors are the scrapers'
		}
	})
	if err := s.Serve(n.lis.metrics); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	<-stopped
	return nil
}
