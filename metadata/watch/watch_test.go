package watch

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// source is a state machine without Raft.
type source struct {
	t     testing.TB
	fsm   *raftfsm.FSM
	index uint64
	alone atomic.Bool // no leader is known
}

func newSource(t testing.TB) *source {
	t.Helper()
	fsm, err := raftfsm.New()
	if err != nil {
		t.Fatal(err)
	}
	s := &source{t: t, fsm: fsm}
	admin := raftfsm.NewToken{ID: "admin", Hash: make([]byte, raftfsm.HashBytes), Role: atollpb.Role_ROLE_ADMIN}
	s.do(&raftfsm.InitCluster{
		ClusterID: "c", MetadataHistoryID: "m", TokenKey: make([]byte, raftfsm.HashBytes), AdminToken: admin,
		MetadataNode: raftfsm.MetadataNode{ID: "m1", Incarnation: "i1", ClusterAddr: "m1:1"},
	})
	return s
}

func (s *source) do(c raftfsm.Command) uint64 {
	s.t.Helper()
	data, err := s.fsm.Encode(raftfsm.Proposal{Command: c})
	if err != nil {
		s.t.Fatal(err)
	}
	s.index++
	out, err := s.fsm.Apply(s.index, data)
	if err != nil || out.Refusal != nil {
		s.t.Fatal(err, out.Refusal)
	}
	return s.index
}

func (s *source) create(name string) uint64 {
	hash := make([]byte, raftfsm.HashBytes)
	copy(hash, name)
	return s.do(&raftfsm.CreateNamespace{Name: name, Tokens: []raftfsm.NewToken{
		{ID: "t-" + name, Hash: hash, Role: atollpb.Role_ROLE_READ_WRITE},
	}})
}

func (*source) ClusterID() string       { return "c" }
func (s *source) State() *raftfsm.State { return s.fsm.State() }
func (s *source) Feed() *raftfsm.Feed   { return s.fsm.Feed() }
func (s *source) Leader() (string, string, bool) {
	return "m1", "m1:1", !s.alone.Load()
}

// stream hands frames to the test, one at a time: a slow watcher is one that doesn't take them.
type stream struct {
	ctx    context.Context
	frames chan *atollpb.ViewFrame
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) Send(f *atollpb.ViewFrame) error {
	select {
	case s.frames <- f:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// watching starts a watcher at a revision; ended gives what Watch returned.
func watching(t *testing.T, s *source, revision uint64) (frames <-chan *atollpb.ViewFrame, ended <-chan error, server *Server) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	st := &stream{ctx, make(chan *atollpb.ViewFrame)}
	server = New(s, slog.New(slog.DiscardHandler))
	end := make(chan error, 1)
	go func() {
		end <- server.Watch(&atollpb.WatchRequest{WireVersion: rpc.WireVersion, ClusterId: "c", MetadataHistoryId: "m", NodeId: "n", Revision: revision}, st)
	}()
	return st.frames, end, server
}

// frameSet receives the frames of one change, heartbeats aside.
func frameSet(t *testing.T, frames <-chan *atollpb.ViewFrame) []*atollpb.ViewFrame {
	t.Helper()
	var got []*atollpb.ViewFrame
	for {
		f := <-frames
		if f.Heartbeat {
			continue
		}
		if n := proto.Size(f); n > frameBytesMax {
			t.Fatalf("a frame of %d bytes", n)
		}
		if f.Full != (len(got) == 0 && f.FromRevision == 0 && f.Full) || len(got) > 0 && f.Revision != got[0].Revision {
			t.Fatalf("frame %d: full %v, revision %d", len(got), f.Full, f.Revision)
		}
		got = append(got, f)
		if f.Last {
			return got
		}
	}
}

func TestFullThenDeltas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource(t)
		a := s.create("a")
		frames, ended, server := watching(t, s, 0)
		full := frameSet(t, frames)
		if len(full) != 1 || !full[0].Full || full[0].Revision != a || len(full[0].Namespaces) != 2 || full[0].Cluster == nil {
			t.Fatalf("full view %v", full)
		}
		// A burst while the watcher waits travels together; what came and went in it leaves only its end.
		synctest.Wait()
		b := s.create("b")
		gone := s.do(&raftfsm.RevokeToken{TokenRef: raftfsm.TokenRef{ID: "t-b"}})
		got := frameSet(t, frames)[0]
		for got.Revision < gone { // the first of the burst may have gone ahead
			got = frameSet(t, frames)[0]
		}
		if got.Full || len(got.RemovedTokens) != 1 || got.FromRevision > b {
			t.Fatalf("delta %v", got)
		}
		if f := <-frames; !f.Heartbeat || f.Revision != gone {
			t.Fatalf("frame %v, want a heartbeat", f)
		}
		server.Close()
		if err := <-ended; status.Code(err) != codes.Unavailable {
			t.Fatalf("closed: %v", err)
		}
	})
}

