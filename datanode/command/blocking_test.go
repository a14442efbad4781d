package command_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// waiters are sessions whose command waits.
type waiters struct {
	t       *testing.T
	b       *commandtest.Bench
	n       int
	replies []chan string
	session []*command.Session
}

// wait has a new session of a token call a command, and returns once it waits.
func (w *waiters) wait(secret string, line string) {
	w.t.Helper()
	s := w.b.Session(w.t, secret)
	reply := make(chan string, 1)
	go func() { reply <- w.b.Do(w.t, s, strings.Fields(line)...) }()
	w.n++
	w.blocked(w.n)
	w.replies, w.session = append(w.replies, reply), append(w.session, s)
}

// blocked waits until so many sessions wait.
func (w *waiters) blocked(n int) {
	w.t.Helper()
	admin := w.b.Session(w.t, commandtest.AdminSecret)
	defer w.b.Registry.Remove(admin)
	want := fmt.Sprintf("blocked_clients:%d\r\n", n)
	for end := time.Now().Add(20 * time.Second); !strings.Contains(w.b.Do(w.t, admin, "INFO", "clients"), want); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			w.t.Fatalf("there are no %d waiters", n)
		}
	}
}

// answered requires that waiter i is answered, with that.
func (w *waiters) answered(i int, want string) {
	w.t.Helper()
	select {
	case got := <-w.replies[i]:
		w.n--
		if got != want {
			w.t.Errorf("waiter %d got %q, want %q", i, got, want)
		}
	case <-time.After(20 * time.Second):
		w.t.Fatalf("waiter %d was not answered", i)
	}
}

func newWaiters(t *testing.T) (*waiters, *command.Session) {
	b := commandtest.New(t)
	return &waiters{t: t, b: b}, b.Session(t, commandtest.AWriteSecret)
}

func keyed(key, value string) string {
	return fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)
}

// TestWaitersAreServedWithinTheRun holds that nobody sees what a waiter is served with, in the pipeline of the one who
// pushed it or after.
func TestWaitersAreServedWithinTheRun(t *testing.T) {
	w, s := newWaiters(t)
	w.wait(commandtest.AWriteSecret, "BLPOP k 0")
	w.wait(commandtest.AWriteSecret, "BRPOP j k 0")
	before := w.b.Node.Data.Applied().Index
	got := w.b.Pipeline(t, s, []string{"RPUSH", "k", "a", "b", "c"}, []string{"LRANGE", "k", "0", "-1"}, []string{"RPUSH", "k", "d"})
	if want := ":3\r\n*1\r\n$1\r\nb\r\n:2\r\n"; got != want {
		t.Errorf("the pusher got %q, want %q", got, want)
	}
	w.answered(0, keyed("k", "a"))
	w.answered(1, keyed("k", "c"))
	if n := w.b.Node.Data.Applied().Index - before; n != 1 {
		t.Errorf("it took %d entries", n)
	}
}

func TestWaitersAreServedInOrder(t *testing.T) {
	w, s := newWaiters(t)
	for range 5 {
		w.wait(commandtest.AWriteSecret, "BLPOP other k 0")
	}
	for i := range 5 {
		expect(t, w.b, s, "RPUSH k "+strconv.Itoa(i), ":1")
		w.answered(i, keyed("k", strconv.Itoa(i)))
	}
	expect(t, w.b, s, "EXISTS k", ":0")
}

