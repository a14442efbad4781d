package resp

import (
	"sync"
	"time"
)

// lineEvery is how often a line is logged that outsiders can cause: else they could fill the disk.
const lineEvery = time.Minute

// rarely lets a line of one kind into the log once in a while, and counts the others.
type rarely struct {
	mu         sync.Mutex
	next       time.Time
	suppressed int
}

// pass reports whether a line may be logged at now, and how many could not since the last one.
func (r *rarely) pass(now time.Time) (suppressed int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Before(r.next) {
		r.suppressed++
		return 0, false
	}
	suppressed = r.suppressed
	r.next, r.suppressed = now.Add(lineEvery), 0
	return suppressed, true
}
