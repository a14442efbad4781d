package datatype_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/datatype/datatypetest"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"pgregory.net/rapid"
)

// A list behaves as a slice, packed and spread, in one run or over many, with exact counters after each commit.
func TestListModel(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.Limits{Members: 5, Bytes: 60}}
	key := []byte("list")
	spread := 0
	rapid.Check(t, func(t *rapid.T) {
		b.write(t, func(s datatype.Space) { s.Tx.FlushAll() })
		var model []string
		for range rapid.IntRange(1, 12).Draw(t, "runs") {
			b.write(t, func(s datatype.Space) {
				for range rapid.IntRange(1, 4).Draw(t, "commands") {
					l, err := s.List(key)
					if err != nil {
						t.Fatal(err)
					}
					model = changeList(t, &l, model)
					l.Save()
				}
				l, _ := s.List(key) // also before the commit
				checkList(t, &l, model)
			})
			b.write(t, func(s datatype.Space) {
				l, _ := s.List(key)
				checkList(t, &l, model)
				if s.Exists(key) != (len(model) > 0) {
					t.Fatalf("the key is there: %v, with %d elements", s.Exists(key), len(model))
				}
				if l.Spread() {
					spread++
				}
			})
			if err := datatypetest.Check(b.store, namespace, 0); err != nil {
				t.Fatal(err)
			}
		}
	})
	if spread == 0 {
		t.Error("no list has spread")
	}
}

func element(t *rapid.T) []byte {
	if rapid.IntRange(0, 11).Draw(t, "large") == 0 {
		return bytes.Repeat([]byte("x"), rapid.IntRange(0, 200).Draw(t, "length"))
	}
	return []byte(rapid.SampledFrom([]string{"a", "b", "c", "d", ""}).Draw(t, "element"))
}

func changeList(t *rapid.T, l *datatype.List, model []string) []string {
	front, size := rapid.Bool().Draw(t, "front"), int64(len(model))
	switch rapid.IntRange(0, 9).Draw(t, "change") {
	case 0:
		value, ok := l.Pop(front)
		return popped(t, model, front, value, ok)
	case 1:
		n := rapid.Int64Range(0, size).Draw(t, "n")
		want := slices.Clone(model[size-n:])
		slices.Reverse(want)
		left := model[:size-n]
		if front {
			want, left = model[:n], model[n:]
		}
		var got []string
		l.Take(front, n, func(value []byte) bool {
			got = append(got, string(value))
			return true
		})
		if !slices.Equal(got, want) {
			t.Fatalf("took %q, want %q", got, want)
		}
		return slices.Clone(left)
	case 2:
		start, stop := rapid.Int64Range(-9, 9).Draw(t, "start"), rapid.Int64Range(-9, 9).Draw(t, "stop")
		from, n := l.Range(start, stop)
		l.Trim(from, n)
		return ranged(model, start, stop)
	case 3:
		i, value := rapid.Int64Range(-size-1, size).Draw(t, "index"), element(t)
		if ok := l.Set(i, value); ok != (i >= -size && i < size) {
			t.Fatalf("set %d of %d: %v", i, size, ok)
		} else if ok {
			model[(i+size)%size] = string(value)
		}
		return model
	case 4, 5:
		pivot, value := element(t), element(t)
		ok, err := l.Insert(pivot, value, front)
		at := slices.Index(model, string(pivot))
		if ok != (at >= 0) || err != nil {
			t.Fatalf("insert at %q of %q: %v, %v", pivot, model, ok, err)
		}
		if !ok {
			return model
		}
		if front {
			at++
		}
		return slices.Insert(model, at, string(value))
	case 6:
		value, limit := element(t), rapid.Int64Range(0, 3).Draw(t, "limit")
		left := removed(model, string(value), front, limit)
		if n, err := l.Remove(value, front, limit); n != size-int64(len(left)) || err != nil {
			t.Fatalf("removed %d of %q from %q: %v", n, value, model, err)
		}
		return left
	case 7: // rotates, and the value outlives the change
		value, ok := l.Pop(front)
		model = popped(t, model, front, value, ok)
		if ok {
			l.Push(!front, value)
			model = pushed(model, !front, value)
		}
		return model
	}
	var values [][]byte
	for range rapid.IntRange(1, 5).Draw(t, "values") {
		values = append(values, element(t))
	}
	l.Push(front, values...)
	return pushed(model, front, values...)
}

