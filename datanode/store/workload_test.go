package store_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/store"
)

// value is what the model knows of one key.
type value struct {
	data    string
	expire  int64
	version uint64 // of a spread hash
	fields  map[string]string
}

type place struct {
	ns uint64
	db int
}

// world is the model: every database of every namespace, and the last operation that it holds.
type world struct {
	dbs    map[place]map[string]value
	purged map[uint64]bool
}

func newWorld() *world {
	return &world{dbs: make(map[place]map[string]value), purged: make(map[uint64]bool)}
}

func (w *world) db(p place) map[string]value {
	if w.dbs[p] == nil {
		w.dbs[p] = make(map[string]value)
	}
	return w.dbs[p]
}

// operation is one acknowledged run: its effect on the model, and whether it was fsynced.
type operation struct {
	effect func(w *world)
	local  bool
	purge  uint64
}

// workload writes at random: strings, spread hashes, expiries, FLUSHDB, FLUSHALL and purges, one run at
// a time. Each run leaves its number behind, so that a store tells how many of them it holds.
type workload struct {
	t      *testing.T
	rng    *rand.Rand
	s      *store.Store
	now    *atomic.Int64
	mu     sync.Mutex // ns, ops and begins: a cut of the power may come from any goroutine
	begins *operation // under way
	ns     []uint64
	nextNS uint64
	base   *world // before ops
	done   int    // operations that it holds
	ops    []operation
	live   *world
	top    uint64 // highest version in the model
	tx     store.Tx
}

const markDB = 15

func newWorkload(t *testing.T, rng *rand.Rand) *workload {
	w := &workload{t: t, rng: rng, now: new(atomic.Int64), ns: []uint64{7, 300, 70000}, nextNS: 70001, base: newWorld(), live: newWorld()}
	w.now.Store(1_000_000)
	return w
}

func (w *workload) clock() time.Time { return time.UnixMilli(w.now.Load()) }

// begin notes a run before it may have an effect, and do that it was acknowledged.
func (w *workload) begin(op operation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begins = &op
}

func (w *workload) do() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begins.effect(w.live)
	w.ops, w.begins = append(w.ops, *w.begins), nil
}

// refused notes that the run which was begun has had no effect.
func (w *workload) refused() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begins = nil
}

func (w *workload) step() {
	if err := w.try(); err != nil {
		w.t.Fatal(err)
	}
}

// try makes a run. After an error but ErrMaybe the model is without it.
func (w *workload) try() error {
	w.now.Add(int64(w.rng.IntN(20)))
	if w.rng.IntN(150) == 0 {
		return w.purge()
	}
	return w.guard(w.write)
}

// guard answers a read that failed with its error, as the executor does.
func (w *workload) guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			d, ok := r.(store.Damage)
			if !ok {
				panic(r)
			}
			w.refused()
			err = d
		}
	}()
	return f()
}

func (w *workload) write() error {
	ns := w.ns[w.rng.IntN(len(w.ns))]
	number := w.done + len(w.ops) + 1
	d := store.Async
	if w.rng.IntN(8) == 0 {
		d = store.Local
	}
	var effects []func(*world)
	if !w.s.Enter() {
		return store.ErrClosed
	}
	defer w.s.Leave()
	w.s.Namespace(ns).Begin(&w.tx, store.Run{Exclusive: true})
	defer w.tx.End()
	seen := &world{dbs: map[place]map[string]value{}, purged: map[uint64]bool{}} // the run's own view
	for p, m := range w.live.dbs {
		if p.ns == ns {
			seen.dbs[p] = maps.Clone(m)
		}
	}
	for range 1 + w.rng.IntN(3) {
		e := w.command(ns, seen)
		e(seen)
		effects = append(effects, e)
	}
	mark := value{data: fmt.Sprint(number)}
	w.tx.Put(w.tx.DB(markDB), []byte("mark"), str(mark.data)) // last: FLUSHALL takes the old one
	w.begin(operation{local: d == store.Local, effect: func(x *world) {
		for _, e := range effects {
			e(x)
		}
		x.db(place{ns, markDB})["mark"] = mark
	}})
	return w.end(w.tx.Commit(d))
}

// end takes what a commit has returned.
func (w *workload) end(err error) error {
	switch {
	case err == nil:
		w.do()
	case !errors.Is(err, store.ErrMaybe):
		w.refused()
	}
	return err
}

func (w *workload) purge() error {
	i := w.rng.IntN(len(w.ns))
	ns := w.ns[i]
	w.begin(operation{local: true, purge: ns, effect: func(x *world) {
		maps.DeleteFunc(x.dbs, func(p place, _ map[string]value) bool { return p.ns == ns })
		x.purged[ns] = true
	}})
	if err := w.end(w.s.PurgeNamespace(ns, ns)); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ns[i] = w.nextNS
	w.nextNS++
	return nil
}

