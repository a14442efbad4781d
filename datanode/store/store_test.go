package store_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const tenant = 7

// write runs f as one committed run that may touch any key.
func write(tb testing.TB, s *store.Store, ns uint64, f func(tx *store.Tx)) {
	tb.Helper()
	var tx store.Tx
	s.Namespace(ns).Begin(&tx, store.Run{Exclusive: true})
	defer tx.End()
	f(&tx)
	if err := tx.Commit(store.Async); err != nil {
		tb.Fatal(err)
	}
}

func read(s *store.Store, ns uint64, f func(tx *store.Tx)) {
	var tx store.Tx
	s.Namespace(ns).Begin(&tx, store.Run{})
	defer tx.End()
	f(&tx)
}

func str(v string) store.Row { return store.Row{Type: store.TypeString, Data: []byte(v)} }

// dump returns every live key of a database.
func dump(s *store.Store, ns uint64, db int) map[string]string {
	m := make(map[string]string)
	read(s, ns, func(tx *store.Tx) {
		for k, r := range tx.Keys(tx.DB(db), store.KeyBounds{}) {
			m[string(k)] = string(r.Data)
		}
	})
	return m
}

func TestRunSeesItsOwnWrites(t *testing.T) {
	s := storetest.Open(t)
	write(t, s, tenant, func(tx *store.Tx) {
		db := tx.DB(0)
		tx.Put(db, []byte("b"), str("old"))
	})
	write(t, s, tenant, func(tx *store.Tx) {
		db := tx.DB(0)
		tx.Put(db, []byte("a"), str("1"))
		tx.Put(db, []byte("a"), str("2"))
		if r, ok := tx.Get(db, []byte("a")); !ok || string(r.Data) != "2" {
			t.Errorf("a = %q, %v", r.Data, ok)
		}
		if !tx.Delete(db, []byte("b")) || tx.Delete(db, []byte("b")) {
			t.Error("delete of b: want true, then false")
		}
		var keys []string
		for k := range tx.Keys(db, store.KeyBounds{}) {
			keys = append(keys, string(k))
		}
		if !slices.Equal(keys, []string{"a"}) {
			t.Errorf("keys %v", keys)
		}
	})
	if c := s.Namespace(tenant).Counters(); c.Keys != 1 {
		t.Errorf("counters %+v", c)
	}
}

func TestRunWithoutCommitHasNoEffect(t *testing.T) {
	s := storetest.Open(t)
	var tx store.Tx
	s.Namespace(tenant).Begin(&tx, store.Run{Write: true})
	tx.Put(tx.DB(0), []byte("a"), str("1"))
	tx.End()
	if m := dump(s, tenant, 0); len(m) != 0 {
		t.Errorf("rows %v", m)
	}
}

// TestModel runs random operations against a map, with restarts, and compares rows and counters.
func TestModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	o := storetest.Options(t, vfs.NewMem(), "data")
	o.MemTableBytes = 64 << 10
	s, err := store.Create(o, replog.Start{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.BeginEpoch(1, "history", 0); err != nil {
		t.Fatal(err)
	}
	model := [2]map[string]string{{}, {}}
	epoch := uint64(1)
	for step := range 3000 {
		db := rng.IntN(2)
		key := fmt.Sprintf("k%d", rng.IntN(200))
		switch rng.IntN(100) {
		case 0:
			write(t, s, tenant, func(tx *store.Tx) { tx.FlushDB(tx.DB(db)) })
			clear(model[db])
		case 2:
			write(t, s, tenant, func(tx *store.Tx) { tx.SwapDB(tx.DB(0), tx.DB(1)) })
			model[0], model[1] = model[1], model[0]
		case 1:
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = store.Open(o); err != nil {
				t.Fatal(err)
			}
			epoch++
			if err := s.BeginEpoch(epoch, "history", 0); err != nil {
				t.Fatal(err)
			}
		default:
			write(t, s, tenant, func(tx *store.Tx) {
				if rng.IntN(3) == 0 {
					_, had := model[db][key]
					if tx.Delete(tx.DB(db), []byte(key)) != had {
						t.Fatalf("step %d: delete %s", step, key)
					}
					delete(model[db], key)
					return
				}
				v := fmt.Sprint(step, bytes.Repeat([]byte("x"), rng.IntN(300)))
				tx.Put(tx.DB(db), []byte(key), str(v))
				model[db][key] = v
			})
		}
		if step%100 == 0 {
			compare(t, s, model)
		}
	}
	compare(t, s, model)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func compare(t *testing.T, s *store.Store, model [2]map[string]string) {
	t.Helper()
	for db := range model {
		if got := dump(s, tenant, db); !maps.Equal(got, model[db]) {
			t.Fatalf("database %d: %d rows, want %d", db, len(got), len(model[db]))
		}
		var want store.Counters
		for k, v := range model[db] {
			want.Keys++
			want.Bytes += int64(len(k) + len(v) + 1)
		}
		if got := s.Namespace(tenant).DBCounters(db); got != want {
			t.Fatalf("counters of database %d: %+v, want %+v", db, got, want)
		}
	}
}

// TestConcurrentRuns lets many connections count the same keys; nothing may be lost.
func TestConcurrentRuns(t *testing.T) {
	s := storetest.Open(t)
	const writers, rounds, keys = 16, 400, 5
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			var tx store.Tx
			n := s.Namespace(tenant)
			for i := range rounds {
				key := []byte{byte('a' + (i+w)%keys)}
				n.Begin(&tx, store.Run{Write: true, Hashes: []uint64{store.HashKey(0, key)}})
				r, _ := tx.Get(tx.DB(0), key)
				tx.Put(tx.DB(0), key, store.Row{Type: store.TypeString, Data: append(r.Data[:len(r.Data):len(r.Data)], '.')})
				if err := tx.Commit(store.Async); err != nil {
					t.Error(err)
				}
				tx.End()
			}
		})
	}
	wg.Wait()
	total := 0
	for _, v := range dump(s, tenant, 0) {
		total += len(v)
	}
	if total != writers*rounds {
		t.Errorf("%d increments, want %d", total, writers*rounds)
	}
}

