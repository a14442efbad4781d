package command_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/store"
)

// marker is in everything of namespace B that A must never see.
const marker = "BSECRET"

// leaf is a command that can be called: its words, without arguments.
type leaf struct {
	words []string
	spec  command.Spec
}

func (l leaf) String() string { return strings.Join(l.words, " ") }

// leaves returns every command and subcommand of the table.
func leaves() (list []leaf) {
	for _, s := range command.All() {
		if s.Run != nil {
			list = append(list, leaf{[]string{s.Name}, s})
		}
		for _, sub := range s.Subs {
			list = append(list, leaf{[]string{s.Name, sub.Name}, sub})
		}
	}
	return list
}

// filler are words that make many command lines valid, and many more nearly so.
var filler = strings.Fields("k:string k:hash k:zset k:list k:number absent hidden 0 1 2 -1 3 100 1.5 (1 [a + - * k* b " +
	"field GET MATCH COUNT WITHSCORES NX XX EX PX KEEPTTL BYSCORE BYLEX REV LIMIT REPLACE DB ASYNC AGGREGATE SUM " +
	"LEFT RIGHT BEFORE RANK MAXLEN on off yes id type normal addr all __namespace t-b-rw fields withvalues incr gt")

// lines returns command lines of l: of its smallest arity and above, with one word all over, and mixed.
func (l leaf) lines(rng *rand.Rand) (list [][]string) {
	arity := l.spec.Arity
	least := max(arity, -arity) - len(l.words)
	for extra := range 4 {
		if arity > 0 && extra > 0 {
			break
		}
		n := least + extra
		for range 12 {
			line := slices.Clone(l.words)
			for i := range n {
				w := filler[rng.IntN(len(filler))]
				if i == 0 && rng.IntN(3) > 0 {
					w = filler[rng.IntN(7)] // most begin with a key
				}
				line = append(line, w)
			}
			at := l.time()
			if at < 0 {
				at += len(line)
			}
			if at > 0 && at < len(line) {
				line[at] = "0.001"
				if at == l.time() && l.String() != "debug sleep" && l.spec.Group != "list" && l.spec.Group != "sorted-set" {
					line[at] = "1"
				}
			}
			list = append(list, line)
		}
	}
	return list
}

// time is the place of the argument that says how long a command waits, or has others wait; negative from the end, 0 for the others.
func (l leaf) time() int {
	switch l.String() {
	case "wait", "client pause", "debug sleep":
		return 2
	case "waitaof":
		return 3
	case "blmpop", "bzmpop":
		return 1
	case "blpop", "brpop", "blmove", "brpoplpush", "bzpopmin", "bzpopmax":
		return -1
	}
	return 0
}

var contents = [][]string{
	{"SET", "k:string", "%s"}, {"SET", "k:number", "10"}, {"HSET", "k:hash", "field", "%s", "1", "2"}, {"ZADD", "k:zset", "1", "%s", "2", "a"}, {"RPUSH", "k:list", "%s", "a", "b", "a"},
	{"SET", "hidden", "x"}, {"SET", "%sname", "x"}, {"SELECT", "1"}, {"SET", "k:string", "%s"}, {"SELECT", "0"},
}

// fill gives the session's namespace the test's keys, with mark in their values.
func fill(t *testing.T, b *commandtest.Bench, s *command.Session, mark string) {
	t.Helper()
	b.Do(t, s, "FLUSHALL")
	for _, line := range contents {
		words := slices.Clone(line)
		for i, w := range words {
			words[i] = strings.ReplaceAll(w, "%s", mark)
		}
		if got := b.Do(t, s, words...); strings.HasPrefix(got, "-") {
			t.Fatalf("%q answered %q", words, got)
		}
	}
}

// dump returns everything that is in the session's namespace, times of expiry included.
func dump(t *testing.T, b *commandtest.Bench, s *command.Session) string {
	t.Helper()
	var out strings.Builder
	for db := range 16 {
		at := fmt.Sprint(db)
		b.Do(t, s, "SELECT", at)
		size := b.Do(t, s, "DBSIZE")
		if size == ":0\r\n" {
			continue
		}
		out.WriteString(at + size)
		for _, key := range bulks(b.Do(t, s, "KEYS", "*")) {
			kind := b.Do(t, s, "TYPE", key)
			out.WriteString(key + " " + kind)
			switch strings.Trim(kind, "+\r\n") {
			case "string":
				out.WriteString(b.Do(t, s, "GET", key))
			case "hash":
				out.WriteString(b.Do(t, s, "HGETALL", key))
			case "list":
				out.WriteString(b.Do(t, s, "LRANGE", key, "0", "-1"))
			case "zset":
				out.WriteString(b.Do(t, s, "ZRANGE", key, "0", "-1", "WITHSCORES"))
			}
			out.WriteString(b.Do(t, s, "PEXPIRETIME", key))
		}
	}
	b.Do(t, s, "SELECT", "0")
	return out.String()
}

