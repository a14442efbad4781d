package command_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// pair is a replica whose writes go to a primary; both have the same view, and stores of their own.
func pair(t *testing.T) (primary, replica *commandtest.Bench, forwarder *command.Forwarder) {
	t.Helper()
	primary, replica = commandtest.New(t), commandtest.New(t)
	replica.Node.SetReplica(true)
	forwarder = command.NewForwarder(primary.Executor)
	replica.Node.OnForward = func(s command.ForwardSession, calls [][][]byte, reply func(command.ForwardReply)) error {
		for _, args := range calls {
			reply(forwarder.Execute(s, args))
		}
		return nil
	}
	return primary, replica, forwarder
}

func TestWritesOnAReplicaAreForwarded(t *testing.T) {
	primary, replica, _ := pair(t)
	s := replica.Session(t, commandtest.AWriteSecret)
	got := replica.Pipeline(t, s, []string{"SELECT", "2"}, []string{"HELLO", "3"}, []string{"SET", "k", "v"}, []string{"INCR", "k"},
		[]string{"PING"}, []string{"SET", "k", "w", "GET"}, []string{"SET", "absent", "w", "XX"}, []string{"GET", "k"})
	_, got, _ = strings.Cut(got, "modules\r\n*0\r\n")
	if want := "+OK\r\n-ERR value is not an integer or out of range\r\n+PONG\r\n$1\r\nv\r\n_\r\n_\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(replica.Node.WaitedFor) != 1 || replica.Node.WaitedFor[0] == 0 {
		t.Errorf("the read waited for %v", replica.Node.WaitedFor)
	}
	p := primary.Session(t, commandtest.AWriteSecret)
	primary.Do(t, p, "SELECT", "2")
	if got := primary.Do(t, p, "GET", "k"); got != "$1\r\nw\r\n" {
		t.Errorf("the primary has %q", got)
	}
	reader := replica.Session(t, commandtest.AReadSecret)
	if got := replica.Do(t, reader, "SET", "k", "x"); !strings.HasPrefix(got, "-NOPERM") {
		t.Errorf("a read-only token forwarded: %q", got)
	}
}

