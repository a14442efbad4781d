package replication

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a group of members in one process, with the test as its metadata service.
type cluster struct {
	t        *testing.T
	mu       sync.Mutex
	revision uint64
	group    *atollpb.Group
	spaces   []*atollpb.Namespace
	nodes    map[string]*node
	disks    map[string]string // incarnations by node id, "" for a removed node; others have their id's
}

// node is one member, which can be stopped and started again on the same directory.
type node struct {
	c       *cluster
	id      string
	dir     string
	views   *tenant.Views
	member  *Member
	server  *grpc.Server
	lis     *bufconn.Listener
	conns   map[string]*grpc.ClientConn
	hadData bool
	stop    func()
	cut     func(m *atollpb.SnapshotFrame) error // fault in a snapshot's stream
	boot    string
	fs      vfs.FS       // nil: the machine's
	ends    func(error)  // what ends the process comes here; nil: it fails the test
	follows atomic.Int64 // streams of sinks
}

func newCluster(t *testing.T) *cluster {
	return &cluster{t: t, nodes: make(map[string]*node), group: &atollpb.Group{Id: GroupID}}
}

// change commits a change of the metadata and hands it to the nodes named.
func (c *cluster) change(f func(), to ...*node) {
	c.mu.Lock()
	c.revision++
	c.group = proto.CloneOf(c.group) // views hold the old one
	f()
	c.mu.Unlock()
	for _, n := range to {
		n.see()
	}
}

func (c *cluster) frame() *atollpb.ViewFrame {
	c.mu.Lock()
	defer c.mu.Unlock()
	fr := &atollpb.ViewFrame{
		Full: true, Last: true, Revision: c.revision, Namespaces: c.spaces, Groups: []*atollpb.Group{c.group},
		Cluster: &atollpb.ClusterInfo{ClusterId: "c", MetadataHistoryId: "m", TokenKey: make([]byte, 32), DefaultNamespaceId: 1},
	}
	for id := range c.nodes {
		disk, changed := c.disks[id]
		if !changed {
			disk = id
		}
		if disk != "" {
			fr.Nodes = append(fr.Nodes, &atollpb.Node{Id: id, Incarnation: disk, ClusterAddr: id})
		}
	}
	return fr
}

// see installs the newest view on the node.
func (n *node) see() {
	n.c.t.Helper()
	var a tenant.Assembler
	ch, err := a.Add(n.c.frame())
	if err != nil {
		n.c.t.Fatal(err)
	}
	if _, err := n.views.Install(ch); err != nil {
		n.c.t.Fatal(err)
	}
}

func (c *cluster) add(id string) *node {
	n := &node{c: c, id: id, dir: filepath.Join(c.t.TempDir(), id), boot: "boot"}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.nodes[id] = n
	c.mu.Unlock()
	return n
}

// start opens and runs the member.
func (n *node) start() {
	t := n.c.t
	t.Helper()
	fs, fail := n.fs, n.ends
	if fs == nil {
		fs = vfs.Default
	}
	if fail == nil {
		fail = func(err error) { t.Errorf("node %s: %v", n.id, err) }
	}
	var err error
	if n.views, err = tenant.OpenViews(vfs.Default, n.dir); err != nil {
		t.Fatal(err)
	}
	n.c.mu.Lock()
	n.lis = bufconn.Listen(1 << 20)
	n.conns = make(map[string]*grpc.ClientConn)
	n.c.mu.Unlock()
	level := slog.LevelError + 1
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("node", n.id)
	n.member = NewMember(Config{
		FS: fs, Dir: n.dir, NodeID: n.id, Incarnation: n.id, BootID: n.boot, HadData: n.hadData,
		ClusterID: func() string { return "c" }, Views: n.views,
		Options: func(dir string) store.Options {
			o := storetest.Options(t, fs, dir)
			o.Logger = log
			if n.ends != nil {
				o.Fatal = n.ends
			}
			return o
		},
		Peers: func() Placement {
			return Placement{Group: n.c.frame().Groups[0], Nodes: n.c.frame().Nodes, Revision: 1}
		},
		NoteData: func() error {
			// Else a process killed after the note, and before this, could never start again.
			if _, err := os.Stat(filepath.Join(n.dir, currentFile)); err != nil {
				t.Errorf("data is noted before there is any: %v", err)
			}
			n.hadData = true
			return nil
		},
		BeginEpoch: n.c.beginEpoch,
		Conn:       n.conn, SnapshotIdle: time.Minute, Now: time.Now, Logger: log,
	})
	opened := n.member.Open()
	if opened != nil && n.ends == nil {
		t.Fatal(opened)
	}
	n.server = grpc.NewServer()
	atollpb.RegisterReplicationServer(n.server, &service{n: n})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = n.server.Serve(n.lis) })
	wg.Go(func() {
		err := opened
		if err == nil {
			err = n.member.Run(ctx)
		}
		if err != nil {
			fail(err)
		}
	})
	n.stop = sync.OnceFunc(func() {
		cancel()
		n.server.Stop()
		for _, c := range n.conns {
			_ = c.Close()
		}
		wg.Wait()
		if err := n.member.Close(); err != nil {
			fail(fmt.Errorf("close: %w", err))
		}
		if err := n.views.Close(); err != nil {
			t.Errorf("close views of %s: %v", n.id, err)
		}
	})
	t.Cleanup(func() { n.stop() })
}