// bulks returns the elements of an array of bulk strings without line breaks, sorted.
func bulks(resp string) (list []string) {
	parts := strings.Split(strings.TrimSuffix(resp, "\r\n"), "\r\n")
	for i := 2; i < len(parts); i += 2 {
		list = append(list, parts[i])
	}
	slices.Sort(list)
	return list
}

// TestP1EveryCommandWaitsForViewAndData calls every command on a node without a view or data.
func TestP1EveryCommandWaitsForViewAndData(t *testing.T) {
	b := commandtest.New(t)
	rng := rand.New(rand.NewPCG(1, 1))
	s := b.Session(t, commandtest.AWriteSecret)
	b.Node.SetLoading(true)
	for _, l := range append(leaves(), leaf{[]string{"nosuchcommand"}, command.Spec{Arity: -1}}) {
		for _, line := range l.lines(rng) {
			if got := b.Do(t, s, line...); got != "-LOADING Atoll is loading the dataset in memory\r\n" {
				t.Errorf("%q answered %q", line, got)
			}
		}
	}
	if closing, _ := s.Closing(); closing {
		t.Error("the session ended")
	}
	b.Node.SetLoading(false)
	if got := b.Do(t, s, "PING"); got != "+PONG\r\n" {
		t.Errorf("afterwards PING answered %q", got)
	}
}

func TestP6EveryCommandHasAScope(t *testing.T) {
	for _, l := range leaves() {
		if l.spec.Scope == command.ScopeDeny {
			t.Errorf("%v has no scope", l)
		}
		data := l.spec.Flags & (command.FlagWrite | command.FlagReadOnly)
		if data != 0 && l.spec.Scope != command.ScopeTenant {
			t.Errorf("%v works on data and its scope is %d", l, l.spec.Scope)
		}
		if data == command.FlagWrite|command.FlagReadOnly {
			t.Errorf("%v writes and is read-only", l)
		}
	}
	b := commandtest.NewWith(t, append(command.All(), command.Spec{Name: "forgotten", Arity: 1, Run: func(c *command.Ctx) { c.Out.OK() }}), command.Limits{})
	for _, secret := range []string{"", commandtest.AWriteSecret, commandtest.AdminSecret} {
		if got := b.Do(t, b.Session(t, secret), "FORGOTTEN"); !strings.HasPrefix(got, "-NO") {
			t.Errorf("a command without a scope answered %q", got)
		}
	}
}

// TestP6Isolation calls every command in every role, on a namespace whose neighbour has the same keys.
// Whatever is sent, the neighbour stays as it was, and nothing of it is in a reply.
func TestP6Isolation(t *testing.T) {
	b := commandtest.New(t)
	everythingIsSlow(t, b) // so that the slow log has something of the neighbour's
	neighbour := b.Session(t, commandtest.BWriteSecret)
	fill(t, b, neighbour, marker)
	b.Do(t, neighbour, "CLIENT", "SETNAME", marker)
	// Every command is slow: what a tenant is shown of them is its own.
	if got := b.Do(t, b.Session(t, commandtest.AdminSecret), "CONFIG", "SET", "slowlog-log-slower-than", "0"); got != "+OK\r\n" {
		t.Fatalf("CONFIG SET answered %q", got)
	}
	want := dump(t, b, neighbour)
	if !strings.Contains(want, marker) || !strings.Contains(want, "k:zset") {
		t.Fatalf("the neighbour has %q", want)
	}
	owner := b.Session(t, commandtest.AWriteSecret)
	for _, role := range []struct{ name, secret string }{
		{"none", ""}, {"read-only", commandtest.AReadSecret}, {"read-write", commandtest.AWriteSecret}, {"admin", commandtest.AdminSecret},
	} {
		t.Run(role.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(6, 6))
			for _, l := range leaves() {
				fill(t, b, owner, "asecret")
				own := dump(t, b, owner)
				for _, line := range l.lines(rng) {
					s := b.Session(t, role.secret)
					got := b.Do(t, s, line...)
					b.Registry.Remove(s)
					checkReply(t, role.name, l, line, got)
				}
				if role.name != "read-write" && dump(t, b, owner) != own {
					t.Errorf("%v changed the namespace as %s", l, role.name)
				}
				if got := dump(t, b, neighbour); got != want {
					t.Fatalf("%v changed the neighbour to %q", l, got)
				}
			}
		})
	}
}

