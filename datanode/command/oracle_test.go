package command_test

import (
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/command/compare"
	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/datatype/datatypetest"
	"pgregory.net/rapid"
)

// TestOracle sends the same random commands to Atoll and to a redis-server and compares every reply. It runs
// some 2,300 commands of each family; ATOLL_ORACLE_COMMANDS=1000000 runs that many. A failure prints the seed and the
// shortest sequence that rapid finds; -rapid.seed repeats it.
func TestOracle(t *testing.T) {
	dial := compare.Redis(t, oneNode...)
	limits := []struct {
		name string
		datatype.Limits
	}{{"small", datatype.Limits{Members: 4, Bytes: 90}}, {"default", datatype.DefaultLimits}}
	setChecks(t, len(families)*len(limits)*2)
	total := 0
	for _, f := range families {
		for _, l := range limits {
			for _, proto := range []int{2, 3} {
				t.Run(fmt.Sprintf("%s/%s/resp%d", f.name, l.name, proto), func(t *testing.T) {
					o := &oracle{redis: dial(), atoll: newMemoryServer(t, l.Limits), proto: proto}
					rapid.Check(t, func(t *rapid.T) { o.check(t, f.gen) })
					total += o.commands
				})
			}
		}
	}
	t.Logf("%d commands without a difference", total)
}

var families = []struct {
	name string
	gen  func(*rapid.T) []step
}{
	{"string", stringStep}, {"bitmap", bitmapStep}, {"hll", hllStep}, {"geo", geoStep}, {"sort", sortStep}, {"dump", dumpStep}, {"key", keyStep}, {"hash", hashStep}, {"set", setStep}, {"setops", setOperationStep}, {"zset", zsetStep}, {"zrange", zrangeStep}, {"zsetops", zsetOperationStep}, {"list", listStep}, {"stream", streamStep}, {"transaction", transactionStep}, {"mixed", mixedStep},
}

// stepsPerCheck is the average length of a sequence, with which a number of commands becomes a number of
// checks.
const stepsPerCheck = 40

func setChecks(t *testing.T, configurations int) {
	commands := 2_300 * len(families)
	if s := os.Getenv("ATOLL_ORACLE_COMMANDS"); s != "" {
		var err error
		if commands, err = strconv.Atoi(s); err != nil {
			t.Fatalf("ATOLL_ORACLE_COMMANDS: %v", err)
		}
	}
	setFlag(t, "rapid.checks", strconv.Itoa(max(commands/configurations/stepsPerCheck, 1)))
	setFlag(t, "rapid.nofailfile", "true") // the seed is printed
}

func setFlag(t *testing.T, name, value string) {
	old := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, old) })
}

// step is one command and how its replies are compared.
type step struct {
	args []string
	same func(a, b compare.Value) bool
}

func exact(args ...string) step { return step{args, equalValues} }

func equalValues(a, b compare.Value) bool { return a.String() == b.String() }

// unordered compares aggregates as sets of groups of n.
func unordered(n int) func(a, b compare.Value) bool {
	return func(a, b compare.Value) bool { return equalValues(a.Sorted(n), b.Sorted(n)) }
}

// near compares times, which differ by what passes between two servers.
func near(tolerance int64) func(a, b compare.Value) bool {
	return func(a, b compare.Value) bool {
		x, errX := strconv.ParseInt(a.Text, 10, 64)
		y, errY := strconv.ParseInt(b.Text, 10, 64)
		if a.Kind != b.Kind || errX != nil || errY != nil || x < 0 || y < 0 {
			return equalValues(a, b)
		}
		return max(x-y, y-x) <= tolerance
	}
}

// plainScores writes the scores in ZSCAN's list in one way: Redis writes 1e17 as 100000000000000000 where a
// sorted set is small, and as 1e+17, which is Atoll's way, where it is large.
func plainScores(v compare.Value) compare.Value {
	v.List = slices.Clone(v.List)
	for i := 1; i < len(v.List); i += 2 {
		if f, ok := datatype.ParseFloat([]byte(v.List[i].Text)); ok {
			v.List[i].Text = string(command.AppendDouble(nil, f))
		}
	}
	return v
}

