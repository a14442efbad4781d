package resp

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atolldb/atoll/datanode/command/commandtest"
)

// holding waits until the account says what want accepts, and returns it.
func (r *rig) holding(t testing.TB, want func(total, anonymous int) bool) (total, anonymous int) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		m := &r.server.memory
		m.mu.Lock()
		total, anonymous = m.total, m.anonymous
		m.mu.Unlock()
		if want(total, anonymous) {
			return total, anonymous
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("the account says %d, %d of the anonymous", total, anonymous)
		}
	}
}

// as returns an authenticated connection.
func (r *rig) as(t testing.TB, secret string) *client {
	t.Helper()
	c := r.dial(t)
	c.say("AUTH "+secret+"\r\n", 1)
	return c
}

// part sends a SET whose value is announced with size bytes, and the first sent of them.
func (c *client) part(size, sent int) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s", size, strings.Repeat("v", sent)); err != nil {
		c.t.Fatal(err)
	}
}

func TestTheLargestOfTheLargestNamespaceIsCut(t *testing.T) {
	r := start(t, false, Limits{MemoryBytes: 8 << 20})
	var many []*client
	for i := range 12 { // b holds 5.4 MiB in all, none of it much; the one is what makes room enough
		c := r.as(t, commandtest.BWriteSecret)
		size := 350 << 10
		if i == 7 {
			size = 1550 << 10
		}
		c.part(size, size-10)
		many = append(many, c)
	}
	r.holding(t, func(total, _ int) bool { return total > (11*350+1450)<<10 })
	one := r.as(t, commandtest.AWriteSecret)
	one.part(2900<<10, 2900<<10-10) // the largest of all, and of a that holds less than b
	for i, c := range many {
		if i == 7 {
			c.ends()
		}
	}
	if got := one.say(strings.Repeat("v", 10)+"\r\nSTRLEN k\r\n", 2); got != "+OK\r\n:2969600\r\n" {
		t.Errorf("got %q", got)
	}
	admin := r.as(t, commandtest.AdminSecret)
	if got := admin.bulk("INFO stats\r\n"); !strings.Contains(got, "evicted_clients:1\r\n") {
		t.Errorf("got %q", got)
	}
}

func TestTheAnonymousHoldLess(t *testing.T) {
	r := start(t, false, Limits{MemoryBytes: 8 << 20})
	var hogs []*client
	for range 40 { // each near what one may hold before authentication
		c := r.dial(t)
		hogs = append(hogs, c)
		_, _ = io.WriteString(c, "*10\r\n"+strings.Repeat("$16000\r\n"+strings.Repeat("x", 16000)+"\r\n", 9)+"$16000\r\n")
	}
	c := r.as(t, commandtest.AWriteSecret)
	if got := c.say("SET k "+strings.Repeat("v", 60<<10)+"\r\n", 1); got != "+OK\r\n" {
		t.Errorf("got %q", got)
	}
	cut := 0
	for _, h := range hogs {
		_ = h.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := h.r.ReadByte(); err != nil && !strings.Contains(err.Error(), "timeout") {
			cut++
		}
	}
	if cut < 30 {
		t.Errorf("%d of 40 were cut, which holds them to %d bytes", cut, 1<<20)
	}
	r.holding(t, func(_, anonymous int) bool { return anonymous <= 1<<20 })
}

// A reply that grows within one command is on the account too.
func TestAReplyIsCutWhileItGrows(t *testing.T) {
	r := start(t, false, Limits{MemoryBytes: 4 << 20})
	c := r.as(t, commandtest.AWriteSecret)
	value := strings.Repeat("v", 1<<20)
	for i := range 6 {
		c.say(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$2\r\nk%d\r\n$%d\r\n%s\r\n", i, len(value), value), 1)
	}
	if got := c.say("MGET k1 k2\r\n", 1); got != "*2\r\n" {
		t.Errorf("got %q", got)
	}
	b := make([]byte, 2*(len(value)+len("$1048576\r\n\r\n")))
	if _, err := io.ReadFull(c.r, b); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _ = io.WriteString(c, "MGET"+strings.Repeat(" k0 k1 k2 k3 k4 k5", 50)+"\r\n")
	if got := c.ends(); got != "" {
		t.Errorf("got %.40q", got)
	}
	runtime.ReadMemStats(&after)
	// The reply would have 300 MiB. What was held when it was cut tells whether that came in time.
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Errorf("%d bytes were allocated for a reply that is cut at 4 MiB", n)
	}
	if got := r.as(t, commandtest.AWriteSecret).say("PING\r\n", 1); got != "+PONG\r\n" {
		t.Errorf("got %q", got)
	}
}

// Only an admin may spare a connection: a tenant that could would have others' cut instead.
func TestNoEvictIsForAdmins(t *testing.T) {
	for secret, spared := range map[string]bool{commandtest.AdminSecret: true, commandtest.AWriteSecret: false} {
		r := start(t, false, Limits{MemoryBytes: 2 << 20})
		c := r.as(t, secret)
		c.say("CLIENT NO-EVICT on\r\n", 1)
		value := strings.Repeat("v", 3<<20)
		_, _ = fmt.Fprintf(c, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\n", len(value), value)
		line, _ := c.r.ReadString('\n')
		if (line == "+OK\r\n") != spared {
			t.Errorf("%s: got %q, spared is %v", secret, line, spared)
		}
	}
}

func TestIdleConnectionsShedTheirBuffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newScript()
		r := serve(t, Limits{}, Listener{Listener: l})
		c := l.dial(t)
		say := func(text string, want int) {
			t.Helper()
			go func() { _, _ = io.WriteString(c, text) }()
			if _, err := io.ReadFull(c, make([]byte, want)); err != nil {
				t.Fatal(err)
			}
		}
		say("AUTH "+commandtest.AWriteSecret+"\r\n", 5)
		value := strings.Repeat("v", 50<<10)
		say(strings.Repeat("SET k "+value+"\r\n", 3)+strings.Repeat("GET k\r\n", 3), 3*5+3*(len(value)+len("$51200\r\n\r\n")))
		synctest.Wait()
		if total, _ := r.holding(t, func(int, int) bool { return true }); total < 32<<10 {
			t.Fatalf("a busy connection holds %d bytes", total)
		}
		_, _ = io.WriteString(c, "PI") // which it must not forget
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if total, _ := r.holding(t, func(int, int) bool { return true }); total > 4<<10 {
			t.Errorf("an idle connection holds %d bytes", total)
		}
		say("NG\r\n", 7)
		time.Sleep(time.Hour)
		say("PING\r\n", 7)
		r.stop()
	})
}