func TestSpreadCollectionIsSweptBehind(t *testing.T) {
	s := storetest.Open(t)
	key := []byte("h")
	var version uint64
	write(t, s, tenant, func(tx *store.Tx) {
		db := tx.DB(0)
		version = tx.NewVersion()
		row := store.Row{Type: store.TypeHash, Spread: true, Version: version}
		for i := range 500 {
			f := fmt.Appendf(nil, "f%03d", i)
			tx.PutSub(db, key, version, store.SubMember, f, f)
			row.Count++
			row.Bytes += store.SubSize(f, f)
		}
		tx.Put(db, key, row)
	})
	count := func() (n int) {
		read(s, tenant, func(tx *store.Tx) {
			for range tx.Subs(tx.DB(0), key, version, store.SubMember, store.Bounds{}) {
				n++
			}
		})
		return n
	}
	if n := count(); n != 500 {
		t.Fatalf("%d sub rows", n)
	}
	if c := s.Namespace(tenant).Counters(); c.Bytes != 500*8+1+1+8+2+2 {
		t.Errorf("bytes %d", c.Bytes)
	}
	write(t, s, tenant, func(tx *store.Tx) { tx.Delete(tx.DB(0), key) })
	if c := s.Namespace(tenant).Counters(); c != (store.Counters{}) {
		t.Errorf("counters %+v", c)
	}
	eventually(t, "the sub rows to be swept", func() bool { return count() == 0 })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}

func TestExpiredKeysAreSwept(t *testing.T) {
	s := storetest.Open(t)
	write(t, s, tenant, func(tx *store.Tx) {
		db := tx.DB(3)
		for i := range 1000 {
			r := str("v")
			if r.ExpireMS = tx.Now() + 1; i%10 == 0 {
				r.ExpireMS = tx.Now() + 1e6
			}
			tx.Put(db, fmt.Appendf(nil, "k%d", i), r)
		}
	})
	eventually(t, "expired keys to be swept", func() bool {
		c := s.Namespace(tenant).DBCounters(3)
		return c.Keys == 100 && c.Expires == 100
	})
}

// TestPromiseP7PurgeByEntryOnly: only a purge entry deletes a namespace's rows; it leaves others alone,
// survives a restart, and a late run writes nothing.
func TestPromiseP7PurgeByEntryOnly(t *testing.T) {
	o := storetest.Options(t, vfs.NewMem(), "data")
	s, err := store.Create(o, replog.Start{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.BeginEpoch(1, "history", 0); err != nil {
		t.Fatal(err)
	}
	for _, ns := range []uint64{6, 7, 8} {
		write(t, s, ns, func(tx *store.Tx) { tx.Put(tx.DB(0), []byte("k"), str("v")) })
	}
	read(s, 7, func(tx *store.Tx) { tx.Get(tx.DB(0), []byte("k")) }) // into the table of rows
	if err := s.PurgeNamespace(7, 99); err != nil {
		t.Fatal(err)
	}
	var tx store.Tx
	s.Namespace(7).Begin(&tx, store.Run{Write: true})
	if _, ok := tx.Get(tx.DB(0), []byte("k")); ok || tx.Delete(tx.DB(0), []byte("k")) {
		t.Error("a run after the purge sees a row")
	}
	tx.Put(tx.DB(0), []byte("late"), str("v"))
	if err := tx.Commit(store.Async); err == nil {
		t.Error("a run after the purge has written")
	}
	tx.End()
	check := func() {
		t.Helper()
		for ns, want := range map[uint64]int{6: 1, 7: 0, 8: 1} {
			if n := len(dump(s, ns, 0)); n != want {
				t.Errorf("namespace %d has %d keys, want %d", ns, n, want)
			}
			if c := s.Namespace(ns).Counters(); c.Keys != int64(want) {
				t.Errorf("namespace %d counts %d keys, want %d", ns, c.Keys, want)
			}
		}
	}
	check()
	if got := s.Applied().MinRevision; got != 99 {
		t.Errorf("min_revision %d, want that of the deletion", got)
	}
	eventually(t, "the purge to be durable", func() bool { return slices.Equal(s.Purged(), []uint64{7}) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = store.Open(o); err != nil {
		t.Fatal(err)
	}
	check()
	eventually(t, "the purge to be reported again", func() bool { return slices.Equal(s.Purged(), []uint64{7}) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWritesNeedTheRole(t *testing.T) {
	s := storetest.Open(t)
	try := func() error {
		var tx store.Tx
		s.Namespace(tenant).Begin(&tx, store.Run{Write: true})
		defer tx.End()
		tx.Put(tx.DB(0), []byte("a"), str("1"))
		return tx.Commit(store.Async)
	}
	s.Stop(store.Quiesced)
	if err := try(); err != store.ErrQuiesced {
		t.Errorf("quiesced: %v", err)
	}
	s.Resume()
	if err := try(); err != nil {
		t.Errorf("resumed: %v", err)
	}
	s.Stop(store.Replica)
	if err := try(); err != store.ErrNotPrimary {
		t.Errorf("replica: %v", err)
	}
	if err := s.BeginEpoch(1, "history", 0); err == nil {
		t.Error("an epoch began twice")
	}
	if err := s.BeginEpoch(2, "history", 0); err != nil {
		t.Error(err)
	}
}