func TestForwardErrors(t *testing.T) {
	_, replica, _ := pair(t)
	s := replica.Session(t, commandtest.AWriteSecret)
	write := func() string { return replica.Pipeline(t, s, []string{"SET", "a", "1"}, []string{"SET", "b", "1"}) }
	ok := command.ForwardReply{RESP: []byte("+OK\r\n"), Index: 7}
	const maybe, away = "-MAYBE the write may or may not have been done\r\n", "-READONLY the primary can't be reached from this replica, nothing was written\r\n"
	for _, tt := range []struct {
		name    string
		replies []command.ForwardReply
		err     error
		want    string
	}{
		{"never asked", nil, command.ErrNotForwarded, away + away},
		{"broken off", nil, errors.New("reset"), maybe + maybe},
		{"broken off behind one", []command.ForwardReply{ok}, errors.New("reset"), "+OK\r\n" + maybe},
		{"too few without an error", []command.ForwardReply{ok}, nil, "+OK\r\n" + maybe},
		{"too many", []command.ForwardReply{ok, ok, ok}, nil, "+OK\r\n+OK\r\n"},
		{"refused", []command.ForwardReply{{Refused: "it moved"}, ok}, nil, "-TRYAGAIN it moved, nothing was written\r\n+OK\r\n"},
	} {
		replica.Node.OnForward = func(_ command.ForwardSession, _ [][][]byte, reply func(command.ForwardReply)) error {
			for _, r := range tt.replies {
				reply(r)
			}
			return tt.err
		}
		if got := write(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	refusing := commandtest.NewWith(t, command.All(), command.Limits{})
	refusing.Node.SetReplica(true)
	if got := refusing.Do(t, refusing.Session(t, commandtest.AWriteSecret), "SET", "a", "1"); got != "-READONLY You can't write against a read only replica.\r\n" {
		t.Errorf("with replica_writes=refuse: %q", got)
	}
}

// TestForwarderTrustsNobody sends what a replica must not be able to do.
func TestForwarderTrustsNobody(t *testing.T) {
	primary, _, f := pair(t)
	good := command.ForwardSession{NamespaceID: commandtest.AID, TokenID: "t-a-rw", Proto: 2, MinRevision: 100}
	with := func(change func(*command.ForwardSession)) command.ForwardSession {
		s := good
		change(&s)
		return s
	}
	words := func(line string) (args [][]byte) {
		for w := range strings.FieldsSeq(line) {
			args = append(args, []byte(w))
		}
		return args
	}
	for _, tt := range []struct {
		name    string
		from    command.ForwardSession
		line    string
		refused bool
		resp    string
	}{
		{"write", good, "SET k v", false, "+OK"},
		{"read", good, "GET k", true, ""},
		{"session command", good, "AUTH x", true, ""},
		{"network command", good, "NAMESPACE ADD x y", false, "-ERR admin permission"},
		{"unknown token", with(func(s *command.ForwardSession) { s.TokenID = "nope" }), "SET k v", false, "-NOAUTH"},
		{"token of another namespace", with(func(s *command.ForwardSession) { s.NamespaceID = commandtest.BID }), "SET k v", false, "-NOAUTH"},
		{"no token", with(func(s *command.ForwardSession) { s.TokenID = "" }), "SET k v", false, "-NOAUTH"},
		{"read-only token", with(func(s *command.ForwardSession) { s.TokenID = "t-a-ro" }), "SET k v", false, "-NOPERM"},
		{"open default", with(func(s *command.ForwardSession) { s.TokenID, s.NamespaceID = "", commandtest.DefaultID }), "SET k v", false, "+OK"},
		{"newer view", with(func(s *command.ForwardSession) { s.MinRevision = 101 }), "SET k v", true, ""},
		{"no words", good, "", true, ""},
		{"database", with(func(s *command.ForwardSession) { s.DB = 16 }), "SET k v", true, ""},
	} {
		r := f.Execute(tt.from, words(tt.line))
		if (r.Refused != "") != tt.refused || !strings.HasPrefix(string(r.RESP), tt.resp) {
			t.Errorf("%s: refused %q, answered %q", tt.name, r.Refused, r.RESP)
		}
		if wrote := strings.HasPrefix(string(r.RESP), "+OK"); wrote != (r.Index > 0) {
			t.Errorf("%s: index %d", tt.name, r.Index)
		}
	}
	primary.Node.SetReplica(true)
	if r := f.Execute(good, words("SET k v")); r.Refused == "" {
		t.Error("a node that isn't the primary executed a forwarded write")
	}
}

// TestPanicsAreContained runs commands that panic in the middle of a pipeline.
func TestPanicsAreContained(t *testing.T) {
	explode := func(v any) func(*command.Ctx) {
		return func(c *command.Ctx) {
			c.Out.Array(3)
			c.Tx.Put(c.DB, []byte("half"), store.Row{Type: store.TypeString, Data: []byte("done")})
			panic(v)
		}
	}
	data := command.Spec{Arity: 1, Flags: command.FlagWrite, Scope: command.ScopeTenant}
	damage, bug := data, data
	damage.Name, damage.Run = "damage", explode(store.Damage{Err: fmt.Errorf("%w: block checksum", store.ErrUnreadable)})
	bug.Name, bug.Run = "bug", explode("index out of range")
	b := commandtest.NewWith(t, append(slices.Clone(command.All()), damage, bug), command.Limits{})
	for _, tt := range []struct {
		name, want string
		closes     bool
	}{{"damage", "-ERR the disk can't be read, nothing was written\r\n", false}, {"bug", "-ERR internal error, nothing was written\r\n", true}} {
		s := b.Session(t, commandtest.AWriteSecret)
		got := b.Pipeline(t, s, []string{"PING"}, []string{"SET", "k", "v"}, []string{tt.name}, []string{"GET", "half"})
		want := "+PONG\r\n" + tt.want + tt.want
		if !tt.closes {
			want += "$-1\r\n"
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", tt.name, got, want)
		}
		if closing, _ := s.Closing(); closing != tt.closes {
			t.Errorf("%s: closing is %v", tt.name, closing)
		}
		if got := b.Do(t, b.Session(t, commandtest.AWriteSecret), "EXISTS", "k", "half"); got != ":0\r\n" {
			t.Errorf("%s: something was written, or a lock is held: %q", tt.name, got)
		}
	}
}

// TestOutputLimit ends a connection whose reply doesn't fit, without sending half of one.
func TestOutputLimit(t *testing.T) {
	b := commandtest.New(t)
	s := b.Registry.Open(command.Peer{Loopback: true}, 1000, b.Env.Clock(), nil)
	b.Do(t, s, "SET", "k", strings.Repeat("v", 900))
	if b.Do(t, s, "GET", "k"); s.Out.Overflowed() {
		t.Fatal("a reply within the limit was dropped")
	}
	b.Pipeline(t, s, []string{"GET", "k"}, []string{"GET", "k"})
	if _, drop := s.Closing(); !drop {
		t.Error("the connection goes on")
	}
}

// TestRunsOfLargeRows: a pipeline whose commands make large rows of few bytes is cut into runs, so that it
// holds a few of them at a time, and those that are too large take no others with them.
func TestRunsOfLargeRows(t *testing.T) {
	b := commandtest.NewWith(t, command.All(), command.Limits{RunBytes: 64 << 10})
	s := b.Session(t, commandtest.AWriteSecret)
	var lines [][]string
	for i := range 10 {
		lines = append(lines, []string{"SETRANGE", fmt.Sprint("k", i), "99999", "x"})
	}
	before := b.Node.Data.Applied().Index
	if got := b.Pipeline(t, s, lines...); got != strings.Repeat(":100000\r\n", 10) {
		t.Fatalf("got %q", got)
	}
	if entries := b.Node.Data.Applied().Index - before; entries != 10 {
		t.Errorf("%d entries for ten runs", entries)
	}
	lines = nil
	for i := range 10 {
		lines = append(lines, []string{"STRLEN", fmt.Sprint("k", i)})
	}
	if got := b.Pipeline(t, s, lines...); got != strings.Repeat(":100000\r\n", 10) {
		t.Errorf("got %q", got)
	}
}

// TestReadsWaitInOneHistory holds that an acknowledged write is waited for on a replica, and no longer where
// its index means nothing.
func TestReadsWaitInOneHistory(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*commandtest.Bench)
		waits  int
	}{
		"a replica":          {func(*commandtest.Bench) {}, 1},
		"the primary by now": {func(b *commandtest.Bench) { b.Node.SetReplica(false) }, 0},
		"another history": {func(b *commandtest.Bench) {
			b.Install(t, &atollpb.ViewFrame{FromRevision: 100, Revision: 101, Last: true,
				Groups: []*atollpb.Group{{Id: 1, Primary: "node-2", Epoch: 101, HistoryId: "forced"}}})
		}, 0},
	} {
		_, replica, _ := pair(t)
		replica.Node.OnForward = func(_ command.ForwardSession, _ [][][]byte, reply func(command.ForwardReply)) error {
			reply(command.ForwardReply{RESP: []byte("+OK\r\n"), Index: 1 << 40})
			return nil
		}
		s := replica.Session(t, commandtest.AWriteSecret)
		replica.Do(t, s, "SET", "k", "v")
		tt.change(replica)
		for range 2 {
			replica.Do(t, s, "GET", "k")
		}
		if got := len(replica.Node.WaitedFor); got != tt.waits {
			t.Errorf("%s: %d waits, want %d", name, got, tt.waits)
		}
	}
}

// What a session waits for from other nodes ends with it: until then it holds its buffers.
func TestClosedSessionsWaitForNoOtherNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, replica, _ := pair(t)
		for what, words := range map[string][]string{"a forwarded write": {"SET", "k", "w"}, "a read behind one": {"GET", "k"}} {
			for _, early := range []bool{false, true} {
				s := replica.Session(t, commandtest.AWriteSecret)
				replica.Node.Stalled = nil
				replica.Do(t, s, "SET", "k", "v")
				replica.Node.Stalled = make(chan struct{})
				if early {
					s.Close()
				}
				began, done := time.Now(), make(chan struct{})
				go func() {
					defer close(done)
					replica.Do(t, s, words...)
				}()
				<-replica.Node.Stalled
				if !early {
					s.Close()
				}
				<-done
				if took := time.Since(began); took != 0 {
					t.Errorf("%s, closed before it is %v: it went on for %v", what, early, took)
				}
			}
		}
	})
}
