package command_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/tidwall/redcon"
)

// pipelineOf makes commands of lines of words.
func pipelineOf(lines ...string) []redcon.Command {
	cmds := make([]redcon.Command, len(lines))
	for i, line := range lines {
		cmds[i].Raw = []byte(line)
		for w := range strings.FieldsSeq(line) {
			cmds[i].Args = append(cmds[i].Args, []byte(w))
		}
	}
	return cmds
}

// together executes one pipeline of each session in one batch, and returns their replies.
func together(t *testing.T, j *command.Joint, sessions []*command.Session, pipelines [][]redcon.Command) []string {
	t.Helper()
	if !j.Begin() {
		t.Fatal("no lease")
	}
	for i, s := range sessions {
		s.Out.Reset(1 << 20)
		if !j.Add(s, pipelines[i]) {
			t.Fatalf("session %d's %q don't join", i, pipelines[i][0].Raw)
		}
	}
	var done []int
	j.Execute(new(command.JointScratch), func(numbers []int, _ [][]redcon.Command, _ bool) { done = append(done, numbers...) })
	j.End()
	if slices.Sort(done); len(done) != len(sessions) || done[len(done)-1] != len(done)-1 {
		t.Errorf("done are %v of %d", done, len(sessions))
	}
	replies := make([]string, len(sessions))
	for i, s := range sessions {
		replies[i] = string(s.Out.Bytes())
	}
	return replies
}

// TestShortRunsFirst: what a few commands take doesn't wait for what many take, whoever came first.
func TestShortRunsFirst(t *testing.T) {
	x := commandtest.New(t)
	j, scratch := x.Executor.NewJoint(), new(command.JointScratch)
	secrets := []string{commandtest.AWriteSecret, commandtest.BWriteSecret, commandtest.AReadSecret}
	lengths := []int{30, 2, 5}
	if !j.Begin() {
		t.Fatal("no lease")
	}
	for i, secret := range secrets {
		s := x.Session(t, secret)
		if !j.Add(s, pipelineOf(slices.Repeat([]string{"GET k"}, lengths[i])...)) {
			t.Fatal("it doesn't join")
		}
	}
	j.Order()
	var order []int
	j.Execute(scratch, func(numbers []int, _ [][]redcon.Command, _ bool) { order = append(order, numbers...) })
	j.End()
	if !slices.Equal(order, []int{1, 0, 2}) { // the first and the last are of one namespace, and so of one run
		t.Errorf("sessions are answered in the order %v", order)
	}
}

// TestTogetherAsAlone: connections that are executed together get the replies that they would have got one after
// another, when none touches another's keys.
func TestTogetherAsAlone(t *testing.T) {
	joint, alone := commandtest.NewStanding(t), commandtest.NewStanding(t) // a TTL is the same a moment later
	secrets := []string{commandtest.AWriteSecret, commandtest.BWriteSecret, commandtest.AReadSecret, commandtest.AWriteSecret}
	var one, other []*command.Session
	for i := range 12 {
		one = append(one, joint.Session(t, secrets[i%len(secrets)]))
		other = append(other, alone.Session(t, secrets[i%len(secrets)]))
	}
	j := joint.Executor.NewJoint()
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	forms := []string{ // # is the session's number, ~ a small one
		"SET k# v~", "GET k#", "INCR n#", "HSET h# f~ v", "HGET h# f~", "ZADD z# ~ m", "ZSCORE z# m", "DEL k#", "MSET k# a n# ~",
		"INCR k#", "PING", "NOSUCH ~", "GET", "EXPIRE k# 100", "TTL k#", "HSET k# f v",
	}
	for range 300 {
		var sessions, singles []*command.Session
		var pipelines [][]redcon.Command
		for i := range one {
			if rng.IntN(3) == 0 {
				continue
			}
			lines := make([]string, 1+rng.IntN(5))
			for k := range lines {
				r := strings.NewReplacer("#", strconv.Itoa(i), "~", strconv.Itoa(rng.IntN(4)))
				lines[k] = r.Replace(forms[rng.IntN(len(forms))])
			}
			sessions, singles = append(sessions, one[i]), append(singles, other[i])
			pipelines = append(pipelines, pipelineOf(lines...))
		}
		got := together(t, j, sessions, pipelines)
		for i, s := range singles {
			s.Out.Reset(1 << 20)
			if err := alone.Executor.Execute(t.Context(), s, pipelines[i], func() error { return nil }); err != nil {
				t.Fatal(err)
			}
			if want := string(s.Out.Bytes()); got[i] != want {
				t.Fatalf("seed %d: %q of session %d: together %q, alone %q", seed, pipelines[i], i, got[i], want)
			}
		}
	}
	if a, b := joint.Node.Data.Namespace(commandtest.AID).Counters(), alone.Node.Data.Namespace(commandtest.AID).Counters(); a != b {
		t.Errorf("counters together %+v, alone %+v", a, b)
	}
	if a, b := joint.Node.Data.Applied().Index, alone.Node.Data.Applied().Index; a >= b {
		t.Errorf("%d entries together, %d alone", a, b)
	}
}