func popped(t *rapid.T, model []string, front bool, value []byte, ok bool) []string {
	if len(model) == 0 {
		if ok {
			t.Fatalf("popped %q from nothing", value)
		}
		return nil
	}
	i := len(model) - 1
	if front {
		i = 0
	}
	if !ok || string(value) != model[i] {
		t.Fatalf("popped %q, %v of %q", value, ok, model)
	}
	return slices.Delete(model, i, i+1)
}

func pushed(model []string, front bool, values ...[]byte) []string {
	for _, v := range values {
		if front {
			model = slices.Insert(model, 0, string(v))
		} else {
			model = append(model, string(v))
		}
	}
	return model
}

func ranged(model []string, start, stop int64) (left []string) {
	size := int64(len(model))
	for i, v := range model {
		at := int64(i)
		if (start < 0 && at >= size+start || start >= 0 && at >= start) && (stop < 0 && at <= size+stop || stop >= 0 && at <= stop) {
			left = append(left, v)
		}
	}
	return left
}

func removed(model []string, value string, reverse bool, limit int64) []string {
	left := slices.Clone(model)
	if reverse {
		slices.Reverse(left)
	}
	n := int64(0)
	left = slices.DeleteFunc(left, func(v string) bool {
		if v == value && (limit == 0 || n < limit) {
			n++
			return true
		}
		return false
	})
	if reverse {
		slices.Reverse(left)
	}
	return left
}

func checkList(t *rapid.T, l *datatype.List, model []string) {
	if l.Len() != int64(len(model)) {
		t.Fatalf("length %d, want %q", l.Len(), model)
	}
	start, stop, reverse := rapid.Int64Range(-9, 9).Draw(t, "start"), rapid.Int64Range(-9, 9).Draw(t, "stop"), rapid.Bool().Draw(t, "reverse")
	for _, r := range [][2]int64{{0, -1}, {start, stop}, {math.MinInt64, math.MaxInt64}, {math.MaxInt64, math.MinInt64}} {
		from, n := l.Range(r[0], r[1])
		var got []string
		l.Each(from, n, reverse, func(i int64, value []byte) bool {
			if at, ok := l.Index(i); !ok || !bytes.Equal(at, value) || string(value) != model[i] {
				t.Fatalf("element %d is %q, by index %q, want %q", i, value, at, model[i])
			}
			got = append(got, string(value))
			return true
		})
		want := ranged(model, r[0], r[1])
		if reverse {
			slices.Reverse(want)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("range %v holds %q, want %q", r, got, want)
		}
	}
	for _, i := range []int64{int64(len(model)), -int64(len(model)) - 1, math.MaxInt64, math.MinInt64} {
		if v, ok := l.Index(i); ok {
			t.Fatalf("index %d has %q", i, v)
		}
	}
}

