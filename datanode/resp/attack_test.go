package resp

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command/commandtest"
)

// attack has the tests of this file run in the sizes of real attacks: gigabytes, thousands of connections, minutes.
var attack = flag.Bool("attack", false, "attack in full size")

// sized returns what an attack has in full size, or in an ordinary run.
func sized[T any](full, ordinary T) T {
	if *attack {
		return full
	}
	return ordinary
}

// live returns the bytes in use, of the heap as a collection found it, and of stacks. What nothing refers to any
// more doesn't count: how much of that there is, GOGC and GOMEMLIMIT say.
func live() uint64 {
	runtime.GC()
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() + s[1].Value.Uint64()
}

// mapped returns the bytes that the Go runtime has from the system.
func mapped() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// watched runs an attack while a good client goes on being served. When f returns, what the attack holds has come to
// rest, and must be within bound more than before. Meanwhile the process may take four times that from the system,
// with a memory limit of twice: garbage, and what runs hold of the values that they read and write, come on top. It
// logs the good client's worst reply.
func (r *rig) watched(t *testing.T, bound uint64, f func()) {
	t.Helper()
	good := r.as(t, commandtest.BWriteSecret)
	_ = good.SetDeadline(time.Now().Add(10 * time.Minute))
	debug.FreeOSMemory()
	before, mappedBefore, peak, worst, rounds := live(), mapped(), uint64(0), time.Duration(0), 0
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(int64(mappedBefore + 2*bound)))
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
			peak = max(peak, mapped())
		}
	})
	wg.Go(func() {
		for {
			start := time.Now()
			if _, err := io.WriteString(good, "SET own value\r\nGET own\r\n"); err != nil {
				t.Errorf("the good client can't send: %v", err)
				return
			}
			for _, want := range []string{"+OK\r\n", "$5\r\n", "value\r\n"} {
				if got, err := good.r.ReadString('\n'); got != want {
					t.Errorf("the good client got %q, %v", got, err)
					return
				}
			}
			worst, rounds = max(worst, time.Since(start)), rounds+1
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	f()
	close(done)
	wg.Wait()
	rest := max(live(), before) - before
	peak = max(peak, mappedBefore) - mappedBefore
	t.Logf("memory grew by %d KiB, and the process by %d KiB at its peak; the bound is %d; the good client's worst of %d replies took %v",
		rest>>10, peak>>10, bound>>10, rounds, worst)
	if rest > bound || peak > 4*bound {
		t.Errorf("memory grew by %d bytes, and the process by %d at its peak; the bound is %d", rest, peak, bound)
	}
}

// each runs f for n connections that belong to a, at the same time.
func (r *rig) each(t *testing.T, n int, f func(*client)) {
	t.Helper()
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = r.as(t, commandtest.AWriteSecret)
		_ = clients[i].SetDeadline(time.Now().Add(5 * time.Minute))
	}
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() { f(c) })
	}
	wg.Wait()
}

// settle waits until the account doesn't change any more, and is within limit.
func (r *rig) settle(t *testing.T, limit int) {
	t.Helper()
	last, same := -1, 0
	r.holding(t, func(total, _ int) bool {
		if same++; total != last {
			last, same = total, 0
		}
		return total <= limit && same > 300 // polls, of a millisecond or more
	})
}

// room is what one connection may hold beside its buffers on the account; slack what a collector and a copy of the
// largest buffer may.
const (
	room  = 64 << 10
	slack = 16 << 20
)

