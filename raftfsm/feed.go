package raftfsm

import (
	"sort"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// The bounds of the feed: a reader that falls further behind takes a full view.
const (
	FeedDeltasMax = 16_384
	FeedBytesMax  = 8 << 20 // encoded
)

// Feed holds the newest changes of the state, oldest first. A delta is a ViewFrame, complete and not yet
// cut to the size of a message; it is immutable.
type Feed struct {
	mu      sync.Mutex
	base    uint64 // revision that the first delta applies to
	deltas  []*atollpb.ViewFrame
	sizes   []int
	bytes   int
	changed chan struct{}
}

func newFeed() *Feed { return &Feed{changed: make(chan struct{})} }

// Since returns the deltas after a revision, oldest first. It reports false when some of them are gone,
// so that only a full view helps. A revision at or above the newest gives none.
func (f *Feed) Since(revision uint64) ([]*atollpb.ViewFrame, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if revision < f.base {
		return nil, false
	}
	i := sort.Search(len(f.deltas), func(i int) bool { return f.deltas[i].Revision > revision })
	return append([]*atollpb.ViewFrame(nil), f.deltas[i:]...), true
}

// Changed returns a channel that closes at the next change or restore. Take it before Since.
func (f *Feed) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *Feed) append(delta *atollpb.ViewFrame) {
	size := proto.Size(delta)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deltas = append(f.deltas, delta)
	f.sizes = append(f.sizes, size)
	f.bytes += size
	for len(f.deltas) > FeedDeltasMax || f.bytes > FeedBytesMax {
		f.base = f.deltas[0].Revision
		f.bytes -= f.sizes[0]
		f.deltas[0] = nil
		f.deltas, f.sizes = f.deltas[1:], f.sizes[1:]
	}
	f.wake()
}

func (f *Feed) reset(revision uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.base, f.deltas, f.sizes, f.bytes = revision, nil, nil, 0
	f.wake()
}

func (f *Feed) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}
