package command_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc/atollpb"
)

const (
	queued  = "+QUEUED\r\n"
	nothing = "*-1\r\n"
)

// TestExecIsOneEntry holds that a transaction is one part of one entry of the log, whatever else a pipeline holds.
func TestExecIsOneEntry(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	before := b.Node.Data.Applied().Index
	const many = 300 // more than a run takes otherwise
	lines := [][]string{{"MULTI"}}
	for i := range many {
		lines = append(lines, []string{"SET", "k" + strconv.Itoa(i), "v"})
	}
	want := "+OK\r\n" + strings.Repeat(queued, many) + "*300\r\n" + strings.Repeat("+OK\r\n", many)
	if got := b.Pipeline(t, s, append(lines, []string{"EXEC"})...); got != want {
		t.Errorf("got %.200q", got)
	}
	if got := b.Node.Data.Applied().Index; got != before+1 {
		t.Errorf("the transaction made %d entries", got-before)
	}
}

func TestWatchSeesOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		write string
		by    string // whose
		want  string
	}{
		"another session's write":   {"SET k w", commandtest.AWriteSecret, nothing},
		"the same content":          {"SET k v", commandtest.AWriteSecret, nothing},
		"another key":               {"SET l w", commandtest.AWriteSecret, "*1\r\n$1\r\nv\r\n"},
		"another namespace's write": {"SET k w", commandtest.BWriteSecret, "*1\r\n$1\r\nv\r\n"},
		"another namespace's flush": {"FLUSHALL", commandtest.BWriteSecret, "*1\r\n$1\r\nv\r\n"},
		"a flush":                   {"FLUSHALL", commandtest.AWriteSecret, nothing},
		"a read":                    {"GET k", commandtest.AWriteSecret, "*1\r\n$1\r\nv\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b := commandtest.New(t)
			s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, tt.by)
			b.Do(t, other, "SET", "k", "v")
			expect(t, b, s, "SET k v", "+OK", "WATCH k", "+OK", "MULTI", "+OK", "GET k", queued)
			b.Do(t, other, strings.Fields(tt.write)...)
			if got := b.Do(t, s, "EXEC"); got != tt.want {
				t.Errorf("EXEC answered %q, want %q", got, tt.want)
			}
			expect(t, b, s, "MULTI", "+OK", "PING", queued, "EXEC", "*1\r\n+PONG")
		})
	}
}

// TestWatchSeesSubRows holds that a write which leaves the key row of a spread collection as it is counts.
func TestWatchSeesSubRows(t *testing.T) {
	b := commandtest.New(t)
	s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	for i := range 600 {
		n := strconv.Itoa(i)
		b.Do(t, s, "HSET", "h", "f"+n, "v")
		b.Do(t, s, "RPUSH", "l", n)
		b.Do(t, s, "ZADD", "z", n, "m"+n)
	}
	for _, tt := range [][2]string{{"h", "HSET h f5 w"}, {"l", "LSET l 5 9"}, {"z", "ZADD z 7.5 m5"}, {"h", "HDEL h f6"}, {"z", "ZREM z m9"}} {
		expect(t, b, s, "WATCH "+tt[0], "+OK")
		b.Do(t, other, strings.Fields(tt[1])...)
		expect(t, b, s, "MULTI", "+OK", "EXEC", nothing)
	}
}

// TestWatchSeesExpiry holds that a key which has run out since counts, whether or not its row was swept, and that one
// that had run out before doesn't.
func TestWatchSeesExpiry(t *testing.T) {
	for _, swept := range []bool{false, true} {
		b := commandtest.New(t)
		s := b.Session(t, commandtest.AWriteSecret)
		sweep := func() {
			if !swept {
				return
			}
			for b.Node.Data.Usage(commandtest.AID).Keys > 0 {
				time.Sleep(time.Millisecond)
			}
		}
		expect(t, b, s, "SET k v PX 20", "+OK", "WATCH k", "+OK")
		for b.Do(t, s, "GET", "k") != "$-1\r\n" {
			time.Sleep(time.Millisecond)
		}
		sweep()
		expect(t, b, s, "MULTI", "+OK", "EXEC", nothing)

		expect(t, b, s, "SET k v PX 1", "+OK")
		for b.Do(t, s, "GET", "k") != "$-1\r\n" {
			time.Sleep(time.Millisecond)
		}
		expect(t, b, s, "WATCH k", "+OK")
		sweep()
		expect(t, b, s, "MULTI", "+OK", "EXEC", "*0\r\n")
	}
}