// shape compares all but the content of strings, for replies that are picked at random.
func shape(a, b compare.Value) bool {
	if a.Kind == '-' {
		return equalValues(a, b)
	}
	return a.Kind == b.Kind && len(a.List) == len(b.List) && slices.EqualFunc(a.List, b.List, shape)
}

type oracle struct {
	redis    compare.Conn
	atoll    *memoryServer
	proto    int
	commands int
}

func (o *oracle) check(t *rapid.T, gen func(*rapid.T) []step) {
	hello := []string{"HELLO", strconv.Itoa(o.proto)}
	for _, c := range []compare.Conn{o.redis, o.atoll} {
		if _, err := c.Do(hello, []string{"UNWATCH"}, []string{"FLUSHALL"}, []string{"CONFIG", "RESETSTAT"}); err != nil {
			t.Fatal(err)
		}
	}
	for range rapid.IntRange(1, 40).Draw(t, "pipelines") {
		var batch []step
		for range rapid.SampledFrom([]int{1, 1, 1, 2, 5}).Draw(t, "pipelined") {
			steps := gen(t)
			last := steps[len(steps)-1].args
			look := len(last) > 1 && rapid.IntRange(0, 3).Draw(t, "look") == 0
			if look { // at what it does to the expiry, which few commands show
				batch = append(batch, exact("PEXPIREAT", last[1], strconv.Itoa(farMillis)))
			}
			batch = append(batch, steps...)
			if look {
				batch = append(batch, step{[]string{"PEXPIRETIME", last[1]}, near(10_000)})
			}
		}
		o.compare(t, batch)
	}
	o.looks(t)
	o.whole(t)
	for db := range 2 {
		if err := datatypetest.Check(o.atoll.store(), commandtest.AID, db); err != nil {
			t.Fatal(err)
		}
	}
}