func (n *node) conn(addr string) (grpc.ClientConnInterface, error) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if c := n.conns[addr]; c != nil {
		return c, nil
	}
	c, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			n.c.mu.Lock()
			lis := n.c.nodes[addr].lis
			n.c.mu.Unlock()
			return lis.DialContext(ctx)
		}))
	if err == nil {
		n.conns[addr] = c
	}
	return c, err
}

// beginEpoch is what the metadata service does.
func (c *cluster) beginEpoch(_ context.Context, r *atollpb.BeginEpochRequest) error {
	c.mu.Lock()
	if c.group.GetPrimary() != r.GetNodeId() || c.group.GetEpoch() != r.GetEpoch() {
		c.mu.Unlock()
		return fmt.Errorf("conflict")
	}
	c.revision++
	c.setEpoch(r.GetLastIndex() + 1)
	n := c.nodes[r.GetNodeId()]
	c.mu.Unlock()
	n.see()
	return nil
}

func (c *cluster) setEpoch(start uint64) {
	c.group = &atollpb.Group{
		Id: GroupID, Primary: c.group.GetPrimary(), PrimaryIncarnation: c.group.GetPrimary(), Epoch: c.revision,
		HistoryId: c.group.GetHistoryId(), Epochs: append(c.group.GetEpochs(), &atollpb.EpochStart{Epoch: c.revision, StartIndex: start}),
	}
}

// first makes n the first primary.
func (c *cluster) first(n *node, to ...*node) {
	c.change(func() {
		c.spaces = []*atollpb.Namespace{{Id: 1, Name: "__namespace", State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE}}
		c.group.Primary, c.group.HistoryId = n.id, "h1"
		c.setEpoch(1)
	}, append(to, n)...)
}

type service struct {
	atollpb.UnimplementedReplicationServer
	n *node
}

func (s *service) Follow(st grpc.BidiStreamingServer[atollpb.SinkMessage, atollpb.SourceMessage]) error {
	s.n.follows.Add(1)
	return s.n.member.Follow(st)
}

func (s *service) Snapshot(r *atollpb.SnapshotRequest, st grpc.ServerStreamingServer[atollpb.SnapshotFrame]) error {
	return s.n.member.Snapshot(r, &faulty{st, s.n})
}

// faulty breaks a snapshot's stream where the test says.
type faulty struct {
	grpc.ServerStreamingServer[atollpb.SnapshotFrame]
	n *node
}