// TestPanicAmongOthers: a command that panics fails alone.
func TestPanicAmongOthers(t *testing.T) {
	bad := command.Spec{Name: "bad", Arity: 1, Flags: command.FlagWrite | command.FlagShort, Scope: command.ScopeTenant}
	bad.Run = func(c *command.Ctx) {
		c.Tx.Put(c.DB, []byte("half"), store.Row{Type: store.TypeString, Data: []byte("done")})
		panic(store.Damage{Err: fmt.Errorf("%w: block checksum", store.ErrUnreadable)})
	}
	b := commandtest.NewWith(t, append(slices.Clone(command.All()), bad), command.Limits{})
	sessions := []*command.Session{b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)}
	got := together(t, b.Executor.NewJoint(), sessions, [][]redcon.Command{pipelineOf("INCR n"), pipelineOf("SET k v", "BAD"), pipelineOf("INCR n", "PING")})
	const failed = "-ERR the disk can't be read, nothing was written\r\n"
	if want := []string{":1\r\n", failed + failed, ":2\r\n+PONG\r\n"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := b.Do(t, sessions[0], "EXISTS", "k", "half", "n"); got != ":1\r\n" {
		t.Errorf("of k, half and n exist: %q", got)
	}
}

// TestSplitRunsPayOnce: what is tried alone was paid for when it was tried together.
func TestSplitRunsPayOnce(t *testing.T) {
	bad := command.Spec{Name: "bad", Arity: 1, Flags: command.FlagReadOnly | command.FlagShort, Scope: command.ScopeTenant}
	bad.Run = func(*command.Ctx) { panic(store.Damage{Err: fmt.Errorf("%w: block checksum", store.ErrUnreadable)}) }
	b := commandtest.NewWith(t, append(command.All(), bad), command.Limits{})
	clock(b)
	good, hurt := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	bound(t, b, &atollpb.Limits{CommandsPerSecond: hard(5)})
	got := together(t, b.Executor.NewJoint(), []*command.Session{good, hurt}, [][]redcon.Command{pipelineOf("GET k", "GET k"), pipelineOf("BAD", "GET k")})
	if got[0] != "$-1\r\n$-1\r\n" || !strings.HasPrefix(got[1], "-") || strings.Contains(got[1], "LIMIT") {
		t.Errorf("got %q", got)
	}
	expect(t, b, good, "GET k", "$-1", "GET k", "-LIMIT commands per second:")
}

