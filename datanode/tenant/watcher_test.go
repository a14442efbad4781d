package tenant

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"

	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source plays one script of frames for each Watch that it is asked for.
type source struct {
	atollpb.UnimplementedMetadataServer
	mu       sync.Mutex
	requests []*atollpb.WatchRequest
	scripts  [][]*atollpb.ViewFrame
}

func (s *source) Watch(r *atollpb.WatchRequest, stream grpc.ServerStreamingServer[atollpb.ViewFrame]) error {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	var script []*atollpb.ViewFrame
	last := len(s.scripts) <= 1
	if len(s.scripts) > 0 {
		script, s.scripts = s.scripts[0], s.scripts[1:]
	}
	s.mu.Unlock()
	for _, f := range script {
		if err := stream.Send(f); err != nil {
			return err
		}
	}
	if last {
		<-stream.Context().Done()
	}
	return errors.New("the node goes away")
}

func framesOf(changes ...*Change) (list []*atollpb.ViewFrame) {
	for _, c := range changes {
		for f := range c.Frames() {
			list = append(list, f)
		}
		list = append(list, &atollpb.ViewFrame{Heartbeat: true, Revision: c.Revision})
	}
	return list
}

// watch runs a watcher of the source until the test ends.
func watch(t *testing.T, s *source, views *Views, seeds ...string) {
	t.Helper()
	ln := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	atollpb.RegisterMetadataServer(srv, s)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	w := &Watcher{
		Views: views, NodeID: "n", Incarnation: "i", ClusterID: "c", Seeds: seeds, Log: slog.New(slog.DiscardHandler),
		Dial: func(address string) (*grpc.ClientConn, error) {
			if address == "unreachable" {
				return nil, errors.New("no route")
			}
			return grpc.NewClient("passthrough:"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		srv.Stop()
		wg.Wait()
	})
}

func TestWatcherFollows(t *testing.T) {
	s := &source{scripts: [][]*atollpb.ViewFrame{
		framesOf(full(t, 10), nth(t, 1)),
		framesOf(nth(t, 2), nth(t, 3))[:1], // cut off behind the first
		framesOf(nth(t, 3), nth(t, 4)),
	}}
	views := open(t, vfs.NewMem())
	watch(t, s, views, "unreachable", "seed")
	v, err := views.Wait(t.Context(), 14)
	if err != nil {
		t.Fatal(err)
	}
	if v.NamespaceByName("n104") == nil || v.Len() != 7 {
		t.Errorf("the view has %d namespaces", v.Len())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, want := range []uint64{0, 11, 12} {
		if r := s.requests[i]; r.GetRevision() != want || r.GetClusterId() != "c" || r.GetNodeId() != "n" {
			t.Errorf("request %d says %v, want revision %d", i, r, want)
		}
	}
}

// TestWatcherGetsOverAGap sends a change that doesn't follow, then on the next stream a whole view.
func TestWatcherGetsOverAGap(t *testing.T) {
	s := &source{scripts: [][]*atollpb.ViewFrame{
		framesOf(full(t, 10), nth(t, 3)), framesOf(full(t, 20)),
	}}
	views := open(t, vfs.NewMem())
	watch(t, s, views, "seed")
	if _, err := views.Wait(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
}

// TestWatcherEndsWhenTheDiskFails reports the error instead of going on with a view that isn't stored.
func TestWatcherEndsWhenTheDiskFails(t *testing.T) {
	views := open(t, vfs.NewMem())
	frames := make(chan *atollpb.ViewFrame, 10)
	for _, f := range framesOf(full(t, 10)) {
		frames <- f
	}
	views.broken = errors.New("disk")
	w := &Watcher{Views: views, Log: slog.New(slog.DiscardHandler)}
	if _, err := w.install(frames, nil); !errors.Is(err, views.broken) {
		t.Errorf("got %v", err)
	}
}