func (f *faulty) Send(m *atollpb.SnapshotFrame) error {
	f.n.c.mu.Lock()
	cut := f.n.cut
	f.n.c.mu.Unlock()
	if cut != nil {
		if err := cut(m); err != nil {
			return err
		}
	}
	return f.ServerStreamingServer.Send(m)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// put writes keys [from, to) of namespace 1 on a primary.
func (n *node) put(from, to int) {
	n.c.t.Helper()
	n.putAt(n.views.Current().Revision(), from, to)
}

func (n *node) putAt(revision uint64, from, to int) {
	n.c.t.Helper()
	s := n.member.Store()
	var tx store.Tx
	for i := from; i < to; i++ {
		key := fmt.Appendf(nil, "k%d", i)
		s.Namespace(1).Begin(&tx, store.Run{Write: true, Hashes: []uint64{store.HashKey(0, key)}, Revision: revision})
		tx.Put(tx.DB(0), key, store.Row{Type: store.TypeString, Data: fmt.Appendf(nil, "%0100d", i)})
		err := tx.Commit(store.Async)
		tx.End()
		if err != nil {
			n.c.t.Fatal(err)
		}
	}
}

func (n *node) ready() bool {
	return n.member.Store() != nil && n.member.Blocked() == nil && n.member.Status().State == atollpb.NodeState_NODE_STATE_SERVING
}

func (n *node) writable() bool { return n.ready() && n.member.Store().Role() == store.Primary }

// equal says that n shows exactly what other shows.
func (n *node) equal(other *node) bool {
	a, b := n.member.Store(), other.member.Store()
	if a == nil || b == nil || a.Applied() != b.Applied() {
		return false
	}
	if a.Namespace(1).Counters() != b.Namespace(1).Counters() {
		n.c.t.Fatalf("counters %+v and %+v at the same entry", a.Namespace(1).Counters(), b.Namespace(1).Counters())
	}
	var ta, tb store.Tx
	a.Namespace(1).Begin(&ta, store.Run{})
	defer ta.End()
	b.Namespace(1).Begin(&tb, store.Run{})
	defer tb.End()
	rows := 0
	for k, r := range ta.Keys(ta.DB(0), store.KeyBounds{}) {
		got, ok := tb.Get(tb.DB(0), k)
		if !ok || string(got.Data) != string(r.Data) {
			n.c.t.Fatalf("key %s differs", k)
		}
		rows++
	}
	if int64(rows) != a.Namespace(1).Counters().Keys {
		n.c.t.Fatalf("%d rows, %d counted", rows, a.Namespace(1).Counters().Keys)
	}
	return true
}

func TestFullSyncThenFollow(t *testing.T) {
	c := newCluster(t)
	a, b := c.add("a"), c.add("b")
	a.start()
	c.first(a)
	eventually(t, "the primary", a.writable)
	a.put(0, 2000)
	b.start() // without a view of its own: the source brings it
	eventually(t, "the full sync", func() bool { return b.ready() && b.equal(a) })
	if v := b.views.Current(); v == nil || v.Revision() != c.revision {
		t.Error("the snapshot has not brought the view")
	}
	a.put(1000, 3000)
	eventually(t, "the log", func() bool { return b.equal(a) })

	// A restart goes on from the log.
	gen := b.member.number
	b.stop()
	a.put(3000, 3500)
	b.start()
	eventually(t, "the log after a restart", func() bool { return b.ready() && b.equal(a) })
	if b.member.number != gen {
		t.Error("the restart took another snapshot")
	}
}

// TestPromiseP1ViewBeforeData: an entry that needs a newer view is not shown before that view is there;
// the source sends the view itself when the metadata service doesn't.
func TestPromiseP1ViewBeforeData(t *testing.T) {
	c := newCluster(t)
	a, b := c.add("a"), c.add("b")
	a.start()
	c.first(a)
	eventually(t, "the primary", a.writable)
	b.start()
	eventually(t, "the full sync", func() bool { return b.ready() && b.equal(a) })
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { // at no moment may the data be ahead of the view
		for {
			select {
			case <-stop:
				return
			default:
			}
			s := b.member.Store()
			if !s.Enter() {
				continue
			}
			need := s.Applied().MinRevision
			if have := b.views.Current().Revision(); have < need {
				t.Errorf("shows data of revision %d with view %d", need, have)
			}
			s.Leave()
		}
	})
	for i := range 50 {
		c.change(func() {
			c.spaces = append(c.spaces, &atollpb.Namespace{Id: c.revision, Name: fmt.Sprint("n", i), State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE})
		}, a) // b's metadata service is away
		a.put(i, i+1)
	}
	eventually(t, "the entries", func() bool { return b.equal(a) })
	close(stop)
	watch.Wait()
	if got := b.views.Current().Len(); got != 51 {
		t.Errorf("%d namespaces, want 51", got)
	}
}

