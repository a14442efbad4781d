package resp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/store"
)

// conn returns the server's side of c, which has authenticated.
func (r *rig) conn(c *client) *conn {
	c.t.Helper()
	id := c.say("CLIENT ID\r\n", 1)
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	for s := range r.server.conns {
		if fmt.Sprintf(":%d\r\n", s.session.ID) == id {
			return s
		}
	}
	c.t.Fatalf("there is no session %q", id)
	return nil
}

// until waits for something that happens in another goroutine.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for began := time.Now(); !f(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatal("there is still no " + what)
		}
	}
}

// What a connection holds that was cut while it waits for a lock counts until it has ended.
func TestCutWhileItWaitsForALock(t *testing.T) {
	const bound, size = 8 << 20, 3 << 20
	r := start(t, false, Limits{MemoryBytes: bound})
	lease, err := r.Node.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	var tx store.Tx
	lease.Store().Namespace(commandtest.AID).Begin(&tx, store.Run{Exclusive: true})
	end := sync.OnceFunc(func() {
		tx.End()
		lease.Release()
	})
	defer end()
	before := live()
	for range 30 {
		c := r.as(t, commandtest.AWriteSecret)
		s := r.conn(c)
		_, _ = fmt.Fprintf(c, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\n", size, strings.Repeat("v", size)) // may be cut meanwhile
		m := &r.server.memory
		until(t, "end or start of the command", func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return s.cut.Load() || (s.busy.Load() && s.held > size/2)
		})
		m.mu.Lock()
		if sum := m.total + m.dying; sum > bound+size {
			t.Errorf("%d bytes are held, %d by those that were cut", sum, m.dying)
		}
		m.mu.Unlock()
	}
	m := &r.server.memory
	m.mu.Lock()
	if m.dying < size/2 {
		t.Errorf("%d bytes are held by connections that were cut and wait for the lock", m.dying)
	}
	m.mu.Unlock()
	if got := max(live(), before) - before; got > 2*bound {
		t.Errorf("%d bytes are in use, the bound is %d", got, bound)
	}
	end()
	until(t, "room", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.dying == 0
	})
	if got := r.as(t, commandtest.AWriteSecret).say("SET k "+strings.Repeat("v", 60<<10)+"\r\n", 1); got != "+OK\r\n" {
		t.Errorf("got %q", got)
	}
}

// holder is a connection of the server that is on the account with what the test says, and does nothing.
func (r *rig) holder(t *testing.T, secret string, size int) *conn {
	t.Helper()
	ours, theirs := net.Pipe()
	s := r.Registry.Open(command.Peer{Remote: "192.0.2.1:1", Local: "192.0.2.2:6379"}, 0, time.Now(), func() { _ = ours.Close() })
	if secret != "" {
		r.Do(t, s, "AUTH", secret)
	}
	c := &conn{server: r.server, raw: ours, nc: ours, session: s, held: size, anonymous: secret == ""}
	m := &r.server.memory
	m.mu.Lock()
	m.total += size
	if c.anonymous {
		m.anonymous += size
	}
	m.mu.Unlock()
	r.server.mu.Lock()
	r.server.conns[c] = struct{}{}
	r.server.mu.Unlock()
	t.Cleanup(func() {
		_, _ = ours.Close(), theirs.Close()
		r.server.release(c)
		r.server.mu.Lock()
		delete(r.server.conns, c)
		r.server.mu.Unlock()
		r.Registry.Remove(s)
	})
	return c
}

// What the anonymous have lost isn't theirs any more when the largest namespace is looked for.
func TestRoomIsMadeOfTenantsAfterTheAnonymous(t *testing.T) {
	const bound = 8 << 20
	r := start(t, false, Limits{MemoryBytes: bound})
	anonymous := []*conn{r.holder(t, "", 3<<20), r.holder(t, "", 3<<20)}
	tenants := []*conn{r.holder(t, commandtest.AWriteSecret, 3<<20+1), r.holder(t, commandtest.BWriteSecret, 3<<20), r.holder(t, commandtest.DefaultSecret, 0)}
	if err := r.server.hold(tenants[2], 3<<20, false); err != nil {
		t.Errorf("the caller: %v", err)
	}
	if m := &r.server.memory; m.total != 6<<20 || m.anonymous != 0 || m.dying != 0 {
		t.Errorf("%d of %d bytes are held, %d by the anonymous, %d by the dying", m.total, bound, m.anonymous, m.dying)
	}
	for i, c := range append(anonymous, tenants...) {
		if want := i < 3; c.cut.Load() != want {
			t.Errorf("connection %d: cut is %v, want %v", i, !want, want)
		}
	}
}

// One reclaim makes room for many growths: each looks at every connection.
func TestReclaimMakesRoomToSpare(t *testing.T) {
	const bound, n = 8 << 20, 128
	r := start(t, false, Limits{MemoryBytes: bound})
	for _, tt := range []struct {
		secret string
		share  int
	}{{commandtest.AWriteSecret, bound}, {"", bound / anonymousShare}} {
		var all []*conn
		for range n {
			all = append(all, r.holder(t, tt.secret, tt.share/n))
		}
		cut := func() (k int) {
			for _, c := range all {
				if c.cut.Load() {
					k++
				}
			}
			return k
		}
		_ = r.server.hold(all[0], tt.share/n+1, tt.secret == "")
		if got := cut(); got != n/8 { // one of them is a byte larger
			t.Errorf("%d connections were cut, want %d", got, n/8)
		}
		for _, c := range all {
			r.server.release(c)
		}
	}
}

// lines counts what is logged, and keeps what was suppressed before each.
type lines struct {
	mu         sync.Mutex
	suppressed []int64
}

func (l *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *lines) WithGroup(string) slog.Handler                    { return l }
func (l *lines) Handle(_ context.Context, record slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	record.Attrs(func(a slog.Attr) bool {
		if a.Key == "suppressed" {
			l.suppressed = append(l.suppressed, a.Value.Int64())
		}
		return true
	})
	return nil
}

// Those without a token can't fill the disk with log lines.
func TestOutsidersLinesAreFew(t *testing.T) {
	for what, provoke := range map[string]func(*testing.T, *rig, *script){
		"cross-protocol": func(t *testing.T, _ *rig, l *script) {
			c := l.dial(t)
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\n")
			_, _ = io.Copy(io.Discard, c)
		},
		"cut": func(t *testing.T, r *rig, _ *script) {
			_ = r.server.hold(r.holder(t, "", 0), 1<<20, true)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			l, seen := newScript(), &lines{}
			r := serve(t, Limits{MemoryBytes: 1 << 20}, Listener{Listener: l})
			r.server.Log = slog.New(seen)
			for range 10 {
				provoke(t, r, l)
			}
			time.Sleep(lineEvery)
			for range 2 {
				provoke(t, r, l)
			}
			synctest.Wait()
			seen.mu.Lock()
			defer seen.mu.Unlock()
			if got := fmt.Sprint(seen.suppressed); got != "[0 9]" {
				t.Errorf("%s: suppressed before each line: %s", what, got)
			}
		})
	}
}