// Peers that never read what they ask for are cut when their replies take too much, and nobody else is.
func TestSlowReaders(t *testing.T) {
	const value = 4 << 20
	n, limit := sized(1000, 60), sized(256<<20, 16<<20)
	r := start(t, false, Limits{MemoryBytes: limit, WriteTimeout: time.Minute})
	c := r.as(t, commandtest.AWriteSecret)
	c.say(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\n", value, strings.Repeat("v", value)), 1)
	r.watched(t, uint64(limit+n*room+slack), func() {
		r.each(t, n, func(c *client) {
			_, _ = io.WriteString(c, strings.Repeat("GET k\r\n", 500))
		})
		// Each holds a value when it has filled what the kernel takes.
		r.holding(t, func(total, _ int) bool { return total <= limit && r.Registry.Len() <= 2+limit/value })
	})
}

// Values that are announced and sent but for the end: their buffers are real.
func TestUnfinishedValues(t *testing.T) {
	value, n, limit := sized(512<<20, 8<<20), sized(12, 20), sized(1<<30, 24<<20)
	r := start(t, false, Limits{MemoryBytes: limit})
	payload := bytes.Repeat([]byte("v"), 1<<20)
	r.watched(t, uint64(limit+n*room+slack+value), func() {
		r.each(t, n, func(c *client) {
			_, _ = fmt.Fprintf(c, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", value)
			for range value/len(payload) - 1 {
				if _, err := c.Write(payload); err != nil {
					return // cut
				}
			}
		})
		r.settle(t, limit)
	})
	if most := limit/value + 2; r.Registry.Len() > 2+most {
		t.Errorf("%d connections live, of which %d have room", r.Registry.Len(), most)
	}
}

// The largest value goes through, one byte more is refused in Redis' words.
func TestLargestValue(t *testing.T) {
	value := sized(512<<20, 8<<20)
	r := start(t, false, Limits{Reader: ReaderLimits{BulkBytes: value}})
	c := r.as(t, commandtest.AWriteSecret)
	_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
	payload := bytes.Repeat([]byte("v"), 1<<20)
	_, _ = fmt.Fprintf(c, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", value)
	for range value / len(payload) {
		if _, err := c.Write(payload); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.say("\r\nSTRLEN k\r\n", 2); got != fmt.Sprintf("+OK\r\n:%d\r\n", value) {
		t.Errorf("got %q", got)
	}
	c.say("GET k\r\n", 1)
	if n, err := io.CopyN(io.Discard, c.r, int64(value)+2); err != nil {
		t.Errorf("%d bytes came back: %v", n, err)
	}
	_, _ = fmt.Fprintf(c, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", value+1)
	if got := c.ends(); got != "-ERR Protocol error: invalid bulk length\r\n" {
		t.Errorf("got %q", got)
	}
}

// A command of many arguments costs several times its bytes, and is cut by them.
func TestCommandsOfManyArguments(t *testing.T) {
	n, limit := sized(100, 20), sized(256<<20, 16<<20)
	r := start(t, false, Limits{MemoryBytes: limit})
	payload := []byte(strings.Repeat("$1\r\na\r\n", 100_000))
	r.watched(t, uint64(limit+n*room+2*slack), func() {
		r.each(t, n, func(c *client) {
			_, _ = io.WriteString(c, "*1048576\r\n")
			for range 10 {
				if _, err := c.Write(payload); err != nil {
					return // cut
				}
			}
		})
		r.settle(t, limit)
	})
}

// A command larger than a query may be ends its connection.
func TestTooLargeCommands(t *testing.T) {
	r := start(t, false, Limits{Reader: ReaderLimits{QueryBytes: 4 << 20}})
	for range 3 {
		c := r.as(t, commandtest.AWriteSecret)
		_, _ = io.WriteString(c, "*1000\r\n"+strings.Repeat("$100000\r\n"+strings.Repeat("v", 100_000)+"\r\n", 50))
		if got := c.ends(); got != "-ERR Protocol error: too big query\r\n" && got != "" { // a reset may take the words away
			t.Errorf("got %q", got)
		}
	}
}

// Pipelines without an end, some read and some not, are executed in parts.
func TestEndlessPipelines(t *testing.T) {
	n := sized(200, 20)
	r := start(t, false, Limits{MemoryBytes: 16 << 20, WriteTimeout: time.Second})
	payload := []byte(strings.Repeat("*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n", 5000))
	r.watched(t, uint64(16<<20+n*room+slack), func() {
		var mu sync.Mutex
		readers := 0
		r.each(t, n, func(c *client) {
			mu.Lock()
			reads := readers%2 == 0
			readers++
			mu.Unlock()
			if reads {
				go func() { _, _ = io.Copy(io.Discard, c.Conn) }() // ends with the connection
			}
			for range sized(500, 20) {
				if _, err := c.Write(payload); err != nil {
					return
				}
			}
		})
	})
}

// Commands that come byte by byte, from many at once, are answered, and cost no more than others.
func TestDrips(t *testing.T) {
	n := sized(2000, 100)
	r := start(t, false, Limits{})
	text := "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n0123456789\r\n"
	r.watched(t, uint64(n*room+slack), func() {
		clients := make([]*client, n)
		for i := range clients {
			clients[i] = r.as(t, commandtest.AWriteSecret)
			_ = clients[i].SetDeadline(time.Now().Add(5 * time.Minute))
		}
		for i := range len(text) {
			for _, c := range clients {
				if _, err := io.WriteString(c, text[i:i+1]); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, c := range clients {
			if got := c.say("", 1); got != "+OK\r\n" {
				t.Fatalf("got %q", got)
			}
		}
	})
}

// An idle connection costs at most 32 KiB, also after it had large buffers: heap and stacks of both of its ends.
func TestIdleConnections(t *testing.T) {
	n := sized(10_000, 1000)
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if most := int(min(files.Cur, math.MaxInt32))/2 - 100; n > most { // two ends each, and what the test has open
		if most < 500 {
			t.Skipf("%d open files are too few to measure by", files.Cur)
		}
		t.Logf("%d connections, not %d: only %d files may be open", most, n, files.Cur)
		n = most
	}
	r := start(t, false, Limits{MaxClients: n + 1, MemoryBytes: 4 << 30})
	r.as(t, commandtest.AWriteSecret).say("SET k "+strings.Repeat("v", 50<<10)+"\r\n", 1)
	before := live()
	conns := make([]net.Conn, n)
	text := []byte("AUTH " + commandtest.AWriteSecret + "\r\n" + strings.Repeat("PING\r\n", 2000) + "GET k\r\n")
	reply := make([]byte, 5+2000*7+len("$51200\r\n\r\n")+50<<10)
	for i := range conns {
		nc, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Write(text); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(nc, reply); err != nil {
			t.Fatal(err)
		}
		conns[i] = nc
	}
	r.holding(t, func(total, _ int) bool { return total <= n*shedBytes })
	live() // stacks shrink by a collection
	each := (int64(live()) - int64(before)) / int64(n)
	t.Logf("%d idle connections cost %d bytes each", n, each)
	if each > 32<<10 {
		t.Errorf("an idle connection costs %d bytes, more than 32 KiB", each)
	}
	runtime.KeepAlive(conns)
}

// The buffer of a large command is gone with it, though its connection stays and says nothing more.
func TestLargeArgumentsAreLetGo(t *testing.T) {
	const size = 8 << 20
	r := start(t, false, Limits{})
	c := r.as(t, commandtest.AWriteSecret)
	before := live()
	if _, err := fmt.Fprintf(c, "*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n", size, strings.Repeat("v", size)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, c.r, int64(size+len("$8388608\r\n\r\n"))); err != nil {
		t.Fatal(err)
	}
	r.holding(t, func(total, _ int) bool { return total < 64<<10 })
	if now := live(); now > before+size/2 {
		t.Errorf("%d bytes are held after a command of %d", now-before, size)
	}
}
