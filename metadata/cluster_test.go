package metadata

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// fast makes a cluster fail over in about a second, and takes snapshots all the time.
func fast(c *Config) {
	c.tune = func(c *consensus.Config) {
		c.Timing = &consensus.Timing{
			Heartbeat: 300 * time.Millisecond, Election: 300 * time.Millisecond,
			Lease: 200 * time.Millisecond, Commit: 10 * time.Millisecond,
		}
		c.SnapshotThreshold, c.SnapshotInterval, c.TrailingLogs = 32, 50*time.Millisecond, 8
	}
}

// newCluster starts three voters.
func newCluster(t testing.TB) []*process {
	t.Helper()
	first := newProcessWith(t, "meta1", fast)
	first.ready()
	ps := []*process{first, newProcessWith(t, "meta2", fast, first.addr), newProcessWith(t, "meta3", fast, first.addr)}
	for _, p := range ps {
		settled(p, 3)
	}
	return ps
}

// settled waits until a node knows n voters, in Raft's configuration and in the cluster's record.
func settled(p *process, n int) {
	p.t.Helper()
	p.until(fmt.Sprintf("%d voters", n), func() bool {
		s := p.node.Status()
		cluster := p.node.consensus.State().Cluster()
		return s.Ready() == nil && len(s.Voters) == n && len(cluster.MetadataNodes) == n
	})
}

func leaderOf(ps []*process) *process {
	for _, p := range ps {
		if p.node != nil && p.node.Status().Role == consensus.RoleLeader {
			return p
		}
	}
	return nil
}

func TestThreeVoters(t *testing.T) {
	ps := newCluster(t)
	cluster := ps[0].node.Status().ClusterID
	d := newDataNode(t, "n1")
	d.joins(ps[2])
	// Through any node, and read through any other at once.
	for i, p := range ps {
		name := fmt.Sprintf("ns%d", i)
		if r := p.namespaces(atollpb.NamespacesOp_NAMESPACES_OP_ADD, name, name); r.Result != 0 {
			t.Fatalf("add through %s: %v", p.id, r)
		}
		for _, q := range ps {
			state, err := q.node.consensus.Read(t.Context())
			if err != nil || state.NamespaceByName(name) == nil {
				t.Fatalf("%s does not read what %s added: %v", q.id, p.id, err)
			}
		}
		d.report.ViewRevision = p.node.consensus.State().Revision()
		d.reports(p)
		for _, q := range ps {
			if lag := q.node.control.WaitApplied(t.Context(), d.report.ViewRevision, 10*time.Second); len(lag.Nodes) != 0 {
				t.Fatalf("wait at %s: %v", q.id, lag)
			}
			if r, err := q.node.control.Reports(t.Context()); err != nil || len(r) != 1 || !r[0].Live {
				t.Fatalf("reports at %s: %v %v", q.id, r, err)
			}
		}
	}
	for round := range 3 {
		var old *process
		ps[0].until("a leader", func() bool { old = leaderOf(ps); return old != nil })
		old.kill()
		rest := []*process{}
		for _, p := range ps {
			if p != old {
				rest = append(rest, p)
			}
		}
		name := fmt.Sprintf("round%d", round)
		if r := rest[round%2].namespaces(atollpb.NamespacesOp_NAMESPACES_OP_ADD, name, name); r.Result != 0 {
			t.Fatalf("add without %s: %v", old.id, r)
		}
		old.start()
		old.ready()
		state, err := old.node.consensus.Read(t.Context())
		if err != nil || state.NamespaceByName(name) == nil {
			t.Fatalf("%s, restarted, does not read %s: %v", old.id, name, err)
		}
		if id := old.node.Status().ClusterID; id != cluster {
			t.Fatalf("%s is now of cluster %s", old.id, id)
		}
	}
}

// A voter whose disk was emptied has forgotten its votes: neither under its old address nor under another
// does it get its old place back. With its disk it does.
func TestWipedVoterStaysOut(t *testing.T) {
	ps := newCluster(t)
	p := ps[2]
	dir, addr := p.dir, p.addr
	for _, place := range []string{addr, "127.0.0.1:0"} {
		p.stop()
		p.dir, p.addr = t.TempDir(), place
		p.start()
		err := <-p.ran
		p.ran <- nil
		if !errors.Is(err, consensus.ErrTaken) || !strings.Contains(err.Error(), `"meta3" is in the cluster already`) {
			t.Fatalf("emptied disk at %s: %v", place, err)
		}
		if id := p.node.Status().ClusterID; id != "" {
			t.Fatalf("it takes part in cluster %s", id)
		}
		for _, v := range ps[0].node.Status().Voters {
			if v.ID == "meta3" && v.ClusterAddr != addr {
				t.Fatalf("voter %v, whose address was %s", v, addr)
			}
		}
	}
	p.stop()
	p.dir, p.addr = dir, "127.0.0.1:0"
	p.start()
	ps[0].until("the new address of meta3", func() bool {
		return slices.ContainsFunc(ps[0].node.Status().Voters, func(v consensus.Voter) bool { return v.ClusterAddr == p.addr })
	})
}

