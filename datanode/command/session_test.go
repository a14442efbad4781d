package command_test

import (
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
)

func TestHelloChangesAllOrNothing(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	b.Do(t, s, "SELECT", "3")
	const refusal = "-ERR Client names cannot contain spaces, newlines or special characters.\r\n"
	if got := b.Do(t, s, "HELLO", "3", "AUTH", "default", commandtest.BWriteSecret, "SETNAME", "a b"); got != refusal {
		t.Errorf("got %q", got)
	}
	play(t, b, s, []exchange{
		{"NAMESPACE CURRENT", "$1\r\na\r\n"},
		{"GET nokey", "$-1\r\n"},
		{"HELLO 3 SETNAME x FOO", "-ERR Syntax error in HELLO option 'FOO'\r\n"},
		{"HELLO 3 SETNAME x AUTH default nope", "-WRONGPASS…"},
		{"CLIENT GETNAME", "$-1\r\n"},
	})
	if got := b.Do(t, s, "CLIENT", "INFO"); !strings.Contains(got, " db=3 ") {
		t.Errorf("got %q", got)
	}
}

func TestClientNames(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	long := strings.Repeat("n", 4097)
	play(t, b, s, []exchange{
		{"CLIENT SETNAME " + long[1:], "+OK\r\n"},
		{"CLIENT SETNAME " + long, "-ERR Client names cannot be longer than 4096 bytes.\r\n"},
		{"CLIENT SETINFO lib-name " + long, "-ERR lib-name cannot be longer than 4096 bytes.\r\n"},
		{"CLIENT SETINFO lib-ver \x01", "-ERR lib-ver cannot contain spaces, newlines or special characters.\r\n"},
	})
}

// TestNamespaceNames holds that a name that can't be sent, or be asked for, is refused before the leader is.
func TestNamespaceNames(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AdminSecret)
	for _, line := range []string{"NAMESPACE ADD \xff s", "NAMESPACE SET \xff s", "NAMESPACE DEL \xff"} {
		play(t, b, s, []exchange{{line, "-ERR name is not valid UTF-8\r\n"}})
	}
	play(t, b, s, []exchange{
		{"NAMESPACE ADD * s", "-ERR the name of a namespace cannot be '*'\r\n"},
		{"NAMESPACE ADD default s", "-ERR the name of a namespace cannot be 'default'\r\n"},
	})
	if len(b.Node.Calls) != 0 {
		t.Errorf("the leader was asked: %v", b.Node.Calls)
	}
	play(t, b, s, []exchange{{"NAMESPACE DEL default", "+OK\r\n"}}) // one from before the rule
}

