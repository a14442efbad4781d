package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/atolldb/atoll/datanode"
	"github.com/atolldb/atoll/metadata"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/mtls"
	"github.com/atolldb/atoll/rpc/tlsfiles"
)

func (p *program) serverCommand() *cobra.Command {
	c := p.nodeCommandOf("server", "Run a metadata node and a data node in one process", p.dataKeys(append(metaKeys(), "from")...), true, true)
	c.Long = c.Short + `.

With --from it begins a new cluster on an empty data directory, with the namespaces, tokens and data of a save, which BGSAVE has
made below DATA-DIR/data/saves of a data node. The save is checked, and only read. The cluster gets an id of its own, and may run
beside the one that was saved. Tokens of the save work, also those that were revoked only after it; a new admin token is written, too.
Later starts may have the same --from: they go on with what the data directory has by then.`
	return c
}

func (p *program) metaCommand() *cobra.Command {
	c := p.nodeCommandOf("meta", "Run a metadata node: without --join that of a new cluster", p.nodeKeys(metaKeys()...), true, false)
	c.AddCommand(p.metaList(), p.metaRemove(), p.metaTransfer(), p.metaBackup(), p.metaRestore())
	return c
}

func (p *program) dataCommand() *cobra.Command {
	return p.nodeCommandOf("data", "Run a data node of the cluster given by --join", p.dataKeys(), false, true)
}

func (p *program) nodeCommandOf(use, short string, keys []string, meta, data bool) *cobra.Command {
	return p.command(use, short, cobra.NoArgs, keys, func(ctx context.Context, c *config, _ []string) error {
		if !meta && len(c.list("join")) == 0 {
			return errors.New("--join (ATOLL_JOIN): a data node needs the cluster address of a metadata node")
		}
		n := &node{config: c, log: newLog(c, p.stderr)}
		for _, name := range c.unknown {
			n.log.Warn("there is no such variable: see CONFIG.md", "name", name)
		}
		if data {
			n.boundMemory(p.environ)
		}
		err := n.open(ctx, meta, data)
		if err == nil {
			err = n.run(ctx)
		}
		if err = errors.Join(err, n.close()); err == nil {
			n.log.Info("stopped")
		}
		return err
	})
}

func newLog(c *config, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.text("log-level"))); err != nil {
		panic(err) // the table lets slog's words through alone
	}
	options := &slog.HandlerOptions{Level: level}
	if c.text("log-format") == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// node is one process of the cluster: a metadata node, a data node or both, behind one cluster port.
type node struct {
	config *config
	log    *slog.Logger
	dir    *dataDir
	lis    listeners
	mux    *rpc.Mux
	grpc   *grpc.Server
	meta   *metadata.Node
	data   *datanode.Node
	stop   context.CancelFunc // of run

	identity   *mtls.Identity
	roles      []mtls.Role
	invitation *mtls.Invitation       // to enrol by; nil: there is no need
	refusals   *refusals              // of secure
	httpCerts  *tlsfiles.Certificates // nil: the admin API is plain text
}

// open takes the directory and the ports, in this order, and builds what serves them.
func (n *node) open(ctx context.Context, meta, data bool) (err error) {
	c := n.config
	var save *datanode.Save
	if meta && data {
		if save, err = n.openSave(ctx); err != nil {
			return err
		}
	}
	if n.dir, err = openDataDir(c.text("data-dir"), c.text("node-id")); err != nil {
		return err
	}
	if save == nil {
		if err := n.dir.whole(); err != nil {
			return err
		}
	}
	if err := n.identify(meta, data); err != nil {
		return err
	}
	if n.lis, err = n.listen(ctx, meta, data); err != nil {
		return err
	}
	n.secure(data)
	if save != nil {
		if err := n.restore(ctx, save); err != nil {
			return fmt.Errorf("--from (%s): %w", envName("from"), err)
		}
	}
	if meta {
		if err := n.openMeta(ctx); err != nil {
			return err
		}
		n.refusals.meta.Store(n.meta)
	} else if err := n.mux.Raft().Close(); err != nil {
		return err
	}
	if data {
		if c.flag("discard-data") { // which asks the cluster
			if err := n.enroll(ctx); err != nil {
				return err
			}
		}
		return n.openData(ctx, meta)
	}
	return nil
}

// serverOptions returns the cluster port's options. Only a data node is sent clients' values: what a metadata
// node is sent fits into gRPC's default of 4 MiB, so its memory is not at the mercy of who reaches the port.
func serverOptions(data bool) []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
	}
	if data {
		options = append(options, grpc.MaxRecvMsgSize(rpc.MessageBytesMax))
	}
	return options
}