func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource(t)
		a := s.create("a")
		b := s.create("b")
		frames, _, _ := watching(t, s, a)
		if got := frameSet(t, frames); got[0].Full || len(got) != 1 || len(got[0].Namespaces) != 1 || got[0].Revision != b {
			t.Fatalf("delta %v", got)
		}
	})
}

func TestOtherHistoryTakesAFullView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource(t)
		a := s.create("a")
		st := &stream{t.Context(), make(chan *atollpb.ViewFrame)}
		server := New(s, slog.New(slog.DiscardHandler))
		ended := make(chan error, 1)
		go func() {
			ended <- server.Watch(&atollpb.WatchRequest{WireVersion: rpc.WireVersion, ClusterId: "c", MetadataHistoryId: "older", Revision: a}, st)
		}()
		if got := frameSet(t, st.frames); !got[0].Full {
			t.Fatalf("view %v", got)
		}
		server.Close()
		<-ended
	})
}

// A watcher that takes nothing holds nobody up, and gets a full view when the feed has moved on.
func TestSlowWatcherTakesAFullView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource(t)
		frames, _, _ := watching(t, s, 0)
		frameSet(t, frames)
		s.create("first")
		time.Sleep(2 * pause) // of the bubble's clock: the watcher is now blocked in Send
		var last uint64
		for i := range raftfsm.FeedDeltasMax + 10 {
			last = s.create(fmt.Sprintf("n%d", i))
		}
		if got := frameSet(t, frames); got[0].Full {
			t.Fatalf("the blocked frame is a full view of revision %d", got[0].Revision)
		}
		full := frameSet(t, frames)
		if len(full) < 2 || !full[0].Full || full[0].Revision != last {
			t.Fatalf("%d frames, full %v, revision %d of %d", len(full), full[0].Full, full[0].Revision, last)
		}
		names := 0
		for i, f := range full {
			names += len(f.Namespaces)
			if f.Full != (i == 0) || f.Last != (i == len(full)-1) {
				t.Fatalf("frame %d: full %v, last %v", i, f.Full, f.Last)
			}
		}
		if names != raftfsm.FeedDeltasMax+10+2 {
			t.Fatalf("%d namespaces", names)
		}
	})
}

func TestWatcherIsSentElsewhere(t *testing.T) {
	for _, tt := range []struct {
		name     string
		revision uint64
		alone    bool
	}{{"no leader", 1, true}, {"view ahead", 1000, false}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSource(t)
				s.alone.Store(tt.alone)
				frames, ended, _ := watching(t, s, tt.revision)
				begin := time.Now()
				for {
					select {
					case f := <-frames:
						if !f.Heartbeat || f.Revision > 1 {
							t.Fatalf("frame %v", f)
						}
						continue
					case err := <-ended:
						if status.Code(err) != codes.Unavailable || time.Since(begin) < leaderless {
							t.Fatalf("ended after %v: %v", time.Since(begin), err)
						}
					}
					return
				}
			})
		})
	}
}

func TestMerge(t *testing.T) {
	ns := func(id uint64, name string) *atollpb.Namespace { return &atollpb.Namespace{Id: id, Name: name} }
	got := merge(3, []*atollpb.ViewFrame{
		{FromRevision: 3, Revision: 4, Namespaces: []*atollpb.Namespace{ns(4, "a")}, Nodes: []*atollpb.Node{{Id: "n"}}},
		{FromRevision: 4, Revision: 6, RemovedNamespaces: []uint64{4, 2}, RemovedNodes: []string{"n"}},
		{FromRevision: 6, Revision: 7, Namespaces: []*atollpb.Namespace{ns(7, "a")}, Nodes: []*atollpb.Node{{Id: "n", Version: "2"}}},
		{FromRevision: 7, Revision: 9, Namespaces: []*atollpb.Namespace{ns(7, "b")}},
	})
	want := &atollpb.ViewFrame{
		FromRevision: 3, Revision: 9, RemovedNamespaces: []uint64{4, 2},
		Namespaces: []*atollpb.Namespace{ns(7, "b")}, Nodes: []*atollpb.Node{{Id: "n", Version: "2"}},
	}
	if !proto.Equal(got, want) {
		t.Fatalf("merged %v, want %v", got, want)
	}
}
