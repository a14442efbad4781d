package replication

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// pair starts a primary with keys and a replica that has them.
func pair(t *testing.T) (c *cluster, a, b *node) {
	c = newCluster(t)
	a, b = c.add("a"), c.add("b")
	a.start()
	b.start()
	c.first(a, b)
	eventually(t, "the primary", a.writable)
	a.put(0, 100)
	eventually(t, "the sync", func() bool { return b.ready() && b.equal(a) })
	return c, a, b
}

// force moves the primary as an operator does who accepts a loss.
func (c *cluster) force(to *node, history string, see ...*node) {
	c.change(func() {
		c.group = &atollpb.Group{
			Id: GroupID, Primary: to.id, PrimaryIncarnation: to.id, Epoch: c.revision, HistoryId: history,
			Epochs: []*atollpb.EpochStart{{Epoch: c.revision, StartIndex: 1}},
		}
	}, see...)
}

// A stream that is cut may leave entries in the log that are not shown yet.
func TestForcedPromotionShowsTheRest(t *testing.T) {
	c, a, b := pair(t)
	s := b.member.Store()
	end := s.Applied()
	e := &replog.Entry{Kind: replog.KindData, Epoch: end.Epoch, Index: end.Index + 1, CommitIndex: end.Index, MinRevision: end.MinRevision, Payload: make([]byte, 12)}
	rec := append(replog.AppendHeader(nil, e), e.Payload...)
	if err := s.Append(rec); err != nil {
		t.Fatal(err)
	}
	a.stop()
	c.force(b, "h2", b)
	eventually(t, "the new primary", b.writable)
	if got := s.Applied(); got.History != "h2" || got.Index != end.Index+2 {
		t.Errorf("applied %+v, want entry %d of h2", got, end.Index+2)
	}
	b.put(0, 10)
	a.start() // of the old history: it takes a full sync, and shows nothing until then
	a.see()
	eventually(t, "the old primary", func() bool { return a.ready() && a.equal(b) })
}

// TestQuiescedRestart: a primary that was killed after it had quiesced has reported its log's end as
// final, so it takes no write when it comes back, not for a moment.
func TestQuiescedRestart(t *testing.T) {
	c, a, _ := pair(t)
	promotion := func(p *atollpb.Promotion) {
		c.change(func() { c.group.Promotion = p }, a)
	}
	promotion(&atollpb.Promotion{Target: "b", Revision: 7})
	eventually(t, "the primary to quiesce", func() bool { return a.member.Status().Quiesced == 7 })
	end := a.member.Store().Log().State().Last
	for range 3 {
		a.stop()
		a.start()
		s := a.member.Store()
		tryPut := func() bool {
			var tx store.Tx
			s.Namespace(1).Begin(&tx, store.Run{Write: true, Hashes: []uint64{store.HashKey(0, []byte("x"))}})
			defer tx.End()
			tx.Put(tx.DB(0), []byte("x"), store.Row{Type: store.TypeString, Data: []byte("x")})
			return tx.Commit(store.Async) == nil
		}
		for a.member.Status().Quiesced != 7 {
			if tryPut() {
				t.Fatal("a write was taken before the node quiesced again")
			}
			runtime.Gosched()
		}
		if got := s.Log().State().Last; got != end {
			t.Fatalf("the log ends at %d, it was final at %d", got, end)
		}
	}
	promotion(nil)
	eventually(t, "the primary to go on", a.writable)
	a.put(100, 110)
}

// TestPromiseP5OtherIncarnation: a node whose place another disk has taken stops acknowledging writes.
func TestPromiseP5OtherIncarnation(t *testing.T) {
	c, a, _ := pair(t)
	c.change(func() { c.group.PrimaryIncarnation = "another" }, a)
	eventually(t, "the node to step down", func() bool { return a.member.Store().Role() == store.Replica })
	if _, _, err := a.member.source.serving("c", "a"); err == nil {
		t.Error("it still serves sinks")
	}
}

// TestReplicaAlone: restarted without its primary, a replica serves what it has and says so, so that it
// can be promoted; but not what it knows to be of another history.
func TestReplicaAlone(t *testing.T) {
	c, a, b := pair(t)
	a.stop()
	b.stop()
	b.start()
	eventually(t, "the replica to serve", b.ready)
	c.force(a, "h2", b)
	eventually(t, "the replica to see the other history", func() bool { return b.member.Blocked() != nil })
	if st := b.member.Status(); st.State == atollpb.NodeState_NODE_STATE_SERVING {
		t.Errorf("status %+v of a node that answers LOADING", st)
	}
	b.stop()
	b.start()
	for range 3 { // a stream fails, and another one
		b.member.update(func(s *Status) { s.Note = "" })
		eventually(t, "the next stream", func() bool { return b.member.Status().Note != "" })
		if why := b.member.Blocked(); why == nil {
			t.Fatal("serves another history after a restart")
		}
	}
}