// TestTransactionsCount has sessions count with WATCH, GET, MULTI, SET, EXEC: every transaction that was executed
// counts once.
func TestTransactionsCount(t *testing.T) {
	b := commandtest.New(t)
	const sessions, each = 8, 60
	var wg sync.WaitGroup
	for range sessions {
		s := b.Session(t, commandtest.AWriteSecret)
		wg.Go(func() {
			for range each {
				for {
					b.Do(t, s, "WATCH", "n")
					n := 0
					if parts := strings.Split(b.Do(t, s, "GET", "n"), "\r\n"); len(parts) > 1 && parts[1] != "" {
						n, _ = strconv.Atoi(parts[1])
					}
					reply := b.Pipeline(t, s, []string{"MULTI"}, []string{"INCR", "other"}, []string{"SET", "n", strconv.Itoa(n + 1)}, []string{"EXEC"})
					if strings.HasSuffix(reply, "+OK\r\n") {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	s := b.Session(t, commandtest.AWriteSecret)
	want := fmt.Sprint(sessions * each)
	for _, key := range []string{"n", "other"} {
		if got := b.Do(t, s, "GET", key); got != fmt.Sprintf("$%d\r\n%s\r\n", len(want), want) {
			t.Errorf("%s is %q, want %s", key, got, want)
		}
	}
}

// TestWatchedButNotWritten holds that EXEC and the writers of what it only watches take turns: of two sessions that each
// write what the other watches one is too late.
func TestWatchedButNotWritten(t *testing.T) {
	b := commandtest.New(t)
	keys := [2]string{"x", "y"}
	sessions := [2]*command.Session{b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)}
	executed := 0
	for range 1500 {
		b.Do(t, sessions[0], "DEL", "x", "y")
		var wg sync.WaitGroup
		var done [2]bool
		for i, s := range sessions {
			b.Do(t, s, "WATCH", keys[i])
		}
		for i, s := range sessions {
			wg.Go(func() {
				got := b.Pipeline(t, s, []string{"MULTI"}, []string{"SET", keys[1-i], "1"}, []string{"EXEC"})
				done[i] = strings.HasSuffix(got, "*1\r\n+OK\r\n")
			})
		}
		wg.Wait()
		if done[0] && done[1] {
			t.Fatal("both transactions were executed, and each wrote what the other watched")
		}
		if done[0] || done[1] {
			executed++
		}
	}
	if executed == 0 {
		t.Error("no transaction was executed")
	}
}

// TestExecIsRefusedWhole holds that what the rules or the store refuse of a transaction they refuse all of.
func TestExecIsRefusedWhole(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "SET a 1", "+OK")
	bound(t, b, &atollpb.Limits{Keys: hard(3)})
	expect(t, b, s, "MULTI", "+OK", "SET b 1", queued, "SET c 1", queued, "SET d 1", queued,
		"EXEC", "-EXECABORT Transaction discarded because of: LIMIT keys", "DBSIZE", ":1", "EXEC", "-ERR EXEC without MULTI",
		"MULTI", "+OK", "SET b 1", queued, "DEL b", queued, "SET b 1", queued, "SET a 2", queued, "SET c 1", queued, "EXEC", "*5", "DBSIZE", ":3")
	settle(t, b, func(a *atollpb.Namespace) {})
	expect(t, b, s, "MULTI", "+OK", "SET z 1", queued)
	settle(t, b, func(a *atollpb.Namespace) { a.ReadOnly = true })
	expect(t, b, s, "EXEC", "-EXECABORT Transaction discarded because of: NSREADONLY", "MULTI", "+OK", "GET a", queued, "EXEC", "*1\r\n$1\r\n2")
	settle(t, b, func(*atollpb.Namespace) {})
	expect(t, b, s, "MULTI", "+OK", "SET z 1", queued)
	b.Node.Data.Stop(store.Quiesced)
	expect(t, b, s, "EXEC", "-EXECABORT Transaction discarded because of: TRYAGAIN")
	b.Node.Data.Resume()
	expect(t, b, s, "EXISTS z", ":0", "PING", "+PONG")
	expect(t, b, s, "MULTI", "+OK", "SET z 1", queued)
	b.Node.SetLoading(true)
	expect(t, b, s, "EXEC", "-EXECABORT Transaction discarded because of: LOADING")
	b.Node.SetLoading(false)
	expect(t, b, s, "PING", "+PONG", "EXISTS z", ":0")
}

// TestTransactionsOnReplicas holds what a replica does: it executes what only reads, and knows of no writer.
func TestTransactionsOnReplicas(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "SET k v", "+OK", "WATCH k", "+OK", "MULTI", "+OK", "SET k w", queued)
	b.Node.SetReplica(true)
	expect(t, b, s, "EXEC", "-EXECABORT Transaction discarded because of: READONLY", "WATCH k", "-READONLY ",
		"MULTI", "+OK", "GET k", queued, "EXEC", "*1\r\n$1\r\nv",
		"MULTI", "+OK", "SET k w", "-READONLY ", "EXEC", "-EXECABORT Transaction discarded because of previous errors.")
	if got := len(b.Node.Calls); got != 0 {
		t.Errorf("%d calls were forwarded", got)
	}
}

// TestWatchAcrossEpochs holds that nothing is known of what others wrote while this node wasn't the primary.
func TestWatchAcrossEpochs(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "WATCH k", "+OK", "MULTI", "+OK")
	b.Node.Data.Stop(store.Replica)
	st := b.Node.Data.Applied()
	if err := b.Node.Data.BeginEpoch(st.Epoch+1, st.History, st.MinRevision); err != nil {
		t.Fatal(err)
	}
	expect(t, b, s, "EXEC", nothing)
}

// TestTransactionStaysInItsNamespace holds that AUTH in the middle can't take a transaction elsewhere.
func TestTransactionStaysInItsNamespace(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "MULTI", "+OK", "AUTH "+commandtest.BWriteSecret, queued, "HELLO 3 AUTH b "+commandtest.BWriteSecret, queued, "SET k a", queued, "AUTH "+commandtest.AReadSecret, queued,
		"EXEC", "*4\r\n-ERR the token is of another namespace, where a transaction can't go on\r\n-ERR the token is of another")
	expect(t, b, b.Session(t, commandtest.BWriteSecret), "EXISTS k", ":0")
	expect(t, b, b.Session(t, commandtest.AWriteSecret), "GET k", "$1\r\na")

	expect(t, b, s, "SET k b", "-NOPERM", "AUTH "+commandtest.AWriteSecret, "+OK", "WATCH k", "+OK", "AUTH "+commandtest.BWriteSecret, "+OK")
	expect(t, b, b.Session(t, commandtest.AWriteSecret), "SET k c", "+OK")
	expect(t, b, s, "MULTI", "+OK", "GET k", queued, "EXEC", "*1\r\n$-1")
}

func TestTransactionInRESP3(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "HELLO 3", "%7", "HSET h f v", ":1", "MULTI", "+OK", "HGETALL h", queued, "HELLO 2", queued, "HGETALL h", queued, "EXEC", "*3\r\n%1\r\n$1\r\nf\r\n$1\r\nv\r\n*14",
		"HELLO 3", "%7", "WATCH h", "+OK", "HSET h f w", ":0", "MULTI", "+OK", "EXEC", "_\r\n")
}

