package command_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/datatype/datatypetest"
	"github.com/atolldb/atoll/datanode/store"
)

// What Redis 7.2 does otherwise than 7.0, which the transcripts are compared with: a consumer comes to be by asking,
// whatever it gets, and when it asked is told apart from when it got anything.
func TestStreamsAsInRedis72(t *testing.T) {
	b := commandtest.NewStanding(t)
	s := b.Session(t, commandtest.AWriteSecret)
	consumers := func(pending, inactive int) string {
		return fmt.Sprintf("*1\r\n*8\r\n$4\r\nname\r\n$1\r\nc\r\n$7\r\npending\r\n:%d\r\n$4\r\nidle\r\n:0\r\n$8\r\ninactive\r\n:%d\r\n", pending, inactive)
	}
	play(t, b, s, []exchange{
		{"XGROUP CREATE s g $ MKSTREAM", "+OK\r\n"},
		{"XREADGROUP GROUP g c STREAMS s >", "*-1\r\n"},
		{"XINFO CONSUMERS s g", consumers(0, -1)},
		{"XADD s 1-1 f v", "$3\r\n1-1\r\n"},
		{"XREADGROUP GROUP g c NOACK STREAMS s >", "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"},
		{"XINFO CONSUMERS s g", consumers(0, -1)},
		{"XADD s 1-2 f v", "$3\r\n1-2\r\n"},
		{"XREADGROUP GROUP g c STREAMS s >", "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-2\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"},
		{"XINFO CONSUMERS s g", consumers(1, 0)},
		{"XCLAIM s g d 0 9-9", "*0\r\n"},
		{"XAUTOCLAIM s g e 100 0", "*3\r\n$3\r\n0-0\r\n*0\r\n*0\r\n"},
		{"XGROUP DELCONSUMER s g d", ":0\r\n"},
		{"XGROUP DELCONSUMER s g e", ":0\r\n"},
		{"XPENDING s g - + 10", "*1\r\n*4\r\n$3\r\n1-2\r\n$1\r\nc\r\n:0\r\n:1\r\n"},
		{"XGROUP CREATECONSUMER s g e", ":1\r\n"}, // it had been there until it was deleted
	})
	full := b.Do(t, s, "XINFO", "STREAM", "s", "FULL")
	if !strings.Contains(full, "$9\r\nseen-time\r\n:") || !strings.Contains(full, "$11\r\nactive-time\r\n:-1\r\n") {
		t.Errorf("%q has not both times", full)
	}
}

// A call that would wait answers at once where there is something, and is checked as any other.
func TestStreamsThatNeedNotWait(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	const entry = "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"
	play(t, b, s, []exchange{
		{"XADD s 1-1 f v", "$3\r\n1-1\r\n"},
		{"XGROUP CREATE s g 0", "+OK\r\n"},
		{"XREAD BLOCK 0 STREAMS s 0", entry},
		{"XREAD BLOCK 10 COUNT 1 STREAMS s none 0 $", entry},
		{"XREADGROUP GROUP g c BLOCK 0 STREAMS s >", entry},
		{"XREADGROUP GROUP g c BLOCK 0 STREAMS s 0", entry},
		{"XREAD BLOCK 1 STREAMS s $", "*-1\r\n"},
		{"XREADGROUP GROUP g d BLOCK 1 STREAMS s >", "*-1\r\n"},
		{"XREADGROUP GROUP h c BLOCK 0 STREAMS s >", "-NOGROUP No such key 's' or consumer group 'h' in XREADGROUP with GROUP option\r\n"},
		{"XREAD BLOCK -1 STREAMS s 0", "-ERR timeout is negative\r\n"},
		{"XREAD BLOCK 9223372036854775807 STREAMS s 0", "-ERR timeout is out of range\r\n"},
		{"XREAD BLOCK 10 STREAMS s x", "-ERR Invalid stream ID specified as stream command argument\r\n"},
	})
}

