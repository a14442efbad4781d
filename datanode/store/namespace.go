package store

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// Databases is the number of numbered databases of a namespace.
const Databases = 16

const (
	// A namespace starts with few stripes, since most of many thousands are idle, and gets many once it
	// has shown itself busy.
	fewStripes  = 16
	manyStripes = 1024
	busyRuns    = 4096
)

// Namespace is the runtime of one tenant in one generation: its gate, its lock stripes, its keyspaces.
type Namespace struct {
	id      uint64
	store   *Store
	gate    sync.RWMutex // exclusive: a command that needs the whole namespace
	stripes []sync.RWMutex
	runs    atomic.Int32
	heavy   chan struct{} // has a place for each heavy run
	purged  atomic.Bool   // by an entry that was applied; no run writes from then on
	due     alarm         // of its keyspaces
	watches watches

	dbs [Databases]atomic.Pointer[keyspace]
	mu  sync.Mutex // guards spaces
	// spaces has every keyspace that was used or has counters, also dropped ones.
	spaces map[uint64]*keyspace
}

// keyspace is what is known in memory about one numbered set of rows. Its counters change only where
// entries are applied.
type keyspace struct {
	ns      *Namespace
	number  uint64
	prefix  []byte
	keys    atomic.Int64
	bytes   atomic.Int64
	expires atomic.Int64
	garbage atomic.Int64
	due     alarm
	dropped atomic.Bool
	dirty   bool // counters differ from the stored row; only the applier looks
}

// alarm is the earliest time, in Unix milliseconds, at which the sweeper has something to do. It may ring
// too early, never too late; the zero value rings at once.
type alarm struct{ atomic.Int64 }

func (a *alarm) lower(ms int64) {
	for {
		if v := a.Load(); v <= ms || a.CompareAndSwap(v, ms) {
			return
		}
	}
}

// wake sets the alarms, inner before outer: the sweeper clears them the other way round.
func (ks *keyspace) wake(ms int64) {
	ks.due.lower(ms)
	ks.ns.due.lower(ms)
	ks.ns.store.due.lower(ms)
}

// Counters of a database or a namespace, exact as of the last applied entry. Keys counts expired rows
// that are not yet swept, as Redis' DBSIZE does. Bytes sums keys and values, without overhead.
type Counters struct {
	Keys, Bytes, Expires int64
}

// Namespace returns the runtime of a namespace, making it at first use.
func (s *Store) Namespace(id uint64) *Namespace {
	if n, ok := s.namespaces.Load(id); ok {
		return n.(*Namespace)
	}
	n := &Namespace{id: id, store: s, stripes: make([]sync.RWMutex, fewStripes), spaces: make(map[uint64]*keyspace, 1), heavy: make(chan struct{}, heavyRuns())}
	got, _ := s.namespaces.LoadOrStore(id, n)
	return got.(*Namespace)
}

// HashKey is what the executor passes in Run.Hashes for a key that a command names.
func HashKey(db int, key []byte) uint64 {
	return xxhash.Sum64(key) + uint64(db)*0x9e3779b97f4a7c15
}

// space returns a keyspace by its number, making it if it isn't known.
func (n *Namespace) space(number uint64) *keyspace {
	n.mu.Lock()
	defer n.mu.Unlock()
	ks := n.spaces[number]
	if ks == nil {
		ks = &keyspace{ns: n, number: number, prefix: keyspacePrefix(n.id, number)}
		n.spaces[number] = ks
	}
	return ks
}

// database returns the keyspace that a database has now. Database i has keyspace i until a logged
// mapping row gives it another.
func (n *Namespace) database(i int) *keyspace {
	if ks := n.dbs[i].Load(); ks != nil {
		return ks
	}
	n.dbs[i].CompareAndSwap(nil, n.space(uint64(i)))
	return n.dbs[i].Load()
}

func (ks *keyspace) counters() Counters {
	return Counters{Keys: ks.keys.Load(), Bytes: ks.bytes.Load(), Expires: ks.expires.Load()}
}

// DBCounters returns the counters of one database.
func (n *Namespace) DBCounters(i int) Counters {
	if ks := n.dbs[i].Load(); ks != nil {
		return ks.counters()
	}
	n.mu.Lock()
	ks := n.spaces[uint64(i)]
	n.mu.Unlock()
	if ks == nil {
		return Counters{}
	}
	return ks.counters()
}

// Counters returns the sum over the namespace's databases.
func (n *Namespace) Counters() Counters {
	var sum Counters
	for i := range Databases {
		c := n.DBCounters(i)
		sum.Keys += c.Keys
		sum.Bytes += c.Bytes
		sum.Expires += c.Expires
	}
	return sum
}

// lock takes the gate and the stripes of hashes, which it sorts. Stripes are taken in ascending order,
// so that two runs never wait for each other.
func (n *Namespace) lock(r *Run) {
	if r.Exclusive {
		n.gate.Lock()
		return
	}
	if n.runs.Load() < busyRuns && n.runs.Add(1) == busyRuns {
		n.gate.Lock()
		n.stripes = make([]sync.RWMutex, manyStripes)
		n.gate.Unlock()
	}
	n.gate.RLock()
	mask := uint64(len(n.stripes) - 1)
	for i := range r.Hashes {
		r.Hashes[i] &= mask
	}
	if len(r.Hashes) > 1 {
		slices.Sort(r.Hashes)
		r.Hashes = slices.Compact(r.Hashes)
	}
	for _, h := range r.Hashes {
		if r.Write {
			n.stripes[h].Lock()
		} else {
			n.stripes[h].RLock()
		}
	}
}

func (n *Namespace) unlock(r *Run) {
	if r.Exclusive {
		n.gate.Unlock()
		return
	}
	for _, h := range r.Hashes {
		if r.Write {
			n.stripes[h].Unlock()
		} else {
			n.stripes[h].RUnlock()
		}
	}
	n.gate.RUnlock()
}