// TestP6StrongerSessions holds what a session may know of and do to those of its namespace that may more.
func TestP6StrongerSessions(t *testing.T) {
	b := commandtest.New(t)
	kill := func(s, victim *command.Session) string {
		return b.Do(t, s, "CLIENT", "KILL", "ID", strings.Trim(b.Do(t, victim, "CLIENT", "ID"), ":\r\n"))
	}
	admin, write := b.Session(t, commandtest.AdminSecret), b.Session(t, commandtest.AWriteSecret)
	read, read2 := b.Session(t, commandtest.AReadSecret), b.Session(t, commandtest.AReadSecret)
	open := b.Registry.Open(command.Peer{Remote: "127.0.0.1:1", Local: "127.0.0.1:2", Loopback: true}, 0, b.Env.Clock(), nil)
	b.Do(t, admin, "CLIENT", "SETNAME", "operator")
	other := b.Session(t, commandtest.DefaultSecret)
	for name, tt := range map[string]struct {
		s, victim *command.Session
		want      string
	}{
		"read-only kills read-write":     {read, write, ":0\r\n"},
		"read-only kills its own token":  {read, read2, ":1\r\n"},
		"read-write kills read-only":     {write, read, ":1\r\n"},
		"open kills admin":               {open, admin, ":0\r\n"},
		"default's token kills admin":    {other, admin, ":0\r\n"},
		"default's token kills open":     {other, open, ":1\r\n"},
		"admin kills another namespace":  {admin, write, ":1\r\n"},
		"read-only kills another's name": {read, other, ":0\r\n"},
	} {
		if got := kill(tt.s, tt.victim); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	for _, s := range []*command.Session{open, other} {
		if got := b.Do(t, s, "CLIENT", "LIST"); strings.Contains(got, "operator") || !strings.Contains(got, "user=t-default") {
			t.Errorf("CLIENT LIST shows %q", got)
		}
		if got := b.Do(t, s, "INFO", "clients"); !strings.Contains(got, "connected_clients:2\r\n") {
			t.Errorf("INFO shows %q", got)
		}
	}
	play(t, b, admin, []exchange{{"CLIENT KILL USER t-a-ro TYPE pubsub", ":0\r\n"}})
	play(t, b, write, []exchange{
		{"CLIENT KILL USER nobody", "-ERR No such user 'nobody'\r\n"},
		{"CLIENT KILL USER t-b-rw", "-ERR No such user 't-b-rw'\r\n"},
		{"CLIENT KILL USER t-a-ro TYPE pubsub", ":0\r\n"},
		{"CLIENT KILL USER default", ":0\r\n"},
	})
	play(t, b, open, []exchange{{"CLIENT KILL USER t-admin", "-ERR No such user 't-admin'\r\n"}})
}

func TestConnectionsAreCountedOnce(t *testing.T) {
	primary, replica, _ := pair(t)
	s := replica.Session(t, commandtest.AWriteSecret)
	for range 5 {
		play(t, replica, s, []exchange{{"SET k v", "+OK\r\n"}})
	}
	p := primary.Session(t, commandtest.AWriteSecret)
	for range 3 {
		play(t, primary, p, []exchange{{"RESET", "+RESET\r\n"}, {"AUTH " + commandtest.AWriteSecret, "+OK\r\n"}})
	}
	if got := primary.Do(t, p, "INFO", "namespace"); !strings.Contains(got, "namespace_connections:1\r\n") {
		t.Errorf("got %q", got)
	}
	open := primary.Registry.Open(command.Peer{Loopback: true}, 0, primary.Env.Clock(), nil)
	primary.Do(t, open, "RESET")
	if got := primary.Do(t, open, "INFO", "namespace"); !strings.Contains(got, "namespace_connections:1\r\n") {
		t.Errorf("the open namespace: %q", got)
	}
}

func TestReplicaReadOnlySetting(t *testing.T) {
	for forward, want := range map[bool]string{true: "no", false: "yes"} {
		b := commandtest.NewWith(t, command.All(), command.Limits{ForwardWrites: forward})
		s := b.Session(t, commandtest.AWriteSecret)
		value := "$" + map[string]string{"no": "2", "yes": "3"}[want] + "\r\n" + want + "\r\n"
		play(t, b, s, []exchange{
			{"CONFIG GET replica-read-only", "*2\r\n$17\r\nreplica-read-only\r\n" + value},
			{"CONFIG GET slave-read-only", "*2\r\n$15\r\nslave-read-only\r\n" + value},
		})
	}
}

// TestReplyModesAndReset holds which replies are Redis' after each CLIENT REPLY.
func TestReplyModesAndReset(t *testing.T) {
	b := commandtest.New(t)
	for mode, want := range map[string]string{"SKIP": "+OK\r\n$1\r\n1\r\n", "OFF": "+RESET\r\n+OK\r\n$1\r\n1\r\n"} {
		s := b.Session(t, commandtest.AWriteSecret)
		got := b.Pipeline(t, s, []string{"CLIENT", "REPLY", mode}, []string{"RESET"}, []string{"AUTH", commandtest.AWriteSecret}, []string{"PING", "1"})
		if got != want {
			t.Errorf("%s: %q, want %q", mode, got, want)
		}
	}
}
