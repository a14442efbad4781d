package store

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
)

// watches are the stamps of the keys of a namespace that somebody watches. A stamp changes under the key's stripe, or
// the namespace's gate, and is read under it.
type watches struct {
	any  atomic.Bool // false: there are none, which is all that a commit looks at
	mu   sync.Mutex  // guards keys and refs
	keys map[watchKey]*watch
}

type watchKey struct {
	db  int
	key string
}

type watch struct {
	refs  int
	stamp uint64
}

// Watched are the keys that one session watches, in one namespace of one generation, in one epoch. The zero value
// watches nothing.
type Watched struct {
	ns    *Namespace
	epoch uint64
	keys  []watched
	there map[watchKey]struct{} // of keys, if they are many
	bytes int
}

// watchedFew is how many keys are looked through to see whether another one is among them.
const watchedFew = 16

type watched struct {
	watchKey
	of       *watch
	stamp    uint64
	expireMS int64 // Unix milliseconds; 0: it doesn't run out
}

// watchFrame is what a watched key takes in memory beside its bytes, about.
const watchFrame = 240

// Len returns how many keys are watched.
func (w *Watched) Len() int { return len(w.keys) }

// Bytes returns what they take in memory, about.
func (w *Watched) Bytes() int { return w.bytes }

// Hashes appends the HashKey of every key that is watched to dst.
func (w *Watched) Hashes(dst []uint64) []uint64 {
	for i := range w.keys {
		dst = append(dst, HashKey(w.keys[i].db, []byte(w.keys[i].key)))
	}
	return dst
}

// Watch adds a key, whether it is there or not, in a run that has declared it, and has written nothing yet. What is watched in another namespace,
// generation or epoch must have been released, or Changed says that it has changed.
func (w *Watched) Watch(tx *Tx, db DB, key []byte) {
	ns := tx.ns
	if len(w.keys) == 0 {
		w.ns, w.epoch = ns, tx.store.applied.Load().Epoch
	}
	if w.ns != ns {
		return // the others have changed already
	}
	k := watched{watchKey: watchKey{db.i, string(key)}}
	if w.has(k.watchKey) {
		return
	}
	if r, ok := tx.Get(db, key); ok {
		k.expireMS = r.ExpireMS
	}
	all := &ns.watches
	all.mu.Lock()
	if k.of = all.keys[k.watchKey]; k.of == nil {
		k.of = new(watch)
		if all.keys == nil {
			all.keys = make(map[watchKey]*watch)
		}
		all.keys[k.watchKey] = k.of
	}
	k.of.refs++
	all.any.Store(true)
	all.mu.Unlock()
	k.stamp = k.of.stamp
	w.keys = append(w.keys, k)
	if w.there != nil {
		w.there[k.watchKey] = struct{}{}
	}
	w.bytes += len(key) + watchFrame
}

func (w *Watched) has(k watchKey) bool {
	if len(w.keys) < watchedFew {
		return slices.ContainsFunc(w.keys, func(o watched) bool { return o.watchKey == k })
	}
	if w.there == nil {
		w.there = make(map[watchKey]struct{}, 2*len(w.keys))
		for i := range w.keys {
			w.there[w.keys[i].watchKey] = struct{}{}
		}
	}
	_, ok := w.there[k]
	return ok
}

// Changed reports whether one of the keys has been written since it is watched, or has run out. The run has declared
// them all.
func (w *Watched) Changed(tx *Tx) bool {
	if len(w.keys) == 0 {
		return false
	}
	if w.ns != tx.ns || w.epoch != tx.store.applied.Load().Epoch {
		return true // nobody knows what was written elsewhere
	}
	for i := range w.keys {
		k := &w.keys[i]
		if k.stamp != k.of.stamp || k.expireMS != 0 && k.expireMS <= tx.now {
			return true
		}
	}
	return false
}

// Release ends the watching.
func (w *Watched) Release() {
	if len(w.keys) == 0 {
		return
	}
	all := &w.ns.watches
	all.mu.Lock()
	for i := range w.keys {
		k := &w.keys[i]
		if k.of.refs--; k.of.refs == 0 {
			delete(all.keys, k.watchKey)
		}
	}
	all.any.Store(len(all.keys) > 0)
	all.mu.Unlock()
	*w = Watched{}
}

// changed gives the watched keys that the transaction has written new stamps, before its locks are released. A row that
// had run out and was removed is no change: whoever watched it while it was live sees that it has run out.
func (tx *Tx) changed() {
	all := &tx.ns.watches
	if !all.any.Load() || planted == seedWatchBlind {
		return
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	for i := range tx.keys.rows {
		p := &tx.keys.rows[i]
		if !p.dirty || p.quiet || !p.here && p.old.expire != 0 && p.old.expire <= tx.now {
			continue
		}
		k, _ := parseRowKey(p.key)
		all.stamp(tx.ns.databaseOf(k.ks), k.rest)
	}
	// A sub row may get another value of the same size: that leaves the key row as it is. One that is removed doesn't.
	for i := range tx.others.rows {
		p := &tx.others.rows[i]
		if k, ok := parseRowKey(p.key); ok && p.dirty && p.here && k.ns != 0 && (k.kind == kindMember || k.kind == kindScore) {
			if n, w := binary.Uvarint(k.rest); w > 0 && n <= uint64(len(k.rest)-w) {
				all.stamp(tx.ns.databaseOf(k.ks), k.rest[w:][:n])
			}
		}
	}
	for _, w := range tx.touched {
		w.stamp++
	}
}

// stamp gives a key that is watched a new stamp. The lock is held.
func (all *watches) stamp(db int, key []byte) {
	if w := all.keys[watchKey{db, string(key)}]; w != nil {
		w.stamp++
	}
}

// databaseOf returns the database that has a keyspace now, -1 if none has.
func (n *Namespace) databaseOf(number uint64) int {
	for i := range n.dbs {
		if ks := n.dbs[i].Load(); ks != nil && ks.number == number {
			return i
		}
	}
	return -1
}

// Touch has those that watch a key see a write of what it holds already, as Redis does.
func (tx *Tx) Touch(db DB, key []byte) {
	all := &tx.ns.watches
	if !all.any.Load() {
		return
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if w := all.keys[watchKey{db.i, string(key)}]; w != nil {
		tx.touched = append(tx.touched, w)
	}
}

// touch notes the watched keys of a database that are there, in it or in the one that takes its place.
func (tx *Tx) touch(dbs ...DB) {
	all := &tx.ns.watches
	if !all.any.Load() {
		return
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	for k, w := range all.keys {
		if k.db != dbs[0].i {
			continue
		}
		for _, db := range dbs {
			if _, here := tx.Get(db, []byte(k.key)); here {
				tx.touched = append(tx.touched, w)
				break
			}
		}
	}
}
