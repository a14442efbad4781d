package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/atolldb/atoll/metadata/admin"
	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/metadata/control"
	"github.com/atolldb/atoll/metadata/watch"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
)

// drainWait bounds how long Run waits for HTTP requests after its context has ended.
const drainWait = 5 * time.Second

// Config is what a metadata node needs. The listeners become the node's.
type Config struct {
	Dir            string // <data-dir>/meta, exists
	NodeID         string
	ClusterAddr    string       // advertised host:port of the cluster listener
	HTTPAddr       string       // advertised host:port of the admin HTTP listener
	RaftListener   net.Listener // from rpc.Mux
	HTTPListener   net.Listener
	Join           []string      // cluster addresses of metadata nodes to join; empty: bootstrap a new cluster when Dir is new
	AdminTokenFile string        // written 0600 at bootstrap, before the cluster is initialised
	Version        string        // of the program, for the API's description
	DeleteGrace    time.Duration // for which a deleted namespace can be undeleted; 0: not at all
	SecretBytesMin int           // of a secret that a caller of the API chooses; 0: adminapi.SecretBytesMin
	Log            *slog.Logger

	// Identity is that of the process, whose roles are Roles; nil: the cluster port is plain text, and nobody
	// can be invited.
	Identity *mtls.Identity
	Roles    []mtls.Role

	tune          func(*consensus.Config) // for tests
	promotion     time.Duration           // control.Config's PromotionMax
	refusalWindow time.Duration           // 0: refusalWindow
}

// Node is a metadata node.
type Node struct {
	config    Config
	consensus *consensus.Node
	control   *control.Controller
	watch     *watch.Server
	http      *http.Server
	metrics   *admin.Metrics
	refusals  *refusals
	proofs    *proofs
}

// Open opens the directory and starts Raft. It fails with consensus.ErrForeign on a directory of another
// node.
func Open(_ context.Context, c Config) (*Node, error) {
	config := consensus.Config{
		Dir: c.Dir, NodeID: c.NodeID, ClusterAddr: c.ClusterAddr, HTTPAddr: c.HTTPAddr, Listener: c.RaftListener,
		Join: c.Join, AdminTokenFile: c.AdminTokenFile, Log: c.Log,
	}
	if c.Identity != nil {
		config.DialRaft, config.DialOptions = c.Identity.DialRaft, c.Identity.DialOptions()
		if err := resign(c.Identity, time.Now()); err != nil {
			return nil, fmt.Errorf("open metadata node: %w", err)
		}
	}
	if c.tune != nil {
		c.tune(&config)
	}
	raft, err := consensus.Open(config)
	if err != nil {
		return nil, fmt.Errorf("open metadata node: %w", err)
	}
	n := &Node{
		config: c, consensus: raft,
		control: control.New(control.Config{Node: raft, Log: c.Log, PromotionMax: c.promotion}),
		watch:   watch.New(raft, c.Log), metrics: admin.NewMetrics(), refusals: newRefusals(), proofs: newProofs(),
	}
	handler, err := admin.New(admin.Config{
		Consensus: raft, Control: n.control, HTTPAddr: c.HTTPAddr, Version: c.Version, Now: time.Now, Log: c.Log,
		DeleteGrace: c.DeleteGrace, SecretBytesMin: c.SecretBytesMin, Metrics: n.metrics,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the admin API: %w", err), raft.Close())
	}
	n.http = admin.NewServer(handler, c.Log)
	return n, nil
}

// Register adds the node's gRPC services to a server that doesn't serve yet.
func (n *Node) Register(s grpc.ServiceRegistrar) {
	atollpb.RegisterConsensusServer(s, &consensusService{node: n})
	atollpb.RegisterMetadataServer(s, &metadataService{node: n})
	if n.config.Identity != nil {
		atollpb.RegisterEnrolmentServer(s, &enrolmentService{node: n, lookups: make(chan struct{}, lookupsMax)})
	}
}

// Run serves until the context ends, then ends the watch streams and drains HTTP. It returns nil after a
// clean end, and why the node has stopped otherwise.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	wg.Go(func() {
		defer cancel()
		errs <- n.consensus.Run(ctx)
	})
	wg.Go(func() { n.control.Run(ctx) })
	if n.config.Identity != nil {
		wg.Go(func() { n.keepEnrolled(ctx) })
		wg.Go(func() { n.auditRefusals(ctx) })
		wg.Go(func() { n.recordProofs(ctx) })
	}
	wg.Go(func() {
		defer cancel()
		err := n.http.Serve(n.config.HTTPListener)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		errs <- err
	})
	<-ctx.Done()
	n.watch.Close()
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), drainWait)
	err := n.http.Shutdown(drain)
	stop()
	if errors.Is(err, context.DeadlineExceeded) {
		err = n.http.Close()
	}
	wg.Wait()
	return errors.Join(<-errs, <-errs, err)
}

// Close stops Raft and closes the directory. Run must have returned.
func (n *Node) Close() error {
	n.watch.Close()
	return errors.Join(n.http.Close(), n.consensus.Close())
}

// Status tells this node's account of itself, for the process that embeds it.
func (n *Node) Status() consensus.Status { return n.consensus.Status() }
