package command_test

import (
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// exchange is one command line and its reply; a reply that ends in … is a prefix.
type exchange struct{ send, want string }

func play(t *testing.T, b *commandtest.Bench, s *command.Session, script []exchange) {
	t.Helper()
	for _, x := range script {
		got := b.Do(t, s, strings.Fields(x.send)...)
		if prefix, ok := strings.CutSuffix(x.want, "…"); ok {
			if !strings.HasPrefix(got, prefix) {
				t.Errorf("%s answered %q, want it to begin with %q", x.send, got, prefix)
			}
			continue
		}
		if got != x.want {
			t.Errorf("%s answered %q, want %q", x.send, got, x.want)
		}
	}
}

func TestConnectionCommands(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, "")
	play(t, b, s, []exchange{
		{"PING", "-NOAUTH Authentication required.\r\n"},
		{"GET", "-ERR wrong number of arguments for 'get' command\r\n"},
		{"foo", "-ERR unknown command 'foo', with args beginning with: \r\n"},
		{"SENTINEL masters x", "-ERR unknown command 'SENTINEL', with args beginning with: 'masters' 'x' \r\n"},
		{"AUTH", "-ERR wrong number of arguments for 'auth' command\r\n"},
		{"AUTH a b c", "-ERR syntax error\r\n"},
		{"AUTH nope", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"},
		{"AUTH b a-write-secret", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"},
		{"HELLO", "-NOAUTH HELLO must be called with…"},
		{"HELLO 4", "-NOPROTO unsupported protocol version\r\n"},
		{"HELLO x", "-ERR Protocol version is not an integer or out of range\r\n"},
		{"HELLO 2 AUTH a", "-ERR Syntax error in HELLO option 'AUTH'\r\n"},
		{"HELLO 3 AUTH default nope", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"},
		{"AUTH a a-write-secret", "+OK\r\n"},
		{"NAMESPACE CURRENT", "$1\r\na\r\n"},
		{"AUTH default b-write-secret", "+OK\r\n"},
		{"NAMESPACE CURRENT", "$1\r\nb\r\n"},
		{"PING", "+PONG\r\n"},
		{"PING hi", "$2\r\nhi\r\n"},
		{"PING a b", "-ERR wrong number of arguments for 'ping' command\r\n"},
		{"SELECT a", "-ERR value is not an integer or out of range\r\n"},
		{"SELECT 16", "-ERR DB index is out of range\r\n"},
		{"SELECT 3", "+OK\r\n"},
		{"CLIENT GETNAME", "$-1\r\n"},
		{"CLIENT SETNAME x", "+OK\r\n"},
		{"CLIENT GETNAME", "$1\r\nx\r\n"},
		{"CLIENT SETINFO lib-name go-redis", "+OK\r\n"},
		{"CLIENT MAINT_NOTIFICATIONS ON", "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.\r\n"},
		{"CLIENT TRACKING ON OPTIN", "-ERR client-side caching is not supported\r\n"},
		{"CLIENT", "-ERR wrong number of arguments for 'client' command\r\n"},
		{"CLIENT KILL FOO bar", "-ERR syntax error\r\n"},
		{"CLIENT LIST", "$…"},
		{"CLUSTER INFO", "-ERR This instance has cluster support disabled\r\n"},
		{"READONLY", "-ERR This instance has cluster support disabled\r\n"},
		{"SHUTDOWN", "-ERR admin permission required to perform the command\r\n"},
		{"NAMESPACE GET *", "-ERR admin permission required to perform the command\r\n"},
		{"CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"},
		{"COMMAND GETKEYS mset a 1 b 2", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"},
		{"COMMAND INFO nope", "*1\r\n$-1\r\n"},
		{"HELLO 3 AUTH a a-write-secret SETNAME y", "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n…"},
		{"CLIENT GETNAME", "$1\r\ny\r\n"},
		{"GET nokey", "_\r\n"},
		{"RESET", "+RESET\r\n"},
		{"GET nokey", "-NOAUTH Authentication required.\r\n"},
		{"QUIT", "+OK\r\n"},
	})
	if closing, _ := s.Closing(); !closing {
		t.Error("QUIT leaves the connection open")
	}
}

func TestPipelineIsAnsweredInOrder(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, "")
	got := b.Pipeline(t, s,
		[]string{"GET", "k"}, []string{"AUTH", commandtest.AWriteSecret}, []string{"SET", "k", "v"}, []string{"GET", "k"},
		[]string{"PING"}, []string{"nope"}, []string{"SELECT", "1"}, []string{"GET", "k"}, []string{"SELECT", "0"},
		[]string{"FLUSHALL"}, []string{"GET", "k"}, []string{"INCR", "n"}, []string{"INCR", "n"})
	want := "-NOAUTH Authentication required.\r\n+OK\r\n+OK\r\n$1\r\nv\r\n+PONG\r\n-ERR unknown command 'nope', with args beginning with: \r\n" +
		"+OK\r\n$-1\r\n+OK\r\n+OK\r\n$-1\r\n:1\r\n:2\r\n"
	if got != want {
		t.Errorf("answered %q, want %q", got, want)
	}
}

func TestClientReply(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	got := b.Pipeline(t, s, []string{"CLIENT", "REPLY", "SKIP"}, []string{"PING", "1"}, []string{"PING", "2"},
		[]string{"CLIENT", "REPLY", "OFF"}, []string{"PING", "3"}, []string{"SELECT", "0"}, []string{"CLIENT", "REPLY", "ON"}, []string{"PING", "4"})
	if want := "$1\r\n2\r\n+OK\r\n$1\r\n4\r\n"; got != want {
		t.Errorf("answered %q, want %q", got, want)
	}
}

func TestOpenDefaultNamespace(t *testing.T) {
	b := commandtest.New(t)
	s := b.Registry.Open(command.Peer{Loopback: true}, 0, b.Env.Clock(), nil)
	play(t, b, s, []exchange{
		{"NAMESPACE CURRENT", "$11\r\n__namespace\r\n"},
		{"SET k v", "+OK\r\n"},
		{"NAMESPACE GET *", "-ERR admin permission required to perform the command\r\n"},
		{"AUTH nope", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"},
		{"GET k", "$1\r\nv\r\n"},
		{"AUTH admin-secret", "+OK\r\n"},
		{"NAMESPACE GET a", "$13\r\nt-a-ro,t-a-rw\r\n"},
		{"NAMESPACE GET x", "$-1\r\n"},
		{"NAMESPACE GET *", "*6\r\n$11\r\n__namespace\r\n…"},
		{"RESET", "+RESET\r\n"},
		{"NAMESPACE CURRENT", "$11\r\n__namespace\r\n"},
	})
}

// TestDamageShowsItselfToASupervisor: it has no token, and connects from this machine.
func TestDamageShowsItselfToASupervisor(t *testing.T) {
	b := commandtest.New(t)
	near := b.Registry.Open(command.Peer{SameHost: true}, 0, b.Env.Clock(), nil)
	far := b.Registry.Open(command.Peer{}, 0, b.Env.Clock(), nil)
	for _, s := range []*command.Session{near, far} {
		play(t, b, s, []exchange{{"PING", "-NOAUTH Authentication required.\r\n"}})
	}
	b.Node.Data.NoteDamage(store.Damage{Err: store.ErrDamage})
	play(t, b, near, []exchange{{"PING", "-DAMAGED …"}, {"GET k", "-NOAUTH Authentication required.\r\n"}})
	play(t, b, far, []exchange{{"PING", "-NOAUTH Authentication required.\r\n"}})
}

func TestRevocationEndsTheSession(t *testing.T) {
	b := commandtest.New(t)
	tests := []struct {
		name   string
		change *atollpb.ViewFrame
		ends   bool
	}{
		{"another token", &atollpb.ViewFrame{Tokens: []*atollpb.Token{commandtest.Token("t-b-rw", commandtest.BID, "other", atollpb.Role_ROLE_READ_WRITE)}}, false},
		{"removed", &atollpb.ViewFrame{RemovedTokens: []string{"t-a-rw"}}, true},
		{"secret replaced", &atollpb.ViewFrame{Tokens: []*atollpb.Token{commandtest.Token("t-a-rw", commandtest.AID, "other", atollpb.Role_ROLE_READ_WRITE)}}, true},
		{"namespace deleted", &atollpb.ViewFrame{Namespaces: []*atollpb.Namespace{{Id: commandtest.AID, Name: "a", State: atollpb.NamespaceState_NAMESPACE_STATE_DELETED}}}, true},
	}
	revision := uint64(100)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			revision += 10
			b.Install(t, commandtest.FullView(revision))
			s := b.Session(t, commandtest.AWriteSecret)
			tt.change.FromRevision, tt.change.Revision, tt.change.Last = revision, revision+1, true
			b.Install(t, tt.change)
			if s.Holds(b.Node.Views.Current(), b.Env.NowMS()) == tt.ends {
				t.Errorf("Holds is %v", !tt.ends)
			}
			got := b.Do(t, s, "GET", "k")
			closing, _ := s.Closing()
			if closing != tt.ends || strings.HasPrefix(got, "-NOAUTH") != tt.ends {
				t.Errorf("answered %q, closing %v, want an end: %v", got, closing, tt.ends)
			}
		})
	}
}

func TestNamespaceCommands(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AdminSecret)
	for status, want := range map[command.NamespaceStatus]string{
		command.NamespaceOK:          "+OK\r\n",
		command.NamespaceExists:      "-ERR the namespace already exists\r\n",
		command.NamespaceTokenExists: "-ERR the token already exists\r\n",
		command.NamespaceNotFound:    "-ERR the namespace was not found\r\n",
		command.NamespaceForbidden:   "-ERR forbidden to add the default namespace\r\n",
		command.NamespaceInvalid:     "-ERR name has a space\r\n",
	} {
		b.Node.OnNamespaces = func(command.NamespaceCall) (command.NamespaceResult, error) {
			return command.NamespaceResult{Status: status, Message: "name has a space"}, nil
		}
		play(t, b, s, []exchange{{"NAMESPACE ADD x secret", want}})
	}
	n := len(b.Node.Calls)
	play(t, b, s, []exchange{
		{"NAMESPACE ADD __namespace s", "-ERR forbidden to add the default namespace\r\n"},
		{"NAMESPACE DEL __namespace", "-ERR forbidden to delete the default namespace\r\n"},
		{"NAMESPACE ADD x", "-ERR wrong number of arguments for 'namespace|add' command\r\n"},
		{"NAMESPACE FOO", "-ERR unknown subcommand 'FOO'. Try NAMESPACE HELP.\r\n"},
		{"REPLICAOF NO ONE", "-ERR REPLICAOF NO ONE is refused: move the primary with `atoll group promote`\r\n"},
		{"REPLICAOF 127.0.0.1 1", "-ERR 127.0.0.1:1 is not the client address of a registered node\r\n"},
		{"SLAVEOF 127.0.0.1 6379", "-ERR this node can't be its own replica\r\n"},
	})
	if len(b.Node.Calls) != n {
		t.Error("a refused change reached the leader")
	}

	// The leader hears who asks.
	b.Node.OnNamespaces, s.Peer.Remote = nil, "10.0.0.1:5"
	play(t, b, s, []exchange{{"NAMESPACE DEL x", "+OK\r\n"}})
	if asked := b.Node.Calls[n:]; len(asked) != 1 || asked[0].TokenID != "t-admin" || asked[0].Client != "10.0.0.1:5" {
		t.Errorf("asked by %+v", asked)
	}
}
