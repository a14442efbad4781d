package command_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// TestSortTakesTheNamespaceWhereItMust: only a call that reads keys that it doesn't name is a run of its own.
func TestSortTakesTheNamespaceWhereItMust(t *testing.T) {
	specs := map[string]command.Spec{}
	for _, s := range command.All() {
		specs[s.Name] = s
	}
	for line, want := range map[string]bool{
		"k": false, "k ALPHA DESC LIMIT 0 10 STORE t": false, "k BY nosort": false, "k GET #": false, "k GET nothing": false, "k STORE by* GET x*": true, "k BY w_*": true, "k BY nosort GET w_*->f": true,
		"k BY w_* BY nosort": false, "k STORE BY LIMIT w_* 1": false, "k LIMIT BY w_*": false, "k BY w_* x": false,
	} {
		args := [][]byte{[]byte("sort")}
		for w := range strings.FieldsSeq(line) {
			args = append(args, []byte(w))
		}
		for _, name := range []string{"sort", "sort_ro"} {
			if got := specs[name].More(args)&command.FlagExclusive != 0; got != want {
				t.Errorf("%s %s: exclusive %v", name, line, got)
			}
		}
	}
}

// TestSortSeesOneMoment: weights that are always changed together are never seen apart, while others write them.
func TestSortSeesOneMoment(t *testing.T) {
	b := commandtest.New(t)
	reader := b.Session(t, commandtest.AReadSecret)
	first := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, first, "RPUSH l a b", ":2", "MSET w_a 0 w_b 0", "+OK")
	var writers sync.WaitGroup
	for range 2 {
		s := b.Session(t, commandtest.AWriteSecret)
		writers.Go(func() {
			for i := range 300 {
				b.Do(t, s, "MSET", "w_a", fmt.Sprint(i), "w_b", fmt.Sprint(i))
			}
		})
	}
	for range 300 {
		got := bulks(b.Do(t, reader, "SORT_RO", "l", "BY", "nosort", "GET", "w_*"))
		if len(got) != 2 || got[0] != got[1] {
			t.Fatalf("the weights are %q", got)
		}
	}
	writers.Wait()
}

// TestSortWithinALimit: what is stored counts with what GET names.
func TestSortWithinALimit(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "RPUSH l a b c", ":3", "SET v_a "+strings.Repeat("x", 4000), "+OK")
	bound(t, b, &atollpb.Limits{Bytes: hard(6000)})
	expect(t, b, s, "SORT l ALPHA GET v_* STORE t", "-LIMIT bytes", "SORT l ALPHA GET v_*", "*3", "SORT l ALPHA STORE t", ":3", "SORT l BY nosort GET # STORE t", ":3")
	bound(t, b, &atollpb.Limits{Keys: hard(3)})
	expect(t, b, s, "SORT l ALPHA STORE n", "-LIMIT keys", "SORT l ALPHA STORE t", ":3", "SORT none STORE t", ":0")
}

// TestSortOfMany: a few of the first are the same ones as of all, whatever is held meanwhile.
func TestSortOfMany(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	args := []string{"RPUSH", "l"}
	for i := range 5000 {
		args = append(args, fmt.Sprint((i*7919)%5000))
	}
	b.Do(t, s, args...)
	for _, order := range []string{"ASC", "DESC"} {
		b.Do(t, s, "SORT", "l", order, "STORE", "all")
		for _, offset := range []string{"0", "10", "4990"} {
			some := b.Do(t, s, "SORT", "l", order, "LIMIT", offset, "7")
			b.Do(t, s, "SORT", "l", order, "LIMIT", offset, "7", "STORE", "some")
			for _, got := range []string{some, b.Do(t, s, "LRANGE", "some", "0", "-1")} {
				if want := b.Do(t, s, "SORT", "all", "BY", "nosort", "LIMIT", offset, "7"); got != want || strings.Count(got, "$") != 7 {
					t.Errorf("%s from %s: %q, want %q", order, offset, got, want)
				}
			}
		}
	}
}

// FuzzSortOptions reads the words of SORT: whatever they are, the keys and flags of a call come from the same reading as what it does.
func FuzzSortOptions(f *testing.F) {
	for _, line := range []string{"k BY w_*->f GET # GET x* LIMIT 1 2 STORE t ALPHA DESC", "k BY *", "k GET *->", "k STORE", "k LIMIT -1 -1", "k BY a\x00*", "k GET #\x00"} {
		f.Add(line)
	}
	var sort command.Spec
	for _, s := range command.All() {
		if s.Name == "sort" {
			sort = s
		}
	}
	b := commandtest.New(f)
	s := b.Session(f, commandtest.AWriteSecret)
	f.Fuzz(func(t *testing.T, line string) {
		words := append([]string{"SORT"}, strings.Split(line, " ")...)
		args := make([][]byte, len(words))
		for i, w := range words {
			args[i] = []byte(w)
		}
		keys := sort.Keys.Positions(args, nil)
		if len(keys) < 1 || len(keys) > 2 || keys[len(keys)-1] >= len(args) {
			t.Fatalf("keys at %v", keys)
		}
		b.Do(t, s, "DEL", words[keys[0]], words[keys[len(keys)-1]])
		b.Do(t, s, "RPUSH", words[keys[0]], "2", "1")
		got := b.Do(t, s, words...)
		if stored := strings.HasPrefix(got, ":"); stored != (len(keys) == 2) && !strings.HasPrefix(got, "-") {
			t.Fatalf("%q answers %q", words, got)
		}
	})
}

// TestSortInATransaction: EXEC takes the namespace for itself where one of its commands must.
func TestSortInATransaction(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	b.Pipeline(t, s, []string{"RPUSH", "l", "a", "b"}, []string{"MSET", "w_a", "2", "w_b", "1"}, []string{"PFADD", "h", "x"})
	got := b.Pipeline(t, s, []string{"MULTI"}, []string{"SORT", "l", "BY", "w_*", "STORE", "t"}, []string{"PFCOUNT", "h"}, []string{"LRANGE", "t", "0", "-1"}, []string{"EXEC"})
	if !strings.HasSuffix(got, "*3\r\n:2\r\n:1\r\n*2\r\n$1\r\nb\r\n$1\r\na\r\n") {
		t.Errorf("%q", got)
	}
	if h := bulkOf(b.Do(t, s, "GET", "h")); h[15]&0x80 != 0 {
		t.Error("the count isn't noted")
	}
}
