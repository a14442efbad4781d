package command_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/command/compare"
	"github.com/atolldb/atoll/datanode/datatype"
	"pgregory.net/rapid"
)

// ask executes one command, which must not fail.
func ask(t interface{ Fatalf(string, ...any) }, c compare.Conn, words ...string) compare.Value {
	replies, err := c.Do(words)
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	if replies[0].Kind == '-' {
		t.Fatalf("%q: %s", words, replies[0].Text)
	}
	return replies[0]
}

// Whatever comes, goes and changes between the steps of a scan, what is there from start to end is returned,
// and in SCAN once.
func TestScanReturnsWhatStays(t *testing.T) {
	c := newMemoryServer(t, datatype.Limits{Members: 8, Bytes: 200})
	for _, kind := range []string{"SCAN", "HSCAN", "ZSCAN"} {
		t.Run(kind, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { checkScan(t, c, kind) })
		})
	}
}

func checkScan(t *rapid.T, c compare.Conn, kind string) {
	add := func(name string) {
		switch kind {
		case "SCAN":
			ask(t, c, "SET", name, "v")
		case "HSCAN":
			ask(t, c, "HSET", "k", name, "v")
		default:
			ask(t, c, "ZADD", "k", strconv.Itoa(rapid.IntRange(0, 5).Draw(t, "score")), name)
		}
	}
	remove := func(name string) {
		switch kind {
		case "SCAN":
			ask(t, c, "DEL", name)
		case "HSCAN":
			ask(t, c, "HDEL", "k", name)
		default:
			ask(t, c, "ZREM", "k", name)
		}
	}
	ask(t, c, "FLUSHALL")
	var stay []string
	for i := range rapid.IntRange(1, 25).Draw(t, "stay") {
		stay = append(stay, fmt.Sprintf("s%02d", i*rapid.IntRange(1, 3).Draw(t, "gap")))
		add(stay[i])
	}
	churn := func() {
		for range rapid.IntRange(0, 4).Draw(t, "changes") {
			name := fmt.Sprintf("s%02dx", rapid.IntRange(0, 60).Draw(t, "name"))
			if rapid.Bool().Draw(t, "add") {
				add(name)
			} else {
				remove(name)
			}
		}
		if kind == "ZSCAN" { // another score for one that stays
			add(rapid.SampledFrom(stay).Draw(t, "moved"))
		}
	}
	seen := map[string]int{}
	count := strconv.Itoa(rapid.IntRange(1, 8).Draw(t, "count"))
	for cursor, steps := "0", 0; ; steps++ {
		churn()
		args := []string{kind, "k", cursor, "COUNT", count, "MATCH", "s*"}
		if kind == "SCAN" {
			args = slices.Delete(args, 1, 2)
		}
		reply := ask(t, c, args...)
		each := 2
		if kind == "SCAN" {
			each = 1
		}
		for i := 0; i < len(reply.List[1].List); i += each {
			seen[reply.List[1].List[i].Text]++
		}
		if cursor = reply.List[0].Text; cursor == "0" {
			break
		}
		if steps > 1000 {
			t.Fatalf("the scan has no end")
		}
	}
	for _, name := range stay {
		if seen[name] == 0 || seen[name] > 1 && kind == "SCAN" {
			t.Fatalf("%s was returned %d times", name, seen[name])
		}
	}
}

// A pattern with a fixed start is a range: other keys aren't looked at.
func TestScanMatchIsARange(t *testing.T) {
	c := newMemoryServer(t, datatype.DefaultLimits)
	for i := range 200 {
		ask(t, c, "SET", fmt.Sprint("other", i), "v")
	}
	for i := range 15 {
		ask(t, c, "SET", fmt.Sprint("some:", i, ":x"), "v")
	}
	first := ask(t, c, "SCAN", "0", "MATCH", "some:*:x")
	second := ask(t, c, "SCAN", first.List[0].Text, "MATCH", "some:*:x")
	if len(first.List[1].List) != 10 || len(second.List[1].List) != 5 || second.List[0].Text != "0" {
		t.Errorf("first %v\nsecond %v", first, second)
	}
}

func TestScanCursors(t *testing.T) {
	b := commandtest.New(t)
	fill := func(secret string) *memoryServer {
		m := &memoryServer{tb: t, bench: b, session: b.Session(t, secret)}
		for i := range 30 {
			ask(t, m, "SET", fmt.Sprintf("key%02d", i), "v")
			ask(t, m, "HSET", "big", fmt.Sprint("field", i), "0123456789012345678901234567890123456789012345678901234567890123456789")
		}
		return m
	}
	a, other := fill(commandtest.AWriteSecret), fill(commandtest.BWriteSecret)
	cursor := ask(t, a, "SCAN", "0", "COUNT", "3").List[0].Text
	if n, err := strconv.ParseUint(cursor, 10, 64); err != nil || n >= 1<<53 {
		t.Fatalf("cursor %s: %v", cursor, err)
	}
	want := ask(t, a, "SCAN", cursor, "COUNT", "3").List[1]
	if again := ask(t, a, "SCAN", cursor, "COUNT", "3").List[1]; !equalValues(want, again) {
		t.Errorf("a repeated call answers %v after %v", again, want)
	}
	b.Env.Families.Limits = datatype.Limits{Members: 4, Bytes: 100}
	for i := range 9 {
		ask(t, a, "HSET", "spread", fmt.Sprint(i), "v")
	}
	inHash := ask(t, a, "HSCAN", "spread", "0", "COUNT", "3").List[0].Text
	invalid := func(m *memoryServer, words ...string) {
		t.Helper()
		replies, err := m.Do(words)
		if err != nil || replies[0].Text != "ERR invalid cursor" {
			t.Errorf("%q: %v, %v", words, replies, err)
		}
	}
	invalid(other, "SCAN", cursor)
	invalid(a, "SCAN", inHash)
	invalid(a, "HSCAN", "big", inHash)
	ask(t, a, "ZADD", "sorted", "1", "m")
	invalid(a, "ZSCAN", "sorted", inHash)
	invalid(a, "SCAN", "123456789")
	invalid(a, "SCAN", "-1")
	ask(t, a, "SELECT", "1")
	invalid(a, "SCAN", cursor)
	ask(t, a, "SELECT", "0")
	ask(t, a, "HSCAN", "spread", inHash)

	// Scans that nobody goes on with push out only each other, and only those of their namespace.
	safe := ask(t, other, "SCAN", "0", "COUNT", "3").List[0].Text
	old := ask(t, a, "SCAN", "0", "COUNT", "3").List[0].Text
	for range 1100 {
		ask(t, a, "SCAN", "0", "COUNT", "3")
	}
	invalid(a, "SCAN", old)
	ask(t, other, "SCAN", safe)

	// A scan that goes on outlives any number of finished ones.
	slow := ask(t, a, "SCAN", "0", "COUNT", "3").List[0].Text
	for range 400 {
		for c := "0"; ; {
			if c = ask(t, a, "SCAN", c, "COUNT", "10").List[0].Text; c == "0" {
				break
			}
		}
	}
	ask(t, a, "SCAN", slow)
}