func (n *node) openMeta(ctx context.Context) error {
	dir, err := n.dir.sub("meta")
	if err != nil {
		return err
	}
	n.meta, err = metadata.Open(ctx, metadata.Config{
		Dir: dir, NodeID: n.dir.nodeID,
		ClusterAddr: n.lis.advertised.cluster, HTTPAddr: n.lis.advertised.http,
		RaftListener: n.mux.Raft(), HTTPListener: n.lis.http,
		Join:           n.config.list("join"),
		AdminTokenFile: filepath.Join(n.dir.path, adminTokenFile),
		Version:        version,
		DeleteGrace:    n.config.duration("delete-grace"),
		SecretBytesMin: int(n.config.number("secret-bytes-min")),
		Identity:       n.identity, Roles: n.roles,
		Log: n.log.With("part", "metadata"),
	})
	if err != nil {
		return err
	}
	n.meta.Register(n.grpc)
	return nil
}

func (n *node) openData(ctx context.Context, meta bool) error {
	c := n.config
	dir, err := n.dir.sub("data")
	if err != nil {
		return err
	}
	join := c.list("join")
	if meta { // its own metadata node first
		join = append([]string{reachable(n.lis.cluster.Addr().String())}, join...)
	}
	conf := datanode.Config{
		Dir: dir, NodeID: n.dir.nodeID, Version: version,
		RESPAddr: n.lis.advertised.resp, ClusterAddr: n.lis.advertised.cluster,
		RESPListener: n.lis.resp, RESPTLSListener: n.lis.respTLS, RESPSocket: n.lis.respSocket, Join: join, Identity: n.identity,
		DiscardData: c.flag("discard-data"), BeginEmpty: c.flag("begin-empty"), KeepJoining: meta,
		BlockCacheBytes: c.number("block-cache"), RowCacheBytes: int(c.number("row-cache")), MemTableBytes: int(c.number("memtable")),
		SegmentBytes: c.number("log-segment"), RetainBytes: c.number("log-retain"), RetainAge: c.duration("log-retain-age"),
		ReserveBytes: uint64(c.number("disk-reserve")), SyncRateBytes: c.number("sync-rate"), SavesKept: int(c.number("saves-kept")),
		Log:   n.log.With("part", "data"),
		Fatal: n.fatal, Shutdown: func() { n.stop() },
	}
	conf.Packed.Members, conf.Packed.Bytes = int(c.number("packed-members")), int(c.number("packed-size"))
	conf.Edge.MaxClients, conf.Edge.OutputBytes = int(c.number("max-clients")), int(c.number("output-max"))
	conf.Edge.MemoryBytes = int(c.number("client-memory"))
	conf.Edge.Reader.BulkBytes = int(c.number("bulk-max"))
	conf.Edge.IdleTimeout, conf.Edge.AuthTimeout = c.duration("idle-timeout"), c.duration("auth-timeout")
	conf.Edge.DrainTimeout = c.duration("drain-wait")
	conf.Run.ForwardWrites, conf.Run.ViewStaleMax = c.text("replica-writes") == "forward", c.duration("view-stale-max")
	if err := n.tlsFiles(&conf); err != nil {
		return err
	}
	if n.data, err = datanode.Open(ctx, conf); err != nil {
		return err
	}
	n.data.Register(n.grpc)
	return nil
}

// tlsFiles puts the TLS keys into a data node's configuration.
func (n *node) tlsFiles(conf *datanode.Config) error {
	if n.lis.respTLS == nil {
		return nil
	}
	c, files := n.config, &conf.RESPTLS
	files.Cert, files.Key, files.ClientCA = c.text("resp-tls-cert"), c.text("resp-tls-key"), c.text("resp-tls-client-ca")
	if files.Cert == "" || files.Key == "" {
		return errors.New("--resp-tls-addr needs --resp-tls-cert and --resp-tls-key")
	}
	switch c.text("resp-tls-clients") {
	case "optional":
		files.Clients = tls.VerifyClientCertIfGiven
	case "required":
		files.Clients = tls.RequireAndVerifyClientCert
	}
	if (files.ClientCA == "") != (files.Clients == tls.NoClientCert) {
		return errors.New("--resp-tls-clients optional or required goes with --resp-tls-client-ca, off without")
	}
	return nil
}

// fatal ends the process where going on could lose or corrupt data: nothing is closed or flushed.
func (n *node) fatal(err error) {
	n.log.Error("the process ends: the state of the disk is unknown", "error", err)
	os.Exit(1)
}

