package tenant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/grpc"
)

const (
	// watchBackoffMin and watchBackoffMax bound the pause before the next metadata node is tried.
	watchBackoffMin = 50 * time.Millisecond
	watchBackoffMax = 2 * time.Second
	// watchSilenceMax is how long a stream may say nothing, heartbeats included.
	watchSilenceMax = 10 * time.Second
	// watchBuffer is how many frames may have arrived before the next install.
	watchBuffer = 256
)

// Watcher follows the metadata nodes and installs what they send.
type Watcher struct {
	Views       *Views
	NodeID      string
	Incarnation string
	// ClusterID is what the node has joined; empty before it has a view.
	ClusterID string
	// Seeds are cluster addresses of metadata nodes, tried beside those that the view names.
	Seeds []string
	// Dial opens a connection to a cluster address.
	Dial func(address string) (*grpc.ClientConn, error)
	Log  *slog.Logger
}

// Run follows one metadata node after another until ctx ends, which is no error. It returns an error
// when a view can't be stored.
func (w *Watcher) Run(ctx context.Context) error {
	backoff := watchBackoffMin
	for next := 0; ctx.Err() == nil; next++ {
		addresses := w.addresses()
		if len(addresses) == 0 {
			return errors.New("watch metadata: no address of a metadata node is known")
		}
		address := addresses[next%len(addresses)]
		progress, err := w.follow(ctx, address)
		if ctx.Err() != nil {
			return nil
		}
		if w.Views.Broken() != nil {
			return fmt.Errorf("watch metadata: %w", err)
		}
		if progress {
			backoff = watchBackoffMin
			next-- // the node worked: it is asked first
		}
		w.Log.Info("view stream ended", "address", address, "error", err, "retry_in", backoff)
		if !pause(ctx, backoff/2+rand.N(backoff)) {
			return nil
		}
		if !progress {
			backoff = min(2*backoff, watchBackoffMax)
		}
	}
	return nil
}

// addresses are those of the view, then the seeds, without doubles.
func (w *Watcher) addresses() []string {
	var list []string
	if v := w.Views.Current(); v != nil {
		for _, m := range v.Cluster().GetMetadataNodes() {
			list = append(list, m.GetClusterAddr())
		}
	}
	for _, s := range w.Seeds {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// follow installs what one metadata node sends, until the stream ends. progress says whether it sent
// anything.
func (w *Watcher) follow(ctx context.Context, address string) (progress bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := w.Dial(address)
	if err != nil {
		return false, fmt.Errorf("dial %s: %w", address, err)
	}
	defer conn.Close()
	stream, err := atollpb.NewMetadataClient(conn).Watch(ctx, w.request())
	if err != nil {
		return false, fmt.Errorf("watch: %w", err)
	}
	frames := make(chan *atollpb.ViewFrame, watchBuffer)
	failed := make(chan error, 1)
	go func() {
		failed <- receive(ctx, stream, frames)
		close(frames)
	}()
	defer func() { // the receiver ends before the connection does
		cancel()
		for range frames {
		}
	}()
	return w.install(frames, failed)
}

func (w *Watcher) request() *atollpb.WatchRequest {
	r := &atollpb.WatchRequest{ClusterId: w.ClusterID, NodeId: w.NodeID, Incarnation: w.Incarnation, WireVersion: rpc.WireVersion}
	if v := w.Views.Current(); v != nil {
		r.ClusterId = v.Cluster().GetClusterId()
		r.MetadataHistoryId = v.Cluster().GetMetadataHistoryId()
		r.Revision = v.Revision()
	}
	return r
}

// receive passes frames on. It is the only one that reads the stream.
func receive(ctx context.Context, stream grpc.ServerStreamingClient[atollpb.ViewFrame], frames chan<- *atollpb.ViewFrame) error {
	for {
		f, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case frames <- f:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// install assembles changes, and installs all that have arrived with one fsync.
func (w *Watcher) install(frames <-chan *atollpb.ViewFrame, failed <-chan error) (progress bool, err error) {
	var a Assembler
	silence := time.NewTimer(watchSilenceMax)
	defer silence.Stop()
	for {
		var f *atollpb.ViewFrame
		var ok bool
		select {
		case f, ok = <-frames:
		case <-silence.C:
			return progress, fmt.Errorf("watch: nothing was heard for %v", watchSilenceMax)
		}
		var ready []*Change
		for more := true; more && ok; {
			progress = true
			w.Views.Hear()
			c, err := a.Add(f)
			if err != nil {
				return progress, fmt.Errorf("watch: %w", err)
			}
			if c != nil {
				ready = append(ready, c)
			}
			select {
			case f, ok = <-frames:
			default:
				more = false
			}
		}
		if len(ready) > 0 {
			if _, err := w.Views.Install(ready...); err != nil {
				return progress, err
			}
		}
		if !ok {
			return progress, <-failed
		}
		silence.Reset(watchSilenceMax)
	}
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
