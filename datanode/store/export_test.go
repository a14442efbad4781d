package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
)

// The bounds of pace and of heavy runs.
const (
	UnsyncedBytes = unsyncedBytes
	PaceMax       = paceMax
	HeavyBytes    = heavyBytes
)

// HeavyRuns is heavyRuns.
func HeavyRuns() int { return heavyRuns() }

// Rows returns every row that is replicated: all but the position and the stored counters, which each
// node writes when it likes.
func (s *Store) Rows() ([]string, error) {
	var list []string
	err := s.walk(func(k rowKey, key, value []byte) error {
		if k.ns != 0 || k.kind != sysPosition && k.kind != sysCounters {
			list = append(list, fmt.Sprintf("%x = %x", key, value))
		}
		return nil
	})
	return list, err
}

func (s *Store) walk(f func(k rowKey, key, value []byte) error) (err error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		k, ok := parseRowKey(it.Key())
		if !ok {
			return fmt.Errorf("row %x can't be parsed", it.Key())
		}
		if err := f(k, it.Key(), value); err != nil {
			return err
		}
	}
	return it.Error()
}

type space struct{ ns, ks uint64 }

// audit is what Verify finds in one keyspace.
type audit struct {
	keys, bytes, expires, garbage int64
	expiry                        map[string]int64  // of key rows
	indexed                       map[string]int64  // by expiry rows
	versions                      map[uint64]string // of spread key rows and garbage rows: the user key
	subs                          map[uint64]string // versions of sub rows
	subBytes, ownBytes            map[uint64]uint64
}

// Verify walks all rows and recounts what is kept about them. No run may be under way.
func (s *Store) Verify() error {
	found := make(map[space]*audit)
	err := s.walk(func(k rowKey, key, value []byte) error {
		if k.ns == 0 {
			return nil
		}
		if s.WasPurged(k.ns) {
			return fmt.Errorf("row %x of a purged namespace", key)
		}
		at := space{k.ns, k.ks}
		if found[at] == nil {
			found[at] = &audit{
				expiry: map[string]int64{}, indexed: map[string]int64{}, versions: map[uint64]string{},
				subs: map[uint64]string{}, subBytes: map[uint64]uint64{}, ownBytes: map[uint64]uint64{},
			}
		}
		return found[at].add(k, value)
	})
	if err != nil {
		return err
	}
	s.namespaces.Range(func(_, v any) bool {
		for _, ks := range v.(*Namespace).snapshot() {
			a := found[space{ks.ns.id, ks.number}]
			delete(found, space{ks.ns.id, ks.number})
			if ks.dropped.Load() || a == nil {
				a = new(audit) // what is left of its rows counts for nothing
			}
			err = errors.Join(err, a.check(ks))
		}
		return true
	})
	for at := range found {
		err = errors.Join(err, fmt.Errorf("keyspace %v has rows, and nothing is known about it", at))
	}
	return err
}

func (a *audit) add(k rowKey, value []byte) error {
	switch k.kind {
	case kindKey:
		r, err := decodeRow(value)
		if err != nil {
			return err
		}
		a.keys++
		a.bytes += rowBytes(len(k.rest), value, &r)
		if r.ExpireMS != 0 {
			a.expires++
			a.expiry[string(k.rest)] = r.ExpireMS
		}
		if r.Spread {
			a.versions[r.Version] = string(k.rest)
			a.ownBytes[r.Version] = r.Bytes
		}
	case kindExpiry:
		a.indexed[string(k.rest[8:])] = int64(binary.BigEndian.Uint64(k.rest))
	case kindGarbage:
		_, w := binary.Uvarint(value)
		a.garbage++
		a.versions[binary.BigEndian.Uint64(k.rest)] = string(value[w:])
	case kindMember, kindScore, kindEntry, kindGroup:
		n, w := binary.Uvarint(k.rest)
		key, rest := k.rest[w:w+int(n)], k.rest[w+int(n):]
		version := binary.BigEndian.Uint64(rest)
		a.subs[version] = string(key)
		a.subBytes[version] += SubSize(rest[8:], value)
	default:
		return fmt.Errorf("row of kind %d", k.kind)
	}
	return nil
}