// TestSnapshotCutAtEveryFrame breaks the stream at every frame in turn, sometimes with a restart of the
// sink, and expects it to go on from there.
func TestSnapshotCutAtEveryFrame(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart=", restart), func(t *testing.T) {
			c := newCluster(t)
			a, b := c.add("a"), c.add("b")
			a.start()
			c.first(a)
			eventually(t, "the primary", a.writable)
			a.put(0, 3000)
			var mu sync.Mutex
			cuts, seen, broken := 0, 0, make(chan struct{}, 1)
			a.cut = func(m *atollpb.SnapshotFrame) error {
				mu.Lock()
				defer mu.Unlock()
				if seen++; seen > cuts {
					cuts, seen = cuts+1, 0
					select {
					case broken <- struct{}{}:
					default:
					}
					return fmt.Errorf("cut at frame %d", cuts)
				}
				return nil
			}
			b.start()
			for restart && b.member.Store() == nil {
				select {
				case <-broken:
					b.stop()
					b.start()
				case <-time.After(10 * time.Millisecond):
				}
			}
			eventually(t, "the full sync", func() bool { return b.ready() && b.equal(a) })
			if cuts < 4 {
				t.Errorf("only %d cuts", cuts)
			}
		})
	}
}

func TestPlannedPromotion(t *testing.T) {
	c := newCluster(t)
	a, b := c.add("a"), c.add("b")
	a.start()
	b.start()
	c.first(a, b)
	eventually(t, "the primary", a.writable)
	a.put(0, 100)
	eventually(t, "the sync", func() bool { return b.ready() && b.equal(a) })
	c.change(func() {
		g := c.group
		c.group = &atollpb.Group{Id: g.Id, Primary: g.Primary, PrimaryIncarnation: g.PrimaryIncarnation, Epoch: g.Epoch,
			HistoryId: g.HistoryId, Epochs: g.Epochs, Promotion: &atollpb.Promotion{Target: "b", Revision: c.revision}}
	}, a, b)
	eventually(t, "the primary to quiesce", func() bool { return a.member.Status().Quiesced == c.revision })
	end := a.member.Store().Log().State().Last
	eventually(t, "the target to catch up", func() bool { return b.member.Store().Applied().Index == end })
	c.change(func() {
		c.group.Primary = "b"
		c.setEpoch(end + 1)
	}, a, b)
	eventually(t, "the new primary", b.writable)
	b.put(100, 200)
	eventually(t, "the old primary to follow", func() bool { return a.ready() && a.equal(b) })
	if a.member.number != 1 {
		t.Error("the old primary took a snapshot")
	}
}

// TestRestartedPrimary: on the same boot it goes on in its epoch; on another one it asks for a new
// epoch, and a replica that holds more than it cuts or takes a snapshot.
func TestRestartedPrimary(t *testing.T) {
	c := newCluster(t)
	a, b := c.add("a"), c.add("b")
	a.start()
	b.start()
	c.first(a, b)
	eventually(t, "the primary", a.writable)
	a.put(0, 100)
	epoch := a.member.Store().Applied().Epoch
	a.stop()
	a.start()
	eventually(t, "the primary again", a.writable)
	if got := a.member.Store().Applied().Epoch; got != epoch {
		t.Errorf("epoch %d after a restart on the same boot, want %d", got, epoch)
	}
	a.put(100, 200)
	a.stop()
	a.boot = "another"
	a.start()
	eventually(t, "the primary on another boot", a.writable)
	if got := a.member.Store().Applied().Epoch; got <= epoch {
		t.Errorf("epoch %d after a reboot, want one above %d", got, epoch)
	}
	b.see()
	a.put(200, 300)
	eventually(t, "the replica", func() bool { return b.ready() && b.equal(a) })
}