// A change in the middle of a long list moves the nearer side, a trim leaves what it keeps or moves it, and a push or
// a pop touches one row, whatever lies between.
func TestListCosts(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.DefaultLimits}
	key := []byte("list")
	const n = 1000
	b.write(t, func(s datatype.Space) {
		l, _ := s.List(key)
		for i := range n {
			l.Push(false, []byte("element"+strconv.Itoa(i)))
		}
		l.Save()
	})
	for _, step := range []struct {
		what string
		most int // bytes that the run holds: a row of this list has about 50
		do   func(l *datatype.List)
	}{
		{"push", 300, func(l *datatype.List) { l.Push(true, []byte("first")) }},
		{"push behind", 300, func(l *datatype.List) { l.Push(false, []byte("last")) }},
		{"pop", 300, func(l *datatype.List) { l.Pop(true) }},
		{"pop behind", 300, func(l *datatype.List) { l.Pop(false) }},
		{"index", 300, func(l *datatype.List) { l.Index(500) }},
		{"set", 400, func(l *datatype.List) { l.Set(500, []byte("element500")) }},
		{"insert near the front", 2000, func(l *datatype.List) { _, _ = l.Insert([]byte("element20"), []byte("new"), true) }},
		{"insert near the end", 2000, func(l *datatype.List) { _, _ = l.Insert([]byte("element980"), []byte("other"), false) }},
		{"remove near the front", 2000, func(l *datatype.List) { _, _ = l.Remove([]byte("new"), false, 0) }},
		{"remove near the end", 2000, func(l *datatype.List) { _, _ = l.Remove([]byte("other"), true, 1) }},
		{"trim a few", 1000, func(l *datatype.List) { l.Trim(5, n-10) }},
		{"trim nearly all", 2000, func(l *datatype.List) { l.Trim(100, 20) }},
		{"trim all", 300, func(l *datatype.List) { l.Trim(0, 0) }},
	} {
		b.write(t, func(s datatype.Space) {
			l, _ := s.List(key)
			step.do(&l)
			l.Save()
			if size := s.Tx.Size(); size > step.most {
				t.Errorf("%s takes %d bytes of rows, want at most %d", step.what, size, step.most)
			}
		})
		if err := datatypetest.Check(b.store, namespace, 0); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
	}
}

// Removing takes the right ones of equal elements, from either end, and leaves those behind the limit.
func TestListRemove(t *testing.T) {
	for _, limits := range []datatype.Limits{{Members: 1, Bytes: 20}, datatype.DefaultLimits} {
		b := &bench{store: storetest.Open(t), limits: limits}
		for _, elements := range []string{"abacaba", "aaabbb", "baaab", "cabbbbbac", "abcdefga", "ccccaa", "aacccc"} {
			model := strings.Split(elements, "")
			for limit := range int64(4) {
				for _, reverse := range []bool{false, true} {
					key := fmt.Appendf(nil, "%s %d %v", elements, limit, reverse)
					b.write(t, func(s datatype.Space) {
						l, _ := s.List(key)
						l.Push(false, bytes.Split([]byte(elements), nil)...)
						l.Save()
						want := removed(model, "a", reverse, limit)
						n, err := l.Remove([]byte("a"), reverse, limit)
						l.Save()
						var got []string
						l.Each(0, l.Len(), false, func(_ int64, v []byte) bool {
							got = append(got, string(v))
							return true
						})
						if err != nil || n != int64(len(model)-len(want)) || !slices.Equal(got, want) {
							t.Errorf("%s: removed %d, left %q, want %q; %v", key, n, got, want, err)
						}
					})
				}
			}
		}
		if err := datatypetest.Check(b.store, namespace, 0); err != nil {
			t.Error(err)
		}
	}
}

// What one change has returned holds until the next.
func TestListPopsAgain(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.DefaultLimits}
	b.write(t, func(s datatype.Space) {
		l, _ := s.List([]byte("list"))
		l.Push(false, []byte("one"), []byte("two"), []byte("six"))
		for _, want := range []string{"one", "two", "six"} {
			if v, ok := l.Pop(true); !ok || string(v) != want {
				t.Errorf("popped %q, want %q", v, want)
			}
		}
		l.Save()
	})
}