// TestTogetherNothingHappened: where the commit fails, every session is told, and what is no write keeps its reply.
func TestTogetherNothingHappened(t *testing.T) {
	b := commandtest.New(t)
	sessions := []*command.Session{b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.BWriteSecret)}
	b.Node.Data.Stop(store.Quiesced)
	got := together(t, b.Executor.NewJoint(), sessions, [][]redcon.Command{pipelineOf("SET k v", "PING"), pipelineOf("NOSUCH", "INCR n"), pipelineOf("GET k")})
	if !strings.HasPrefix(got[0], "-") || !strings.HasSuffix(got[0], "+PONG\r\n") || strings.Count(got[1], "-") < 2 || !strings.HasPrefix(got[1], "-ERR unknown command") ||
		strings.Contains(got[1], ":1") || got[2] != "$-1\r\n" {
		t.Errorf("got %q", got)
	}
	b.Node.Data.Resume()
	if got := b.Do(t, sessions[0], "EXISTS", "k", "n"); got != ":0\r\n" {
		t.Errorf("of k and n exist: %q", got)
	}
}

// TestLargeTogether: a batch that makes large rows is cut into runs, and each session gets its replies in order.
func TestLargeTogether(t *testing.T) {
	b := commandtest.NewWith(t, command.All(), command.Limits{RunBytes: 64 << 10})
	var sessions []*command.Session
	var pipelines [][]redcon.Command
	for i := range 8 {
		sessions = append(sessions, b.Session(t, commandtest.AWriteSecret))
		pipelines = append(pipelines, pipelineOf(fmt.Sprintf("SET k%d %s", i, strings.Repeat("v", 30_000)), fmt.Sprintf("APPEND k%d w", i), fmt.Sprintf("STRLEN k%d", i)))
	}
	before := b.Node.Data.Applied().Index
	for i, got := range together(t, b.Executor.NewJoint(), sessions, pipelines) {
		if got != "+OK\r\n:30001\r\n:30001\r\n" {
			t.Errorf("session %d got %q", i, got)
		}
	}
	if n := b.Node.Data.Applied().Index - before; n < 4 {
		t.Errorf("%d entries", n)
	}
}

// TestWhatDoesNotJoin: what may wait, or changes the session, is for a goroutine of its own; also a session that no
// longer holds, which then is told so.
func TestWhatDoesNotJoin(t *testing.T) {
	b := commandtest.New(t)
	j := b.Executor.NewJoint()
	refuses := func(what string, s *command.Session, lines ...string) {
		t.Helper()
		if !j.Begin() {
			t.Fatal("no lease")
		}
		defer j.End()
		if j.Add(s, pipelineOf(lines...)) {
			t.Errorf("%s joins", what)
		}
		j.Execute(new(command.JointScratch), func([]int, [][]redcon.Command, bool) { t.Errorf("%s is executed", what) })
	}
	for _, line := range []string{"SELECT 1", "KEYS *", "FLUSHDB", "HELLO 3", "AUTH x", "ZRANGE z 0 -1", "SCAN 0", "CLIENT REPLY OFF", "ZRANK z m", "ZPOPMIN z 1000000", "MULTI"} {
		s := b.Session(t, commandtest.AWriteSecret)
		refuses(line, s, line)
		refuses(line+" behind GET", s, "GET k", line)
	}
	refuses("a stranger", b.Session(t, ""), "GET k")
	muted := b.Session(t, commandtest.AWriteSecret)
	b.Do(t, muted, "CLIENT", "REPLY", "OFF")
	refuses("a muted session", muted, "GET k")
	closed := b.Session(t, commandtest.AWriteSecret)
	closed.Close()
	refuses("a closed session", closed, "GET k")
	revoked := b.Session(t, commandtest.AWriteSecret)
	b.Install(t, &atollpb.ViewFrame{FromRevision: 100, Revision: 101, Last: true, RemovedTokens: []string{"t-a-rw"}})
	refuses("a revoked session", revoked, "GET k")
	if got := b.Do(t, revoked, "GET", "k"); !strings.HasPrefix(got, "-NOAUTH") {
		t.Errorf("a revoked session got %q", got)
	}
	b.Node.SetLoading(true)
	if j.Begin() {
		t.Error("a loading node gives a lease")
	}
}

