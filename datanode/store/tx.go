package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
)

// Durability is when Commit returns.
type Durability uint8

// The durabilities of this version.
const (
	Async Durability = iota // written to the kernel; fsynced within a second
	Local                   // fsynced on this node
)

// Run says what a transaction will touch.
type Run struct {
	Write     bool     // a read-only run takes stripes shared, and must not write
	Exclusive bool     // takes the namespace's gate exclusively; Hashes is ignored
	Hashes    []uint64 // HashKey of every key that the commands name; Begin changes the slice
	Revision  uint64   // of the view by which the run was let in; replicas need it before they show the effects
	Gathered  bool     // it holds what many connections have sent: Commit need not wait for more of it
	Bytes     int      // of the commands
}

// Tx is the transaction of one run: one or more commands of one session. The zero value is ready, and
// one Tx serves one run after another. It is for one goroutine.
//
// Reads and writes have no errors of their own: a row that can't be read panics with a Damage.
type Tx struct {
	store *Store
	ns    *Namespace
	run   Run
	now   int64
	index uint64
	// locked says that the run holds its stripes, or the namespace's gate.
	locked bool
	// purged passes the caches over: the namespace's rows are gone, and theirs may not be yet. It holds for
	// the whole run, since a purge takes the namespace, or the generation, for itself.
	purged bool

	keys    rowSet // key rows that were read or written
	others  rowSet // all other rows that were written
	ranges  []span // deleted before anything else of the transaction
	remap   []remap
	iter    *pebble.Iterator
	key     []byte   // scratch
	large   bool     // it has a place among largeRuns
	heavy   bool     // it has one among heavyRuns
	waits   int      // reads that took long
	touched []*watch // of whole databases that it empties or swaps
	// expired is how many of the rows that it removes or replaces had run out.
	expired int

	// What Commit makes of it.
	kind    replog.Kind
	subject uint64
	records []byte
	count   uint32
	deltas  []replog.Delta
	order   []*pending
	err     error
	control func() error // instead of an entry: runs between two
	wake    chan bool    // true: lead the next group; false: done
}

type span struct{ from, to []byte }

// remap is a database that the transaction has given a new keyspace.
type remap struct {
	db int
	ks *keyspace
}

// DB is one database of the transaction's namespace.
type DB struct {
	ks *keyspace
	i  int
}

// Begin starts a run on the namespace. The caller has entered the store (Store.Enter), and leaves it
// after End: changes of role, a replica's applier and Close wait for that.
func (n *Namespace) Begin(tx *Tx, r Run) {
	tx.store, tx.ns, tx.run = n.store, n, r
	if r.Bytes >= heavyBytes {
		n.heavy <- struct{}{} // before any lock
		tx.heavy = true
	}
	n.lock(&tx.run)
	tx.locked = true
	tx.purged = n.purged.Load()
	tx.now = n.store.opts.Now().UnixMilli()
	tx.kind, tx.subject, tx.index, tx.waits = replog.KindData, 0, 0, 0
}

// End releases what Begin took. Without a Commit before it, nothing happened. Slices that the
// transaction returned are dead.
func (tx *Tx) End() {
	tx.release()
	tx.store, tx.ns = nil, nil
}

// release gives back the locks, and then the memory.
func (tx *Tx) release() {
	if tx.iter != nil {
		_ = tx.iter.Close() // a read error has surfaced at the read
		tx.iter = nil
	}
	if tx.locked {
		tx.locked = false
		tx.ns.unlock(&tx.run)
	}
	tx.keys.reset()
	tx.others.reset()
	tx.ranges, tx.remap, tx.deltas = tx.ranges[:0], tx.remap[:0], tx.deltas[:0]
	clear(tx.order)
	clear(tx.touched)
	tx.order, tx.touched = tx.order[:0], tx.touched[:0]
	if cap(tx.records) > arenaMax {
		tx.records = nil
	}
	tx.records, tx.count = tx.records[:0], 0
	tx.letGo()
}