func (a *audit) check(ks *keyspace) (err error) {
	say := func(format string, args ...any) {
		err = errors.Join(err, fmt.Errorf("namespace %d, keyspace %d: "+format, append([]any{ks.ns.id, ks.number}, args...)...))
	}
	have := [...]int64{ks.keys.Load(), ks.bytes.Load(), ks.expires.Load(), ks.garbage.Load()}
	if want := [...]int64{a.keys, a.bytes, a.expires, a.garbage}; have != want {
		say("keys, bytes, expires, garbage are %v, want %v", have, want)
	}
	for key, ms := range a.expiry {
		if a.indexed[key] != ms {
			say("%q expires at %d, its index row says %d", key, ms, a.indexed[key])
		}
	}
	for key := range a.indexed {
		if a.expiry[key] == 0 {
			say("%q is in the expiry index and doesn't expire", key)
		}
	}
	for version, key := range a.subs {
		if owner, ok := a.versions[version]; !ok || owner != key {
			say("sub rows of %q, version %d, have no owner", key, version)
		}
	}
	for version, n := range a.ownBytes {
		if a.subBytes[version] != n {
			say("version %d has %d bytes of sub rows, its row says %d", version, a.subBytes[version], n)
		}
	}
	return err
}

// Codec lets the fuzz target reach the key codec.
type Codec struct{}

// DecodeRow parses a key row's value.
func (Codec) DecodeRow(v []byte) (Row, error) { return decodeRow(v) }

// AppendRow appends a key row's value.
func (Codec) AppendRow(b []byte, r *Row) []byte { return appendRow(b, r) }

func (Codec) Key(ns, ks uint64, key []byte) []byte {
	return appendKeyRow(nil, keyspacePrefix(ns, ks), key)
}

func (Codec) Sub(ns, ks uint64, key []byte, version uint64, score bool, name []byte) []byte {
	kind := byte(kindMember)
	if score {
		kind = kindScore
	}
	return append(appendSubPrefix(nil, keyspacePrefix(ns, ks), kind, key, version), name...)
}

// Row is the key of a sub row of any kind.
func (Codec) Row(ns, ks uint64, s Sub, key []byte, version uint64, name []byte) []byte {
	return append(appendSubPrefix(nil, keyspacePrefix(ns, ks), s.kind(), key, version), name...)
}

func (Codec) Comparer() *pebble.Comparer { return comparer() }

func (Codec) Prefix(ns, ks uint64) []byte { return keyspacePrefix(ns, ks) }
func (Codec) PrefixEnd(p []byte) []byte   { return prefixEnd(p) }
func (Codec) Split(k []byte) int          { return splitKey(k) }

func (Codec) Parse(k []byte) (ns, ks uint64, kind byte, rest []byte, ok bool) {
	r, ok := parseRowKey(k)
	return r.ns, r.ks, r.kind, bytes.Clone(r.rest), ok
}

// BuildFilter builds the filter of keys anew.
func (s *Store) BuildFilter(ctx context.Context) error { return s.buildFilter(ctx) }

// GiveUpFilter builds a filter where an attempt before has left one and there is no room for any, and says
// whether one is left.
func (s *Store) GiveUpFilter(ctx context.Context) (left bool, err error) {
	s.filter.build.Lock()
	s.filter.limit = 0
	s.filter.next.Store(newFilterBits(1, false))
	s.filter.build.Unlock()
	err = s.buildFilter(ctx)
	return s.filter.next.Load() != nil || s.filter.whole.Load() != nil, err
}

// FilterDenies says that the filter takes a key for absent.
func (s *Store) FilterDenies(ns uint64, db int, key []byte) bool {
	prefix := s.Namespace(ns).database(db).prefix
	return s.filter.absent(xxhash.Sum64(appendKeyRow(nil, prefix, key)), false)
}

// FilterDeniesMember says that the filter takes a member of a collection for absent.
func (s *Store) FilterDeniesMember(ns uint64, db int, key []byte, version uint64, name []byte) bool {
	prefix := s.Namespace(ns).database(db).prefix
	return s.filter.absent(xxhash.Sum64(append(appendSubPrefix(nil, prefix, kindMember, key, version), name...)), true)
}

// Filtering says that there is a filter.
func (s *Store) Filtering() bool { return s.filter.whole.Load() != nil }

// Table lets the model test reach the table of rows.
type Table struct{ t *rowTable }

func NewTable(values, slots int) Table { return Table{newRowTable(values, slots)} }

// Get returns a row's value, nil if it is known to be absent.
func (r Table) Get(hash uint64, key []byte) (value []byte, known bool, seen uint64) {
	f := r.t.get(hash, key, new(rowSet))
	return f.value, f.known, f.seen
}

// TableKinds are the kinds of rows in a table.
const TableKinds = int(memberRow) + 1