// What is wrong with a list's rows is damage for whatever reads them.
func TestListDamageIsNotServed(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.DefaultLimits}
	key := []byte("broken")
	all := func(l *datatype.List) { l.Each(0, l.Len(), false, func(int64, []byte) bool { return true }) }
	back := func(l *datatype.List) { l.Each(0, l.Len(), true, func(int64, []byte) bool { return true }) }
	index := func(l *datatype.List) { l.Index(-1) }
	push := func(l *datatype.List) { l.Push(false, []byte("x")) }
	set := func(l *datatype.List) { l.Set(-1, []byte("x")) }
	pop := func(l *datatype.List) { l.Pop(false) }
	for _, data := range []string{"", "\x01", "\x01\x00", "\x02\x00\x01a", "\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		b.write(t, func(s datatype.Space) { s.Tx.Put(s.DB, key, store.Row{Type: store.TypeList, Data: []byte(data)}) })
		for i, read := range []func(*datatype.List){all, back, index, push, set, pop} {
			if err := listDamage(b, key, read); !errors.Is(err, store.ErrDamage) {
				t.Errorf("read %d of %q: %v", i, data, err)
			}
		}
	}
	for _, data := range []string{"\x01\x00\x01ax", "\x00\x00x"} { // bytes behind the end, before they would be written again
		b.write(t, func(s datatype.Space) { s.Tx.Put(s.DB, key, store.Row{Type: store.TypeList, Data: []byte(data)}) })
		if err := listDamage(b, key, push); !errors.Is(err, store.ErrDamage) {
			t.Errorf("push to %q: %v", data, err)
		}
	}
	// The last element is one further than it should be, or has a longer name.
	for _, last := range []string{"\x00\x00\x00\x00\x00\x00\x01\x01", "\x00\x00\x00\x00\x00\x00\x00\xff\x00"} {
		b.write(t, func(s datatype.Space) {
			r := store.Row{Type: store.TypeList, Spread: true, Version: s.Tx.NewVersion(), Count: 2, Head: 255}
			for _, name := range []string{"\x00\x00\x00\x00\x00\x00\x00\xff", last} {
				s.Tx.PutSub(s.DB, key, r.Version, store.SubMember, []byte(name), []byte("a"))
				r.Bytes += store.SubSize([]byte(name), []byte("a"))
			}
			s.Tx.Put(s.DB, key, r)
		})
		for i, read := range []func(*datatype.List){all, back, index, set, pop} {
			if err := listDamage(b, key, read); !errors.Is(err, store.ErrDamage) {
				t.Errorf("read %d of a list whose last element is at %x: %v", i, last, err)
			}
		}
	}
}

func listDamage(b *bench, key []byte, read func(*datatype.List)) error {
	return damage(b, func(s datatype.Space) {
		l, _ := s.List(key)
		read(&l)
	})
}

// Renaming and copying a spread list keep its order, also where it has grown at the front.
func TestListRenameAndCopy(t *testing.T) {
	b := &bench{store: storetest.Open(t), limits: datatype.Limits{Members: 2, Bytes: 50}}
	from, to, other := []byte("from"), []byte("to"), []byte("other")
	b.write(t, func(s datatype.Space) {
		l, _ := s.List(from)
		for i := range 20 {
			l.Push(i%3 == 0, []byte(strconv.Itoa(i)))
		}
		l.Save()
		s.Rename(from, to)
		s.Copy(to, s.Tx.DB(1), other)
	})
	b.write(t, func(s datatype.Space) {
		first, _ := s.List(to)
		s.DB = s.Tx.DB(1)
		second, _ := s.List(other)
		first.Each(0, first.Len(), false, func(i int64, v []byte) bool {
			if w, ok := second.Index(i); !ok || !bytes.Equal(v, w) {
				t.Errorf("element %d is %q, and its copy %q", i, v, w)
			}
			return true
		})
		if v, _ := first.Index(0); string(v) != "18" || first.Len() != 20 || second.Len() != 20 || !second.Spread() {
			t.Errorf("%d and %d elements, the first %q", first.Len(), second.Len(), v)
		}
	})
	for db := range 2 {
		if err := datatypetest.Check(b.store, namespace, db); err != nil {
			t.Error(err)
		}
	}
}
