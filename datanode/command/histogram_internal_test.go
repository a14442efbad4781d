package command

import (
	"fmt"
	"testing"
	"time"
)

// The buckets' names are those that redis-server 7.0 shows.
func TestHistogramBuckets(t *testing.T) {
	var names []int64
	for i := range histogramBuckets {
		names = append(names, bucketMicros(i))
	}
	const want = "[1 2 4 8 16 33 66 132 264 528 1056 2113 4227 8454 16908 33816 67633 135266 270532 541065 1073741]"
	if got := fmt.Sprint(names); got != want {
		t.Errorf("the buckets are %s, want %s", got, want)
	}
	for took, want := range map[time.Duration]int64{
		-1: 1, 0: 1, time.Microsecond: 1, 2 * time.Microsecond: 2, 3 * time.Microsecond: 4, 33 * time.Microsecond: 33, 34 * time.Microsecond: 66,
		132 * time.Microsecond: 132, 133 * time.Microsecond: 264, time.Second: 1073741, time.Hour: 1073741,
	} {
		if got := bucketMicros(bucketOf(took)); got != want {
			t.Errorf("%v is in bucket %d, want %d", took, got, want)
		}
	}
}

// Not every namespace can have histograms: the place of the one that did least goes to one that did twice as much, and
// what that costs is bounded.
func TestHistogramHolders(t *testing.T) {
	e := &Executor{table: NewTable(All())}
	cmd := e.table.lookup("get")
	all := make([]*namespaceStats, histogramHolders+2)
	call := func(i, n int) bool {
		all[i].commands.Add(uint64(n))
		e.clock(all[i], cmd, n, 3)
		return all[i].histograms.Load() != nil
	}
	for i := range all {
		all[i] = &namespaceStats{id: uint64(i)}
		if has, want := call(i, 10), i < histogramHolders; has != want {
			t.Fatalf("namespace %d has histograms: %v", i, has)
		}
	}
	last := len(all) - 1
	call(5, 3)
	for i := range histogramHolders {
		if i != 7 {
			call(i, 10)
		}
	}
	if !call(last, 10) || all[7].histograms.Load() != nil || len(e.stats.holders.list) != histogramHolders {
		t.Error("the busier one doesn't have the place of the one that did least")
	}
	if h := (*all[5].histograms.Load()).of(cmd); h.calls() != 23 {
		t.Errorf("namespace 5 has %d calls", h.calls())
	}
	if call(last-1, 10) {
		t.Error("one that isn't twice as busy has a place")
	}
	e.stats.holders.dismiss(all[5])
	e.stats.holders.dismiss(all[5])
	if !call(last-1, 1) || all[5].histograms.Load() != nil {
		t.Error("the place of a namespace that is gone isn't taken")
	}
}