// Who waits for a stream gets what comes, and $ stays what it was; of a group one gets it, and all learn that it is gone.
func TestStreamsThatAreWaitedFor(t *testing.T) {
	w, s := newWaiters(t)
	entry := func(key, id string) string {
		return fmt.Sprintf("*1\r\n*2\r\n$%d\r\n%s\r\n*1\r\n*2\r\n$3\r\n%s\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n", len(key), key, id)
	}
	expect(t, w.b, s, "XADD s 1-1 f v", "$3", "XGROUP CREATE s g $", "+OK", "XGROUP CREATE t g 0 MKSTREAM", "+OK")
	w.wait(commandtest.AReadSecret, "XREAD BLOCK 0 STREAMS none s 0 $")
	w.wait(commandtest.AReadSecret, "XREAD BLOCK 100000 STREAMS s 1-2")
	w.wait(commandtest.AWriteSecret, "XREADGROUP GROUP g one BLOCK 0 STREAMS s t > >")
	w.wait(commandtest.AWriteSecret, "XREADGROUP GROUP g two BLOCK 0 STREAMS s >")
	w.wait(commandtest.AWriteSecret, "XREADGROUP GROUP g three BLOCK 0 STREAMS t >")
	expect(t, w.b, s, "XADD s 1-2 f v", "$3")
	w.answered(0, entry("s", "1-2"))
	w.answered(2, entry("s", "1-2"))
	expect(t, w.b, s, "XPENDING s g", "*4\r\n:1\r\n$3\r\n1-2\r\n$3\r\n1-2\r\n*1\r\n*2\r\n$3\r\none\r\n$1\r\n1\r\n", "XTRIM s MAXLEN 0", ":2", "XADD s 1-3 f v", "$3")
	w.answered(1, entry("s", "1-3"))
	w.answered(3, entry("s", "1-3"))
	w.wait(commandtest.AWriteSecret, "XREADGROUP GROUP g four BLOCK 0 STREAMS t s > >")
	expect(t, w.b, s, "XGROUP DESTROY t g", ":1")
	gone := "-NOGROUP No such key 't' or consumer group 'g' in XREADGROUP with GROUP option\r\n"
	w.answered(4, gone)
	w.answered(5, gone)
	w.wait(commandtest.AWriteSecret, "XREADGROUP GROUP g five BLOCK 0 STREAMS s >")
	expect(t, w.b, s, "DEL s", ":1")
	w.answered(6, strings.Replace(gone, "'t'", "'s'", 1))
	if err := datatypetest.Check(w.b.Node.Data, commandtest.AID, 0); err != nil {
		t.Error(err)
	}
}

// What is to be about so much: an approximate trimming leaves less than a hundred more than it may, and takes no more
// than its limit. Redis' own depends on how full its nodes are.
func TestStreamApproximateTrims(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	for i := range 1000 {
		b.Do(t, s, "XADD", "s", "MAXLEN", "~", "250", fmt.Sprint(i+1), "f", "v")
	}
	play(t, b, s, []exchange{
		{"XLEN s", ":300\r\n"},
		{"XTRIM s MAXLEN ~ 201", ":0\r\n"},
		{"XTRIM s MAXLEN ~ 150 LIMIT 99", ":0\r\n"},
		{"XTRIM s MAXLEN ~ 150 LIMIT 199", ":100\r\n"},
		{"XTRIM s MINID ~ 850", ":0\r\n"},
		{"XTRIM s MINID ~ 901", ":100\r\n"},
		{"XTRIM s MAXLEN ~ 0", ":100\r\n"},
		{"EXISTS s", ":1\r\n"},
		{"XADD s MINID ~ 5000 2000 f v", "$6\r\n2000-0\r\n"},
		{"XLEN s", ":0\r\n"},
	})
	if got := b.Do(t, s, "XINFO", "STREAM", "s"); !strings.HasPrefix(got, "*20\r\n$6\r\nlength\r\n:0\r\n$15\r\nradix-tree-keys\r\n:0\r\n$16\r\nradix-tree-nodes\r\n:1\r\n") {
		t.Errorf("an empty stream is %q", got)
	}
}