// run serves until the context ends or a part fails. The data node stops first, since it needs the
// metadata node to the end.
func (n *node) run(ctx context.Context) error {
	n.announce()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.stop = cancel
	// The parts are stopped one after the other, so each has a context of its own.
	dataCtx, stopData := context.WithCancel(ctx)
	defer stopData()
	metaCtx, stopMeta := context.WithCancel(context.WithoutCancel(ctx))
	defer stopMeta()

	profiled := closed()
	if n.lis.profiles != nil {
		profiled = n.start(cancel, "serve profiles", func() error { return serveProfiles(metaCtx, n.lis.profiles) })
	}
	scraped := closed()
	if n.lis.metrics != nil {
		scraped = n.start(cancel, "serve metrics", func() error { return n.serveMetrics(metaCtx) })
	}
	served := n.start(cancel, "serve the cluster port", func() error { return n.grpc.Serve(n.mux.GRPC()) })
	enrolled := n.start(cancel, "join the cluster", func() error {
		err := n.enroll(ctx)
		if ctx.Err() == nil && err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
	reloaded := n.start(cancel, "reload certificates", func() error { n.reload(ctx); return nil })
	metaDone, dataDone := closed(), closed()
	if n.meta != nil {
		metaDone = n.start(cancel, "run the metadata node", func() error { return n.meta.Run(metaCtx) })
	}
	if n.data != nil {
		dataDone = n.start(cancel, "run the data node", func() error { return n.data.Run(dataCtx) })
	}
	// Ready is that the ports are open. Whether the node serves depends on others, and `atoll health` tells.
	notify(n.log, daemon.SdNotifyReady)
	<-ctx.Done()
	notify(n.log, daemon.SdNotifyStopping)
	n.log.Info("stopping")
	err := <-dataDone
	stopMeta()
	err = errors.Join(<-enrolled, <-reloaded, err, <-metaDone, <-profiled, <-scraped)
	n.grpc.Stop()
	return errors.Join(err, <-served)
}

// reload reads certificates again: when their files change, and at once on SIGHUP, which would end the process otherwise.
func (n *node) reload(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	var watching sync.WaitGroup
	defer watching.Wait()
	if n.httpCerts != nil {
		watching.Go(func() { n.httpCerts.Watch(ctx, n.log) })
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		n.log.Info("SIGHUP: reading certificates again")
		_, err := n.identity.Reload()
		if n.httpCerts != nil {
			_, httpErr := n.httpCerts.Reload()
			err = errors.Join(err, httpErr)
		}
		if err != nil {
			n.log.Error("the changed TLS files are no good; going on with the last good ones", "error", err)
		}
	}
}

// start runs one part. Its end, however it comes, cancels the others; the channel then has its error.
func (n *node) start(cancel context.CancelFunc, what string, f func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		defer cancel()
		err := f()
		if errors.Is(err, grpc.ErrServerStopped) {
			err = nil
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", what, err)
		}
		done <- err
		close(done)
	}()
	return done
}

// closed returns the channel of a part that doesn't exist.
func closed() <-chan error {
	c := make(chan error)
	close(c)
	return c
}

func (n *node) announce() {
	args := []any{"version", version, "node", n.dir.nodeID, "data_dir", n.dir.path, "cluster", n.lis.cluster.Addr().String()}
	if n.data != nil {
		for _, l := range []struct {
			name string
			net.Listener
		}{{"resp", n.lis.resp}, {"resp_tls", n.lis.respTLS}, {"resp_socket", n.lis.respSocket}} {
			if l.Listener != nil {
				args = append(args, l.name, l.Addr().String())
			}
		}
	}
	if n.meta != nil {
		args = append(args, "http", n.lis.http.Addr().String(), "admin_token_file", filepath.Join(n.dir.path, adminTokenFile))
	}
	n.log.Info("atoll runs", args...)
}

// close gives everything back that open took, in the opposite order. It may be called after an open that
// failed halfway.
func (n *node) close() error {
	var errs []error
	if n.data != nil {
		errs = append(errs, n.data.Close())
	}
	if n.meta != nil {
		errs = append(errs, n.meta.Close())
	}
	if n.grpc != nil {
		n.grpc.Stop()
	}
	if n.mux != nil {
		errs = append(errs, n.mux.Close())
	}
	n.lis.close()
	if n.dir != nil {
		errs = append(errs, n.dir.Close())
	}
	return errors.Join(errs...)
}