// compare sends a pipeline to both.
func (o *oracle) compare(t *rapid.T, batch []step) []compare.Value {
	commands := make([][]string, len(batch))
	for i := range batch {
		commands[i] = batch[i].args
	}
	want, err := o.redis.Do(commands...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.atoll.Do(commands...)
	if err != nil {
		t.Fatal(err)
	}
	o.commands += len(batch)
	for i := range batch {
		if !batch[i].same(want[i], got[i]) {
			t.Fatalf("%q\nredis: %v\natoll: %v", batch[i].args, want[i], got[i])
		}
	}
	return want
}

// looks compares how many keys were looked up, and found.
func (o *oracle) looks(t *rapid.T) {
	want, err := infoOf(o.redis, looksCounted...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := infoOf(o.atoll, looksCounted...)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("redis: %s\natoll: %s", want, got)
	}
}

// whole compares all that is left.
func (o *oracle) whole(t *rapid.T) {
	// Redis counts a key that has run out until somebody asks for it.
	keys := o.compare(t, []step{exact(append([]string{"EXISTS"}, keyPool...)...), exact("DBSIZE"), {[]string{"KEYS", "*"}, unordered(1)}})[2]
	for _, k := range keys.List {
		kind := o.compare(t, []step{exact("TYPE", k.Text), {[]string{"PEXPIRETIME", k.Text}, near(10_000)}})[0].Text
		switch kind {
		case "string":
			o.compare(t, []step{exact("GET", k.Text)})
		case "hash":
			o.compare(t, []step{{[]string{"HGETALL", k.Text}, unordered(2)}, exact("HLEN", k.Text)})
			o.scanAll(t, "HSCAN", k.Text)
		case "set":
			o.compare(t, []step{{[]string{"SMEMBERS", k.Text}, unordered(1)}, exact("SCARD", k.Text)})
			o.scanAll(t, "SSCAN", k.Text)
		case "list":
			o.compare(t, []step{exact("LRANGE", k.Text, "0", "-1"), exact("LLEN", k.Text), exact("LINDEX", k.Text, "-1")})
		case "stream":
			o.compare(t, []step{exact("XRANGE", k.Text, "-", "+"), exact("XLEN", k.Text), {[]string{"XINFO", "STREAM", k.Text}, sameTimes}, exact("OBJECT", "ENCODING", k.Text), {[]string{"XINFO", "STREAM", k.Text, "FULL", "COUNT", "0"}, sameTimes}})
		case "zset":
			if k.Text == distancesKey {
				o.compare(t, []step{{[]string{"ZRANGE", k.Text, "0", "-1", "WITHSCORES"}, nearScores}})
				continue
			}
			o.compare(t, []step{exact("ZRANGE", k.Text, "0", "-1", "WITHSCORES"), exact("ZCARD", k.Text)})
			o.scanAll(t, "ZSCAN", k.Text)
		}
	}
	o.scanAll(t, "SCAN")
}

// scanAll compares whole scans.
func (o *oracle) scanAll(t *rapid.T, command ...string) {
	count := strconv.Itoa(rapid.IntRange(1, 6).Draw(t, "count"))
	scan := func(c compare.Conn) compare.Value {
		all := compare.Value{Kind: '*'}
		for cursor := "0"; ; {
			args := append(slices.Clone(command), cursor, "COUNT", count)
			replies, err := c.Do(args)
			if err != nil {
				t.Fatal(err)
			}
			if len(replies[0].List) != 2 {
				t.Fatalf("%q: %v", args, replies[0])
			}
			o.commands++
			found := replies[0].List[1]
			if command[0] == "ZSCAN" {
				found = plainScores(found)
			}
			all.List = append(all.List, found.List...)
			if cursor = replies[0].List[0].Text; cursor == "0" {
				return all
			}
		}
	}
	group := 2
	if command[0] == "SCAN" || command[0] == "SSCAN" {
		group = 1
	}
	if a, b := scan(o.redis).Sorted(group), scan(o.atoll).Sorted(group); !equalValues(a, b) {
		t.Fatalf("%q\nredis: %v\natoll: %v", command, a, b)
	}
}

// The parts that commands are made of.

func one(t *rapid.T, label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(t, label)
}

var keyPool = []string{"a", "b", "c", "d", "", "key\x00\xff"}

func key(t *rapid.T) string { return one(t, "key", keyPool...) }

func field(t *rapid.T) string {
	if rapid.IntRange(0, 9).Draw(t, "odd field") == 0 {
		return one(t, "field", "", "\x00", "a field that is longer than most", "\xff\xfe")
	}
	return one(t, "field", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8")
}

func value(t *rapid.T) string {
	return one(t, "value", "1", "-7", "10", "3.5", "1e3", "abc", "", "9223372036854775807", "-9223372036854775808", "012", " 5", "\x00\xff",
		"a value that is longer than what an embedded string may hold, 44 bytes")
}

func integerArg(t *rapid.T) string {
	return one(t, "integer", "0", "1", "-1", "2", "5", "-3", "100", "9223372036854775807", "-9223372036854775808", "x", "1.5", "", "+1")
}

func indexArg(t *rapid.T) string {
	return one(t, "index", "0", "1", "2", "3", "5", "-1", "-2", "-4", "-100", "100", "9223372036854775807", "-9223372036854775807", "x")
}

func floatArg(t *rapid.T) string {
	return one(t, "float", "0", "1", "-1", "0.1", "0.2", "1.5", "-2.25", "3e2", "1e17", "1e-9", "123456789.987654321", "inf", "-inf", "+inf", "nan", "x", "", "1e400", "0x1f", ".5", "5.")
}

// maybe appends words with a chance of one in n.
func maybe(t *rapid.T, n int, args []string, more ...string) []string {
	if rapid.IntRange(1, n).Draw(t, "option") == 1 {
		return append(args, more...)
	}
	return args
}

const (
	farSeconds = 33177117420 // in the year 3021
	farMillis  = farSeconds*1000 + 123
)

func absoluteSeconds(t *rapid.T) string {
	return one(t, "seconds", strconv.Itoa(farSeconds), strconv.Itoa(farSeconds+1), strconv.Itoa(farSeconds+60), "1", "0", "-5", "x", strconv.Itoa(math.MaxInt64))
}

func absoluteMillis(t *rapid.T) string {
	return one(t, "millis", strconv.Itoa(farMillis), strconv.Itoa(farMillis+1), strconv.Itoa(farMillis+60000), "1", "1000", "0", "-5", "x", strconv.Itoa(math.MaxInt64))
}

func relativeSeconds(t *rapid.T) string {
	return one(t, "relative", "100", "5000", "0", "-1", "x", strconv.Itoa(math.MaxInt64))
}