// Ids that are given follow the clock, and never go back.
func TestStreamGivenIDs(t *testing.T) {
	b := commandtest.NewStanding(t)
	s := b.Session(t, commandtest.AWriteSecret)
	first := strings.Split(b.Do(t, s, "XADD", "s", "*", "f", "v"), "\r\n")[1]
	ms, ok := strings.CutSuffix(first, "-0")
	if !ok || len(ms) != 13 {
		t.Fatalf("the first id is %s", first)
	}
	got := b.Pipeline(t, s, []string{"XADD", "s", "*", "f", "v"}, []string{"XADD", "s", ms + "-*", "f", "v"}, []string{"XADD", "s", "99999999999999-7", "f", "v"}, []string{"XADD", "s", "*", "f", "v"})
	want := fmt.Sprintf("$15\r\n%s-1\r\n$15\r\n%s-2\r\n$16\r\n99999999999999-7\r\n$16\r\n99999999999999-8\r\n", ms, ms)
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	play(t, b, s, []exchange{
		{"XADD t 18446744073709551615-18446744073709551614 f v", "$41\r\n18446744073709551615-18446744073709551614\r\n"},
		{"XADD t 18446744073709551615-* f v", "$41\r\n18446744073709551615-18446744073709551615\r\n"},
		{"XADD t * f v", "-ERR The stream has exhausted the last possible ID, unable to add more items\r\n"},
		{"XADD u 5-18446744073709551615 f v", "$22\r\n5-18446744073709551615\r\n"},
		{"XADD u 5-* f v", "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n"},
		{"XREAD STREAMS t 18446744073709551615-18446744073709551615", "*-1\r\n"},
		{"XRANGE t (18446744073709551615-18446744073709551614 +", "*1\r\n*2\r\n$41\r\n18446744073709551615-18446744073709551615\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"},
	})
}

// A stream far beyond one node of Redis', with large entries and much that is pending, goes through every command.
func TestLargeStreams(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	const n = 3000
	ask := func(want string, words ...string) {
		t.Helper()
		if got := b.Do(t, s, words...); got != want {
			t.Errorf("%.80q answered %.200q, want %.200q", words, got, want)
		}
	}
	for i := range n {
		b.Do(t, s, "XADD", "s", fmt.Sprint(i+1), "n", fmt.Sprint(i))
	}
	large := strings.Repeat("x", 300_000)
	ask("$6\r\n5000-0\r\n", "XADD", "s", "5000", "large", large)
	ask("*1\r\n*2\r\n$6\r\n5000-0\r\n*2\r\n$5\r\nlarge\r\n$300000\r\n"+large+"\r\n", "XREVRANGE", "s", "+", "-", "COUNT", "1")
	ask("+OK\r\n", "XGROUP", "CREATE", "s", "g", "0")
	if got := b.Do(t, s, "XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">"); strings.Count(got, "$1\r\nn\r\n") != n {
		t.Errorf("%d entries were delivered", strings.Count(got, "$1\r\nn\r\n"))
	}
	ask(fmt.Sprintf("*4\r\n:%d\r\n$3\r\n1-0\r\n$6\r\n5000-0\r\n*1\r\n*2\r\n$1\r\nc\r\n$4\r\n%d\r\n", n+1, n+1), "XPENDING", "s", "g")
	ask("*3\r\n$6\r\n2501-0\r\n*0\r\n*0\r\n", "XAUTOCLAIM", "s", "g", "d", "100000000", "1501", "COUNT", "100")
	if got := b.Do(t, s, "XAUTOCLAIM", "s", "g", "d", "0", "0", "COUNT", "1500", "JUSTID"); !strings.HasPrefix(got, "*3\r\n$6\r\n1501-0\r\n*1500\r\n") {
		t.Errorf("claimed %.50q", got)
	}
	ask(":1000\r\n", "XTRIM", "s", "MINID", "1001")
	if got := b.Do(t, s, "XAUTOCLAIM", "s", "g", "d", "0", "0", "COUNT", "1000"); !strings.HasPrefix(got, "*3\r\n$6\r\n1001-0\r\n*0\r\n*1000\r\n$3\r\n1-0\r\n") {
		t.Errorf("cleared %.50q", got)
	}
	ask(fmt.Sprintf(":%d\r\n", n+1-1500), "XGROUP", "DELCONSUMER", "s", "g", "c")
	ask("*4\r\n:500\r\n$6\r\n1001-0\r\n$6\r\n1500-0\r\n*1\r\n*2\r\n$1\r\nd\r\n$3\r\n500\r\n", "XPENDING", "s", "g")
	ask(":1\r\n", "COPY", "s", "t")
	ask("+OK\r\n", "RENAME", "s", "u")
	ask(":1\r\n", "XACK", "u", "g", "1001")
	ask(":1\r\n", "XGROUP", "DESTROY", "u", "g")
	ask(":1996\r\n", "XTRIM", "u", "MAXLEN", "5")
	ask(":1\r\n", "DEL", "u")
	ask("*4\r\n:500\r\n$6\r\n1001-0\r\n$6\r\n1500-0\r\n*1\r\n*2\r\n$1\r\nd\r\n$3\r\n500\r\n", "XPENDING", "t", "g")
	if err := datatypetest.Check(b.Node.Data, commandtest.AID, 0); err != nil {
		t.Error(err)
	}
}