// An entry of an epoch that ended before it is of another history too.
func TestReplicaBeyondItsEpochAlone(t *testing.T) {
	c, a, b := pair(t)
	a.stop()
	end := b.member.Store().Applied().Index
	c.change(func() { c.setEpoch(end - 10) }, b) // a power cut took entries of the primary
	eventually(t, "the replica to see it", func() bool {
		why := b.member.Blocked()
		return why != nil && *why != b.member.starting
	})
}

func TestPromiseP7OnlyTombstonesArePurged(t *testing.T) {
	c, a, b := pair(t)
	deleted := uint64(0)
	c.change(func() {
		deleted = c.revision
		c.spaces = append(c.spaces, &atollpb.Namespace{Id: 90, Name: "x", State: atollpb.NamespaceState_NAMESPACE_STATE_DELETED, DeletedRevision: deleted})
	}, a)
	eventually(t, "the purge", func() bool { return a.member.Store().WasPurged(90) })
	eventually(t, "the replica's", func() bool { return b.member.Store().WasPurged(90) })
	if b.views.Current().Revision() < deleted {
		t.Error("the replica purged before its view had the deletion")
	}
	if a.member.Store().WasPurged(1) || a.member.Store().WasPurged(2) {
		t.Error("a namespace that is alive, or unknown, was purged")
	}
}