// TestWritesThatServe holds that every kind of write serves, and what a transaction does to the end.
func TestWritesThatServe(t *testing.T) {
	for name, tt := range map[string]struct {
		wait   string
		write  []string
		want   string
		served bool
	}{
		"LPUSH":              {"BLPOP k 0", []string{"LPUSH k v"}, keyed("k", "v"), true},
		"LINSERT can't":      {"BLPOP k 0", []string{"LINSERT k BEFORE a b"}, "", false},
		"RENAME":             {"BLPOP k 0", []string{"RPUSH l v", "RENAME l k"}, keyed("k", "v"), true},
		"COPY":               {"BLPOP k 0", []string{"RPUSH l v", "COPY l k"}, keyed("k", "v"), true},
		"COPY from a base":   {"BLPOP k 0", []string{"SELECT 1", "RPUSH l v", "COPY l k DB 0"}, keyed("k", "v"), true},
		"MOVE":               {"BLPOP k 0", []string{"SELECT 1", "RPUSH k v", "MOVE k 0"}, keyed("k", "v"), true},
		"SWAPDB":             {"BLPOP k 0", []string{"SELECT 1", "RPUSH k v", "SWAPDB 0 1"}, keyed("k", "v"), true},
		"LMOVE":              {"BLPOP k 0", []string{"RPUSH l v", "LMOVE l k LEFT LEFT"}, keyed("k", "v"), true},
		"another type":       {"BLPOP k 0", []string{"ZADD k 1 v", "DEL k", "SADD k v"}, "", false},
		"of two types":       {"BLPOP k l 0", []string{"SET k v", "RPUSH l w"}, keyed("l", "w"), true},
		"another database":   {"BLPOP k 0", []string{"SELECT 1", "RPUSH k v"}, "", false},
		"ZADD":               {"BZPOPMIN k 0", []string{"ZADD k 2 v 1 w"}, "*3\r\n$1\r\nk\r\n$1\r\nw\r\n$1\r\n1\r\n", true},
		"ZADD, highest":      {"BZPOPMAX k 0", []string{"ZADD k 2 v 1 w"}, "*3\r\n$1\r\nk\r\n$1\r\nv\r\n$1\r\n2\r\n", true},
		"ZUNIONSTORE":        {"BZMPOP 0 2 j k MIN COUNT 5", []string{"ZADD z 2 v", "ZUNIONSTORE k 1 z"}, "*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$1\r\nv\r\n$1\r\n2\r\n", true},
		"BLMPOP":             {"BLMPOP 0 2 j k RIGHT COUNT 2", []string{"RPUSH k a b c"}, "*2\r\n$1\r\nk\r\n*2\r\n$1\r\nc\r\n$1\r\nb\r\n", true},
		"BLMOVE":             {"BLMOVE k l LEFT RIGHT 0", []string{"RPUSH k v"}, "$1\r\nv\r\n", true},
		"BLMOVE to itself":   {"BLMOVE k k LEFT RIGHT 0", []string{"RPUSH k v w"}, "$1\r\nv\r\n", true},
		"to a wrong type":    {"BRPOPLPUSH k s 0", []string{"SET s v", "RPUSH k v"}, "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", true},
		"EXEC":               {"BLPOP k 0", []string{"MULTI", "RPUSH k a", "RPUSH k b", "LPOP k", "EXEC"}, keyed("k", "b"), true},
		"EXEC takes it back": {"BLPOP k 0", []string{"MULTI", "RPUSH k a", "DEL k", "EXEC"}, "", false},
		"EXEC elsewhere":     {"BLPOP k 0", []string{"MULTI", "SELECT 1", "RPUSH k a", "SELECT 0", "RPUSH k b", "EXEC"}, keyed("k", "b"), true},
		"EXEC with SWAPDB":   {"BLPOP k 0", []string{"MULTI", "SELECT 1", "RPUSH k a", "SWAPDB 0 1", "EXEC"}, keyed("k", "a"), true},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := newWaiters(t)
			w.wait(commandtest.AWriteSecret, tt.wait)
			for _, line := range tt.write {
				w.b.Do(t, s, strings.Fields(line)...)
			}
			if tt.served {
				w.answered(0, tt.want)
				return
			}
			w.blocked(1)
			w.session[0].Close()
			w.answered(0, "")
		})
	}
}

// TestWaitersForAWaitersWrite holds that serving one waiter serves those for what it writes, with locks that were planned for
// it.
func TestWaitersForAWaitersWrite(t *testing.T) {
	w, s := newWaiters(t)
	w.wait(commandtest.AWriteSecret, "BLMOVE a b LEFT LEFT 0")
	w.wait(commandtest.AWriteSecret, "BLMOVE b c LEFT LEFT 0")
	w.wait(commandtest.AWriteSecret, "BLPOP c 0")
	expect(t, w.b, s, "RPUSH a v", ":1", "EXISTS a b c", ":0")
	w.answered(0, "$1\r\nv\r\n")
	w.answered(1, "$1\r\nv\r\n")
	w.answered(2, keyed("c", "v"))
}

// TestWaitersOfAnotherNamespace holds P6 for them.
func TestP6WaitersOfAnotherNamespace(t *testing.T) {
	w, s := newWaiters(t)
	w.wait(commandtest.BWriteSecret, "BLPOP k 0")
	expect(t, w.b, s, "RPUSH k v", ":1", "LLEN k", ":1", "FLUSHALL", "+OK", "SWAPDB 0 1", "+OK")
	if got := w.b.Do(t, s, "INFO", "clients"); !strings.Contains(got, "blocked_clients:0") {
		t.Errorf("A sees B's waiter: %q", got)
	}
	id := strconv.FormatInt(w.session[0].ID, 10)
	expect(t, w.b, s, "CLIENT UNBLOCK "+id, ":0")
	w.blocked(1)
	expect(t, w.b, w.b.Session(t, commandtest.BWriteSecret), "RPUSH k w", ":1")
	w.answered(0, keyed("k", "w"))
}