// On a replica XREAD is a read and XREADGROUP a write, unless they would wait.
func TestStreamsOnAReplica(t *testing.T) {
	primary, replica, _ := pair(t)
	s, p := replica.Session(t, commandtest.AWriteSecret), primary.Session(t, commandtest.AWriteSecret)
	play(t, replica, s, []exchange{
		{"XADD s 1-1 f v", "$3\r\n1-1\r\n"},
		{"XGROUP CREATE s g 0", "+OK\r\n"},
		{"XREAD STREAMS s 0", "*-1\r\n"}, // the replica has a store of its own here
		{"XREAD BLOCK 0 STREAMS s 0", "-READONLY You can't write against a read only replica.\r\n"},
		{"XREADGROUP GROUP g c BLOCK 0 STREAMS s >", "-READONLY You can't write against a read only replica.\r\n"},
		{"XREADGROUP GROUP g c STREAMS s >", "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"},
	})
	play(t, primary, p, []exchange{{"XACK s g 1-1", ":1\r\n"}})
}

// Groups that come and go in one transaction leave no ranges that every read would look at, where they are small; a transaction
// that removes many large ones is refused whole.
func TestStreamGroupsInOneTransaction(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	b.Do(t, s, "XADD", "k", "1-1", "f", "v")
	for _, pending := range []bool{false, true} {
		b.Do(t, s, "MULTI")
		for range store.MaxRanges {
			b.Do(t, s, "XGROUP", "CREATE", "k", "g", "0")
			b.Do(t, s, "XGROUP", "CREATECONSUMER", "k", "g", "c")
			if pending {
				b.Do(t, s, "XREADGROUP", "GROUP", "g", "c", "STREAMS", "k", ">")
			}
			b.Do(t, s, "XGROUP", "DESTROY", "k", "g")
		}
		b.Do(t, s, "SET", "done", "1")
		got := b.Do(t, s, "EXEC")
		if refused := strings.HasPrefix(got, "-EXECABORT Transaction discarded because of: the write is too large"); refused != pending {
			t.Errorf("pending %v: %.60q", pending, got)
		}
		if got := b.Do(t, s, "DEL", "done"); (got == ":0\r\n") != pending {
			t.Errorf("pending %v: DEL of what the transaction wrote: %q", pending, got)
		}
	}
}