// Holds reports whether the run has the lock of a key for itself; hash is its HashKey.
func (tx *Tx) Holds(hash uint64) bool {
	if tx.run.Exclusive || !tx.run.Write {
		return tx.run.Exclusive
	}
	_, held := slices.BinarySearch(tx.run.Hashes, hash&uint64(len(tx.ns.stripes)-1))
	return held
}

// Now is the time of the run in Unix milliseconds.
func (tx *Tx) Now() int64 { return tx.now }

// Waits is how many reads of the transaction took so long that they have waited for the disk, about.
func (tx *Tx) Waits() int { return tx.waits }

// waitAfter is longer than a read takes that finds its blocks in memory.
const waitAfter = 100 * time.Microsecond

// Size is how many bytes of rows the transaction has read and written: what it holds in memory, about. It is
// more than MaxRunBytes once the run has removed MaxRanges ranges.
func (tx *Tx) Size() int {
	size := tx.keys.size + tx.others.size
	if len(tx.ranges) >= MaxRanges {
		size += MaxRunBytes + 1
	}
	return size
}

// Index is the index of the entry that Commit made, 0 if it wrote nothing.
func (tx *Tx) Index() uint64 { return tx.index }

// DB returns a database of the namespace; i is below Databases.
func (tx *Tx) DB(i int) DB {
	for j := range tx.remap {
		if tx.remap[j].db == i {
			return DB{tx.remap[j].ks, i}
		}
	}
	return DB{tx.ns.database(i), i}
}

// NewVersion returns a number that this group has never handed out before.
func (tx *Tx) NewVersion() uint64 { return tx.store.versions.Add(1) }

// Counters returns a database's counters, the transaction's own writes included.
func (tx *Tx) Counters(db DB) Counters {
	c := db.ks.counters()
	for i := range tx.keys.rows {
		p := &tx.keys.rows[i]
		if !p.dirty || !bytes.HasPrefix(p.key, db.ks.prefix) {
			continue
		}
		now := p.now(len(p.key) - len(db.ks.prefix) - 1)
		c.add(p.old, -1)
		c.add(now, 1)
	}
	return c
}

func (c *Counters) add(m rowMeta, sign int64) {
	if !m.here {
		return
	}
	c.Keys += sign
	c.Bytes += sign * m.bytes
	if m.expire != 0 {
		c.Expires += sign
	}
}

// now returns what a row that the run has changed counts for.
func (p *pending) now(userKey int) rowMeta {
	if !p.here {
		return rowMeta{}
	}
	r := mustDecode(p.value)
	return rowMeta{here: true, bytes: rowBytes(userKey, p.value, &r), expire: r.ExpireMS}
}

// peek returns the key row with what an overwrite must know of it. Its value may be unknown; then the
// row is not spread.
func (tx *Tx) peek(db DB, key []byte) *pending {
	tx.key = appendKeyRow(tx.key[:0], db.ks.prefix, key)
	h := xxhash.Sum64(tx.key)
	if p := tx.keys.find(h, tx.key); p != nil {
		return p
	}
	m, ok := tx.store.table.meta(h, tx.key)
	p := tx.keys.add(h, tx.key)
	if !ok || tx.purged {
		tx.fill(p, len(key))
		return p
	}
	p.old, p.here, p.known = m, m.here, !m.here
	return p
}

// load returns the key row with its value, as the transaction sees it.
func (tx *Tx) load(db DB, key []byte) *pending {
	p := tx.peek(db, key)
	if !p.known {
		tx.fill(p, len(key))
	}
	return p
}

// fill reads the value of a row that the run has not changed.
func (tx *Tx) fill(p *pending, userKey int) {
	p.known, p.value, p.here, p.old = true, nil, false, rowMeta{}
	if tx.purged {
		return
	}
	found := tx.store.table.get(p.hash, p.key, &tx.keys)
	tx.holds(0)
	if p.value, p.here = found.value, found.here; !found.known && !tx.store.filter.absent(p.hash, false) {
		p.value, p.here = tx.fetch(&tx.keys, p.key)
	}
	kind := keyRow
	if p.here {
		p.old, kind = metaOf(userKey, p.value, mustDecode(p.value))
	}
	if !found.known {
		tx.store.table.keep(p.hash, p.key, rowFill{p.value, p.old, kind, tx.run.Write, found.seen})
	}
}