// Random elements are elements, different ones if asked for, and each comes up.
func TestRandomElements(t *testing.T) {
	for _, limits := range []datatype.Limits{datatype.DefaultLimits, {Members: 3, Bytes: 50}} {
		c := newMemoryServer(t, limits)
		c.bench.Env.Families.Random = rand.New(rand.NewPCG(1, 2)).Int64N
		for i := range 10 {
			ask(t, c, "HSET", "h", fmt.Sprint("f", i), fmt.Sprint("v", i))
			ask(t, c, "ZADD", "z", fmt.Sprint(i), fmt.Sprint("m", i))
		}
		for _, q := range []struct{ name, key, with, first, second string }{{"HRANDFIELD", "h", "WITHVALUES", "f", "v"}, {"ZRANDMEMBER", "z", "WITHSCORES", "m", ""}} {
			seen := map[string]int{}
			for range 300 {
				seen[ask(t, c, q.name, q.key).Text]++
				for _, count := range []int{1, 4, 10, 50, -3, -2000} {
					reply := ask(t, c, q.name, q.key, strconv.Itoa(count), q.with).List
					want := min(count, 10)
					if count < 0 {
						want = -count
					}
					if len(reply) != 2*want {
						t.Fatalf("%s %d answers %d words", q.name, count, len(reply))
					}
					different := map[string]bool{}
					for i := 0; i < len(reply); i += 2 {
						name, value := reply[i].Text, reply[i+1].Text
						different[name] = true
						if name[:1] != q.first || value != q.second+name[1:] {
							t.Fatalf("%s %d answers %s with %s", q.name, count, name, value)
						}
					}
					if count > 0 && len(different) != want {
						t.Fatalf("%s %d repeats itself", q.name, count)
					}
					if count < -100 {
						break // once is enough
					}
				}
			}
			for name, n := range seen {
				if len(seen) != 10 || n < 5 {
					t.Errorf("%s answers %s %d times of 300, %d different ones", q.name, name, n, len(seen))
				}
			}
		}
	}
}

// A count that no reply can hold ends the connection at its output limit, without collecting it first.
func TestRandomCountIsBounded(t *testing.T) {
	b := commandtest.New(t)
	s := b.Registry.Open(command.Peer{Remote: "192.0.2.1:1", Local: "192.0.2.2:6379"}, 1<<20, time.Now(), nil)
	defer b.Registry.Remove(s)
	b.Do(t, s, "AUTH", commandtest.AWriteSecret)
	b.Do(t, s, "HSET", "h", "f", "v")
	b.Do(t, s, "HRANDFIELD", "h", "-4000000000000000000", "WITHVALUES")
	if _, drop := s.Closing(); !drop {
		t.Error("the session goes on")
	}
}

// A hostile pattern costs what a harmless one does.
func TestKeysIsBounded(t *testing.T) {
	c := newMemoryServer(t, datatype.DefaultLimits)
	name, pattern := slices.Repeat([]byte("a"), 500), slices.Repeat([]byte("a*"), 500)
	ask(t, c, "SET", string(name), "v")
	if got := ask(t, c, "KEYS", string(pattern)+"b"); len(got.List) != 0 {
		t.Error(got)
	}
}

// Names that are too long to remember make a step of a scan longer, and no cursor larger.
func TestScanOfLongNames(t *testing.T) {
	c := newMemoryServer(t, datatype.Limits{Members: 1, Bytes: 40})
	long := strings.Repeat("n", 300<<10)
	ask(t, c, "MSET", "a"+long, "", "b"+long, "", "c", "", "d", "")
	reply := ask(t, c, "SCAN", "0", "COUNT", "1")
	if n := len(reply.List[1].List); n != 3 {
		t.Errorf("the first step found %d keys", n)
	}
	if rest := ask(t, c, "SCAN", reply.List[0].Text).List[1]; len(rest.List) != 1 || rest.List[0].Text != "d" {
		t.Errorf("the second step found %v", rest)
	}
	ask(t, c, "HSET", "h"+long, "1", "", "2", "", "3", "")
	first := ask(t, c, "HSCAN", "h"+long, "0", "COUNT", "1").List[0].Text
	for range 20 {
		ask(t, c, "HSCAN", "h"+long, "0", "COUNT", "1")
	}
	ask(t, c, "HSCAN", "h"+long, first) // which the other ones left room for
}
