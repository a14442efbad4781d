package command

import (
	"testing"
	"time"
)

// BenchmarkObserve is what the metrics of namespaces add to each command.
func BenchmarkObserve(b *testing.B) {
	st := new(namespaceStats)
	b.ReportAllocs()
	for b.Loop() {
		st.observe(3, 1, 150*time.Microsecond)
	}
}

// BenchmarkAccount is what all counters of commands add to a pipeline of 16: all alike, or each another than the one before.
func BenchmarkAccount(b *testing.B) {
	e := &Executor{table: NewTable(All())}
	e.stats.commands = make([]commandStats, len(e.table.list))
	s := &Session{stats: new(namespaceStats), registry: NewRegistry()}
	for _, names := range [][]string{{"get"}, {"get", "hget"}} {
		plan := make([]planned, 16)
		for i := range plan {
			plan[i] = planned{cmd: e.table.lookup(names[i%len(names)]), kind: kindData}
		}
		b.Run(names[len(names)-1], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.account(s, plan, 3*time.Microsecond)
			}
		})
	}
}

// A command that takes exactly a bound is within it, and one beyond all of them is counted too.
func TestObserve(t *testing.T) {
	st := new(namespaceStats)
	for _, d := range durationBounds {
		st.observe(0, 1, d)
	}
	st.observe(0, 2, 3*time.Hour)
	s := st.sums()
	for i, n := range s.families[0].buckets {
		if want := uint64(1 + i/len(durationBounds)); n != want {
			t.Errorf("bucket %d has %d, not %d", i, n, want)
		}
	}
	if got := s.families[0].nanos; got < uint64(3*time.Hour) {
		t.Errorf("the time is %d", got)
	}
}

// Error replies that a run takes back are not counted, those that replace them are, by their codes.
func TestErrorCodes(t *testing.T) {
	r := NewReply(0)
	r.Error("WRONGTYPE no")
	r.forget()
	r.Error("MAYBE who knows")
	r.Error("NOVEL code")
	r.rawReply([]byte("-LIMIT keys\r\n"))
	r.rawReply([]byte("+OK\r\n"))
	got := map[string]uint32{}
	for i, n := range r.errors {
		if n > 0 {
			got[errorCodes[i]] = n
		}
	}
	if len(got) != 3 || got["MAYBE"] != 1 || got["other"] != 1 || got["LIMIT"] != 1 {
		t.Errorf("counted %v", got)
	}
}
