package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// verify checks the store in data.
func verify(t *testing.T, o store.Options, known ...uint64) (store.Verified, []replog.Finding) {
	t.Helper()
	var found []replog.Finding
	sum, err := store.Verify(t.Context(), o, store.Check{Namespaces: known, Say: func(f replog.Finding) { found = append(found, f) }})
	if err != nil {
		t.Fatal(err)
	}
	return sum, found
}

// worked returns a disk on which a workload has run and a process was killed, with the model of it. With every
// other seed the log is fsynced, and has noted that.
func worked(t *testing.T, seed uint64, steps int) (_ *vfs.MemFS, _ store.Options, _ *workload, noted bool) {
	t.Helper()
	fs := vfs.NewMem()
	w := newWorkload(t, rand.New(rand.NewPCG(seed, 1)))
	o := storetest.Options(t, fs, "data")
	o.Now, o.MemTableBytes, o.SegmentBytes, o.RetainBytes = w.clock, 64<<10, 32<<10, 64<<10
	s, err := store.Create(o, replog.Start{})
	if err == nil {
		err = s.BeginEpoch(1, "history", 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.s = s
	for i := range steps {
		w.step()
		if i == steps/2 {
			if _, err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if noted = seed%2 == 0; noted {
		if err := errors.Join(s.SyncLog(), s.Log().NoteSynced()); err != nil {
			t.Fatal(err)
		}
	}
	disk := clone(t, fs)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.FS = disk
	return disk, o, w, noted
}

// clone copies a disk as it is.
func clone(t *testing.T, from vfs.FS) *vfs.MemFS {
	t.Helper()
	to := vfs.NewMem()
	if ok, err := vfs.Clone(from, to, "data", "data"); err != nil || !ok {
		t.Fatalf("clone: %v, %v", ok, err)
	}
	return to
}

// content is every file of a disk.
func content(t *testing.T, fs *vfs.MemFS) map[string]string {
	t.Helper()
	all := make(map[string]string)
	var walk func(dir string)
	walk = func(dir string) {
		names, err := fs.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			path := fs.PathJoin(dir, n)
			info, err := fs.Stat(path)
			if oserror.IsNotExist(err) {
				continue // a store at work has removed it
			}
			if err != nil {
				t.Fatal(err)
			}
			if info.IsDir() {
				walk(path)
				continue
			}
			all[path] = string(readFile(t, fs, path))
		}
	}
	walk("data")
	return all
}

func readFile(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size())
	if n, err := f.ReadAt(b, 0); n != len(b) {
		t.Fatal(err)
	}
	return b
}

// TestVerifyClean: what a killed process leaves is clean, its rows are all read, and no byte changes.
func TestVerifyClean(t *testing.T) {
	for seed := range uint64(6) {
		disk, o, _, _ := worked(t, seed, 400)
		before := content(t, disk)
		sum, found := verify(t, o)
		if len(found) > 0 {
			t.Fatalf("seed %d: %+v", seed, found)
		}
		if sum.Applied.Index == 0 || sum.Rows == 0 || sum.Entries == 0 || sum.Tables == 0 || len(sum.Namespaces) == 0 {
			t.Errorf("seed %d: %+v", seed, sum)
		}
		if after := content(t, disk); !maps.Equal(before, after) {
			t.Errorf("seed %d: the disk has changed", seed)
		}
	}
}

// TestVerifyFindsWrongRows changes rows behind the store's back, each in a way that only one check finds.
func TestVerifyFindsWrongRows(t *testing.T) {
	const ns = 7
	c := store.Codec{}
	prefix := func(kind byte, rest ...string) []byte {
		return append(append(c.Prefix(ns, 0), kind), strings.Join(rest, "")...)
	}
	version := "\x00\x00\x00\x00\x00\x00\x00\x01"
	for _, tt := range []struct {
		name   string
		change func(db *pebble.DB) error
		want   string
	}{
		{"a forgotten counter", func(db *pebble.DB) error { return db.Delete(c.Key(ns, 0, []byte("plain")), pebble.NoSync) }, "counts keys, bytes"},
		{"another value's size", func(db *pebble.DB) error {
			return db.Set(c.Key(ns, 0, []byte("plain")), []byte("\x01longer than before"), pebble.NoSync)
		}, "counts keys, bytes"},
		{"an unknown tag", func(db *pebble.DB) error {
			return db.Set(c.Key(ns, 0, []byte("plain")), []byte("\xc1x"), pebble.NoSync)
		}, "unknown tag"},
		{"another expiry", func(db *pebble.DB) error {
			return db.Delete(prefix(4, "\x7f\xff\xff\xff\xff\xff\xff\xff", "timed"), pebble.NoSync)
		}, "and its index 0"},
		{"an expiry of nothing", func(db *pebble.DB) error {
			return db.Set(prefix(4, version, "nobody"), nil, pebble.NoSync)
		}, "is in the expiry index at 1"},
		{"a lost member", func(db *pebble.DB) error {
			return db.Delete(c.Sub(ns, 0, []byte("spread"), 1, false, []byte("f1")), pebble.NoSync)
		}, "says 3 members"},
		{"lost members", func(db *pebble.DB) error {
			p := prefix(2)
			return db.DeleteRange(p, c.PrefixEnd(p), pebble.NoSync)
		}, "that have such rows"},
		{"a stray score", func(db *pebble.DB) error {
			return db.Set(c.Sub(ns, 0, []byte("spread"), 1, true, []byte("12345678m")), nil, pebble.NoSync)
		}, "scores"},
		{"a list's lost head", func(db *pebble.DB) error { return setHead(db, c.Key(ns, 0, []byte("list")), listHead+1) }, "has no element"},
		{"a list's gap", func(db *pebble.DB) error {
			return errors.Join(db.Delete(c.Sub(ns, 0, []byte("list"), 2, false, index(1)), pebble.NoSync),
				db.Set(c.Sub(ns, 0, []byte("list"), 2, false, index(9)), []byte("v"), pebble.NoSync))
		}, "has no element"},
		{"a list's odd index", func(db *pebble.DB) error {
			return errors.Join(db.Delete(c.Sub(ns, 0, []byte("list"), 2, false, index(2)), pebble.NoSync),
				db.Set(c.Sub(ns, 0, []byte("list"), 2, false, index(2)[:7]), []byte("vv"), pebble.NoSync))
		}, "has no element"},
		{"a list without a head", func(db *pebble.DB) error {
			return db.Set(c.Key(ns, 0, []byte("list")), []byte("\x14"+version+"\x03\x1b"), pebble.NoSync)
		}, "of a wrong length"},
		{"a hash with a head", func(db *pebble.DB) error {
			return db.Set(c.Key(ns, 0, []byte("spread")), []byte("\x12"+version+"\x03\x09"+version), pebble.NoSync)
		}, "of a wrong length"},
		{"a stream's lost entry", func(db *pebble.DB) error {
			return db.Delete(c.Row(ns, 0, store.SubEntry, []byte("stream"), 3, index(1)), pebble.NoSync)
		}, "says 3 entries"},
		{"a stream's longer entry", func(db *pebble.DB) error {
			return db.Set(c.Row(ns, 0, store.SubEntry, []byte("stream"), 3, index(1)), []byte("longer"), pebble.NoSync)
		}, "says 3 entries"},
		{"a stream's lost group", func(db *pebble.DB) error {
			return db.Delete(c.Row(ns, 0, store.SubGroup, []byte("stream"), 3, []byte("group1")), pebble.NoSync)
		}, "its groups take 14 bytes"},
		{"a stream's lost groups", func(db *pebble.DB) error {
			p := prefix(7)
			return db.DeleteRange(p, c.PrefixEnd(p), pebble.NoSync)
		}, "that have such rows"},
		{"a stream's lost entries", func(db *pebble.DB) error {
			p := prefix(6)
			return db.DeleteRange(p, c.PrefixEnd(p), pebble.NoSync)
		}, "that have such rows"},
		{"a stream's member", func(db *pebble.DB) error {
			return db.Set(c.Row(ns, 0, store.SubMember, []byte("stream"), 3, []byte("m")), nil, pebble.NoSync)
		}, "has rows of kind 2"},
		{"a hash's entry", func(db *pebble.DB) error {
			return db.Set(c.Row(ns, 0, store.SubEntry, []byte("spread"), 1, []byte("m")), nil, pebble.NoSync)
		}, "has rows of kind 6"},
		{"a stream's groups larger than it", func(db *pebble.DB) error {
			return db.Set(c.Key(ns, 0, []byte("stream")), []byte("\x16"+version+"\x03\x05\x06"), pebble.NoSync)
		}, "groups of a wrong size"},
		{"an orphan", func(db *pebble.DB) error {
			return db.Set(c.Sub(ns, 0, []byte("gone"), 9, false, []byte("f")), nil, pebble.NoSync)
		}, "have no key row"},
		{"nobody's keyspace", func(db *pebble.DB) error {
			return db.Set(c.Key(ns, 99, []byte("k")), []byte("\x01v"), pebble.NoSync)
		}, "is no database's"},
		{"an unknown kind", func(db *pebble.DB) error { return db.Set(prefix(9, "x"), nil, pebble.NoSync) }, "unknown kind 9"},
		{"a system row", func(db *pebble.DB) error { return db.Set([]byte{0, 0x42}, nil, pebble.NoSync) }, "system row"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := vfs.NewMem()
			o := storetest.Options(t, fs, "data")
			s, err := store.Create(o, replog.Start{})
			if err == nil {
				err = errors.Join(s.BeginEpoch(1, "history", 0), fill(s, ns), s.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, found := verify(t, o); len(found) > 0 {
				t.Fatalf("before: %+v", found)
			}
			if err := withPebble(fs, c.Comparer(), tt.change); err != nil {
				t.Fatal(err)
			}
			_, found := verify(t, o)
			if !slices.ContainsFunc(found, func(f replog.Finding) bool {
				return strings.Contains(f.What, tt.want) && (f.All || slices.Equal(f.Namespaces, []uint64{ns}))
			}) {
				t.Errorf("found %+v, want %q", found, tt.want)
			}
		})
	}
}

const listHead = 1 << 63

// index is the name of a list's element.
func index(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, listHead+i) }

// setHead changes where the list of a key row starts.
func setHead(db *pebble.DB, key []byte, head uint64) error {
	v, closer, err := db.Get(key)
	if err != nil {
		return err
	}
	v = binary.BigEndian.AppendUint64(slices.Clone(v[:len(v)-8]), head)
	return errors.Join(closer.Close(), db.Set(key, v, pebble.NoSync))
}

// fill writes a string, one that expires, a spread hash, a spread list, and a stream with groups.
func fill(s *store.Store, ns uint64) error {
	if !s.Enter() {
		return errors.New("closed")
	}
	defer s.Leave()
	var tx store.Tx
	s.Namespace(ns).Begin(&tx, store.Run{Exclusive: true})
	defer tx.End()
	db := tx.DB(0)
	tx.Put(db, []byte("plain"), store.Row{Type: store.TypeString, Data: []byte("value")})
	tx.Put(db, []byte("timed"), store.Row{Type: store.TypeString, Data: []byte("value"), ExpireMS: 1<<63 - 1})
	r := store.Row{Type: store.TypeHash, Spread: true, Version: tx.NewVersion(), Count: 3}
	for i := range 3 {
		name := fmt.Appendf(nil, "f%d", i)
		tx.PutSub(db, []byte("spread"), r.Version, store.SubMember, name, []byte("v"))
		r.Bytes += store.SubSize(name, []byte("v"))
	}
	tx.Put(db, []byte("spread"), r)
	r = store.Row{Type: store.TypeList, Spread: true, Version: tx.NewVersion(), Count: 3, Head: listHead}
	for i := range uint64(3) {
		tx.PutSub(db, []byte("list"), r.Version, store.SubMember, index(i), []byte("v"))
		r.Bytes += store.SubSize(index(i), []byte("v"))
	}
	tx.Put(db, []byte("list"), r)
	r = store.Row{Type: store.TypeStream, Spread: true, Version: tx.NewVersion(), Count: 3, Data: []byte("data")}
	for i := range uint64(3) {
		tx.PutSub(db, []byte("stream"), r.Version, store.SubEntry, index(i), []byte("v"))
		r.Bytes += store.SubSize(index(i), []byte("v"))
	}
	for i := range 2 {
		name := fmt.Appendf(nil, "group%d", i)
		tx.PutSub(db, []byte("stream"), r.Version, store.SubGroup, name, []byte("v"))
		r.Groups += store.SubSize(name, []byte("v"))
	}
	r.Bytes += r.Groups
	tx.Put(db, []byte("stream"), r)
	return tx.Commit(store.Async)
}

// TestVerifyEnds: a check that is given up leaves nothing behind.
func TestVerifyEnds(t *testing.T) {
	_, o, _, _ := worked(t, 1, 50)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Verify(ctx, o, store.Check{Say: func(replog.Finding) {}}); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}

// TestVerifyManyMemtables: the check replays a log into more tables of level 0 than a store at work would let come
// together, since nothing compacts them.
func TestVerifyManyMemtables(t *testing.T) {
	fs := newUnflushable()
	o := storetest.Options(t, fs, "data")
	o.MemTableBytes, o.RetainBytes = 16<<20, 1<<30
	s := storetest.OpenWith(t, o)
	fs.on.Store(true)
	for i := range 1000 { // the same keys again and again: each memtable overlaps the one before
		if err := put(s, tenant, fmt.Sprint("k", i*37%10), make([]byte, 16<<10)); err != nil {
			t.Fatal(err)
		}
	}
	checked := o // the process was killed, and what it has written stays
	checked.FS, checked.MemTableBytes = fs.FS, 256<<10
	sum, found := verify(t, checked, tenant)
	if sum.Rows == 0 || len(found) > 0 {
		t.Errorf("%d rows, found %+v", sum.Rows, found)
	}
	fs.on.Store(false)
}