// metaOf returns what is kept of a key row.
func metaOf(userKey int, value []byte, r Row) (rowMeta, rowKind) {
	kind := keyRow
	if r.Spread {
		kind = spreadRow
	}
	return rowMeta{here: true, bytes: rowBytes(userKey, value, &r), expire: r.ExpireMS}, kind
}

func memberMeta(value []byte, here bool) rowMeta {
	return rowMeta{here: here, bytes: int64(len(value))}
}

// member reads the row of a member of a spread collection.
func (tx *Tx) member(hash uint64, key []byte) ([]byte, bool) {
	if tx.purged {
		return nil, false
	}
	found := tx.store.table.get(hash, key, &tx.others)
	tx.holds(0)
	if found.known {
		return found.value, found.here
	}
	if tx.store.filter.absent(hash, true) {
		return nil, false
	}
	value, here := tx.fetch(&tx.others, key)
	tx.store.table.keep(hash, key, rowFill{value, memberMeta(value, here), memberRow, tx.run.Write, found.seen})
	return value, here
}

// memberSize is member for the length of the value alone.
func (tx *Tx) memberSize(hash uint64, key []byte) (int, bool) {
	if m, known := tx.store.table.meta(hash, key); known && !tx.purged {
		return int(m.bytes), m.here
	}
	value, here := tx.member(hash, key)
	return len(value), here
}

// fetch reads one row from Pebble into the arena of s.
func (tx *Tx) fetch(s *rowSet, key []byte) ([]byte, bool) {
	began := time.Now()
	value, here := tx.read(s, key)
	if time.Since(began) > waitAfter {
		tx.waits++
	}
	return value, here
}

// read is fetch. Runs of several keys share one iterator.
func (tx *Tx) read(s *rowSet, key []byte) ([]byte, bool) {
	if tx.iter == nil && len(tx.run.Hashes) <= 1 && len(tx.keys.rows)+len(tx.others.rows) < 2 {
		v, closer, err := tx.store.db.Get(key)
		if errors.Is(err, pebble.ErrNotFound) {
			return nil, false
		}
		if err != nil {
			broken("get row", err)
		}
		tx.holds(len(v))
		v = s.keep(v)
		_ = closer.Close()
		return v, true
	}
	if tx.iter == nil {
		it, err := tx.store.db.NewIter(nil)
		if err != nil {
			broken("open iterator", err)
		}
		tx.iter = it
	}
	if !tx.iter.SeekPrefixGE(key) {
		if err := tx.iter.Error(); err != nil {
			broken("seek row", err)
		}
		return nil, false
	}
	if !bytes.Equal(tx.iter.Key(), key) {
		return nil, false
	}
	v, err := tx.iter.ValueAndErr()
	if err != nil {
		broken("read row", err)
	}
	tx.holds(len(v))
	return s.keep(v), true
}

func mustDecode(v []byte) Row {
	r, err := decodeRow(v)
	if err != nil {
		panic(Damage{err})
	}
	return r
}

// Get returns the live row of a key; an expired one is absent. Data must not be modified, and is valid
// until End.
func (tx *Tx) Get(db DB, key []byte) (Row, bool) {
	p := tx.load(db, key)
	if !p.here {
		return Row{}, false
	}
	r := mustDecode(p.value)
	if r.expired(tx.now) {
		return Row{}, false
	}
	return r, true
}

// Put inserts or replaces a row. It copies key and Data. A spread collection that it replaces by
// another version, or by a row that isn't spread, is swept behind.
func (tx *Tx) Put(db DB, key []byte, r Row) {
	p := tx.peek(db, key)
	if p.here && p.known {
		tx.retire(db, key, p.value, r.Spread, r.Version)
	}
	tx.holds(len(r.Data))
	p.value = tx.keys.keepRow(&r)
	p.here, p.known, p.dirty, p.quiet = true, true, true, false
}

