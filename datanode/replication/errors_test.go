package replication

import (
	"flag"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// An error at every operation:
//
//	go test ./datanode/replication -run TestFullSyncOnABadDisk -errors.step 1 -v
var errorStep = flag.Int("errors.step", 12, "TestFullSyncOnABadDisk: fail one file operation in so many, each in a sync of its own")

// badDisk fails one operation of those that are not Pebble's: the tests of the store fail Pebble's.
type badDisk struct {
	at int

	mu   sync.Mutex
	seen int
	hit  string
}

// String is errorfs.Injector.
func (d *badDisk) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprintf("operation %d %s", d.at, d.hit)
}

// MaybeError is errorfs.Injector.
func (d *badDisk) MaybeError(op errorfs.Op) error {
	if byPebble() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen++; d.seen != d.at+1 {
		return nil
	}
	d.hit = fmt.Sprintf("of kind %d on %s", op.Kind, op.Path)
	return syscall.EIO
}

func (d *badDisk) failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hit != ""
}

// byPebble says whether a DB is what calls.
func byPebble() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if strings.HasPrefix(f.Function, "github.com/cockroachdb/pebble/v2.") {
			return true
		}
		if !more {
			return false
		}
	}
}

// TestFullSyncOnABadDisk fails one file operation of a node that takes a full sync and follows. It goes on, or its
// process ends; after a start on a good disk it has everything.
func TestFullSyncOnABadDisk(t *testing.T) {
	c, a, _ := pair(t)
	ends := 0
	for at, more := 0, true; more && !t.Failed(); at += *errorStep {
		d := &badDisk{at: at}
		b := c.add(fmt.Sprint("bad", at))
		ended := make(chan error, 1)
		b.fs, b.ends = errorfs.Wrap(vfs.Default, d), func(err error) {
			select {
			case ended <- err:
			default: // one end is enough
			}
		}
		b.start()
		c.change(func() {}, a, b)
		eventually(t, fmt.Sprintf("a sync with an error at %v", d), func() bool { return len(ended) > 0 || b.ready() && b.equal(a) })
		a.put(at, at+20)
		eventually(t, fmt.Sprintf("the log with an error at %v", d), func() bool { return len(ended) > 0 || b.equal(a) })
		b.stop()
		if more = d.failed(); len(ended) > 0 {
			ends++
			if !more {
				t.Errorf("nothing has failed, and the process ends: %v", <-ended)
			}
		}
		b.fs, b.ends = nil, nil
		b.start()
		b.see()
		a.put(at, at+10)
		eventually(t, fmt.Sprintf("the node after an error at %v", d), func() bool { return b.ready() && b.equal(a) })
		b.stop()
		t.Logf("%v", d)
	}
	t.Logf("%d times the process ended", ends)
}
