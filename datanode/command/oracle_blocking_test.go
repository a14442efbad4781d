package command_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/command/compare"
	"pgregory.net/rapid"
)

// TestOracleOfWaiters has a few connections wait for keys, one after the other, and another one write those, on Atoll and on
// a redis-server: the same ones are served, with the same replies, and what the writer sees is the same.
func TestOracleOfWaiters(t *testing.T) {
	dial := compare.Redis(t)
	b := commandtest.New(t)
	sides := [2]*waitingSide{
		newWaitingSide(t, func() compare.Conn { return dial() }),
		newWaitingSide(t, func() compare.Conn {
			return &memoryServer{tb: t, bench: b, session: b.Session(t, commandtest.AWriteSecret)}
		}),
	}
	setChecks(t, len(families)) // a round for each 40 commands of one family
	rounds := 0
	rapid.Check(t, func(t *rapid.T) {
		rounds++
		var waits, writes [][]string
		for range rapid.IntRange(1, len(sides[0].conns)).Draw(t, "waiters") {
			waits = append(waits, blockingLine(t))
		}
		for range rapid.SampledFrom([]int{1, 1, 2, 4}).Draw(t, "writes") {
			writes = append(writes, waitedLines(t)...)
		}
		var got [2]string
		for i, side := range sides {
			got[i] = side.play(t, waits, writes)
		}
		if got[0] != got[1] {
			t.Fatalf("%q, then %q:\nredis:\n%s\natoll:\n%s", waits, writes, got[0], got[1])
		}
	})
	t.Logf("%d rounds without a difference", rounds)
}

func blockingLine(t *rapid.T) []string {
	k := func() string { return one(t, "key", "a", "b", "c") }
	side := func() string { return one(t, "side", "LEFT", "RIGHT") }
	switch one(t, "wait", "BLPOP", "BRPOP", "BLMOVE", "BLMOVE", "BRPOPLPUSH", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP", "XREAD", "XREAD") {
	case "BLPOP":
		return []string{"BLPOP", k(), k(), "0"}
	case "BRPOP":
		return []string{"BRPOP", k(), "0"}
	case "BLMOVE":
		return []string{"BLMOVE", k(), k(), side(), side(), "0"}
	case "BRPOPLPUSH":
		return []string{"BRPOPLPUSH", k(), k(), "0"}
	case "BLMPOP":
		return []string{"BLMPOP", "0", "2", k(), k(), side(), "COUNT", one(t, "count", "1", "2", "5")}
	case "BZPOPMIN":
		return []string{"BZPOPMIN", k(), k(), "0"}
	case "XREAD":
		if rapid.Bool().Draw(t, "one stream") {
			return []string{"XREAD", "BLOCK", "0", "STREAMS", k(), one(t, "after", "$", "0", "1-2")}
		}
		first := k() // of one that is named twice 7.0 tells who has waited once
		second := map[string]string{"a": "b", "b": "c", "c": "a"}[first]
		return []string{"XREAD", "COUNT", "2", "BLOCK", "0", "STREAMS", first, second, "$", one(t, "after", "$", "0")}
	case "BZPOPMAX":
		return []string{"BZPOPMAX", k(), "0"}
	}
	return []string{"BZMPOP", "0", "2", k(), k(), one(t, "end", "MIN", "MAX"), "COUNT", one(t, "count", "1", "3")}
}

