package datatype_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/datatype/datatypetest"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"pgregory.net/rapid"
)

type streamID = datatype.StreamID

// streamModel is a stream as a map, and what is pending of one group.
type streamModel struct {
	entries map[streamID]string
	last    streamID
	pending map[streamID]string // the consumer
	group   bool
}

func (m *streamModel) ids() []streamID {
	return slices.SortedFunc(maps.Keys(m.entries), streamID.Compare)
}

// A stream behaves as a sorted map, and a group of it as a map too, in one run or over many.
func TestStreamModel(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.DefaultLimits}
	key := []byte("stream")
	rapid.Check(t, func(t *rapid.T) {
		b.write(t, func(s datatype.Space) { s.Tx.FlushAll() })
		m := &streamModel{entries: map[streamID]string{}, pending: map[streamID]string{}}
		for range rapid.IntRange(1, 10).Draw(t, "runs") {
			b.write(t, func(s datatype.Space) {
				for range rapid.IntRange(1, 6).Draw(t, "commands") {
					st, err := s.Stream(key)
					if err != nil {
						t.Fatal(err)
					}
					if rapid.Bool().Draw(t, "of the group") {
						changeGroup(t, &st, m)
					} else {
						changeStream(t, &st, m)
					}
					st.Save()
				}
				st, _ := s.Stream(key) // also before the commit
				checkStream(t, &st, m)
			})
			b.write(t, func(s datatype.Space) {
				st, _ := s.Stream(key)
				checkStream(t, &st, m)
			})
			if err := datatypetest.Check(b.store, namespace, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func smallID(t *rapid.T) streamID {
	return streamID{MS: uint64(rapid.IntRange(0, 40).Draw(t, "ms")), Seq: uint64(rapid.IntRange(0, 2).Draw(t, "seq"))}
}

func changeStream(t *rapid.T, st *datatype.Stream, m *streamModel) {
	ids := m.ids()
	switch rapid.IntRange(0, 5).Draw(t, "change") {
	case 0:
		id := smallID(t)
		if _, had := m.entries[id]; st.Delete(id) != had {
			t.Fatalf("delete of %v: want %v", id, had)
		}
		delete(m.entries, id)
	case 1:
		trim := datatype.Trim{ByLength: rapid.Bool().Draw(t, "by length"), Length: uint64(rapid.IntRange(0, 5).Draw(t, "length")), Before: smallID(t)}
		gone := len(ids) - int(trim.Length)
		if !trim.ByLength {
			gone, _ = slices.BinarySearchFunc(ids, trim.Before, streamID.Compare)
		}
		gone = max(gone, 0)
		if n := st.Trim(trim); n != uint64(gone) {
			t.Fatalf("%+v took %d of %v, want %d", trim, n, ids, gone)
		}
		for _, id := range ids[:gone] {
			delete(m.entries, id)
		}
	default:
		id, ok := m.last.Next()
		if !ok {
			return
		}
		id.MS += uint64(rapid.IntRange(0, 2).Draw(t, "later"))
		value := strings.Repeat("v", rapid.IntRange(0, 20).Draw(t, "length"))
		st.Append(id, [][]byte{[]byte("f"), []byte(value)})
		m.entries[id], m.last = value, id
	}
}

// changeGroup works on the stream's only group.
func changeGroup(t *rapid.T, st *datatype.Stream, m *streamModel) {
	if !st.There() {
		return
	}
	g, ok := st.Group([]byte("group"))
	if ok != m.group {
		t.Fatalf("the group is there: %v, want %v", ok, m.group)
	}
	if !ok {
		st.CreateGroup([]byte("group"), streamID{}, 0).Save()
		m.group = true
		return
	}
	name := rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "consumer")
	c, ok := g.Consumer([]byte(name))
	if !ok {
		c = g.CreateConsumer([]byte(name))
	}
	id := smallID(t)
	p, pending := g.Get(id)
	if owner, ok := m.pending[id]; ok != pending || ok && string(g.Owner(p).Name) != owner {
		t.Fatalf("%v is pending: %v, want %v of %q", id, pending, ok, owner)
	}
	switch n := rapid.IntRange(0, 20).Draw(t, "change of the group"); {
	case n == 0:
		st.Destroy(g)
		m.group = false
		clear(m.pending)
		return
	case n == 1:
		if err := g.DeleteConsumer(c); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(m.pending, func(_ streamID, owner string) bool { return owner == name })
	case n < 8 && pending:
		g.Acknowledge(id, p)
		delete(m.pending, id)
	case pending:
		g.Deliver(id, c, &p, 7, p.Count+1)
		m.pending[id] = name
	default:
		g.Deliver(id, c, nil, 7, 1)
		m.pending[id] = name
	}
	g.Save()
}

func checkStream(t *rapid.T, st *datatype.Stream, m *streamModel) {
	ids := m.ids()
	from, to, reverse := smallID(t), smallID(t), rapid.Bool().Draw(t, "reverse")
	var want, got []streamID
	for _, id := range ids {
		if !id.Less(from) && !to.Less(id) {
			want = append(want, id)
		}
	}
	if reverse {
		slices.Reverse(want)
	}
	st.Each(from, to, reverse, func(id streamID, f datatype.Fields) bool {
		got = append(got, id)
		if f.Len() != 2 || string(f.Next()) != "f" || string(f.Next()) != m.entries[id] {
			t.Fatalf("entry %v has other fields than %q", id, m.entries[id])
		}
		return true
	})
	if !slices.Equal(got, want) || st.Len() != int64(len(ids)) || st.Last != m.last {
		t.Fatalf("%v to %v are %v, want %v; %d of %d, last %v", from, to, got, want, st.Len(), len(ids), st.Last)
	}
	for _, id := range append(ids, from, to) {
		if _, ok := m.entries[id]; st.Has(id) != ok {
			t.Fatalf("%v is there: want %v", id, ok)
		}
	}
	if top, ok := st.Top(); ok != (len(ids) > 0) || ok && top != ids[len(ids)-1] {
		t.Fatalf("the top of %v is %v", ids, top)
	}
	g, ok := st.Group([]byte("group"))
	if ok != m.group {
		t.Fatalf("the group is there: %v, want %v", ok, m.group)
	}
	if !ok {
		return
	}
	seen := map[streamID]string{}
	g.EachPending(streamID{}, datatype.MaxStreamID, reverse, func(id streamID, p datatype.Pending) bool {
		seen[id] = string(g.Owner(p).Name)
		return true
	})
	if !maps.Equal(seen, m.pending) {
		t.Fatalf("pending are %v, want %v", seen, m.pending)
	}
}

// What is trimmed from long streams goes by ranges, from either end, also where the run has written of it.
func TestStreamLongTrims(t *testing.T) {
	const n = 2000
	id := func(i int) streamID { return streamID{MS: uint64(i), Seq: 1} }
	for _, tt := range []struct {
		trim datatype.Trim
		left int
	}{
		{datatype.Trim{ByLength: true, Length: n - 100}, n - 100},
		{datatype.Trim{ByLength: true, Length: n - 700}, n - 700},
		{datatype.Trim{ByLength: true, Length: 10}, 10},
		{datatype.Trim{ByLength: true}, 0},
		{datatype.Trim{Before: id(1500)}, n - 1499},
		{datatype.Trim{Before: id(3)}, n - 2},
		{datatype.Trim{Before: id(n + 1)}, 0},
		{datatype.Trim{Before: datatype.MaxStreamID}, 0},
		{datatype.Trim{ByLength: true, Length: n - 99, Approx: true}, n},
		{datatype.Trim{ByLength: true, Length: n - 199, Approx: true}, n - 100},
		{datatype.Trim{ByLength: true, Approx: true}, 0},
		{datatype.Trim{ByLength: true, Approx: true, Limit: 1050}, n - 1000},
		{datatype.Trim{Before: id(1234), Approx: true}, n - 1200},
		{datatype.Trim{Before: id(1234), Approx: true, Limit: 50}, n},
		{datatype.Trim{Before: id(n + 1), Approx: true, Limit: 300}, n - 300},
	} {
		for _, split := range []int{0, 1000, n} {
			b := &bench{store: storetest.Open(t), limits: datatype.DefaultLimits}
			fill := func(s datatype.Space, from, to int) datatype.Stream {
				st, err := s.Stream([]byte("stream"))
				if err != nil {
					t.Fatal(err)
				}
				for i := from; i < to; i++ {
					st.Append(id(i+1), [][]byte{[]byte("f"), fmt.Append(nil, i)})
				}
				st.Save()
				return st
			}
			b.write(t, func(s datatype.Space) { fill(s, 0, split) })
			b.write(t, func(s datatype.Space) {
				st := fill(s, split, n)
				if gone := st.Trim(tt.trim); gone != uint64(n-tt.left) || st.Len() != int64(tt.left) {
					t.Errorf("%+v took %d and left %d, want %d", tt.trim, gone, st.Len(), tt.left)
				}
				st.Append(id(n+5), [][]byte{[]byte("f"), []byte("v")})
				st.Save()
				if _, err := s.Copy([]byte("stream"), s.DB, []byte("copy")); err != nil { // nothing of it comes back
					t.Error(err)
				}
			})
			if err := datatypetest.Check(b.store, namespace, 0); err != nil {
				t.Errorf("%+v, %d before: %v", tt.trim, split, err)
			}
		}
	}
}

// A group of many pending entries is destroyed, and a consumer deleted, in the run that made them or a later one.
func TestStreamManyPending(t *testing.T) {
	for _, later := range []bool{false, true} {
		b := &bench{store: storetest.Open(t), limits: datatype.DefaultLimits}
		key, names := []byte("stream"), []string{"destroyed", "deleted"}
		remove := func(s datatype.Space) {
			st, _ := s.Stream(key)
			g, _ := st.Group([]byte(names[0]))
			st.Destroy(g)
			st.Save()
			g, _ = st.Group([]byte(names[1]))
			c, _ := g.Consumer([]byte("one"))
			if err := g.DeleteConsumer(c); err != nil {
				t.Fatal(err)
			}
			g.Save()
			st.CreateGroup([]byte(names[0]), streamID{}, 0).Save()
			st.Save()
			if _, err := s.Copy(key, s.DB, []byte("copy")); err != nil {
				t.Fatal(err)
			}
			if other, ok := g.Consumer([]byte("other")); !ok || other.Pending != 1 || g.Pending != 1 {
				t.Errorf("%d are pending of the group", g.Pending)
			}
		}
		b.write(t, func(s datatype.Space) {
			st, _ := s.Stream(key)
			st.Create()
			for _, name := range names {
				g := st.CreateGroup([]byte(name), streamID{}, 0)
				one, other := g.CreateConsumer([]byte("one")), g.CreateConsumer([]byte("other"))
				for i := range 1000 {
					g.Deliver(streamID{MS: uint64(i)}, one, nil, 7, 1)
				}
				g.Deliver(datatype.MaxStreamID, other, nil, 7, 1)
				g.Save()
			}
			st.Save()
			if !later {
				remove(s)
			}
		})
		if later {
			b.write(t, remove)
		}
		if err := datatypetest.Check(b.store, namespace, 0); err != nil {
			t.Errorf("later %v: %v", later, err)
		}
	}
}

// More than a run may write is refused.
func TestStreamRoom(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.DefaultLimits}
	b.write(t, func(s datatype.Space) {
		st, _ := s.Stream([]byte("stream"))
		if err := st.Room(100_000); err != nil {
			t.Error(err)
		}
		if err := st.Room(store.MaxRunBytes / 512); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("room for many rows: %v", err)
		}
	})
}

// FuzzStreamID: what is read as an id is written so that it reads the same, and ids order as their names in rows do.
func FuzzStreamID(f *testing.F) {
	for _, s := range []string{"1-1", "0", "-", "+", "18446744073709551615-18446744073709551615", " 5- 3", "1--1", "5-*", "05-x", "1-1\x00"} {
		f.Add([]byte(s), []byte("7-7"))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		x, ok := datatype.ParseStreamID(a, 3)
		if !ok {
			return
		}
		if again, ok := datatype.ParseExactStreamID(x.AppendText(nil), 0); !ok || again != x {
			t.Errorf("%q reads %v, and again %v", a, x, again)
		}
		y, ok := datatype.ParseStreamID(b, 3)
		if !ok {
			return
		}
		if next, ok := x.Next(); ok && (!x.Less(next) || x.Less(y) && y.Less(next)) {
			t.Errorf("%v is behind %v", next, x)
		}
		if prev, ok := x.Prev(); ok && (!prev.Less(x) || prev.Less(y) && y.Less(x)) {
			t.Errorf("%v is before %v", prev, x)
		}
		if x.Compare(y) != cmp.Or(cmp.Compare(x.MS, y.MS), cmp.Compare(x.Seq, y.Seq)) {
			t.Errorf("%v and %v", x, y)
		}
	})
}
