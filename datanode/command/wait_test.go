package command_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
)

// begun executes a command on a goroutine, once it waits, and returns what its reply will come from.
func begun(t *testing.T, b *commandtest.Bench, s *command.Session, words ...string) <-chan string {
	t.Helper()
	reply := make(chan string, 1)
	go func() { reply <- b.Do(t, s, words...) }()
	for !s.Waiting() {
		select {
		case got := <-reply:
			t.Fatalf("%q didn't wait, and answered %q", words, got)
		case <-time.After(time.Millisecond):
		}
	}
	return reply
}

func TestWaitForReplicas(t *testing.T) {
	b := commandtest.New(t)
	s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	b.Do(t, s, "SET", "k", "v")
	play(t, b, s, []exchange{{"WAIT 0 0", ":0\r\n"}, {"WAIT 1 1", ":0\r\n"}, {"WAITAOF 1 0 0", "*2\r\n:1\r\n:0\r\n"}})
	reply := begun(t, b, s, "WAIT", "2", "0")
	play(t, b, other, []exchange{{"SET k w", "+OK\r\n"}, {"FLUSHALL", "+OK\r\n"}}) // nobody else waits
	b.Node.Ack(1, 0)
	b.Node.Ack(2, 0)
	if got := <-reply; got != ":2\r\n" {
		t.Errorf("WAIT answered %q", got)
	}
	reply = begun(t, b, s, "WAITAOF", "1", "1", "0")
	b.Node.Ack(2, 1)
	if got := <-reply; got != "*2\r\n:1\r\n:1\r\n" {
		t.Errorf("WAITAOF answered %q", got)
	}
	play(t, b, s, []exchange{
		{"WAITAOF 2 0 0", "-ERR value is out of range, value must between 0 and 1\r\n"}, {"WAITAOF 0 -1 0", "-ERR value is out of range, must be positive\r\n"},
		{"WAITAOF 0 x 0", "-ERR value is not an integer or out of range\r\n"}, {"WAITAOF 0 0 -1", "-ERR timeout is negative\r\n"},
	})
}

func TestWaitEnds(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	reply := begun(t, b, s, "WAIT", "1", "0")
	b.Node.SetReplica(true)
	b.Node.Ack(0, 0)
	if got := <-reply; !strings.HasPrefix(got, "-UNBLOCKED ") {
		t.Errorf("on a node that is no primary any more it answered %q", got)
	}
	play(t, b, s, []exchange{{"WAIT 0 0", "-ERR WAIT cannot be used with replica instances…"}, {"WAITAOF 0 0 0", "-ERR WAITAOF cannot be used…"}})
	b.Node.SetReplica(false)
	reply = begun(t, b, s, "WAIT", "1", "0")
	s.Close()
	if got := <-reply; got != ":0\r\n" {
		t.Errorf("on a closed connection it answered %q", got)
	}
}