// PutQuiet is Put for what is no change to those that watch the key: a stream's groups are none in Redis.
func (tx *Tx) PutQuiet(db DB, key []byte, r Row) {
	p := tx.peek(db, key)
	quiet := !p.dirty || p.quiet
	tx.Put(db, key, r)
	tx.peek(db, key).quiet = quiet
}

// Delete removes a row in constant time, whatever its size, and says whether a live one was there.
func (tx *Tx) Delete(db DB, key []byte) bool {
	p := tx.peek(db, key)
	if !p.here {
		return false
	}
	expire := p.old.expire
	if p.known {
		r := mustDecode(p.value)
		tx.retire(db, key, p.value, false, 0)
		expire = r.ExpireMS
	}
	p.here, p.known, p.value, p.dirty, p.quiet = false, true, nil, true, false
	return expire == 0 || expire > tx.now
}

// retire leaves a note for the sweeper if the row's sub rows lose their owner.
func (tx *Tx) retire(db DB, key, value []byte, spread bool, version uint64) {
	old := mustDecode(value)
	if !old.Spread || (spread && version == old.Version) {
		return
	}
	tx.key = appendGarbageRow(tx.key[:0], db.ks.prefix, old.Version)
	v := binary.AppendUvarint(nil, old.Count)
	tx.write(tx.key, append(v, key...))
	tx.delta(db.ks).Garbage++
}

// write sets a row that is not a key row.
func (tx *Tx) write(key, value []byte) {
	p := tx.other(key)
	tx.holds(len(value))
	p.value, p.here, p.dirty = tx.others.keep(value), true, true
}

func (tx *Tx) remove(key []byte) {
	p := tx.other(key)
	p.value, p.here, p.dirty = nil, false, true
}

func (tx *Tx) other(key []byte) *pending {
	h := xxhash.Sum64(key)
	if p := tx.others.find(h, key); p != nil {
		return p
	}
	return tx.others.add(h, key)
}

// delta returns the change of a keyspace's counters that the transaction makes.
func (tx *Tx) delta(ks *keyspace) *replog.Delta {
	for i := range tx.deltas {
		if d := &tx.deltas[i]; d.Keyspace == ks.number {
			return d
		}
	}
	tx.deltas = append(tx.deltas, replog.Delta{Namespace: tx.ns.id, Keyspace: ks.number})
	return &tx.deltas[len(tx.deltas)-1]
}

// Commit makes the run's writes one part of a log entry, and returns once they are applied and as
// durable as d says; with Local a writing run that changes nothing waits for the fsync of what it has seen. After
// that the transaction may not be used but for End and Index. Errors are ErrNotPrimary, ErrQuiesced, ErrDiskFull, ErrReadOnly, ErrTooLarge and ErrClosed,
// after which nothing happened, and ErrMaybe.
func (tx *Tx) Commit(d Durability) error {
	if len(tx.ranges) == 0 && !anyDirty(&tx.keys) && !anyDirty(&tx.others) {
		if len(tx.touched) > 0 {
			tx.changed()
		}
		if d != Local || !tx.run.Write {
			return nil
		}
		return tx.await(tx.store.applied.Load().Index) // what it has found, and left as it is, may not be on the disk yet
	}
	if !tx.run.Write && !tx.run.Exclusive {
		panic("store: a read-only run has written")
	}
	if tx.ns.purged.Load() {
		return ErrPurged
	}
	tx.encode()
	if err := tx.store.commit(tx); err != nil {
		return err
	}
	tx.changed()
	if tx.expired > 0 && tx.store.opts.Expired != nil {
		tx.store.opts.Expired(tx.ns.id, tx.expired)
	}
	if d != Local {
		return nil
	}
	return tx.await(tx.index)
}

// await returns once an entry is on the disk. Meanwhile others may read what isn't there yet, and write over it:
// should it be lost, theirs is too, since the log is one. A hot key would otherwise take one write for each
// fsync, and what large values hold would make others wait for this one's.
func (tx *Tx) await(index uint64) error {
	tx.release()
	if planted == seedLocalNoSync {
		return nil
	}
	return tx.store.synced(index)
}

func anyDirty(s *rowSet) bool {
	for i := range s.rows {
		if s.rows[i].dirty {
			return true
		}
	}
	return false
}
