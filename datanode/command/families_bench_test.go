package command_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/tidwall/redcon"
)

// hotCommands are those whose path through the executor and the types must allocate nothing beyond what the
// store does for one commit.
var hotCommands = []string{
	"GET string", "SET string 0123456789012345678901234567890123456789", "INCR counter", "HSET hash field1 value", "HGET hash field2", "HGETALL hash",
	"SADD set member1", "SADD spreadset member1", "SISMEMBER set member2", "SISMEMBER spreadset member2", "SMEMBERS set", "SRANDMEMBER spreadset",
	"ZADD zset 5 member1", "ZADD zset 1 member1", "ZINCRBY zset 1 member2", "ZSCORE zset member2", "ZRANGE zset 0 -1", "MSET a 1 b 2 c 3", "MGET a b c", "EXISTS string", "TTL string",
	// What is pushed is popped in the same run, so that lists stay as they are.
	"LPUSH list 0123456789; LPOP list", "RPUSH list 0123456789; RPOP list", "LRANGE list 0 99", "LINDEX list 50", "LMOVE list list LEFT RIGHT", "XADD stream * field 0123456789", "XADD stream MAXLEN ~ 1000 * field 0123456789", "XADD stream MAXLEN 1000 * field 0123456789",
	"LPUSH spread 0123456789; LPOP spread", "RPUSH spread 0123456789; RPOP spread", "LRANGE spread 0 99", "LINDEX spread 50", "LMOVE spread spread LEFT RIGHT",
}

// runner returns a function that executes a line, of commands between semicolons, on a session, with what the hot commands read in place.
func runner(tb testing.TB) func(line string) func() {
	b := commandtest.New(tb)
	s := b.Session(tb, commandtest.AWriteSecret)
	b.Do(tb, s, "SET", "string", "value")
	for i := range 20 {
		b.Do(tb, s, "HSET", "hash", fmt.Sprint("field", i), "value")
		b.Do(tb, s, "SADD", "set", fmt.Sprint("member", i))
		b.Do(tb, s, "ZADD", "zset", fmt.Sprint(i), fmt.Sprint("member", i))
	}
	for i := range 200 {
		b.Do(tb, s, "SADD", "spreadset", fmt.Sprint("member", i))
	}
	var elements []string
	for i := range 1000 {
		elements = append(elements, fmt.Sprint("element", i))
	}
	for name, n := range map[string]int{"short": 20, "list": 100, "spread": 1000} {
		b.Do(tb, s, append([]string{"RPUSH", name}, elements[:n]...)...)
	}
	return func(line string) func() {
		var cmds []redcon.Command
		for part := range strings.SplitSeq(line, ";") {
			cmd := redcon.Command{Raw: []byte(part)}
			for word := range strings.FieldsSeq(part) {
				cmd.Args = append(cmd.Args, []byte(word))
			}
			cmds = append(cmds, cmd)
		}
		flush := func() error { return nil }
		return func() {
			s.Out.Reset(1 << 20)
			if err := b.Executor.Execute(tb.Context(), s, cmds, flush); err != nil {
				tb.Fatal(err)
			}
			if s.Out.Bytes()[0] == '-' {
				tb.Fatalf("%s answered %s", line, s.Out.Bytes())
			}
		}
	}
}

func BenchmarkCommands(b *testing.B) {
	run := runner(b)
	for _, line := range hotCommands {
		f := run(line)
		b.Run(strings.ReplaceAll(line, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

// BenchmarkPipeline is what a command costs among 16 of one pipeline, all alike, or each another than the one before.
func BenchmarkPipeline(b *testing.B) {
	bench := commandtest.New(b)
	s := bench.Session(b, commandtest.AWriteSecret)
	bench.Pipeline(b, s, []string{"SET", "string", "value"}, []string{"HSET", "hash", "f", "v"})
	for name, lines := range map[string][]string{"alike": {"GET string"}, "changing": {"GET string", "HGET hash f"}} {
		cmds := make([]redcon.Command, 16)
		for i := range cmds {
			cmds[i].Raw = []byte(lines[i%len(lines)])
			for word := range strings.FieldsSeq(lines[i%len(lines)]) {
				cmds[i].Args = append(cmds[i].Args, []byte(word))
			}
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Out.Reset(1 << 20)
				if err := bench.Executor.Execute(b.Context(), s, cmds, func() error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(cmds)), "ns/command")
		})
	}
}

// One allocation is the test node's lease; a write has those of the store's commit, as SET shows them.
func TestHotPathsAllocateNothing(t *testing.T) {
	run := runner(t)
	measure := func(line string) float64 {
		f := run(line)
		f()
		return min(testing.AllocsPerRun(200, f), testing.AllocsPerRun(200, f)) // a flush of the store falls into one of them
	}
	for _, line := range []string{"GET string", "HGET hash field2", "HGETALL hash", "HMGET hash field1 field2", "SISMEMBER set member2", "SISMEMBER spreadset member2", "SCARD set", "ZSCORE zset member2", "MGET string string string", "EXISTS string", "TTL string", "STRLEN string", "LINDEX list 50", "LRANGE list 0 99", "LINDEX spread 50", "LLEN spread"} {
		if n := measure(line); n > 1 {
			t.Errorf("%s allocates %v times", line, n)
		}
	}
	set := measure("SET string abc")
	for _, line := range []string{"INCR counter", "HSET hash field1 value", "HINCRBY hash n 1", "SADD set member1", "ZINCRBY zset 1 member2", "SETEX string 100 abc", "APPEND string x", "LPUSH short 1; LPOP short", "RPUSH short 1; RPOP short", "LPUSH spread 1; LPOP spread", "LMOVE spread spread LEFT RIGHT", "XADD stream * field value"} {
		if n := measure(line); n > set+1 { // a commit's own number varies by one
			t.Errorf("%s allocates %v times, and SET %v", line, n, set)
		}
	}
}