// TestWaitsEnd holds each way in which waiting ends without an element, and that the next one goes to somebody else.
func TestWaitsEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		wait string
		end  func(w *waiters, s *command.Session)
		want string
	}{
		"timeout":         {"BLPOP k 0.05", func(*waiters, *command.Session) {}, "*-1\r\n"},
		"timeout of move": {"BLMOVE k l LEFT LEFT 0.05", func(*waiters, *command.Session) {}, "*-1\r\n"},
		"CLIENT UNBLOCK": {"BLPOP k 0", func(w *waiters, s *command.Session) {
			expect(w.t, w.b, s, "CLIENT UNBLOCK "+strconv.FormatInt(w.session[0].ID, 10), ":1")
		}, "*-1\r\n"},
		"CLIENT UNBLOCK ERROR": {"BLPOP k 0", func(w *waiters, s *command.Session) {
			expect(w.t, w.b, s, "CLIENT UNBLOCK "+strconv.FormatInt(w.session[0].ID, 10)+" ERROR", ":1")
		}, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"},
		"CLIENT KILL": {"BLPOP k 0", func(w *waiters, s *command.Session) {
			expect(w.t, w.b, s, "CLIENT KILL ID "+strconv.FormatInt(w.session[0].ID, 10), ":1")
		}, ""},
		"disconnect": {"BLPOP k 0", func(w *waiters, _ *command.Session) { w.session[0].Close() }, ""},
		"shutdown":   {"BLPOP k 0", func(w *waiters, _ *command.Session) { w.session[0].Hurry() }, ""},
		"no primary": {"BLPOP k 0", func(w *waiters, _ *command.Session) {
			w.b.Node.SetReplica(true)
			w.b.Executor.ReleaseWaiters()
			w.b.Node.SetReplica(false)
		}, "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n"},
		"loading": {"BLPOP k 0", func(w *waiters, _ *command.Session) {
			w.b.Node.SetLoading(true)
			w.b.Executor.ReleaseWaiters()
			w.b.Node.SetLoading(false)
		}, "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := newWaiters(t)
			w.wait(commandtest.AWriteSecret, tt.wait)
			w.b.Executor.ReleaseWaiters() // which a primary doesn't
			tt.end(w, s)
			w.answered(0, tt.want)
			w.blocked(0)
			expect(t, w.b, s, "RPUSH k v", ":1", "LLEN k", ":1", "BLPOP k 0", keyed("k", "v"))
		})
	}
}

// TestWaitersOfAFailedRun holds that a waiter whose element was not committed waits on, and is served by the next one.
func TestWaitersOfAFailedRun(t *testing.T) {
	w, s := newWaiters(t)
	w.wait(commandtest.AWriteSecret, "BLPOP k 0")
	w.b.Node.Data.Stop(store.Quiesced)
	expect(t, w.b, s, "RPUSH k lost", "-TRYAGAIN")
	w.b.Node.Data.Resume()
	w.blocked(1)
	expect(t, w.b, s, "RPUSH k v", ":1")
	w.answered(0, keyed("k", "v"))
}

// TestBlockingOnReplicas holds that nothing waits there, nor is passed on.
func TestBlockingOnReplicas(t *testing.T) {
	w, s := newWaiters(t)
	w.b.Node.SetReplica(true)
	expect(t, w.b, s, "BLPOP k 0", "-READONLY ", "BLMOVE k l LEFT LEFT 0", "-READONLY ", "BZMPOP 0 1 k MIN", "-READONLY ")
}

