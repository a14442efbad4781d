package resp

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/tidwall/redcon"
)

// TestLoops has many clients send pipelines, in pieces, of what a loop executes and of what needs a goroutine: each gets
// its own replies in order, whoever executes what.
func TestLoops(t *testing.T) {
	r := start(t, true, Limits{})
	var wg sync.WaitGroup
	for id := range 40 {
		c := r.dial(t)
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(id)))
			n := 0
			for range 150 {
				var send, want strings.Builder
				for range 1 + rng.IntN(20) {
					switch rng.IntN(8) {
					case 0:
						fmt.Fprintf(&send, "ECHO e%d-%d\r\n", id, n)
						fmt.Fprintf(&want, "$%d\r\ne%d-%d\r\n", len(fmt.Sprintf("e%d-%d", id, n)), id, n)
					case 1:
						send.WriteString("SELECT 3\r\nSELECT 0\r\n")
						want.WriteString("+OK\r\n+OK\r\n")
					case 2:
						fmt.Fprintf(&send, "STRLEN s%d\r\n", id)
						want.WriteString(":0\r\n")
					default:
						n++
						fmt.Fprintf(&send, "INCR n%d\r\n", id)
						fmt.Fprintf(&want, ":%d\r\n", n)
					}
				}
				text := send.String()
				if cut := rng.IntN(len(text)); rng.IntN(3) == 0 {
					_, _ = io.WriteString(c, text[:cut])
					time.Sleep(time.Millisecond)
					text = text[cut:]
				}
				if got := c.say(text, strings.Count(want.String(), "\r\n")); got != want.String() {
					t.Errorf("client %d: got %q, want %q", id, got, want.String())
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestLongPipelineInALoop: what has arrived at once is more than a read and a batch take, and makes one event.
func TestLongPipelineInALoop(t *testing.T) {
	r := start(t, true, Limits{})
	c := r.dial(t)
	c.say("PING\r\n", 1)
	r.parked(t, 1)
	long := strings.Repeat("x", 600) // few enough commands fill the buffer to make one run
	many := strings.Repeat(" a", 50) // arguments, which end a batch before the buffer does
	for n := 10; n <= 640; n *= 2 {
		if got := c.say(strings.Repeat("ECHO "+long+"\r\n", n), 2*n); got != strings.Repeat("$600\r\n"+long+"\r\n", n) {
			t.Fatalf("%d commands: got %d bytes", n, len(got))
		}
		if got := c.say(strings.Repeat("EXISTS"+many+"\r\n", n), n); got != strings.Repeat(":0\r\n", n) {
			t.Fatalf("%d commands: got %q", n, got)
		}
	}
	r.parked(t, 1)
}

// TestHalfClosedInALoop: what was sent before the end is answered.
func TestHalfClosedInALoop(t *testing.T) {
	r := start(t, true, Limits{})
	c := r.dial(t)
	c.say("SET k v\r\n", 1)
	r.parked(t, 1)
	_, _ = io.WriteString(c, "GET k\r\nGET k\r\n")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := c.ends(); got != "$1\r\nv\r\n$1\r\nv\r\n" {
		t.Errorf("got %q", got)
	}
}

// parked waits until n connections are.
func (r *rig) parked(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		got := 0
		for _, c := range r.server.list() {
			c.mu.Lock()
			if c.fd > 0 {
				got++
			}
			c.mu.Unlock()
		}
		if got == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d connections are parked, want %d", got, n)
		}
	}
}

// TestSlowReaderOfALoop: a peer that doesn't read its replies holds nobody up, gets all of them, and is parked again.
func TestSlowReaderOfALoop(t *testing.T) {
	r := start(t, true, Limits{})
	const n, size = 1200, 20_000 // a size that the table of rows takes: reading from Pebble may look like waiting for the disk
	slow, other := r.dial(t), r.dial(t)
	slow.say("SET k "+strings.Repeat("v", size)+"\r\n", 1)
	other.say("PING\r\n", 1)
	r.parked(t, 2)
	_, _ = io.WriteString(slow, strings.Repeat("GET k\r\n", n))
	r.parked(t, 1) // it waits for the peer, on a goroutine
	began := time.Now()
	for range 100 {
		other.say("STRLEN k\r\n", 1)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the other took %v", took)
	}
	if _, err := io.CopyN(io.Discard, slow.r, n*(size+int64(len("$20000\r\n\r\n")))); err != nil {
		t.Fatal(err)
	}
	for range parkAfter + 1 {
		slow.say("PING\r\n", 1)
	}
	r.parked(t, 2)
}