// Under a new id at its old address an emptied voter would vote as the old one, whose place Raft keeps: it is
// not told the cluster, also by one that has no majority to ask. Another id and another address are a new node.
func TestWipedVoterUnderANewIDStaysOut(t *testing.T) {
	ps := newCluster(t)
	p := ps[2]
	addr := p.addr
	for _, majority := range []bool{true, false} {
		p.stop()
		if !majority {
			ps[1].stop()
			ps[0].until("no leader", func() bool { return ps[0].node.Status().LeaderID == "" })
		}
		p.dir, p.id = t.TempDir(), "meta4"
		p.start()
		err := <-p.ran
		p.ran <- nil
		if !errors.Is(err, consensus.ErrTaken) || !strings.Contains(err.Error(), addr+` is that of metadata node "meta3"`) {
			t.Fatalf("emptied disk under a new id, majority %v: %v", majority, err)
		}
		if id := p.node.Status().ClusterID; id != "" {
			t.Fatalf("it takes part in cluster %s", id)
		}
	}
	ps[1].start()
	p.stop()
	p.dir, p.addr = t.TempDir(), "127.0.0.1:0"
	p.start()
	settled(p, 4)
}

// Without the emptied voter there is no majority to ask, and it hears why it is refused all the same.
func TestWipedVoterOfTwoIsTold(t *testing.T) {
	first := newProcessWith(t, "meta1", fast)
	first.ready()
	p := newProcessWith(t, "meta2", fast, first.addr)
	settled(p, 2)
	settled(first, 2)
	p.stop()
	first.until("no leader", func() bool { return first.node.Status().LeaderID == "" })
	p.dir = t.TempDir()
	p.start()
	err := <-p.ran
	p.ran <- nil
	if !errors.Is(err, consensus.ErrTaken) {
		t.Fatalf("emptied disk: %v", err)
	}
}

func TestForwardedOnce(t *testing.T) {
	ps := newCluster(t)
	var follower *process
	for _, p := range ps {
		if p != leaderOf(ps) {
			follower = p
		}
	}
	d := newDataNode(t, "n1")
	d.joins(follower)
	ctx := t.Context()
	report := &atollpb.ReportRequest{ClusterId: d.cluster, Report: d.report, Forwarded: true}
	if _, err := follower.metadata().Report(ctx, report); status.Code(err) != codes.Unavailable {
		t.Errorf("a forwarded report at a follower: %v", err)
	}
	voter := &atollpb.AddVoterRequest{WireVersion: rpc.WireVersion, ClusterId: d.cluster, NodeId: "meta4", Incarnation: "i1", ClusterAddr: "127.0.0.1:1", Forwarded: true}
	if _, err := atollpb.NewConsensusClient(follower.conn).AddVoter(ctx, voter); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no metadata leader") {
		t.Errorf("a forwarded voter at a follower: %v", err)
	}
}

func TestEvenVotersAreWarnedOf(t *testing.T) {
	var log syncBuffer
	logged := func(c *Config) { fast(c); c.Log = slog.New(slog.NewTextHandler(&log, nil)) }
	first := newProcessWith(t, "meta1", logged)
	first.ready()
	settled(newProcessWith(t, "meta2", fast, first.addr), 2)
	first.until("the warning", func() bool { return strings.Contains(log.String(), "even number") })
	settled(newProcessWith(t, "meta3", fast, first.addr), 3)
	if n := strings.Count(log.String(), "even number"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
}

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A follower that was away for longer than the log reaches back takes a snapshot, while changes go on.
func TestSnapshotUnderLoad(t *testing.T) {
	ps := newCluster(t)
	var away *process
	for _, p := range ps {
		if p != leaderOf(ps) {
			away = p
		}
	}
	v := newView(t)
	ctx, cancel := context.WithCancel(t.Context())
	v.watch(ctx, away)
	v.reach(1)
	cancel()
	away.kill()
	leader := leaderOf(ps)
	create := func(name string) {
		if _, err := leader.node.consensus.Propose(t.Context(), &raftfsm.CreateNamespace{Name: name}, consensus.ProposeOptions{}); err != nil {
			t.Error(err)
		}
	}
	for i := range 300 {
		create(fmt.Sprintf("before%d", i))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				create(fmt.Sprintf("during%d", i))
			}
		}
	})
	away.start()
	away.ready()
	v.watch(t.Context(), away)
	v.reach(leader.node.consensus.State().Revision())
	close(stop)
	wg.Wait()
	if _, ok := away.node.consensus.Feed().Since(1); ok {
		t.Fatal("the node caught up from the log: the test shows nothing")
	}
	if v.fulls < 2 {
		t.Fatalf("%d full views, although the feed began anew", v.fulls)
	}
	state, err := away.node.consensus.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v.reach(state.Revision())
	names := 0
	for n := range state.Namespaces("") {
		names++
		if v.namespaces[n.Id].GetName() != n.Name {
			t.Fatalf("the view lacks %v", n)
		}
	}
	if names != len(v.namespaces) || names < 300 {
		t.Fatalf("%d namespaces, %d in the view", names, len(v.namespaces))
	}
	var a, b bytes.Buffer
	leaderState, err := leader.node.consensus.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if state, err = away.node.consensus.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(leaderState.WriteSnapshot(&a), state.WriteSnapshot(&b)); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Fatalf("two nodes' snapshots differ: %v", err)
	}
}