// TestWaitersLoseNothing has elements go through lists by every blocking command, with timeouts and ends in between: each
// arrives once.
func TestWaitersLoseNothing(t *testing.T) {
	b := commandtest.New(t)
	const pushers, each = 4, 400
	var got sync.Map
	var count atomic.Int64
	var wg sync.WaitGroup
	done := make(chan struct{})
	took := func(v string) {
		if _, twice := got.LoadOrStore(v, true); twice {
			t.Errorf("%s arrived twice", v)
		}
		if count.Add(1) == pushers*each {
			close(done)
		}
	}
	over := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	consume := func(lines ...string) {
		s := b.Session(t, commandtest.AWriteSecret)
		wg.Go(func() {
			for i := 0; !over(); i++ {
				line := lines[i%len(lines)]
				parts := strings.Split(strings.TrimSuffix(b.Do(t, s, strings.Fields(line)...), "\r\n"), "\r\n")
				for k := range parts { // elements alone begin with e
					if strings.HasPrefix(parts[k], "e") && !strings.HasPrefix(line, "BLMOVE") {
						took(parts[k])
					}
				}
			}
		})
	}
	consume("BLPOP a b 0.01")
	consume("BLPOP b a 0.002")
	consume("BRPOP c a 0.01", "BLPOP c 0.001")
	consume("BLMPOP 0.01 2 c b LEFT COUNT 3")
	consume("BLMOVE a c LEFT RIGHT 0.003")
	consume("BLMOVE b a LEFT LEFT 0.003", "BRPOP b 0.001")
	consume("BLMOVE c b LEFT LEFT 0.001", "BRPOP c a b 0.001")
	for p := range pushers {
		s := b.Session(t, commandtest.AWriteSecret)
		wg.Go(func() {
			for i := range each {
				v := fmt.Sprintf("e%d-%d", p, i)
				key := string(rune('a' + (p+i)%3))
				switch i % 3 {
				case 0:
					b.Do(t, s, "RPUSH", key, v)
				case 1:
					b.Pipeline(t, s, []string{"MULTI"}, []string{"LPUSH", key, v}, []string{"EXEC"})
				case 2:
					b.Do(t, s, "RPUSH", key+v, v)
					b.Do(t, s, "LMOVE", key+v, key, "LEFT", "LEFT")
				}
			}
		})
	}
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Errorf("%d of %d elements arrived", count.Load(), pushers*each)
		close(done)
	}
	wg.Wait()
	s := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "EXISTS a b c", ":0", "DBSIZE", ":0")
}

// TestWaitersPassedOver holds that one which another run looks at, in vain, hears of what comes for its other key meanwhile.
func TestWaitersPassedOver(t *testing.T) {
	w, s := newWaiters(t)
	const many = 200
	for i := range many {
		w.wait(commandtest.AWriteSecret, "BLPOP a k"+strconv.Itoa(i)+" 0")
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				w.b.Pipeline(t, s, []string{"MULTI"}, []string{"RPUSH", "a", "x"}, []string{"DEL", "a"}, []string{"RPUSH", "a", "x"}, []string{"RENAME", "a", "b"}, []string{"EXEC"})
			}
		}
	})
	pusher := w.b.Session(t, commandtest.AWriteSecret)
	for i := range many {
		expect(t, w.b, pusher, "RPUSH k"+strconv.Itoa(i)+" v", ":1")
	}
	for i := range many {
		w.answered(i, keyed("k"+strconv.Itoa(i), "v"))
	}
	close(stop)
	wg.Wait()
}

// TestWaiterThatLeaves holds that one which was to try by itself, and ends before it can, leaves nobody behind.
func TestWaiterThatLeaves(t *testing.T) {
	w, s := newWaiters(t)
	w.wait(commandtest.AWriteSecret, "BLPOP k 0")
	w.wait(commandtest.AWriteSecret, "BZPOPMIN k 0")
	w.wait(commandtest.AWriteSecret, "BLPOP k 0")
	expect(t, w.b, s, "CLIENT PAUSE 1000000 WRITE", "+OK")
	w.session[0].Retry()
	for !w.session[0].Trying() { // when the pause is over
		time.Sleep(100 * time.Microsecond)
	}
	w.session[0].Close()
	w.answered(0, "")
	expect(t, w.b, s, "CLIENT UNPAUSE", "+OK", "RPUSH k v", ":1")
	w.answered(2, keyed("k", "v"))
	expect(t, w.b, s, "ZADD k 1 m", ":1")
	w.answered(1, "*3\r\n$1\r\nk\r\n$1\r\nm\r\n$1\r\n1\r\n")
}

// TestWaitersOfARevokedToken holds that they are not served any more, even before their connection is closed.
func TestWaitersOfARevokedToken(t *testing.T) {
	w, s := newWaiters(t)
	w.wait(commandtest.AReadSecret, "XREAD BLOCK 0 STREAMS k $")
	v := w.b.Node.Views.Current()
	w.b.Install(t, &atollpb.ViewFrame{FromRevision: v.Revision(), Revision: v.Revision() + 1, Last: true, RemovedTokens: []string{"t-a-ro"}})
	expect(t, w.b, s, "XADD k 1-1 f v", "$3\r\n1-1")
	w.blocked(1)
	w.session[0].Close()
	w.answered(0, "")
}

func TestPauseHoldsExec(t *testing.T) {
	b := commandtest.New(t)
	s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "MULTI", "+OK", "SET k v", queued)
	expect(t, b, other, "CLIENT PAUSE 1000000 WRITE", "+OK")
	reply := begun(t, b, s, "EXEC")
	expect(t, b, other, "MULTI", "+OK", "GET k", queued, "EXEC", "*1\r\n$-1", "CLIENT UNPAUSE", "+OK")
	if got := <-reply; got != "*1\r\n+OK\r\n" {
		t.Errorf("EXEC answered %q", got)
	}
}
