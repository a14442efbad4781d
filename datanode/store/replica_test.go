package store_test

import (
	"math/rand/v2"
	"testing"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestReplicaEqualsPrimary: a replica that applies the primary's log has the same rows and counters,
// whenever it has caught up; also after it was stopped and opened again.
func TestReplicaEqualsPrimary(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	w := newWorkload(t, rng)
	o := storetest.Options(t, vfs.NewMem(), "data")
	o.Now, o.MemTableBytes = w.clock, 64<<10
	w.s = storetest.OpenWith(t, o)
	ro := storetest.Options(t, vfs.NewMem(), "data")
	ro.Now, ro.MemTableBytes = w.clock, 64<<10
	replica, err := store.Create(ro, replog.Start{})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 40 {
		for range 15 {
			w.step()
		}
		w.s.Stop(store.Quiesced)
		if round%10 == 9 {
			if err := replica.Close(); err != nil {
				t.Fatal(err)
			}
			if replica, err = store.Open(ro); err != nil {
				t.Fatal(err)
			}
		}
		catchUp(t, w.s, replica, rng)
		sameRows(t, w.s, replica)
		w.s.Resume()
	}
	w.compare()
	primary := w.s
	w.s = replica
	w.compare()
	if got, want := replica.Applied(), primary.Applied(); got.History != want.History || got.Versions != want.Versions {
		t.Errorf("applied %+v, want %+v", got, want)
	}
	if err := replica.Close(); err != nil {
		t.Fatal(err)
	}
}

// catchUp copies the primary's log to the replica, and shows it in steps.
func catchUp(t *testing.T, primary, replica *store.Store, rng *rand.Rand) {
	t.Helper()
	from, err := primary.Log().NewReader(replica.Log().State().Last + 1)
	if err != nil {
		t.Fatal(err)
	}
	to, err := replica.Log().NewReader(replica.Applied().Index + 1)
	if err != nil {
		t.Fatal(err)
	}
	last := primary.Log().State().Last
	for i := replica.Log().State().Last; i < last; i++ {
		body, err := from.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := replica.Append(append(make([]byte, replog.RecordHeader), body...)); err != nil {
			t.Fatal(err)
		}
		if rng.IntN(4) == 0 || i+1 == last {
			if err := replica.ApplyTo(t.Context(), to, i+1); err != nil {
				t.Fatal(err)
			}
			if err := replica.Verify(); err != nil {
				t.Fatalf("entry %d: %v", i+1, err)
			}
		}
	}
}

func sameRows(t *testing.T, a, b *store.Store) {
	t.Helper()
	rows, err := a.Rows()
	if err != nil {
		t.Fatal(err)
	}
	others, err := b.Rows()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(others) {
		t.Fatalf("%d rows, the replica has %d", len(rows), len(others))
	}
	for i := range rows {
		if rows[i] != others[i] {
			t.Fatalf("row %s, on the replica %s", rows[i], others[i])
		}
	}
	if x, y := a.Total(), b.Total(); x != y {
		t.Fatalf("counters %+v, on the replica %+v", x, y)
	}
}
