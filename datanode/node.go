package datanode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/replication"
	"github.com/atolldb/atoll/datanode/resp"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

// Node is one data node. Open, Register, Run, Close, in this order.
type Node struct {
	cfg   Config
	id    identity
	conns *connPool
	cache *pebble.Cache

	views     *tenant.Views
	member    *replication.Member
	meta      *metadataClient
	executor  *command.Executor
	expired   atomic.Pointer[command.Executor] // executor, for stores that were opened before there was one
	forwarder *command.Forwarder
	edge      *resp.Server
	relay     relay
	lease     atomic.Pointer[lease] // the last one that was acquired

	idMu    sync.Mutex // guards id's file, and its fields but the node's id and incarnation
	cluster atomic.Pointer[string]
	placed  atomic.Pointer[replication.Placement] // that the node was told when it joined last
}

// Open reads what the node has on disk. It needs the network only to discard data of another history.
func Open(ctx context.Context, c Config) (*Node, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	if err := prepareDir(c.Dir); err != nil {
		return nil, err
	}
	id, err := loadIdentity(c.Dir, c.NodeID)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: c, id: id, conns: newConnPool(c.Identity), cache: pebble.NewCache(c.BlockCacheBytes + store.MemTables*int64(c.MemTableBytes))}
	n.relay.node = n
	if err := n.openParts(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if c.DiscardData && (n.id.HasData || n.id.ClusterID != "") {
		if err := n.discardRefused(ctx); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	if err := n.buildEdge(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// openParts opens the stored view and the generation that was being served.
func (n *Node) openParts() error {
	var err error
	if n.views, err = tenant.OpenViews(vfs.Default, n.cfg.Dir); err != nil {
		return err
	}
	n.meta = &metadataClient{conns: n.conns, views: n.views, seeds: slices.Clone(n.cfg.Join)}
	joined, cluster := n.id.joined(), n.id.ClusterID
	n.cluster.Store(&cluster)
	n.placed.Store(placement(joined))
	n.member = replication.NewMember(replication.Config{
		FS: vfs.Default, Dir: n.cfg.Dir, NodeID: n.cfg.NodeID, Incarnation: n.id.Incarnation,
		ClusterID: n.clusterID,
		BootID:    bootID(), HadData: n.id.HasData, Views: n.views, Options: n.storeOptions,
		Peers:    func() replication.Placement { return *n.placed.Load() },
		NoteData: n.noteData, BeginEpoch: n.beginEpoch, Conn: n.conns.get,
		BytesPerSecond: n.cfg.SyncRateBytes, SnapshotIdle: n.cfg.SnapshotIdle, SavesKept: n.cfg.SavesKept, Now: time.Now, Logger: n.cfg.Log,
	})
	for _, m := range joined.GetMetadataNodes() {
		n.meta.seeds = append(n.meta.seeds, m.GetClusterAddr())
	}
	return n.member.Open()
}

// clusterID is empty before the node has joined.
func (n *Node) clusterID() string { return *n.cluster.Load() }

func (n *Node) storeOptions(dir string) store.Options {
	return store.Options{
		FS: vfs.Default, Dir: dir, BlockCache: n.cache, RowCacheBytes: n.cfg.RowCacheBytes, MemTableBytes: n.cfg.MemTableBytes,
		SegmentBytes: n.cfg.SegmentBytes, RetainBytes: n.cfg.RetainBytes, RetainAge: n.cfg.RetainAge,
		ReserveBytes: n.cfg.ReserveBytes, SyncEvery: syncEvery, Now: time.Now, Logger: n.cfg.Log, Fatal: n.cfg.Fatal,
		Expired: func(namespace uint64, keys int) {
			if ex := n.expired.Load(); ex != nil {
				ex.Expired(namespace, keys)
			}
		},
	}
}

// discardRefused asks whether the cluster takes this node with its rows, and starts anew if it doesn't.
func (n *Node) discardRefused(ctx context.Context) error {
	_, err := n.join(ctx)
	if !discardable(err) {
		return nil // taken as it is, or to be asked again by Run
	}
	n.cfg.Log.Warn("discarding this node's data, as asked for", "reason", err)
	if err := errors.Join(n.member.Close(), n.views.Close()); err != nil {
		return err
	}
	if err := discardData(n.cfg.Dir); err != nil {
		return err
	}
	if n.id, err = loadIdentity(n.cfg.Dir, n.cfg.NodeID); err != nil {
		return err
	}
	return n.openParts()
}

// discardFlag is what a refusal names that this node's rows are the reason of.
const discardFlag = "--discard-data"

// discardable says whether the cluster would take the node without its rows. Any other refusal must not
// cost them.
func discardable(err error) bool {
	return status.Code(err) == codes.FailedPrecondition &&
		(strings.Contains(err.Error(), discardFlag) || strings.Contains(err.Error(), "belongs to another cluster"))
}

// refusal is the message of a join that can't succeed.
func refusal(err error) error {
	text := status.Convert(err).Message()
	if discardable(err) && !strings.Contains(text, discardFlag) {
		text += ": start it with " + discardFlag + " to throw its data away"
	}
	return fmt.Errorf("join the cluster: %s", text)
}

// Register adds the node's gRPC services to s.
func (n *Node) Register(s grpc.ServiceRegistrar) {
	atollpb.RegisterReplicationServer(s, &replicationServer{n: n})
}

// noteData remembers that this disk holds a store: one that is missing later is damage, not a first
// start.
func (n *Node) noteData() error {
	n.idMu.Lock()
	defer n.idMu.Unlock()
	if n.id.HasData {
		return nil
	}
	n.id.HasData = true
	return n.id.save(n.cfg.Dir)
}

// noteJoined remembers what the metadata service told, so that the node can start without it.
func (n *Node) noteJoined(r *atollpb.JoinResponse) error {
	raw, err := protojson.Marshal(r)
	if err != nil {
		return err
	}
	n.idMu.Lock()
	defer n.idMu.Unlock()
	if n.id.ClusterID != "" && n.id.ClusterID != r.GetClusterId() {
		return fmt.Errorf("%w: %s, not %s", errCluster, n.id.ClusterID, r.GetClusterId())
	}
	n.id.ClusterID, n.id.Joined = r.GetClusterId(), raw
	if err := n.id.save(n.cfg.Dir); err != nil {
		return err
	}
	id := r.GetClusterId()
	n.cluster.Store(&id)
	n.placed.Store(placement(r))
	return nil
}

func placement(r *atollpb.JoinResponse) *replication.Placement {
	return &replication.Placement{Group: r.GetGroup(), Nodes: r.GetNodes(), Revision: r.GetRevision()}
}

const (
	joinRetryMax = time.Second
	joinPatience = 2 * time.Second // of a node that could serve without the metadata service
	viewPatience = 5 * time.Second // for the view that the join's revision names
)

// Run serves until ctx ends, then drains. An error is a reason to end the process.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	start := func(what string, f func(context.Context) error) {
		all.Go(func() {
			if err := f(ctx); err != nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	start("serve RESP", n.edge.Run)
	start("relay", n.relay.run)
	start("data node", func(ctx context.Context) error { return n.serve(ctx, start) })
	all.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// serve joins the cluster, and starts the parts that need it.
func (n *Node) serve(ctx context.Context, start func(string, func(context.Context) error)) error {
	before := n.clusterID() != ""
	if before {
		start("watch", n.watch)
	}
	reply, err := n.arrive(ctx, before)
	if err != nil || ctx.Err() != nil {
		return err
	}
	if !before {
		start("watch", n.watch)
	}
	if reply == nil {
		revision := uint64(0)
		if v := n.views.Current(); v != nil {
			revision = v.Revision()
		}
		n.cfg.Log.Warn("the metadata service doesn't answer; going on with the stored view", "revision", revision)
		start("join", func(ctx context.Context) error {
			_, err := n.arrive(ctx, false)
			return err
		})
	} else if n.views.Current() != nil {
		wait, stop := context.WithTimeout(ctx, viewPatience)
		if _, err := n.views.Wait(wait, reply.GetRevision()); err != nil && ctx.Err() == nil {
			n.cfg.Log.Warn("no view of the join's revision yet; going on with the stored one", "revision", reply.GetRevision())
		}
		stop()
	}
	start("report", func(ctx context.Context) error {
		n.report(ctx)
		return nil
	})
	if n.cfg.Identity != nil {
		start("renew the certificate", func(ctx context.Context) error {
			n.renew(ctx)
			return nil
		})
	}
	return n.member.Run(ctx)
}

func (n *Node) watch(ctx context.Context) error {
	w := &tenant.Watcher{
		Views: n.views, NodeID: n.cfg.NodeID, Incarnation: n.id.Incarnation, ClusterID: n.clusterID(),
		Seeds: n.meta.seeds, Dial: n.conns.dial, Log: n.cfg.Log,
	}
	return w.Run(ctx)
}

// arrive registers the node. An impatient one returns nil when nobody answers for a while.
func (n *Node) arrive(ctx context.Context, impatient bool) (*atollpb.JoinResponse, error) {
	began, warned, reason := time.Now(), false, ""
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, joinRetryMax) {
		reply, err := n.join(ctx)
		switch {
		case err == nil:
			if err := n.noteJoined(reply); err != nil {
				return nil, err
			}
			n.cfg.Log.Info("joined the cluster", "cluster_id", reply.GetClusterId(), "node_id", n.cfg.NodeID,
				"incarnation", n.id.Incarnation, "revision", reply.GetRevision(), "primary", reply.GetGroup().GetPrimary())
			return reply, nil
		case ctx.Err() != nil:
			return nil, nil
		case refused(err) && !n.cfg.KeepJoining:
			return nil, refusal(err)
		case refused(err):
			if why := refusal(err); why.Error() != reason {
				reason = why.Error()
				n.cfg.Log.Error("the data node is refused, and serves nothing; the metadata node goes on", "err", why)
			}
			pause = joinRetryMax
		case impatient && time.Since(began) > joinPatience:
			return nil, nil
		}
		if pause == joinRetryMax && !warned {
			n.cfg.Log.Warn("can't join the cluster yet", "err", err)
			warned = true
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(pause):
		}
	}
}

// Close closes what Open has opened. Run has returned before, or was never called.
func (n *Node) Close() error {
	var err error
	if n.member != nil {
		err = n.member.Close()
	}
	if n.views != nil {
		err = errors.Join(err, n.views.Close())
	}
	err = errors.Join(err, n.conns.close())
	n.cache.Unref()
	return err
}