// Keep offers what was read, nil if the row was absent.
func (r Table) Keep(hash uint64, key, value []byte, kind int, write bool, seen uint64) {
	r.t.keep(hash, key, rowFill{value, tableMeta(value, rowKind(kind)), rowKind(kind), write, seen})
}

// Update takes a row that was applied, nil if it was deleted.
func (r Table) Update(hash uint64, key, value []byte, kind int) {
	r.t.update(hash, key, value, tableMeta(value, rowKind(kind)), rowKind(kind))
}

// tableMeta has every other version of a key row expire.
func tableMeta(value []byte, kind rowKind) rowMeta {
	m := rowMeta{here: value != nil, bytes: int64(len(value))}
	if kind != memberRow && len(value) >= 8 && value[7]%2 == 0 {
		m.expire = int64(binary.BigEndian.Uint64(value))
	}
	return m
}

// Meta says whether the table knows what an overwrite of a row must know, and whether that fits a version of it.
func (r Table) Meta(hash uint64, key []byte, kind int) (fits func(value []byte) bool, known bool) {
	m, known := r.t.meta(hash, key)
	return func(value []byte) bool { return m == tableMeta(value, rowKind(kind)) }, known
}

// Check holds every slot against its record.
func (r Table) Check() (values int, err error) {
	for i := range r.t.shards {
		s := &r.t.shards[i]
		if len(s.slabs.slabs) > s.slabs.limit {
			return 0, fmt.Errorf("%d slabs, the limit is %d", len(s.slabs.slabs), s.slabs.limit)
		}
		places, taken := map[uint32]bool{}, uint64(0)
		for j := range s.slots {
			e := &s.slots[j]
			if e.flags != 0 {
				taken++
			}
			switch {
			case e.flags == 0 || e.at == 0:
				if e.flags&(rowValued|rowHere|rowSmall) == rowValued|rowHere {
					return 0, errors.New("a row that needs its value has none")
				}
				continue
			case places[e.at]:
				return 0, errors.New("two rows have one record")
			case e.flags&rowHere == 0:
				return 0, errors.New("an absent row has a value")
			case e.flags&rowSmall != 0:
				return 0, errors.New("a row has two values")
			}
			places[e.at] = true
			k, _ := s.slabs.read(e.at)
			if maphash.Bytes(r.t.seed, k) != e.b || uint32(xxhash.Sum64(k)) != e.a {
				return 0, fmt.Errorf("the record of another row: %q", k)
			}
		}
		values += len(places)
		if taken != s.taken {
			return 0, fmt.Errorf("%d slots are in use, counted are %d", taken, s.taken)
		}
	}
	return values, nil
}

// CheckSpace looks at the free space, as the store does each second.
func (s *Store) CheckSpace() { s.checkSpace() }

// Compact rewrites all rows.
func (s *Store) Compact(ctx context.Context) error {
	return s.db.Compact(ctx, []byte{0}, []byte{0xff, 0xff}, false)
}

// Still runs f while the store's sweeper doesn't.
func (s *Store) Still(f func() error) error {
	s.sweepMu.Lock()
	defer s.sweepMu.Unlock()
	return f()
}

// DiskBytes is about what the rows of a namespace take on the disk.
func (s *Store) DiskBytes(id uint64) uint64 {
	prefix := namespacePrefix(id)
	n, err := s.db.EstimateDiskUsage(prefix, prefixEnd(prefix))
	if err != nil {
		panic(err)
	}
	return n
}

// BlocksRead is how many blocks were not in the cache.
func (s *Store) BlocksRead() int64 { return s.db.Metrics().BlockCache.Misses }

// Written returns what the sstables take, and what was written to all that there were.
func (s *Store) Written() (disk, written uint64) {
	m := s.db.Metrics()
	for _, l := range m.Levels {
		written += l.TableBytesFlushed + l.TableBytesCompacted
	}
	return m.DiskSpaceUsage(), written
}

// RowSet is where a run keeps what it reads.
type RowSet struct{ s *rowSet }

func NewRowSet() RowSet { return RowSet{new(rowSet)} }

// GetInto is Get as runs do it.
func (r Table) GetInto(hash uint64, key []byte, into RowSet) {
	into.s.reset()
	r.t.get(hash, key, into.s)
}

// StorePosition stores the position, as an entry does once in a while.
func (s *Store) StorePosition() error { return s.between(s.storePosition) }

// RetireLog drops old segments as the store does each second.
func (s *Store) RetireLog(ctx context.Context) error { return s.retireLog(ctx) }