// TestTransactionIsSeen holds what operators see of one, and that what it holds is on the session's account.
func TestTransactionIsSeen(t *testing.T) {
	b := commandtest.New(t)
	s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	seen := func(want string) {
		t.Helper()
		id := strings.Trim(b.Do(t, s, "CLIENT", "ID"), ":\r\n")
		if got := b.Do(t, other, "CLIENT", "LIST", "ID", id); !strings.Contains(got, want) {
			t.Errorf("CLIENT LIST shows %q, want %q", got, want)
		}
	}
	seen(" multi=-1 ")
	before := s.Held()
	expect(t, b, s, "MULTI", "+OK", "SET k "+strings.Repeat("v", 100_000), queued)
	if got := b.Do(t, other, "CLIENT", "LIST"); !strings.Contains(got, " multi=1 ") || !strings.Contains(got, "flags=x") {
		t.Errorf("CLIENT LIST shows %q", got)
	}
	if got := s.Held() - before; got < 100_000 {
		t.Errorf("the session holds %d bytes more", got)
	}
	expect(t, b, s, "DISCARD", "+OK")
	if got := s.Held(); got > before+10_000 {
		t.Errorf("the session still holds %d bytes, before %d", got, before)
	}
	seen(" multi=-1 ")
	watchers := make([]*command.Session, 50)
	for i := range watchers {
		watchers[i] = b.Session(t, commandtest.AWriteSecret)
		b.Do(t, watchers[i], "WATCH", "k")
	}
	for _, w := range watchers {
		b.Registry.Remove(w) // as at the end of its connection
	}
	expect(t, b, s, "SET k v", "+OK")
}