// TestStalledTurn: while a turn of the loop waits, others go on: those that came with it, and those that come later.
func TestStalledTurn(t *testing.T) {
	stalled, release := make(chan struct{}, 8), make(chan struct{})
	stall := command.Spec{Name: "stall", Arity: 1, Flags: command.FlagReadOnly | command.FlagShort, Scope: command.ScopeTenant}
	stall.Run = func(c *command.Ctx) {
		stalled <- struct{}{}
		<-release
		c.Out.OK()
	}
	r := startWith(t, append(slices.Clone(command.All()), stall))
	const n = 30
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = r.dial(t)
		secret := commandtest.BWriteSecret
		if i == 0 {
			secret = commandtest.AWriteSecret
		}
		clients[i].say("AUTH "+secret+"\r\nPING\r\n", 2)
	}
	r.parked(t, n)
	for range 5 { // in the same turn, or not
		var wg sync.WaitGroup
		for _, c := range clients[1:] {
			wg.Go(func() { c.say("INCR n\r\n", 1) })
		}
		_, _ = io.WriteString(clients[0], "STALL\r\n")
		<-stalled
		wg.Wait() // a client waits 20 s at most
		for _, c := range clients[1:] {
			c.say("INCR n\r\n", 1)
		}
		release <- struct{}{}
		if got := clients[0].say("", 1); got != "+OK\r\n" {
			t.Errorf("got %q", got)
		}
	}
	// A stop waits for the one that is stuck.
	_, _ = io.WriteString(clients[0], "STALL\r\n")
	<-stalled
	time.AfterFunc(50*time.Millisecond, func() { release <- struct{}{} })
	r.stop()
}

// held claims every parked connection, in the order of their sessions, so that no worker of its loop serves it.
func (r *rig) held(t *testing.T) []*conn {
	t.Helper()
	list := r.server.list()
	slices.SortFunc(list, func(a, b *conn) int { return int(a.session.ID - b.session.ID) })
	for _, c := range list {
		for end := time.Now().Add(10 * time.Second); !c.claim(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("a connection can't be claimed")
			}
			c.state.CompareAndSwap(stateAgain, stateClaimed)
		}
	}
	return list
}

// TestStuckHelper: where the helper is stuck, too, another one helps with the same turn: what waits in one namespace's
// reads and in its writes holds up no other's.
func TestStuckHelper(t *testing.T) {
	stalled, release := make(chan struct{}, 8), make(chan struct{})
	run := func(c *command.Ctx) {
		stalled <- struct{}{}
		<-release
		c.Out.OK()
	}
	r := startWith(t, append(slices.Clone(command.All()),
		command.Spec{Name: "stallread", Arity: 1, Flags: command.FlagReadOnly | command.FlagShort, Scope: command.ScopeTenant, Run: run},
		command.Spec{Name: "stallwrite", Arity: 1, Flags: command.FlagWrite | command.FlagShort, Scope: command.ScopeTenant, Run: run}))
	reader, writer, other := r.dial(t), r.dial(t), r.dial(t)
	for c, secret := range map[*client]string{reader: commandtest.AWriteSecret, writer: commandtest.AWriteSecret, other: commandtest.BWriteSecret} {
		c.say("AUTH "+secret+"\r\nPING\r\n", 2)
	}
	r.parked(t, 3)
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	conns := r.held(t)
	_, _ = io.WriteString(reader, "STALLREAD\r\n")
	_, _ = io.WriteString(writer, "STALLWRITE\r\n")
	_, _ = io.WriteString(other, "INCR n\r\n")
	w := newWorker(conns[0].loop)
	w.claimed = conns
	turned := make(chan struct{})
	go func() {
		defer close(turned)
		time.Sleep(10 * time.Millisecond) // all three have arrived
		w.turn()
	}()
	<-stalled
	<-stalled
	if got := other.say("", 1); got != ":1\r\n" { // it waits 20 s at most
		t.Errorf("got %q", got)
	}
	free()
	<-turned
	if got := reader.say("", 1) + writer.say("", 1); got != "+OK\r\n+OK\r\n" {
		t.Errorf("got %q", got)
	}
}

