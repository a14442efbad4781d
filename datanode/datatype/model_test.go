package datatype_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/datatype/datatypetest"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"pgregory.net/rapid"
)

const namespace = 7

// bench runs functions on a database of a store in memory.
type bench struct {
	store  *store.Store
	limits datatype.Limits
	buf    datatype.Buffers
	tx     store.Tx
}

func (b *bench) write(t interface{ Fatal(...any) }, f func(s datatype.Space)) {
	b.store.Namespace(namespace).Begin(&b.tx, store.Run{Exclusive: true})
	defer b.tx.End()
	f(b.space())
	if err := b.tx.Commit(store.Async); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) space() datatype.Space {
	return datatype.Space{Tx: &b.tx, DB: b.tx.DB(0), Limits: b.limits, Buf: &b.buf}
}

func name(t *rapid.T) []byte {
	return []byte(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "", "\x00", "\xff\xff", "a longer one"}).Draw(t, "name"))
}

// A hash behaves as a map at any limits, in one run or over many, with exact counters after each commit.
func TestHashModel(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.Limits{Members: 3, Bytes: 60}}
	key := []byte("hash")
	rapid.Check(t, func(t *rapid.T) {
		b.write(t, func(s datatype.Space) { s.Tx.FlushAll() })
		model := map[string]string{}
		for range rapid.IntRange(1, 12).Draw(t, "runs") {
			b.write(t, func(s datatype.Space) {
				for range rapid.IntRange(1, 5).Draw(t, "commands") {
					h, err := s.Hash(key)
					if err != nil {
						t.Fatal(err)
					}
					for range rapid.IntRange(1, 4).Draw(t, "fields") {
						changeHash(t, &h, model)
					}
					h.Save()
				}
			})
			b.write(t, func(s datatype.Space) {
				h, err := s.Hash(key)
				if err != nil {
					t.Fatal(err)
				}
				got := map[string]string{}
				h.Each(func(field, value []byte) bool {
					got[string(field)] = string(value)
					return true
				})
				if !maps.Equal(got, model) || h.Len() != int64(len(model)) || s.Exists(key) != (len(model) > 0) {
					t.Fatalf("%q of length %d, want %q", got, h.Len(), model)
				}
			})
			if err := datatypetest.Check(b.store, namespace, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func changeHash(t *rapid.T, h *datatype.Hash, model map[string]string) {
	field := name(t)
	old, had := model[string(field)]
	switch rapid.IntRange(0, 3).Draw(t, "change") {
	case 0:
		if h.Delete(field) != had {
			t.Fatalf("delete of %q: want %v", field, had)
		}
		delete(model, string(field))
	case 1:
		if got, ok := h.Get(field); ok != had || string(got) != old {
			t.Fatalf("get %q = %q, %v; want %q, %v", field, got, ok, old, had)
		}
	default:
		value := bytes.Repeat([]byte{'v'}, rapid.IntRange(0, 30).Draw(t, "length"))
		if h.Set(field, value) == had {
			t.Fatalf("set %q: created must be %v", field, !had)
		}
		model[string(field)] = string(value)
	}
}

// A set behaves as a set, packed and spread.
func TestSetModel(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.Limits{Members: 3, Bytes: 40}}
	key := []byte("set")
	rapid.Check(t, func(t *rapid.T) {
		b.write(t, func(s datatype.Space) { s.Tx.FlushAll() })
		model := map[string]bool{}
		for range rapid.IntRange(1, 12).Draw(t, "runs") {
			b.write(t, func(s datatype.Space) {
				set, err := s.Set(key)
				if err != nil {
					t.Fatal(err)
				}
				for range rapid.IntRange(1, 4).Draw(t, "members") {
					changeSet(t, &set, model)
				}
				set.Save()
			})
			b.write(t, func(s datatype.Space) {
				set, _ := s.Set(key)
				got := map[string]bool{}
				set.Each(func(member []byte) bool {
					got[string(member)] = true
					return true
				})
				if !maps.Equal(got, model) || set.Len() != int64(len(model)) || s.Exists(key) != (len(model) > 0) {
					t.Fatalf("%v of length %d, want %v", got, set.Len(), model)
				}
			})
			if err := datatypetest.Check(b.store, namespace, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func changeSet(t *rapid.T, set *datatype.Set, model map[string]bool) {
	member := name(t)
	had := model[string(member)]
	switch rapid.IntRange(0, 4).Draw(t, "change") {
	case 0:
		if set.Delete(member) != had {
			t.Fatalf("delete of %q: want %v", member, had)
		}
		delete(model, string(member))
	case 1:
		if set.Has(member) != had {
			t.Fatalf("has %q: want %v", member, had)
		}
	case 2:
		got, ok := set.Random(func(n int64) int64 { return rapid.Int64Range(0, n-1).Draw(t, "pick") })
		if ok != (len(model) > 0) || ok && !model[string(got)] {
			t.Fatalf("%q, %v was picked of %v", got, ok, model)
		}
	default:
		if set.Add(member) == had {
			t.Fatalf("add %q: new must be %v", member, !had)
		}
		model[string(member)] = true
	}
}

// Every member of a spread set can come up.
func TestRandomMember(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.Limits{Members: 3, Bytes: 40}}
	b.write(t, func(s datatype.Space) {
		set, _ := s.Set([]byte("set"))
		for i := range 50 {
			set.Add(fmt.Appendf(nil, "member:%d", i))
		}
		seen := map[string]bool{}
		state := uint64(1)
		for range 5_000 {
			m, _ := set.Random(func(n int64) int64 {
				state = state*6364136223846793005 + 1442695040888963407
				return int64(state>>33) % n
			})
			seen[string(m)] = true
		}
		if len(seen) != 50 {
			t.Errorf("%d of 50 members came up", len(seen))
		}
	})
}

type scored struct {
	member string
	score  float64
}

func sorted(model map[string]float64) []scored {
	var list []scored
	for m, s := range model {
		list = append(list, scored{m, s})
	}
	slices.SortFunc(list, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.member, b.member))
	})
	return list
}

func score(t *rapid.T) float64 {
	return rapid.SampledFrom([]float64{math.Inf(-1), -2, -0.5, math.Copysign(0, -1), 0, 1, 1, 1.5, 1e300, math.Inf(1)}).Draw(t, "score")
}

// A sorted set behaves as a sorted list, packed and spread.
func TestZSetModel(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.Limits{Members: 4, Bytes: 80}}
	key := []byte("zset")
	rapid.Check(t, func(t *rapid.T) {
		b.write(t, func(s datatype.Space) { s.Tx.FlushAll() })
		model := map[string]float64{}
		for range rapid.IntRange(1, 12).Draw(t, "runs") {
			b.write(t, func(s datatype.Space) {
				for range rapid.IntRange(1, 4).Draw(t, "commands") {
					z, err := s.ZSet(key)
					if err != nil {
						t.Fatal(err)
					}
					changeZSet(t, &z, model)
					z.Save()
				}
				z, _ := s.ZSet(key) // also before the commit
				checkZSet(t, &z, model)
			})
			b.write(t, func(s datatype.Space) {
				z, _ := s.ZSet(key)
				checkZSet(t, &z, model)
			})
			if err := datatypetest.Check(b.store, namespace, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func changeZSet(t *rapid.T, z *datatype.ZSet, model map[string]float64) {
	member := name(t)
	_, had := model[string(member)]
	switch rapid.IntRange(0, 5).Draw(t, "change") {
	case 0:
		if z.Delete(member) != had {
			t.Fatalf("delete of %q: want %v", member, had)
		}
		delete(model, string(member))
	case 1:
		start, stop, reverse := int64(rapid.IntRange(-3, 5).Draw(t, "start")), int64(rapid.IntRange(-3, 5).Draw(t, "stop")), rapid.Bool().Draw(t, "reverse")
		gone := ranked(sorted(model), start, stop, reverse)
		if n := z.DeleteSpan(z.ByRank(start, stop, reverse), false, -1); n != int64(len(gone)) {
			t.Fatalf("deleted %d of %v", n, gone)
		}
		for _, e := range gone {
			delete(model, e.member)
		}
	default:
		s := score(t)
		if z.Set(member, s) == had {
			t.Fatalf("set %q: created must be %v", member, !had)
		}
		model[string(member)] = s
	}
}

// ranked is ZRANGE by rank, in the order of the list.
func ranked(list []scored, start, stop int64, reverse bool) []scored {
	n := int64(len(list))
	if start < 0 {
		start = max(start+n, 0)
	}
	if stop < 0 {
		stop += n
	}
	stop = min(stop, n-1)
	if start > stop {
		return nil
	}
	if reverse {
		start, stop = n-1-stop, n-1-start
	}
	return list[start : stop+1]
}

func checkZSet(t *rapid.T, z *datatype.ZSet, model map[string]float64) {
	list := sorted(model)
	collect := func(span datatype.Span, reverse bool, skip, limit int64) []scored {
		var got []scored
		z.Walk(span, reverse, skip, limit, func(m []byte, s float64) bool {
			got = append(got, scored{string(m), s})
			return true
		})
		return got
	}
	if got := collect(z.All(), false, 0, -1); !slices.Equal(got, list) || z.Len() != int64(len(list)) {
		t.Fatalf("%v, want %v", got, list)
	}
	for i, e := range list {
		if s, ok := z.Score([]byte(e.member)); !ok || s != e.score {
			t.Fatalf("score of %q is %v, %v", e.member, s, ok)
		}
		up, _ := z.Rank([]byte(e.member), false)
		down, _ := z.Rank([]byte(e.member), true)
		if up != int64(i) || down != int64(len(list)-1-i) {
			t.Fatalf("ranks of %q are %d and %d", e.member, up, down)
		}
	}
	r := datatype.ScoreRange{Min: score(t), Max: score(t), MinOpen: rapid.Bool().Draw(t, "open"), MaxOpen: rapid.Bool().Draw(t, "open")}
	var inside []scored
	for _, e := range list {
		if e.score > r.Min-0 && e.score < r.Max || !r.Empty() && (e.score == r.Min && !r.MinOpen || e.score == r.Max && !r.MaxOpen) {
			inside = append(inside, e)
		}
	}
	span := z.ByScore(r)
	if n := z.Count(span); n != int64(len(inside)) {
		t.Fatalf("%+v counts %d, want %v", r, n, inside)
	}
	if got := collect(span, false, 0, -1); !slices.Equal(got, inside) {
		t.Fatalf("%+v holds %v, want %v", r, got, inside)
	}
	skip, limit := rapid.IntRange(0, 3).Draw(t, "skip"), rapid.IntRange(0, 3).Draw(t, "limit")
	slices.Reverse(inside)
	part := inside[min(skip, len(inside)):]
	part = part[:min(limit, len(part))]
	if got := collect(span, true, int64(skip), int64(limit)); !slices.Equal(got, part) {
		t.Fatalf("%+v backwards holds %v, want %v", r, got, part)
	}
	start, stop, reverse := int64(rapid.IntRange(-4, 6).Draw(t, "start")), int64(rapid.IntRange(-4, 6).Draw(t, "stop")), rapid.Bool().Draw(t, "reverse")
	if got, want := collect(z.ByRank(start, stop, reverse), false, 0, -1), ranked(list, start, stop, reverse); !slices.Equal(got, want) {
		t.Fatalf("ranks %d to %d hold %v, want %v", start, stop, got, want)
	}
}

// A packed row that doesn't parse is damage, for every way to read it, and never an answer.
func TestDamageIsNotServed(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.DefaultLimits}
	key := []byte("broken")
	reads := map[store.Type]map[string]func(s datatype.Space){
		store.TypeHash: {
			"walk":  func(s datatype.Space) { h, _ := s.Hash(key); h.Each(func(_, _ []byte) bool { return true }) },
			"look":  func(s datatype.Space) { h, _ := s.Hash(key); h.Get([]byte("x")) },
			"write": func(s datatype.Space) { h, _ := s.Hash(key); h.Set([]byte("x"), []byte("y")) },
		},
		store.TypeSet: {
			"walk":  func(s datatype.Space) { set, _ := s.Set(key); set.Each(func([]byte) bool { return true }) },
			"look":  func(s datatype.Space) { set, _ := s.Set(key); set.Has([]byte("x")) },
			"write": func(s datatype.Space) { set, _ := s.Set(key); set.Add([]byte("x")) },
		},
		store.TypeZSet: {
			"walk": func(s datatype.Space) {
				z, _ := s.ZSet(key)
				z.Walk(z.All(), false, 0, -1, func([]byte, float64) bool { return true })
			},
			"look":  func(s datatype.Space) { z, _ := s.ZSet(key); z.Score([]byte("x")) },
			"write": func(s datatype.Space) { z, _ := s.ZSet(key); z.Set([]byte("x"), 1) },
		},
	}
	for kind, reads := range reads {
		for _, data := range []string{"", "\x01", "\x01\x00", "\x00\x00x", "\x02\x00\x01a", "\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
			b.write(t, func(s datatype.Space) { s.Tx.Put(s.DB, key, store.Row{Type: kind, Data: []byte(data)}) })
			for what, read := range reads {
				if err := damage(b, read); !errors.Is(err, store.ErrDamage) {
					t.Errorf("%s of type %d with %q: %v", what, kind, data, err)
				}
			}
		}
	}
}

func damage(b *bench, f func(s datatype.Space)) (err error) {
	defer func() {
		if d, ok := recover().(store.Damage); ok {
			err = d
		}
	}()
	b.store.Namespace(namespace).Begin(&b.tx, store.Run{Exclusive: true})
	defer b.tx.End()
	f(b.space())
	return nil
}

// Renaming and copying take a spread collection's rows along, and leave nothing behind that counts.
func TestRenameAndCopySpread(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.Limits{Members: 2, Bytes: 50}}
	from, to, other := []byte("from"), []byte("to"), []byte("other")
	b.write(t, func(s datatype.Space) {
		z, _ := s.ZSet(from)
		for i := range 20 {
			z.Set([]byte("m"+strconv.Itoa(i)), float64(i))
		}
		z.Save()
		if ok, err := s.Rename(from, to); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if ok, err := s.Copy(to, s.Tx.DB(1), other); !ok || err != nil {
			t.Fatal(ok, err)
		}
		row, _ := s.Tx.Get(s.DB, to)
		row.Version = s.Tx.NewVersion()
		for _, row.Bytes = range []uint64{store.MaxRunBytes + 1, store.MaxRunBytes / 2} {
			row.Count = store.MaxRunBytes / 1024 // two rows each, with the key's name more than the other half
			s.Tx.Put(s.DB, []byte("large"), row)
			if ok, err := s.Rename([]byte("large"), from); ok || !errors.Is(err, store.ErrTooLarge) || s.Exists(from) {
				t.Errorf("more than a run may write was renamed: %d bytes", row.Bytes)
			}
		}
		s.Tx.Delete(s.DB, []byte("large"))
	})
	b.write(t, func(s datatype.Space) {
		for _, at := range []struct {
			db  int
			key []byte
		}{{0, to}, {1, other}} {
			s.DB = s.Tx.DB(at.db)
			z, _ := s.ZSet(at.key)
			if rank, ok := z.Rank([]byte("m7"), false); z.Len() != 20 || !ok || rank != 7 || !z.Spread() {
				t.Errorf("%s: %d members, rank %d, %v", at.key, z.Len(), rank, ok)
			}
		}
	})
	for db := range 2 {
		if err := datatypetest.Check(b.store, namespace, db); err != nil {
			t.Error(err)
		}
	}
}

// Every key can come up, and one among few neighbours doesn't hide the others.
func TestRandomKey(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.DefaultLimits}
	b.write(t, func(s datatype.Space) {
		if key, ok := s.RandomKey(nil); ok {
			t.Errorf("an empty database has %q", key)
		}
		for i := range 100 {
			s.SetString(fmt.Appendf(nil, "user:%05d", i), []byte("v"), 0)
		}
		for _, key := range []string{"", "\x00", "\xff\xff", "user:", "user"} {
			s.SetString([]byte(key), []byte("v"), 0)
		}
	})
	b.write(t, func(s datatype.Space) {
		seen := map[string]int{}
		state := uint64(1)
		for range 30_000 {
			key, ok := s.RandomKey(func(n int64) int64 {
				state = state*6364136223846793005 + 1442695040888963407
				return int64(state>>33) % n
			})
			if !ok || !s.Exists(key) {
				t.Fatalf("%q, %v", key, ok)
			}
			seen[string(key)]++
		}
		if len(seen) != 105 {
			t.Errorf("%d of 105 keys came up", len(seen))
		}
	})
}