// waitedLines are writes that may serve waiters, some of them as one transaction. Of those that overwrite a key by another
// type there is none: redis-server 7.0 leaves who waits for that waiting. Nor is
// there one that takes an entry back in the same transaction: it would answer without any.
func waitedLines(t *rapid.T) [][]string {
	k := func() string { return one(t, "key", "a", "b", "c") }
	line := func() []string {
		switch one(t, "write", "push", "push", "push", "ZADD", "ZADD", "SET", "DEL", "RENAME", "LMOVE", "LPOP", "COPY", "SWAPDB", "LLEN", "XADD", "XADD", "XADD") {
		case "push":
			args := []string{one(t, "end", "LPUSH", "RPUSH"), k()}
			for i := range rapid.IntRange(1, 4).Draw(t, "elements") {
				args = append(args, "e"+strconv.Itoa(i))
			}
			return args
		case "ZADD":
			return []string{"ZADD", k(), "1", "x", "2", "y", "0.5", one(t, "member", "x", "z")}
		case "XADD":
			return []string{"XADD", k(), "1-*", "f", one(t, "value", "v", "w")}
		case "SET":
			return []string{"SET", k(), "v"}
		case "DEL":
			return []string{"DEL", k()}
		case "RENAME":
			return []string{"RENAME", k(), k()}
		case "LMOVE":
			return []string{"LMOVE", k(), k(), "LEFT", "RIGHT"}
		case "LPOP":
			return []string{"LPOP", k()}
		case "COPY":
			return []string{"COPY", k(), k(), "REPLACE"}
		case "SWAPDB":
			return []string{"SWAPDB", "0", "1"}
		}
		return []string{"LLEN", k()}
	}
	if rapid.IntRange(0, 2).Draw(t, "transaction") > 0 {
		return [][]string{line()}
	}
	lines := [][]string{{"MULTI"}}
	for range rapid.IntRange(1, 4).Draw(t, "inside") {
		lines = append(lines, line())
	}
	return append(lines, []string{"EXEC"})
}

// waitingSide is a server with connections that wait.
type waitingSide struct {
	tb     testing.TB
	writer compare.Conn
	conns  []compare.Conn
	ids    []string
}

func newWaitingSide(tb testing.TB, dial func() compare.Conn) *waitingSide {
	w := &waitingSide{tb: tb, writer: dial()}
	for range 4 {
		c := dial()
		id, err := c.Do([]string{"CLIENT", "ID"})
		if err != nil {
			tb.Fatal(err)
		}
		w.conns, w.ids = append(w.conns, c), append(w.ids, id[0].Text)
	}
	return w
}

// blocked returns how many clients wait.
func (w *waitingSide) blocked(t *rapid.T) int {
	info, err := w.writer.Do([]string{"INFO", "clients"})
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(info[0].Text, "blocked_clients:")
	text, _, _ = strings.Cut(text, "\r\n")
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("INFO says %q", info[0].Text)
	}
	return n
}

// play returns everything that was answered: to those that wait, and to the writer.
func (w *waitingSide) play(t *rapid.T, waits, writes [][]string) string {
	if _, err := w.writer.Do([]string{"FLUSHALL"}); err != nil {
		t.Fatal(err)
	}
	replies := make([]chan string, len(waits))
	for i, line := range waits {
		replies[i] = make(chan string, 1)
		go func() {
			got, err := w.conns[i].Do(line)
			replies[i] <- fmt.Sprint(got, err)
		}()
		w.await(t, i+1)
	}
	var b strings.Builder
	got, err := w.writer.Do(writes...)
	fmt.Fprintln(&b, "writer:", got, err)
	left := w.blocked(t)
	if left > 0 { // a waiter that a server serves is no blocked client any more
		for _, id := range w.ids {
			if _, err := w.writer.Do([]string{"CLIENT", "UNBLOCK", id, "ERROR"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range replies {
		fmt.Fprintf(&b, "waiter %d: %s\n", i, <-replies[i])
	}
	w.await(t, 0)
	keys, err := w.writer.Do([]string{"TYPE", "a"}, []string{"TYPE", "b"}, []string{"TYPE", "c"}, []string{"LRANGE", "a", "0", "-1"}, []string{"LRANGE", "b", "0", "-1"},
		[]string{"LRANGE", "c", "0", "-1"}, []string{"ZRANGE", "a", "0", "-1"}, []string{"ZRANGE", "b", "0", "-1"}, []string{"ZRANGE", "c", "0", "-1"})
	fmt.Fprintln(&b, "left:", slices.Clone(keys), err)
	return b.String()
}

func (w *waitingSide) await(t *rapid.T, n int) {
	for end := time.Now().Add(20 * time.Second); w.blocked(t) != n; {
		if time.Now().After(end) {
			t.Fatalf("%d clients wait, not %d", w.blocked(t), n)
		}
	}
}