// TestRepliesTogetherAreBounded: a session whose replies get large keeps the rest of its commands for later, so that
// they are sent meanwhile; the others' are executed.
func TestRepliesTogetherAreBounded(t *testing.T) {
	b := commandtest.NewWith(t, command.All(), command.Limits{RunBytes: 64 << 10})
	large, small := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	b.Do(t, large, "SET", "k", strings.Repeat("v", 60_000))
	large.Out.Reset(0)
	small.Out.Reset(0)
	j := b.Executor.NewJoint()
	lines := make([]string, 50)
	for i := range lines {
		lines[i] = "GET k"
	}
	cmds := pipelineOf(lines...)
	if !j.Begin() || !j.Add(large, cmds) || !j.Add(small, pipelineOf("STRLEN k", "PING")) {
		t.Fatal("they don't join")
	}
	left := -1
	j.Execute(new(command.JointScratch), func(numbers []int, rests [][]redcon.Command, _ bool) {
		for k, i := range numbers {
			if i == 0 {
				left = len(rests[k])
			} else if len(rests[k]) > 0 {
				t.Errorf("%d commands of session %d are left", len(rests[k]), i)
			}
		}
	})
	j.End()
	if n := large.Out.Len(); n > 3*60_000 || left <= 0 || n/60_000+left != len(cmds) {
		t.Errorf("%d bytes wait, and %d commands are left", n, left)
	}
	if got := string(small.Out.Bytes()); got != ":60000\r\n+PONG\r\n" {
		t.Errorf("the other got %q", got)
	}
}

// TestPanicEndsASession: behind a broken command of a session nothing of it is executed.
func TestPanicEndsASession(t *testing.T) {
	bad := command.Spec{Name: "bad", Arity: 1, Flags: command.FlagWrite | command.FlagShort, Scope: command.ScopeTenant}
	bad.Run = func(*command.Ctx) { panic("broken") }
	b := commandtest.NewWith(t, append(slices.Clone(command.All()), bad), command.Limits{})
	one, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	got := together(t, b.Executor.NewJoint(), []*command.Session{one, other}, [][]redcon.Command{pipelineOf("BAD", "SET k v"), pipelineOf("INCR n")})
	if strings.Count(got[0], "\r\n") != 1 || got[1] != ":1\r\n" {
		t.Errorf("got %q", got)
	}
	if got := b.Do(t, other, "EXISTS", "k"); got != ":0\r\n" {
		t.Errorf("EXISTS k: %q", got)
	}
}

// TestPanicOutsideOfACommand: where the run itself breaks, here in what names the keys, its connections end without a
// reply, the other runs of the batch go on, and no lock is left.
func TestPanicOutsideOfACommand(t *testing.T) {
	bad := command.Spec{Name: "bad", Arity: 1, Flags: command.FlagWrite | command.FlagShort, Scope: command.ScopeTenant, Run: func(*command.Ctx) {}}
	bad.Keys.Find = func([][]byte, []int) []int { panic("broken") }
	b := commandtest.NewWith(t, append(slices.Clone(command.All()), bad), command.Limits{})
	one, same, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.BWriteSecret)
	got := together(t, b.Executor.NewJoint(), []*command.Session{one, same, other}, [][]redcon.Command{pipelineOf("BAD"), pipelineOf("INCR n"), pipelineOf("INCR n")})
	if got[2] != ":1\r\n" {
		t.Errorf("the other namespace got %q", got[2])
	}
	for i, s := range []*command.Session{one, same} {
		if _, drop := s.Closing(); !drop {
			t.Errorf("session %d goes on, with %q", i, got[i])
		}
	}
	if got := b.Do(t, b.Session(t, commandtest.AWriteSecret), "INCR", "n"); got != ":1\r\n" {
		t.Errorf("after that INCR n answers %q", got)
	}
}