// command does one thing in the transaction, and returns what it does to the model.
func (w *workload) command(ns uint64, seen *world) func(*world) {
	at := place{ns, w.rng.IntN(3)}
	db := w.tx.DB(at.db)
	key := fmt.Sprintf("k%d", w.rng.IntN(40))
	switch n := w.rng.IntN(100); {
	case n < 4:
		w.tx.FlushDB(db)
		return func(x *world) { delete(x.dbs, at) }
	case n == 4:
		w.tx.FlushAll()
		return func(x *world) {
			maps.DeleteFunc(x.dbs, func(p place, _ map[string]value) bool { return p.ns == ns })
		}
	case n < 7:
		other := place{ns, w.rng.IntN(3)}
		w.tx.SwapDB(db, w.tx.DB(other.db))
		return func(x *world) {
			a, b := x.db(at), x.db(other)
			x.dbs[at], x.dbs[other] = b, a
		}
	case n < 25:
		w.tx.Delete(db, []byte(key))
		return func(x *world) { delete(x.db(at), key) }
	case n < 50:
		return w.hash(at, db, key, seen)
	}
	v := value{data: strings.Repeat("v", w.rng.IntN(1500)) + fmt.Sprint(len(w.ops))}
	row := str(v.data)
	if w.rng.IntN(3) == 0 {
		v.expire = w.now.Load() + 1 + int64(w.rng.IntN(3000))
		row.ExpireMS = v.expire
	}
	w.tx.Put(db, []byte(key), row)
	return func(x *world) { x.db(at)[key] = v }
}

// hash adds fields to a spread hash, or makes one.
func (w *workload) hash(at place, db store.DB, key string, seen *world) func(*world) {
	old, ok := seen.db(at)[key]
	v := value{fields: make(map[string]string)}
	if ok && old.version != 0 && (old.expire == 0 || old.expire > w.tx.Now()) {
		v.version, v.expire, v.fields = old.version, old.expire, maps.Clone(old.fields)
	} else {
		v.version = w.tx.NewVersion()
		if v.version <= w.top {
			w.t.Fatalf("version %d was given again, the highest is %d", v.version, w.top)
		}
		w.top = v.version
	}
	if w.rng.IntN(8) == 0 {
		v.expire = w.now.Load() + 1 + int64(w.rng.IntN(3000))
	}
	for range w.rng.IntN(30) {
		f := fmt.Sprintf("f%d", w.rng.IntN(60))
		v.fields[f] = fmt.Sprint(w.rng.IntN(1000))
		w.tx.PutSub(db, []byte(key), v.version, store.SubMember, []byte(f), []byte(v.fields[f]))
	}
	row := store.Row{Type: store.TypeHash, Spread: true, Version: v.version, ExpireMS: v.expire, Count: uint64(len(v.fields))}
	for f, x := range v.fields {
		row.Bytes += store.SubSize([]byte(f), []byte(x))
	}
	w.tx.Put(db, []byte(key), row)
	return func(x *world) { x.db(at)[key] = v }
}

// holds returns how many operations the store holds.
func (w *workload) holds() (n int) {
	for i, op := range w.ops {
		if op.purge != 0 && w.s.WasPurged(op.purge) {
			n = i + 1
		}
	}
	for ns := range w.nextNS {
		if ns != 7 && ns != 300 && ns < 70000 {
			continue
		}
		read(w.s, ns, func(tx *store.Tx) {
			if r, ok := tx.Get(tx.DB(markDB), []byte("mark")); ok {
				var i int
				if _, err := fmt.Sscan(string(r.Data), &i); err != nil {
					w.t.Fatal(err)
				}
				n = max(n, i-w.done)
			}
		})
	}
	return n
}

// compare holds the live rows against the model.
func (w *workload) compare() {
	w.t.Helper()
	if err := w.s.Still(w.differs); err != nil { // a sweep in between would be taken for a difference
		w.t.Fatal(err)
	}
}

// differs says how the live rows and the model differ, or what couldn't be read.
func (w *workload) differs() error {
	if last, applied := w.s.Log().State().Last, w.s.Applied().Index; last != applied {
		return fmt.Errorf("the log ends at entry %d, the store shows %d", last, applied)
	}
	if err := w.s.Verify(); err != nil {
		return err
	}
	return w.guard(func() (err error) {
		for _, ns := range w.ns {
			for db := range 3 {
				read(w.s, ns, func(tx *store.Tx) { err = errors.Join(err, w.differsAt(tx, place{ns, db})) })
			}
		}
		return err
	})
}

func (w *workload) differsAt(tx *store.Tx, at place) error {
	want, db := w.live.db(at), tx.DB(at.db)
	n := 0
	for k, r := range tx.Keys(db, store.KeyBounds{}) {
		n++
		v := want[string(k)]
		got := value{data: string(r.Data), expire: r.ExpireMS, version: r.Version}
		if got.data != v.data || got.expire != v.expire || got.version != v.version {
			return fmt.Errorf("%+v: %s is %+v, want %+v", at, k, got, v)
		}
		if !r.Spread {
			continue
		}
		fields := make(map[string]string)
		for f, x := range tx.Subs(db, k, r.Version, store.SubMember, store.Bounds{}) {
			fields[string(f)] = string(x)
		}
		if !maps.Equal(fields, v.fields) {
			return fmt.Errorf("%+v: fields of %s are %v, want %v", at, k, fields, v.fields)
		}
	}
	for _, v := range want {
		if v.expire == 0 || v.expire > w.now.Load() {
			n--
		}
	}
	if n != 0 {
		return fmt.Errorf("%+v: %+d keys", at, n)
	}
	return nil
}

// lose goes back to the first n operations, which become the base of what follows.
func (w *workload) lose(n int) {
	for _, op := range w.ops[:n] {
		op.effect(w.base)
	}
	w.done += n
	w.live = newWorld()
	w.live.purged = maps.Clone(w.base.purged)
	w.top = 0
	for p, m := range w.base.dbs {
		w.live.dbs[p] = maps.Clone(m)
		for _, v := range m {
			w.top = max(w.top, v.version)
		}
	}
	for i, ns := range w.ns {
		if w.live.purged[ns] {
			w.ns[i] = w.nextNS
			w.nextNS++
		}
	}
	w.ops = nil
}