// checkReply holds one reply against what the role may see and do.
func checkReply(t *testing.T, role string, l leaf, line []string, got string) {
	t.Helper()
	if got == "" && l.String() != "client reply" {
		t.Errorf("%q got no reply", line)
	}
	if strings.Contains(got, marker) && (role != "admin" || l.String() != "client list" && l.String() != "slowlog get") {
		t.Errorf("%q as %s shows the neighbour: %q", line, role, got)
	}
	refused := strings.HasPrefix(got, "-")
	switch {
	case role == "none" && l.spec.Scope != command.ScopeConnection && !refused:
		t.Errorf("%q without a token answered %q", line, got)
	case role != "admin" && l.spec.Scope == command.ScopeAdmin && !refused:
		t.Errorf("%q as %s answered %q", line, role, got)
	case role == "read-only" && l.spec.Flags&(command.FlagWrite|command.FlagShared) != 0 && !strings.HasPrefix(got, "-NOPERM"):
		t.Errorf("%q as %s answered %q", line, role, got)
	case strings.Contains(got, "internal error"):
		t.Errorf("%q as %s answered %q", line, role, got)
	}
}

// TestP8AnErrorChangesNothing calls every command with arguments that are often wrong: where the reply
// is an error, the namespace is as it was. The clock stands still, since DBSIZE counts a key that has run
// out until the sweeper gets to it.
func TestP8AnErrorChangesNothing(t *testing.T) {
	b := commandtest.NewStanding(t)
	s := b.Session(t, commandtest.AWriteSecret)
	rng := rand.New(rand.NewPCG(8, 8))
	errors := 0
	for _, l := range leaves() {
		if l.spec.Flags&command.FlagWrite == 0 {
			continue
		}
		fill(t, b, s, "v")
		before := dump(t, b, s)
		for range 4 {
			for _, line := range l.lines(rng) {
				got := b.Do(t, s, line...)
				after := dump(t, b, s)
				if strings.HasPrefix(got, "-") {
					errors++
					if after != before {
						t.Errorf("%q answered %q, and changed %q to %q", line, got, before, after)
					}
				}
				before = after
			}
		}
	}
	if errors < 100 {
		t.Errorf("only %d errors were seen", errors)
	}
}

// TestP8CommitErrors makes the commit of whole pipelines fail: every reply that could depend on it is
// the error, and nothing has changed.
func TestP8CommitErrors(t *testing.T) {
	for role, want := range map[store.Role]string{
		store.Replica:  "-READONLY You can't write against a read only replica.\r\n",
		store.Quiesced: "-TRYAGAIN the group's primary is being moved, nothing was written\r\n",
	} {
		b := commandtest.New(t)
		s := b.Session(t, commandtest.AWriteSecret)
		fill(t, b, s, "v")
		before := dump(t, b, s)
		b.Node.Data.Stop(role)
		got := b.Pipeline(t, s, []string{"PING"}, []string{"SET", "new", "1"}, []string{"GET", "new"}, []string{"nosuch"}, []string{"INCR", "k:number"},
			[]string{"SELECT", "0"}, []string{"GET", "k:number"}, []string{"FLUSHDB"})
		unknown := "-ERR unknown command 'nosuch', with args beginning with: \r\n"
		if all := "+PONG\r\n" + want + want + unknown + want + "+OK\r\n$2\r\n10\r\n" + want; got != all {
			t.Errorf("role %d: got %q, want %q", role, got, all)
		}
		if after := dump(t, b, s); after != before {
			t.Errorf("role %d: changed %q to %q", role, before, after)
		}
	}
}

// TestP8ErrorTexts pins what clients read after each way that a commit can fail.
func TestP8ErrorTexts(t *testing.T) {
	for err, want := range map[error]string{
		store.ErrNotPrimary: "READONLY ", store.ErrQuiesced: "TRYAGAIN ", store.ErrDiskFull: "MISCONF ",
		store.ErrReadOnly: "DAMAGED ", store.ErrDamage: "DAMAGED ", store.ErrUnreadable: "ERR ", store.ErrTooLarge: "ERR ", store.ErrClosed: "LOADING ", store.ErrMaybe: "MAYBE ",
		fmt.Errorf("wrapped: %w", store.ErrMaybe): "MAYBE ",
	} {
		if got := command.ErrorText(err); !strings.HasPrefix(got, want) {
			t.Errorf("%v reads %q", err, got)
		}
	}
}