// TestBrokenCommandInALoop: its connection is told, and ends at once.
func TestBrokenCommandInALoop(t *testing.T) {
	bad := command.Spec{Name: "bad", Arity: 1, Flags: command.FlagWrite | command.FlagShort, Scope: command.ScopeTenant, Run: func(*command.Ctx) { panic("broken") }}
	r := startWith(t, append(slices.Clone(command.All()), bad))
	c := r.dial(t)
	c.say("AUTH "+commandtest.AWriteSecret+"\r\n", 1)
	r.parked(t, 1)
	_, _ = io.WriteString(c, "BAD\r\n")
	if got := c.ends(); got != "-ERR internal error, nothing was written\r\n" {
		t.Errorf("got %q", got)
	}
}

// TestStopBehindARead: what was read before the server stops is executed and answered.
func TestStopBehindARead(t *testing.T) {
	r := start(t, true, Limits{})
	c := r.dial(t)
	c.say("PING\r\n", 1)
	r.parked(t, 1)
	parked := r.held(t)[0]
	_, _ = io.WriteString(c, "SELECT 1\r\n")
	var cmds []redcon.Command
	for end := time.Now().Add(10 * time.Second); len(cmds) == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		parked.hasRead = false
		cmds, _ = parked.reader.Next(true)
	}
	r.server.draining.Store(true)
	parked.unpark(cmds)
	if got := c.ends(); got != "+OK\r\n" {
		t.Errorf("got %q", got)
	}
}

// TestDurableWritesLeaveTheLoop: a namespace whose writes wait for the disk has its connections on goroutines.
func TestDurableWritesLeaveTheLoop(t *testing.T) {
	r := start(t, true, Limits{})
	c := r.dial(t)
	c.say("PING\r\n", 1)
	r.parked(t, 1)
	view := commandtest.FullView(101)
	for _, ns := range view.Namespaces {
		ns.Durability = atollpb.Durability_DURABILITY_LOCAL
	}
	r.Install(t, view)
	for range parkAfter / 2 {
		c.say("SET k v\r\n", 1)
	}
	r.parked(t, 0)
}

// startWith serves a node with commands of the test's own to outsiders.
func startWith(t *testing.T, specs []command.Spec) *rig {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := serveOn(t, commandtest.NewWith(t, specs, command.Limits{}), Limits{}, Listener{Listener: remote{ln}})
	r.addr = ln.Addr().String()
	return r
}

// TestLoopsUnderChurn: connections come and go in every way that there is, while they are parked, claimed or on
// goroutines. In the end no session, no byte on the account, and no file descriptor is left.
func TestLoopsUnderChurn(t *testing.T) {
	before := descriptors(t)
	r := start(t, true, Limits{MemoryBytes: 8 << 20, MaxClients: 60})
	large := "*3\r\n$3\r\nSET\r\n$1\r\nl\r\n$300000\r\n" + strings.Repeat("v", 300_000) + "\r\n"
	var wg sync.WaitGroup
	end := time.Now().Add(time.Duration(sized(20, 2)) * time.Second)
	for id := range 40 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(id)))
			for time.Now().Before(end) {
				nc, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				tcp := nc.(*net.TCPConn)
				_ = tcp.SetDeadline(time.Now().Add(20 * time.Second))
				churn(rng, tcp, large)
				if rng.IntN(2) == 0 {
					_ = tcp.SetLinger(0) // a reset
				}
				_ = tcp.Close()
			}
		})
	}
	wg.Wait()
	r.stop()
	if after := descriptors(t); after > before+2 {
		t.Errorf("%d file descriptors, %d before", after, before)
	}
}

// churn makes a connection do something, and reads some of the replies.
func churn(rng *rand.Rand, c *net.TCPConn, large string) {
	b := make([]byte, 1<<20)
	for range rng.IntN(20) {
		text := "SET k v\r\nGET k\r\n"
		switch rng.IntN(8) {
		case 0:
			text = large
		case 1:
			text = large[:len(large)/2] // and then nothing, or something else
		case 2:
			text = strings.Repeat("GET l\r\n", 30)
		case 3:
			text = "CLIENT KILL TYPE normal SKIPME no\r\n"
		case 4:
			text = "SELECT 1\r\nQUIT\r\n"
		case 5:
			text = "KEYS *\r\n*1\r\n$4\r\nPI"
		}
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
		if rng.IntN(3) > 0 {
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
			_, _ = c.Read(b)
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	return len(list)
}