func TestClientPause(t *testing.T) {
	b := commandtest.New(t)
	s, other, neighbour := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.BWriteSecret)
	admin, reader := b.Session(t, commandtest.AdminSecret), b.Session(t, commandtest.AReadSecret)
	play(t, b, reader, []exchange{{"CLIENT PAUSE 1000000", "-NOPERM…"}, {"CLIENT UNPAUSE", "-NOPERM…"},
		{"SLOWLOG RESET", "-NOPERM…"}, {"LATENCY RESET", "-NOPERM…"}, {"SLOWLOG LEN", ":0\r\n"}})
	play(t, b, s, []exchange{{"CLIENT PAUSE 1000000 WRITE", "+OK\r\n"}, {"GET k", "$-1\r\n"}})
	play(t, b, neighbour, []exchange{{"SET k 1", "+OK\r\n"}})
	write := begun(t, b, other, "SET", "k", "v")
	play(t, b, s, []exchange{{"GET k", "$-1\r\n"}, {"CLIENT PAUSE 1000000", "+OK\r\n"}})
	read := begun(t, b, reader, "GET", "k")
	play(t, b, s, []exchange{{"CLIENT UNPAUSE", "+OK\r\n"}})
	if got := <-write; got != "+OK\r\n" {
		t.Errorf("the paused write answered %q", got)
	}
	<-read // before or behind the write
	play(t, b, admin, []exchange{{"CLIENT PAUSE 1000000", "+OK\r\n"}})
	write = begun(t, b, neighbour, "SET", "k", "2")
	play(t, b, s, []exchange{{"CLIENT UNPAUSE", "+OK\r\n"}}) // its own pause, which there isn't
	for !neighbour.Waiting() {                               // it looks again whenever a pause changes
		select {
		case got := <-write:
			t.Fatalf("a tenant has ended an admin's pause: %q", got)
		case <-time.After(time.Millisecond):
		}
	}
	neighbour.Close()
	if got := <-write; got != "" {
		t.Errorf("the write of a connection that is gone answered %q", got)
	}
	other = b.Session(t, commandtest.BWriteSecret) // one that comes during a pause may authenticate, and do no more
	read = begun(t, b, other, "GET", "k")
	fresh := b.Session(t, "")
	play(t, b, fresh, []exchange{{"HELLO 2 AUTH default " + commandtest.AdminSecret, "*14\r\n…"}, {"CLIENT UNPAUSE", "+OK\r\n"}})
	<-read
	if got := b.Do(t, b.Session(t, commandtest.BWriteSecret), "GET", "k"); got != "$1\r\n1\r\n" {
		t.Errorf("the write of a connection that is gone was done: %q", got)
	}
}

// TestPauseIsOver: a pause ends by itself, and what is behind it in the pipeline goes on in order.
func TestPauseIsOver(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	got := b.Pipeline(t, s, []string{"CLIENT", "PAUSE", "5", "WRITE"}, []string{"GET", "k"}, []string{"SET", "k", "v"}, []string{"GET", "k"})
	if got != "+OK\r\n$-1\r\n+OK\r\n$1\r\nv\r\n" {
		t.Errorf("answered %q", got)
	}
}

func TestMonitor(t *testing.T) {
	b := commandtest.New(t)
	m, s, neighbour := b.Session(t, commandtest.AReadSecret), b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.BWriteSecret)
	admin, boss := b.Session(t, commandtest.AdminSecret), b.Session(t, commandtest.AdminSecret)
	play(t, b, m, []exchange{{"MONITOR", "+OK\r\n"}, {"GET k", "-ERR Replica can't interact with the keyspace\r\n"}, {"PING", "+PONG\r\n"}})
	play(t, b, boss, []exchange{{"MONITOR", "+OK\r\n"}})
	tenant := b.Session(t, commandtest.DefaultSecret) // of the namespace that admins are in, too
	play(t, b, tenant, []exchange{{"MONITOR", "+OK\r\n"}})
	b.Pipeline(t, s, []string{"SET", "k", "\x00\n\"q"}, []string{"nosuch"}, []string{"CONFIG", "GET", "save"}, []string{"AUTH", "a", commandtest.AWriteSecret},
		[]string{"HELLO", "2", "AUTH", "a", commandtest.AWriteSecret}, []string{"HELLO", "AUTH", "a", commandtest.AWriteSecret}, []string{"HELLO", "auth", commandtest.AWriteSecret},
		[]string{"SELECT", "3"}, []string{"SET", "long", strings.Repeat("x", 5000)})
	b.Do(t, neighbour, "SET", "of-b", "1")
	b.Do(t, admin, "SET", "of-admin", "1")
	b.Do(t, admin, "NAMESPACE", "ADD", "new", "the-new-token")
	lines := func(s *command.Session) (list []string) {
		text := pushed(s)
		if text == "" {
			t.Fatal("nothing was sent")
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
			_, rest, _ := strings.Cut(line, " ")
			list = append(list, rest)
		}
		return list
	}
	want := []string{
		`[0 192.0.2.1:1] "PING"`, `[0 192.0.2.1:1] "SET" "k" "\x00\n\"q"`, `[0 192.0.2.1:1] "AUTH" "(redacted)" "(redacted)"`,
		`[0 192.0.2.1:1] "HELLO" "2" "AUTH" "(redacted)" "(redacted)"`,
		`[0 192.0.2.1:1] "HELLO" "AUTH" "(redacted)" "(redacted)"`, `[0 192.0.2.1:1] "HELLO" "auth" "(redacted)"`, `[3 192.0.2.1:1] "SELECT" "3"`,
		`[3 192.0.2.1:1] "SET" "long" "` + strings.Repeat("x", 4096) + `... (904 more bytes)"`,
	}
	if got := lines(m); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the monitor reads %q, want %q", got, want)
	}
	got := strings.Join(lines(boss), "\n")
	for _, want := range []string{`[0 b 192.0.2.1:1] "SET" "of-b" "1"`, `[0 __namespace 192.0.2.1:1] "SET" "of-admin" "1"`, `[0 a 192.0.2.1:1] "SET" "k"`} {
		if !strings.Contains(got, want) {
			t.Errorf("an admin's monitor has no %q: %q", want, got)
		}
	}
	if strings.Contains(got, "secret") || strings.Contains(got, "the-new-token") {
		t.Errorf("a secret is shown: %q", got)
	}
	b.Do(t, tenant, "PING")
	if got := lines(tenant); fmt.Sprint(got) != `[[0 192.0.2.1:1] "PING"]` {
		t.Errorf("a tenant is shown an admin's commands: %q", got)
	}
	if list := b.Do(t, s, "CLIENT", "LIST"); !strings.Contains(list, " flags=O ") {
		t.Errorf("CLIENT LIST is %q", list)
	}
	lines(m) // what has come by then stands before the reply
	play(t, b, m, []exchange{{"RESET", "+RESET\r\n"}, {"AUTH a-read-secret", "+OK\r\n"}, {"GET k", "$…"}})
}

