// Package commandtest gives tests a node in memory: a store, a view with a few namespaces, and an
// executor over them.
package commandtest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/tidwall/redcon"
)

// The namespaces of the view, and the id of its node and history.
const (
	DefaultID = 1
	AID       = 10
	BID       = 20
	NodeID    = "node-1"
	clusterID = "cluster"
)

// Secrets of the tokens in the view.
const (
	AdminSecret     = "admin-secret"
	AWriteSecret    = "a-write-secret"
	AReadSecret     = "a-read-secret"
	BWriteSecret    = "b-write-secret"
	DefaultSecret   = "default-secret"
	tokenKeyOfTests = "0123456789abcdef0123456789abcdef"
)

// Node is a data node in memory: the primary, until Primary is cleared. Its fields may be set between
// commands.
type Node struct {
	Views *tenant.Views
	Data  *store.Store

	mu      sync.Mutex
	loading bool
	replica bool
	Calls   []command.NamespaceCall
	// OnForward answers forwarded calls; OnNamespaces changes of the namespaces.
	OnForward    func(command.ForwardSession, [][][]byte, func(command.ForwardReply)) error
	OnNamespaces func(command.NamespaceCall) (command.NamespaceResult, error)
	WaitedFor    []uint64
	// OnPublish is told of what is passed on to other nodes.
	OnPublish func(*command.Message)
	// Stalled, if set, is told of each call that goes to other nodes or waits for them; it then lasts until its
	// context ends.
	Stalled chan struct{}
	// ViewAge is what Facts says.
	ViewAge time.Duration
	// SaveFails is what a save fails with.
	SaveFails error
	saves     command.Saves
	acked     command.Acks
	changed   chan struct{} // closed by the next Ack
}

// Bench is the node with an executor.
type Bench struct {
	Node     *Node
	Executor *command.Executor
	Registry *command.Registry
	Env      *command.Env
}

// New builds a bench over an empty store in memory, with the namespaces __namespace, A and B.
func New(tb testing.TB) *Bench {
	return NewWith(tb, command.All(), command.Limits{ForwardWrites: true})
}

// NewStanding is New with a store whose clock stands still: nothing in it changes by itself.
func NewStanding(tb testing.TB) *Bench {
	tb.Helper()
	now := time.Now()
	return newIn(tb, func() time.Time { return now }, command.All(), command.Limits{ForwardWrites: true})
}

// NewWith is New with specs and limits of the caller's.
func NewWith(tb testing.TB, specs []command.Spec, limits command.Limits) *Bench {
	tb.Helper()
	return newIn(tb, nil, specs, limits)
}

// newIn makes a store, with a clock of the caller's unless it is nil.
func newIn(tb testing.TB, now func() time.Time, specs []command.Spec, limits command.Limits) (b *Bench) {
	tb.Helper()
	o := storetest.Options(tb, vfs.NewMem(), "data")
	if now != nil {
		o.Now = now
	}
	o.Expired = func(namespace uint64, keys int) { b.Executor.Expired(namespace, keys) }
	b = newOn(tb, storetest.OpenWith(tb, o), specs, limits)
	return b
}

// NewOver is New over a store that the caller has.
func NewOver(tb testing.TB, data *store.Store) *Bench {
	tb.Helper()
	return newOn(tb, data, command.All(), command.Limits{ForwardWrites: true})
}

func newOn(tb testing.TB, data *store.Store, specs []command.Spec, limits command.Limits) *Bench {
	tb.Helper()
	views, err := tenant.OpenViews(vfs.NewMem(), "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := views.Close(); err != nil {
			tb.Error(err)
		}
	})
	b := &Bench{Node: &Node{saves: command.Saves{Took: -1}, Views: views, Data: data}, Registry: command.NewRegistry()}
	b.Install(tb, FullView(100))
	began := time.Now()
	b.Env = &command.Env{Clock: time.Now, Elapsed: func() time.Duration { return time.Since(began) }}
	b.Executor = command.NewExecutor(command.Config{
		Node: b.Node, Sessions: b.Registry, Specs: specs, Env: b.Env, Limits: limits,
		Version: "test", Log: slog.New(slog.DiscardHandler),
	})
	return b
}