// A damaged snapshot that was staged ends with itself: the node takes another.
func TestDamagedStagingIsTakenAgain(t *testing.T) {
	c, a, b := pair(t)
	want := b.member.number
	b.stop()
	stage := b.member.disk.generation(want + 1)
	fs := b.member.cfg.FS
	for _, dir := range []string{stage, fs.PathJoin(stage, "log"), fs.PathJoin(stage, "pebble")} {
		if err := fs.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	man := manifest{Format: manifestFormat, Header: []byte(`{"snapshotId":"gone"}`), Complete: true}
	man.Checksum = man.sum()
	whole, err := json.Marshal(man)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{manifestFile: whole, "log/0000000000000001.log": make([]byte, 4096)} {
		if err := writeFile(fs, stage, name, data); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.OpenSnapshot(b.member.cfg.Options(stage)); err == nil {
		t.Fatal("the damaged snapshot opens")
	}
	a.put(100, 200)
	b.start()
	eventually(t, "the replica", func() bool { return b.ready() && b.equal(a) })
	_ = c
}

// TestUnpackerLongRecord: a long record costs its length, not its length for every chunk.
func TestUnpackerLongRecord(t *testing.T) {
	e := &replog.Entry{Kind: replog.KindData, Epoch: 1, Index: 1, Payload: make([]byte, 16<<20)}
	rec := append(replog.AppendHeader(nil, e), e.Payload...)
	body := rec[replog.RecordHeader:]
	wire := appendWire(appendWire(appendWire(nil, body[:100]), body), body[:200])
	var u unpacker
	var sizes []int
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for len(wire) > 0 {
		n := min(len(wire), 64<<10)
		if err := u.feed(wire[:n], func(rec []byte) error {
			sizes = append(sizes, len(rec)-replog.RecordHeader)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		wire = wire[n:]
	}
	runtime.ReadMemStats(&after)
	if want := fmt.Sprint([]int{100, len(body), 200}); fmt.Sprint(sizes) != want {
		t.Errorf("records of %v bytes, want %s", sizes, want)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 256<<20 {
		t.Errorf("%d MiB were allocated for a record of 16", got>>20)
	}
}

// TestFencing: what a node may do follows from who has seen the higher epoch, and from nothing else.
func TestFencing(t *testing.T) {
	src := sourceState{history: "h", epoch: 20, first: 50, last: 200, epochs: []*atollpb.EpochStart{{Epoch: 10, StartIndex: 1}, {Epoch: 20, StartIndex: 101}}}
	for _, c := range []struct {
		name                        string
		history                     string
		seen, epoch, index, applied uint64
		want                        atollpb.FollowAction
		cut                         uint64
		diverged                    bool
	}{
		{"a higher epoch", "h", 21, 20, 200, 200, atollpb.FollowAction_FOLLOW_ACTION_REFUSE, 0, false},
		{"empty", "", 0, 0, 0, 0, atollpb.FollowAction_FOLLOW_ACTION_SNAPSHOT, 0, false},
		{"level", "h", 20, 20, 200, 200, atollpb.FollowAction_FOLLOW_ACTION_CONTINUE, 0, false},
		{"behind", "h", 10, 10, 60, 60, atollpb.FollowAction_FOLLOW_ACTION_CONTINUE, 0, false},
		{"at the end of its epoch", "h", 10, 10, 100, 100, atollpb.FollowAction_FOLLOW_ACTION_CONTINUE, 0, false},
		{"written beyond it", "h", 10, 10, 105, 100, atollpb.FollowAction_FOLLOW_ACTION_CUT, 100, false},
		{"shown beyond it", "h", 10, 10, 105, 101, atollpb.FollowAction_FOLLOW_ACTION_SNAPSHOT, 0, true},
		{"before the log", "h", 10, 10, 48, 48, atollpb.FollowAction_FOLLOW_ACTION_SNAPSHOT, 0, false},
		{"just at the log", "h", 10, 10, 49, 49, atollpb.FollowAction_FOLLOW_ACTION_CONTINUE, 0, false},
		{"an unknown epoch", "h", 15, 15, 90, 90, atollpb.FollowAction_FOLLOW_ACTION_SNAPSHOT, 0, true},
		{"another history", "g", 10, 10, 60, 60, atollpb.FollowAction_FOLLOW_ACTION_SNAPSHOT, 0, true},
	} {
		d := decide(src, &atollpb.SinkHello{Epoch: c.seen, AppliedIndex: c.applied, Written: &atollpb.Position{HistoryId: c.history, Epoch: c.epoch, Index: c.index}})
		if d.Action != c.want || d.CutIndex != c.cut || d.Diverged != c.diverged {
			t.Errorf("%s: %v", c.name, d)
		}
	}
}

// TestGenerationSwapUnderLoad: runs go on while a full sync replaces the generation, and the old one goes.
func TestGenerationSwapUnderLoad(t *testing.T) {
	c, a, b := pair(t)
	stop := make(chan struct{})
	var runs sync.WaitGroup
	for range 4 {
		runs.Go(func() {
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
				var tx store.Tx
				s.Namespace(1).Begin(&tx, store.Run{})
				if _, ok := tx.Get(tx.DB(0), []byte("k1")); !ok {
					t.Error("a key of both generations is missing")
				}
				tx.End()
				s.Leave()
			}
		})
	}
	for i := range 3 {
		history := fmt.Sprint("h", i+2)
		c.force(a, history, a, b) // every sink takes a full sync
		eventually(t, "the primary", func() bool { return a.member.Store().Applied().History == history && a.writable() })
		a.put(i*100, i*100+200)
		eventually(t, "the full sync", func() bool { return b.ready() && b.equal(a) })
	}
	close(stop)
	runs.Wait()
	number := b.member.number
	eventually(t, "the old generations to go", func() bool {
		list, err := b.member.disk.list()
		return err == nil && len(list) == 1 && list[0] == number
	})
	a.member.source.mu.Lock()
	defer a.member.source.mu.Unlock()
	for _, k := range a.member.source.checkpoints {
		if k.readers != 0 || time.Since(k.made) > time.Minute {
			t.Errorf("checkpoint %s has %d readers", k.header.GetSnapshotId(), k.readers)
		}
	}
}

// TestExpelled: a node that was removed, or whose place another disk has got, serves nothing and takes no
// write from the view on that says so, and serves again when it is counted on again.
func TestExpelled(t *testing.T) {
	for _, disk := range []string{"", "another"} {
		t.Run("disk "+disk, func(t *testing.T) {
			c, a, b := pair(t)
			for _, n := range []*node{b, a} {
				c.change(func() { c.disks = map[string]string{n.id: disk} }, n)
				eventually(t, "the end of serving", func() bool { return n.member.Blocked() != nil })
				if n == a && a.member.Store().Role() != store.Replica {
					t.Error("the old primary takes writes")
				}
				c.change(func() { c.disks = nil }, n)
				eventually(t, "serving again", func() bool { return n.ready() && n.member.Blocked() == nil })
			}
			eventually(t, "the primary", a.writable)
			a.put(100, 200)
			eventually(t, "the replica", func() bool { return b.equal(a) })
		})
	}
}

// TestPrimaryLostEntries: a power cut takes entries of the primary that a replica shows. The replica takes a
// full sync of less than it has shown, and is a replica again.
func TestPrimaryLostEntries(t *testing.T) {
	_, a, b := pair(t)
	a.stop()
	before := filepath.Join(t.TempDir(), "before")
	if err := os.CopyFS(before, os.DirFS(a.dir)); err != nil {
		t.Fatal(err)
	}
	a.start()
	a.see()
	eventually(t, "the primary", a.writable)
	a.put(100, 150)
	eventually(t, "the replica", func() bool { return b.equal(a) })
	a.stop()
	if err := os.RemoveAll(a.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(a.dir, os.DirFS(before)); err != nil {
		t.Fatal(err)
	}
	a.boot = "another boot"
	a.start()
	a.see()
	eventually(t, "the primary's new epoch", a.writable)
	b.see()
	eventually(t, "the replica to have what the primary has", func() bool { return b.ready() && b.equal(a) })
	a.put(200, 210)
	eventually(t, "the log", func() bool { return b.equal(a) })
}

// TestViewWithoutWrites: a sink that has lost the metadata service gets newer views from its source, also
// right behind an entry, and its stream goes on.
func TestViewWithoutWrites(t *testing.T) {
	c, a, b := pair(t)
	before := a.follows.Load()
	for i := range 5 {
		a.put(i, i+1)
		c.change(func() {
			c.spaces = append(c.spaces, &atollpb.Namespace{Id: c.revision, Name: fmt.Sprint("n", i), State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE})
		}, a)
		eventually(t, "the view", func() bool { return b.views.Current().Revision() == a.views.Current().Revision() })
	}
	eventually(t, "the entries", func() bool { return b.equal(a) })
	if n := a.follows.Load() - before; n != 0 {
		t.Errorf("%d streams broke", n)
	}
}