// TestMonitorsAreBounded: one that reads nothing is cut, and a namespace has a number of them.
func TestMonitorsAreBounded(t *testing.T) {
	b := commandtest.New(t)
	cut := make(chan struct{})
	m := b.Registry.Open(command.Peer{Remote: "192.0.2.9:1"}, 0, b.Env.Clock(), func() { close(cut) })
	defer b.Registry.Remove(m)
	s := b.Session(t, commandtest.AWriteSecret)
	play(t, b, m, []exchange{{"AUTH a-read-secret", "+OK\r\n"}, {"MONITOR", "+OK\r\n"}})
	for range 15 {
		play(t, b, b.Session(t, commandtest.AReadSecret), []exchange{{"MONITOR", "+OK\r\n"}})
	}
	play(t, b, b.Session(t, commandtest.AReadSecret), []exchange{{"MONITOR", "-ERR too many connections monitor this namespace: at most 16\r\n"}})
	play(t, b, b.Session(t, commandtest.BWriteSecret), []exchange{{"MONITOR", "+OK\r\n"}})
	value := strings.Repeat("v", 4096)
	for i := range 1000 {
		b.Do(t, s, "SET", "k", value)
		select {
		case <-cut:
			if i < 200 {
				t.Errorf("it was cut after %d lines", i)
			}
			return
		default:
		}
	}
	t.Error("a monitor that doesn't read is never cut")
}

// TestMonitorOfLargeCommands: one that reads is not cut, whatever single commands are like.
func TestMonitorOfLargeCommands(t *testing.T) {
	b := commandtest.New(t)
	m, s := b.Session(t, commandtest.AReadSecret), b.Session(t, commandtest.AWriteSecret)
	play(t, b, m, []exchange{{"MONITOR", "+OK\r\n"}})
	mset := []string{"MSET"}
	for i := range 100 {
		mset = append(mset, fmt.Sprint("k", i), strings.Repeat("\x00", 4096))
	}
	b.Do(t, s, mset...)
	text := pushed(m)
	if len(text) == 0 || len(text) > 100<<10 || !strings.HasSuffix(text, ` "... (192 more arguments)"`+"\r\n") {
		t.Errorf("the monitor reads %d bytes that end with %q", len(text), text[max(0, len(text)-40):])
	}
}
