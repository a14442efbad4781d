package command_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/command/compare"
)

// timeless is a reply of LATENCY HISTOGRAM without what differs from one server, and one moment, to the next: of each
// histogram the last sum alone, and its place.
func timeless(v compare.Value, buckets map[string]bool) compare.Value {
	v.List = slices.Clone(v.List)
	for i := 1; i < len(v.List); i += 2 {
		stats := &v.List[i]
		stats.List = slices.Clone(stats.List)
		counts := &stats.List[3]
		for k := 0; k < len(counts.List); k += 2 {
			buckets[counts.List[k].Text] = true
		}
		counts.List = counts.List[len(counts.List)-1:]
	}
	return v
}

// TestLatencyHistogramAsRedis runs the same commands here and on a real server: what is counted, under which names, and
// the reply's form.
func TestLatencyHistogramAsRedis(t *testing.T) {
	dial := compare.Redis(t)
	for _, secret := range []string{commandtest.AWriteSecret, commandtest.AdminSecret} {
		redis := dial()
		m := &memoryServer{tb: t, bench: commandtest.New(t)}
		m.session = m.bench.Session(t, secret)
		both := func(line string) (got, want compare.Value) {
			t.Helper()
			a, err := m.Do(strings.Fields(line))
			if err != nil {
				t.Fatal(err)
			}
			b, err := redis.Do(strings.Fields(line))
			if err != nil {
				t.Fatal(err)
			}
			return a[0], b[0]
		}
		for _, proto := range []string{"2", "3"} {
			both("HELLO " + proto)
			both("CONFIG RESETSTAT")
			for _, line := range []string{
				"SET k v", "SET k", "NOSUCH", "GET k", "GET k", "HGET k f", "CONFIG GET save", "CONFIG GET", "CONFIG", "OBJECT ENCODING k", "CLIENT ID", "ECHO x",
			} {
				both(line)
			}
			ours, theirs := map[string]bool{}, map[string]bool{}
			for _, line := range []string{
				"LATENCY HISTOGRAM", "LATENCY HISTOGRAM", "LATENCY HISTOGRAM get", "LATENCY HISTOGRAM GET get nosuch set", "LATENCY HISTOGRAM config", "LATENCY HISTOGRAM config|get",
				"LATENCY HISTOGRAM config|nosuch config|set", "LATENCY HISTOGRAM latency", "LATENCY HISTOGRAM |", "LATENCY HISTOGRAM mget",
			} {
				got, want := both(line)
				got, want = timeless(got, ours).Sorted(2), timeless(want, theirs).Sorted(2) // Redis' order is a hash table's
				if got.String() != want.String() {
					t.Errorf("%s, HELLO %s: %s answered\n%v\nRedis answers\n%v", secret, proto, line, got, want)
				}
			}
			for bucket := range theirs {
				if !slices.Contains(strings.Fields("1 2 4 8 16 33 66 132 264 528 1056 2113 4227 8454 16908 33816 67633 135266 270532 541065 1073741"), bucket) {
					t.Errorf("Redis has a bucket %s", bucket)
				}
			}
		}
	}
}

// TestLatencyHistogramTimes holds the sums, and who sees and resets whose.
func TestLatencyHistogramTimes(t *testing.T) {
	b := commandtest.New(t)
	admin, a, reader, other := b.Session(t, commandtest.AdminSecret), b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AReadSecret), b.Session(t, commandtest.BWriteSecret)
	at, step := time.Duration(0), time.Duration(0)
	b.Env.Elapsed = func() time.Duration { at += step; return at }
	get := func(s *command.Session, d time.Duration, n int) {
		// A run looks at the clock when it begins, before its first command, behind each, and when it ends.
		step = time.Duration(n) * d / time.Duration(n+2)
		lines := make([][]string, n)
		for i := range lines {
			lines[i] = []string{"GET", "k"}
		}
		b.Pipeline(t, s, lines...)
		step = 0
	}
	get(a, 3*time.Microsecond, 1)
	get(a, 600*time.Microsecond, 4)
	get(a, 5*time.Second, 1)
	get(other, 20*time.Microsecond, 2)
	const times = "*4\r\n$5\r\ncalls\r\n:6\r\n$14\r\nhistogram_usec\r\n*6\r\n:4\r\n:1\r\n:1056\r\n:5\r\n:1073741\r\n:6\r\n"
	play(t, b, reader, []exchange{{"LATENCY HISTOGRAM get", "*2\r\n$3\r\nget\r\n" + times}, {"CONFIG RESETSTAT", "-NOPERM…"}})
	play(t, b, other, []exchange{{"LATENCY HISTOGRAM get", "*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:2\r\n$14\r\nhistogram_usec\r\n*2\r\n:33\r\n:2\r\n"}})
	play(t, b, admin, []exchange{{"LATENCY HISTOGRAM get", "*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:8\r\n$14\r\nhistogram_usec\r\n*8\r\n:4\r\n:1\r\n:33\r\n:3\r\n:1056\r\n:7\r\n:1073741\r\n:8\r\n"}})
	play(t, b, a, []exchange{{"CONFIG RESETSTAT", "+OK\r\n"}, {"LATENCY HISTOGRAM get", "*0\r\n"}})
	play(t, b, other, []exchange{{"LATENCY HISTOGRAM get", "*2\r\n…"}})
	play(t, b, admin, []exchange{{"LATENCY HISTOGRAM get", "*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:8\r\n…"}, {"CONFIG RESETSTAT", "+OK\r\n"}, {"LATENCY HISTOGRAM get", "*0\r\n"}})
	play(t, b, other, []exchange{{"LATENCY HISTOGRAM get", "*2\r\n…"}})
}