// Install installs the view that a frame makes.
func (b *Bench) Install(tb testing.TB, f *atollpb.ViewFrame) *tenant.View {
	tb.Helper()
	var a tenant.Assembler
	c, err := a.Add(f)
	if err != nil || c == nil {
		tb.Fatalf("assemble: %v", err)
	}
	v, err := b.Node.Views.Install(c)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// Hash is the token hash of a secret in the test's cluster.
func Hash(secret string) []byte {
	var a tenant.Assembler
	c, err := a.Add(&atollpb.ViewFrame{Full: true, Last: true, Revision: 1, Cluster: cluster()})
	if err != nil {
		panic(err)
	}
	return c.View().HashSecret([]byte(secret))
}

func cluster() *atollpb.ClusterInfo {
	return &atollpb.ClusterInfo{ClusterId: clusterID, MetadataHistoryId: "h", TokenKey: []byte(tokenKeyOfTests), DefaultNamespaceId: DefaultID}
}

// FullView is a whole view at a revision: three namespaces, their tokens, one node and its group.
func FullView(revision uint64) *atollpb.ViewFrame {
	ns := func(id uint64, name string) *atollpb.Namespace {
		return &atollpb.Namespace{Id: id, Name: name, State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE, Durability: atollpb.Durability_DURABILITY_ASYNC}
	}
	return &atollpb.ViewFrame{
		Full: true, Last: true, Revision: revision, Cluster: cluster(),
		Namespaces: []*atollpb.Namespace{ns(DefaultID, "__namespace"), ns(AID, "a"), ns(BID, "b")},
		Tokens: []*atollpb.Token{
			Token("t-admin", DefaultID, AdminSecret, atollpb.Role_ROLE_ADMIN),
			Token("t-default", DefaultID, DefaultSecret, atollpb.Role_ROLE_READ_WRITE),
			Token("t-a-rw", AID, AWriteSecret, atollpb.Role_ROLE_READ_WRITE),
			Token("t-a-ro", AID, AReadSecret, atollpb.Role_ROLE_READ_ONLY),
			Token("t-b-rw", BID, BWriteSecret, atollpb.Role_ROLE_READ_WRITE),
		},
		Nodes:  []*atollpb.Node{{Id: NodeID, RespAddr: "127.0.0.1:6379", ClusterAddr: "127.0.0.1:7379"}},
		Groups: []*atollpb.Group{{Id: 1, Primary: NodeID, Epoch: 1, HistoryId: "history"}},
	}
}

// Token is a token's record.
func Token(id string, namespace uint64, secret string, role atollpb.Role) *atollpb.Token {
	return &atollpb.Token{Id: id, NamespaceId: namespace, Hash: Hash(secret), Role: role}
}

// SetLoading makes the node one that has no view or data yet.
func (n *Node) SetLoading(v bool) { n.set(func() { n.loading = v }) }

// SetReplica makes the node a replica.
func (n *Node) SetReplica(v bool) { n.set(func() { n.replica = v }) }

func (n *Node) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

type lease struct {
	node *Node
	view *tenant.View
}

func (l *lease) View() *tenant.View   { return l.view }
func (l *lease) Store() *store.Store  { return l.node.Data }
func (l *lease) Release()             { l.node.Data.Leave() }
func (l *lease) Newest() *tenant.View { return l.node.Views.Current() }
func (l *lease) Primary() bool {
	l.node.mu.Lock()
	defer l.node.mu.Unlock()
	return !l.node.replica
}

// Acquire implements command.Node.
func (n *Node) Acquire() (command.Lease, error) {
	n.mu.Lock()
	loading := n.loading
	n.mu.Unlock()
	v := n.Views.Current()
	if loading || v == nil || !n.Data.Enter() {
		return nil, command.ErrLoading
	}
	return &lease{n, v}, nil
}

// WaitApplied implements command.Node.
func (n *Node) WaitApplied(ctx context.Context, index uint64) error {
	n.set(func() { n.WaitedFor = append(n.WaitedFor, index) })
	n.stall(ctx)
	return ctx.Err()
}

// stall keeps the caller until ctx ends, if other nodes are to be stalled.
func (n *Node) stall(ctx context.Context) {
	if n.Stalled != nil {
		n.Stalled <- struct{}{}
		<-ctx.Done()
	}
}

// Forward implements command.Node.
func (n *Node) Forward(ctx context.Context, s command.ForwardSession, calls [][][]byte, reply func(command.ForwardReply)) error {
	n.stall(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if n.OnForward == nil {
		return command.ErrNotForwarded
	}
	return n.OnForward(s, calls, reply)
}

// Publish implements command.Node.
func (n *Node) Publish(m *command.Message) {
	if n.OnPublish != nil {
		n.OnPublish(m)
	}
}

// Namespaces implements command.Node.
func (n *Node) Namespaces(_ context.Context, call command.NamespaceCall) (command.NamespaceResult, error) {
	n.set(func() { n.Calls = append(n.Calls, call) })
	if n.OnNamespaces == nil {
		return command.NamespaceResult{}, nil
	}
	return n.OnNamespaces(call)
}

// Ack sets how many replicas have acknowledged everything.
func (n *Node) Ack(written, synced int) {
	n.set(func() {
		n.acked.Written, n.acked.Synced = written, synced
		if n.changed != nil {
			close(n.changed)
			n.changed = nil
		}
	})
}

// Acks implements command.Node.
func (n *Node) Acks(index uint64) command.Acks {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changed == nil {
		n.changed = make(chan struct{})
	}
	a := n.acked
	a.Primary, a.Changed = !n.replica, n.changed
	a.LocalSynced = n.Data.Log().State().SyncedIndex >= index
	return a
}

// SyncLog implements command.Node.
func (n *Node) SyncLog() error { return n.Data.SyncLog() }

// Save implements command.Node: it begins a save that SaveDone ends, or fails with SaveFails.
func (n *Node) Save(_ context.Context, wait bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.saves.Busy:
		return command.ErrSaving
	case n.SaveFails != nil:
		n.saves.Failed = true
		return n.SaveFails
	}
	n.saves.Busy, n.saves.Began = !wait, time.Now()
	return nil
}

// SaveDone makes the node's saves what is given.
func (n *Node) SaveDone(s command.Saves) { n.set(func() { n.saves = s }) }

// Saves implements command.Node.
func (n *Node) Saves() command.Saves {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.saves
}

// Facts implements command.Node.
func (n *Node) Facts() command.Facts {
	a := n.Data.Applied()
	return command.Facts{NodeID: NodeID, State: "serving", RESPAddr: "127.0.0.1:6379", AppliedIndex: a.Index, ViewAge: n.ViewAge}
}

// Session opens a session, authenticated by secret unless it is empty.
func (b *Bench) Session(tb testing.TB, secret string) *command.Session {
	tb.Helper()
	s := b.Registry.Open(command.Peer{Remote: "192.0.2.1:1", Local: "192.0.2.2:6379"}, 0, time.Now(), nil)
	tb.Cleanup(func() { b.Registry.Remove(s) })
	if secret != "" {
		if got := b.Do(tb, s, "AUTH", secret); got != "+OK\r\n" {
			tb.Fatalf("AUTH answered %q", got)
		}
	}
	return s
}

// Do executes one command and returns its reply as RESP.
func (b *Bench) Do(tb testing.TB, s *command.Session, words ...string) string {
	tb.Helper()
	return b.Pipeline(tb, s, words)
}

// Pipeline executes commands as one pipeline and returns all replies as RESP.
func (b *Bench) Pipeline(tb testing.TB, s *command.Session, lines ...[]string) string {
	tb.Helper()
	cmds := make([]redcon.Command, len(lines))
	for i, words := range lines {
		for _, w := range words {
			cmds[i].Args = append(cmds[i].Args, []byte(w))
			cmds[i].Raw = append(cmds[i].Raw, w...)
		}
	}
	s.Out.Reset(1 << 20)
	if err := b.Executor.Execute(tb.Context(), s, cmds, func() error { return nil }); err != nil {
		tb.Fatal(err)
	}
	if p := s.Pushes(); p != nil {
		p.Release() // as when the replies were sent
	}
	return string(s.Out.Bytes())
}