// registerOp is an operation on one name, and registerReply what came of it.
type registerOp struct {
	kind string // create, delete, read
	name string
	id   uint64 // of the namespace to delete
}

type registerReply struct {
	id      uint64 // read: 0 for none; create: of the new one
	refused bool
}

// registerModel is a name that stands for the id of its namespace, or for none.
func registerModel() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byName := map[string][]porcupine.Operation{}
			for _, op := range history {
				name := op.Input.(registerOp).name
				byName[name] = append(byName[name], op)
			}
			var parts [][]porcupine.Operation
			for _, part := range byName {
				parts = append(parts, part)
			}
			return parts
		},
		Init: func() any { return uint64(0) },
		Step: func(state, input, output any) (bool, any) {
			now, op, reply := state.(uint64), input.(registerOp), output.(registerReply)
			switch {
			case op.kind == "read":
				return reply.id == now, now
			case op.kind == "create" && reply.refused:
				return now != 0, now
			case op.kind == "create":
				return now == 0, reply.id
			case op.kind == "delete" && reply.refused:
				return now != op.id, now
			}
			return now == op.id, uint64(0)
		},
	}
}

// Histories of admin operations through all nodes, with leaders killed and restarted, are linearizable.
func TestP2HistoriesAreLinearizable(t *testing.T) {
	ps := newCluster(t)
	var nodes [3]atomic.Pointer[consensus.Node]
	for i, p := range ps {
		nodes[i].Store(p.node.consensus)
	}
	begin := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for client := range 6 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(client)))
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				pick := func() *consensus.Node { return nodes[random.IntN(3)].Load() }
				op := registerOp{kind: []string{"create", "delete", "read", "read"}[random.IntN(4)], name: fmt.Sprintf("n%d", random.IntN(3))}
				if op.kind == "delete" {
					if n := pick().State().NamespaceByName(op.name); n != nil {
						op.id = n.Id
					} else {
						op.kind = "read"
					}
				}
				call := time.Since(begin)
				reply, ok := operate(t, pick, op)
				if !ok {
					return
				}
				o := porcupine.Operation{ClientId: client, Input: op, Call: int64(call), Output: reply, Return: int64(time.Since(begin))}
				mu.Lock()
				history = append(history, o)
				mu.Unlock()
			}
		})
	}
	for range 3 {
		time.Sleep(500 * time.Millisecond) // of work between two kills; nothing depends on it
		for i, p := range ps {
			if p == leaderOf(ps) {
				p.kill()
				p.start()
				nodes[i].Store(p.node.consensus)
				break
			}
		}
		ps[0].until("a leader", func() bool { return leaderOf(ps) != nil })
	}
	time.Sleep(500 * time.Millisecond)
	close(stop)
	wg.Wait()
	if len(history) < 50 {
		t.Fatalf("only %d operations", len(history))
	}
	if got := porcupine.CheckOperationsTimeout(registerModel(), history, time.Minute); got != porcupine.Ok {
		t.Fatalf("%d operations: %v", len(history), got)
	}
	// The check can fail: a read of a value that nobody wrote.
	history = append(history, porcupine.Operation{Input: registerOp{kind: "read", name: "n0"}, Output: registerReply{id: 1 << 60}, Call: 1 << 60, Return: 1<<60 + 1})
	if got := porcupine.CheckOperationsTimeout(registerModel(), history, time.Minute); got != porcupine.Illegal {
		t.Fatalf("a wrong history is %v", got)
	}
}

// operate performs an operation until its outcome is known: a retry with the same request id, through
// whichever node is up, has one effect, and so have they all.
func operate(t *testing.T, pick func() *consensus.Node, op registerOp) (registerReply, bool) {
	var command raftfsm.Command = &raftfsm.CreateNamespace{Name: op.name}
	if op.kind == "delete" {
		command = &raftfsm.DeleteNamespace{ID: op.id}
	}
	options := consensus.ProposeOptions{RequestID: crand.Text()}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		var reply registerReply
		var err error
		if op.kind == "read" {
			var state *raftfsm.State
			if state, err = pick().Read(attempt); err == nil {
				reply.id = state.NamespaceByName(op.name).GetId()
			}
		} else {
			var result raftfsm.Result
			result, err = pick().Propose(attempt, command, options)
			reply.id = result.NamespaceID
		}
		var refusal *raftfsm.Error
		reply.refused = errors.As(err, &refusal)
		if err == nil || reply.refused {
			return reply, true
		}
	}
	t.Errorf("%s %s: no outcome in time", op.kind, op.name)
	return registerReply{}, false
}
