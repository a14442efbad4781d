package command_test

import (
	"fmt"
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

// settle installs a view in which change has been made to namespace A's record, over those before it.
func settle(t testing.TB, b *commandtest.Bench, change func(a *atollpb.Namespace)) {
	t.Helper()
	v := b.Node.Views.Current()
	a := &atollpb.Namespace{Id: commandtest.AID, Name: "a", State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE, Durability: atollpb.Durability_DURABILITY_ASYNC}
	change(a)
	b.Install(t, &atollpb.ViewFrame{FromRevision: v.Revision(), Revision: v.Revision() + 1, Last: true, Namespaces: []*atollpb.Namespace{a}})
}

func bound(t testing.TB, b *commandtest.Bench, l *atollpb.Limits) {
	t.Helper()
	settle(t, b, func(a *atollpb.Namespace) { a.Limits = l })
}

func hard(n uint64) *atollpb.Limit { return &atollpb.Limit{Hard: n} }

// expect executes commands one by one, and compares how their replies begin.
func expect(t *testing.T, b *commandtest.Bench, s *command.Session, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if got := b.Do(t, s, strings.Fields(pairs[i])...); !strings.HasPrefix(got, pairs[i+1]) {
			t.Errorf("%s: got %.200q, want %q", pairs[i], got, pairs[i+1])
		}
	}
}

func TestReadOnlyNamespace(t *testing.T) {
	b := commandtest.New(t)
	s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.BWriteSecret)
	expect(t, b, s, "SET k v", "+OK")
	settle(t, b, func(a *atollpb.Namespace) { a.ReadOnly = true })
	expect(t, b, s, "SET k w", "-NSREADONLY ", "DEL k", "-NSREADONLY ", "FLUSHALL", "-NSREADONLY ", "GET k", "$1\r\nv", "PING", "+PONG", "DBSIZE", ":1")
	expect(t, b, other, "SET k w", "+OK")
	settle(t, b, func(*atollpb.Namespace) {})
	expect(t, b, s, "SET k w", "+OK")
}

func TestSuspendedNamespace(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	settle(t, b, func(a *atollpb.Namespace) { a.Suspended = true })
	expect(t, b, s, "GET k", "-NOAUTH ")
	if closing, _ := s.Closing(); !closing {
		t.Error("the session goes on")
	}
	fresh := b.Session(t, "")
	expect(t, b, fresh, "AUTH "+commandtest.AWriteSecret, "-NSSUSPENDED ", "HELLO 3 AUTH a "+commandtest.AReadSecret, "-NSSUSPENDED ",
		"AUTH a wrong", "-WRONGPASS ", "GET k", "-NOAUTH ", "AUTH "+commandtest.BWriteSecret, "+OK")
	settle(t, b, func(*atollpb.Namespace) {})
	expect(t, b, fresh, "AUTH "+commandtest.AWriteSecret, "+OK")
}

func TestLimitOfKeysLetsFreeingCommandsPass(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "HSET h f v g w", ":2", "ZADD z 1 a 2 b 3 c 4 d 5 e", ":5", "MSET a 1 b 2 c 3 d 4", "+OK", "SELECT 3", "+OK", "SET x 1", "+OK", "SELECT 0", "+OK")
	bound(t, b, &atollpb.Limits{Keys: hard(3)})
	expect(t, b, s, "SET n v", "-LIMIT keys:", "HSET n f x", "-LIMIT keys:", "ZADD n 1 n", "-LIMIT keys:", "COPY a n", "-LIMIT keys:", "COPY a b DB 2", "-LIMIT keys:", "COPY a b", ":0", "COPY a x DB 3", ":0", "COPY a x DB 3 REPLACE", ":1", "COPY none n", ":0", "MSET a 1 n 1", "-LIMIT keys:",
		"HSET h f x", ":0", "ZADD z 1 n", ":1", "INCR a", ":2", "INCRBY a -1", ":1", "ZREM z n", ":1", // no key more
		"HDEL h g", ":1", "ZREM z a", ":1", "ZPOPMIN z", "*2", "ZPOPMAX z", "*2", "ZREMRANGEBYRANK z 0 0", ":1", "EXPIRE h 1000", ":1", "PERSIST h", ":1",
		"RPUSH l 1", "-LIMIT keys:", "LMOVE none l LEFT LEFT", "-LIMIT keys:", "RENAME a e", "+OK", "GETDEL e", "$1\r\n1", "DEL b", ":1", "UNLINK c", ":1", "GET d", "$1\r\n4", "SET e 5", "-LIMIT keys:",
		"DEL z", ":1", "SET e 5", "-LIMIT keys:", "SET d 5", "+OK", "DEL h", ":1", "SET d 5", "+OK", "SET n 1", "+OK", "SET m 1", "-LIMIT keys:", "FLUSHDB", "+OK", "MSET 1 1 2 2", "+OK", "SET 3 3", "-LIMIT keys:", "FLUSHALL", "+OK",
		"MSET 1 1 2 2 3 3 4 4", "-LIMIT keys:", "MSET 1 1 2 2 3 3", "+OK")
	got := b.Pipeline(t, s, []string{"DEL", "3"}, []string{"SET", "3", "a"}, []string{"SET", "4", "a"}, []string{"DEL", "1"}, []string{"SET", "4", "a"})
	if want := ":1\r\n+OK\r\n-LIMIT keys: the namespace may hold no more, nothing was written; delete some or have the limit raised\r\n:1\r\n+OK\r\n"; got != want {
		t.Errorf("in one run: %q", got)
	}
	if got := b.Do(t, s, "INFO", "namespace"); !strings.Contains(got, "namespace_limit_keys:3\r\n") || strings.Contains(got, "namespace_limited_commands:0\r\n") {
		t.Errorf("INFO: %s", got)
	}
}

func TestLimitOfBytes(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	bound(t, b, &atollpb.Limits{Bytes: hard(10_000)})
	value := strings.Repeat("v", 1000)
	var lines [][]string
	for range 40 { // the same key takes its room once
		lines = append(lines, []string{"SET", "same", value})
	}
	for i := range 40 {
		lines = append(lines, []string{"SET", fmt.Sprint("key", i), value})
	}
	got := b.Pipeline(t, s, lines...)
	if n := strings.Count(got, "+OK"); n != 48 {
		t.Errorf("%d writes of 1 kB went into 10,000 bytes", n-39)
	}
	if n := b.Node.Data.Usage(commandtest.AID).Bytes; n > 10_000 {
		t.Errorf("%d bytes are there", n)
	}
	expect(t, b, s, "APPEND key1 "+value, "-LIMIT bytes:", "HSET h f "+value, "-LIMIT bytes:", "DEL key1", ":1", "APPEND key2 "+value[:500], ":1500")
}

// What commands make without being sent it counts for those after them in the same run.
func TestLimitOfBytesCountsWhatIsMade(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	const most, large = 101_000, 50_000
	bound(t, b, &atollpb.Limits{Bytes: hard(most)})
	expect(t, b, s, "SETRANGE from "+fmt.Sprint(large-1)+" x", ":50000", "SETRANGE huge 100000 x", "-LIMIT bytes:", "SETRANGE huge 536870912 x", "-ERR string exceeds maximum",
		"SETRANGE from 40000 yy", ":50000", "SETRANGE from 60000 x", ":60001", "DEL from", ":1", "SETRANGE from "+fmt.Sprint(large-1)+" x", ":50000")
	if got := b.Do(t, s, "SETRANGE", "huge", "200000", ""); got != ":0\r\n" {
		t.Errorf("an empty value pads: %q", got)
	}
	var copies, paddings [][]string
	for i := range 20 {
		copies = append(copies, []string{"COPY", "from", fmt.Sprint("copy", i)})
		paddings = append(paddings, []string{"SETRANGE", fmt.Sprint("padded", i), fmt.Sprint(large - 1), "x"})
	}
	for _, lines := range [][][]string{copies, paddings} {
		got := b.Pipeline(t, s, lines...)
		if n := strings.Count(got, "-LIMIT bytes:"); n != 19 {
			t.Errorf("%d of 20 %s were refused", n, lines[0][0])
		}
		if n := b.Node.Data.Usage(commandtest.AID).Bytes; n > most {
			t.Errorf("after 20 %s there are %d bytes of %d", lines[0][0], n, most)
		}
		expect(t, b, s, "DEL copy0 padded0", ":")
	}
}

// A sorted set on rows of its own holds its members twice: a run's next command knows.
func TestLimitOfBytesCountsSpreadMembers(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	const most, large = 100_000, 10_000
	bound(t, b, &atollpb.Limits{Bytes: hard(most)})
	var lines [][]string
	for i := range 20 {
		lines = append(lines, []string{"ZADD", "z", "1", fmt.Sprint(i, strings.Repeat("m", large))})
	}
	b.Pipeline(t, s, lines...)
	if n := b.Node.Data.Usage(commandtest.AID).Bytes; n > most+large+1000 || n < most-2*large {
		t.Errorf("there are %d bytes of %d", n, most)
	}
}

// What a run that hasn't ended may add is not to be had by another.
func TestLimitOfKeysCountsRunsInFlight(t *testing.T) {
	begun, end := make(chan bool), make(chan bool)
	slow := command.Spec{Name: "slow", Arity: 2, Flags: command.FlagWrite | command.FlagDenyOOM, Keys: command.KeySpec{First: 1, Last: 1, Step: 1}, Scope: command.ScopeTenant}
	slow.Run = func(c *command.Ctx) {
		close(begun)
		<-end
		c.Out.OK()
	}
	b := commandtest.NewWith(t, append(slices.Clone(command.All()), slow), command.Limits{})
	s, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AWriteSecret)
	bound(t, b, &atollpb.Limits{Keys: hard(1)})
	var all sync.WaitGroup
	all.Go(func() { b.Do(t, s, "SLOW", "one") })
	<-begun
	expect(t, b, other, "SET two v", "-LIMIT keys:")
	close(end)
	all.Wait()
	expect(t, b, other, "SET two v", "+OK")
}

// However many runs are at it, no more gets in than may.
func TestLimitsOvershootNothing(t *testing.T) {
	const most, writers, each, mostBytes = 2000, 8, 1000, 60_000
	for _, limits := range []*atollpb.Limits{{Keys: hard(most)}, {Bytes: hard(mostBytes)}} {
		b := commandtest.New(t)
		bound(t, b, limits)
		var all sync.WaitGroup
		for w := range writers {
			s := b.Session(t, commandtest.AWriteSecret)
			all.Go(func() {
				for i := 0; i < each; i += 20 {
					var cmds []redcon.Command
					for k := range 20 {
						cmds = append(cmds, pipelineOf(fmt.Sprintf("SET key:%d:%d value", w, i+k))...)
					}
					s.Out.Reset(1 << 20)
					if err := b.Executor.Execute(t.Context(), s, cmds, func() error { return nil }); err != nil {
						t.Error(err)
					}
					if sum := b.Node.Data.Usage(commandtest.AID); limits.Keys != nil && sum.Keys > most || sum.Bytes > mostBytes {
						t.Errorf("there are %d keys, %d bytes", sum.Keys, sum.Bytes)
						return
					}
				}
			})
		}
		all.Wait()
		sum := b.Node.Data.Usage(commandtest.AID)
		if limits.Keys != nil && sum.Keys != most || limits.Bytes != nil && (sum.Bytes > mostBytes || sum.Bytes < mostBytes-200) {
			t.Errorf("there are %d keys, %d bytes under %v", sum.Keys, sum.Bytes, limits)
		}
	}
}

// clock is set by hand.
func clock(b *commandtest.Bench) *time.Time {
	now := time.Unix(1_000_000, 0)
	b.Env.Clock = func() time.Time { return now }
	return &now
}

func TestRates(t *testing.T) {
	b := commandtest.New(t)
	now := clock(b)
	s, second, other := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AReadSecret), b.Session(t, commandtest.BWriteSecret)
	count := func(line string, n int) (ok int) {
		for i := range n {
			on := s
			if i%2 == 1 {
				on = second
			}
			if got := b.Do(t, on, strings.Fields(line)...); !strings.HasPrefix(got, "-LIMIT ") {
				ok++
			}
		}
		return ok
	}
	bound(t, b, &atollpb.Limits{CommandsPerSecond: hard(10)})
	for range 3 {
		if n := count("GET k", 30); n != 10 {
			t.Errorf("%d of 10 commands were executed", n)
		}
		expect(t, b, s, "GET k", "-LIMIT commands per second:", "INFO server", "-LIMIT commands per second:", "PING", "+PONG", "ECHO x", "$1", "SELECT 1", "+OK", "CLIENT ID", ":")
		*now = now.Add(500 * time.Millisecond)
		if n := count("GET k", 30); n != 5 {
			t.Errorf("%d of 5 commands were executed half a second later", n)
		}
		*now = now.Add(time.Minute)
	}
	expect(t, b, other, "GET k", "$-1")
	large := "ECHO " + strings.Repeat("v", 1100)
	bound(t, b, &atollpb.Limits{InBytesPerSecond: hard(1200)})
	expect(t, b, s, large, "$1100", large, "-LIMIT request bytes per second:", "ECHO x", "$1", "AUTH "+strings.Repeat("v", 1100), "-WRONGPASS ")
	*now = now.Add(time.Minute)
	bound(t, b, &atollpb.Limits{OutBytesPerSecond: hard(1000)})
	expect(t, b, s, large, "$1100", large, "-LIMIT reply bytes per second:", "ECHO x", "$1")
	*now = now.Add(time.Minute)
	bound(t, b, &atollpb.Limits{InBytesPerSecond: hard(100)})
	*now = now.Add(time.Minute)
	expect(t, b, s, "SET k "+strings.Repeat("v", 40), "+OK", "SET k "+strings.Repeat("v", 40), "+OK", "SET k "+strings.Repeat("v", 40), "-LIMIT request bytes per second:")
	*now = now.Add(time.Minute)
	expect(t, b, s, "SET k "+strings.Repeat("v", 400), "+OK", "GET k", "-LIMIT request bytes per second:") // what is larger than a second's passes alone
	*now = now.Add(3 * time.Second)
	expect(t, b, s, "GET k", "-LIMIT request bytes per second:")
	*now = now.Add(time.Second)
	expect(t, b, s, "GET k", "$400")
	bound(t, b, &atollpb.Limits{OutBytesPerSecond: hard(200)})
	expect(t, b, s, "GET k", "$400", "GET k", "-LIMIT reply bytes per second:")
	*now = now.Add(900 * time.Millisecond)
	expect(t, b, s, "GET k", "-LIMIT reply bytes per second:")
	*now = now.Add(700 * time.Millisecond)
	expect(t, b, s, "GET k", "$400")
	bound(t, b, nil)
	expect(t, b, s, "GET k", "$400", "GET k", "$400")
}

// A clock that is set back keeps nobody out for longer than the longest debt.
func TestRatesAfterTheClockWasSetBack(t *testing.T) {
	for _, limits := range []*atollpb.Limits{{CommandsPerSecond: hard(1)}, {InBytesPerSecond: hard(30)}, {OutBytesPerSecond: hard(1)}} {
		b := commandtest.New(t)
		now := clock(b)
		s := b.Session(t, commandtest.AWriteSecret)
		bound(t, b, limits)
		expect(t, b, s, "GET k", "$-1")
		*now = now.Add(-time.Hour)
		expect(t, b, s, "GET k", "-LIMIT ", "INFO", "-LIMIT ")
		*now = now.Add(time.Minute)
		expect(t, b, s, "GET k", "$-1")
	}
}

func TestLimitOfValues(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	bound(t, b, &atollpb.Limits{ValueBytes: hard(100)})
	expect(t, b, s, "SET k "+strings.Repeat("v", 100), "+OK", "SET k "+strings.Repeat("v", 101), "-LIMIT value bytes:", "HSET h f "+strings.Repeat("v", 101), "-LIMIT value bytes:",
		"GET "+strings.Repeat("k", 200), "$-1")
}

func TestLimitOfConnections(t *testing.T) {
	b := commandtest.New(t)
	first := b.Session(t, commandtest.AWriteSecret)
	bound(t, b, &atollpb.Limits{Connections: hard(2)})
	second, third := b.Session(t, commandtest.AReadSecret), b.Session(t, "")
	expect(t, b, third, "AUTH "+commandtest.AWriteSecret, "-LIMIT connections:", "HELLO 3 AUTH default "+commandtest.AWriteSecret, "-LIMIT connections:",
		"AUTH "+commandtest.BWriteSecret, "+OK", "AUTH "+commandtest.AWriteSecret, "-LIMIT connections:", "SET k v", "+OK")
	expect(t, b, first, "GET k", "$-1", "AUTH "+commandtest.AReadSecret, "+OK", "AUTH "+commandtest.AWriteSecret, "+OK")
	expect(t, b, second, "AUTH "+commandtest.BWriteSecret, "+OK")
	expect(t, b, third, "AUTH "+commandtest.AWriteSecret, "+OK", "RESET", "+RESET")
	expect(t, b, second, "AUTH "+commandtest.AWriteSecret, "+OK")
	b.Registry.Remove(first)
	expect(t, b, third, "AUTH "+commandtest.AWriteSecret, "+OK", "INFO namespace", "$")
	if got := b.Do(t, third, "INFO", "namespace"); !strings.Contains(got, "namespace_sessions:2\r\n") || !strings.Contains(got, "namespace_limit_connections:2\r\n") {
		t.Errorf("INFO: %s", got)
	}
}

// A session that changes its token keeps its place: no other gets it meanwhile.
func TestLimitOfConnectionsWhileTokensChange(t *testing.T) {
	b := commandtest.New(t)
	const most, rounds = 4, 2000
	var all sync.WaitGroup
	for range most {
		s := b.Session(t, commandtest.AWriteSecret)
		all.Go(func() {
			for i := range rounds {
				secret := []string{commandtest.AReadSecret, commandtest.AWriteSecret}[i%2]
				s.Out.Reset(1 << 10)
				if err := b.Executor.Execute(t.Context(), s, pipelineOf("AUTH "+secret), func() error { return nil }); err != nil || string(s.Out.Bytes()) != "+OK\r\n" {
					t.Errorf("%q, %v", s.Out.Bytes(), err)
				}
			}
		})
	}
	bound(t, b, &atollpb.Limits{Connections: hard(most)})
	for range 2 {
		s := b.Session(t, "")
		all.Go(func() {
			for range rounds {
				s.Out.Reset(1 << 10)
				if err := b.Executor.Execute(t.Context(), s, pipelineOf("AUTH "+commandtest.AWriteSecret, "RESET"), func() error { return nil }); err != nil || !strings.HasPrefix(string(s.Out.Bytes()), "-LIMIT connections:") {
					t.Errorf("it got in beside %d: %q, %v", most, s.Out.Bytes(), err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestLimitsOfForwardedWrites(t *testing.T) {
	primary, replica, _ := pair(t)
	now := clock(replica)
	s := replica.Session(t, commandtest.AWriteSecret)
	for _, b := range []*commandtest.Bench{primary, replica} {
		bound(t, b, &atollpb.Limits{Keys: hard(3), CommandsPerSecond: hard(5), ValueBytes: hard(10)})
	}
	got := replica.Pipeline(t, s, []string{"SET", "1", "v"}, []string{"SET", "2", "v"}, []string{"SET", "2", strings.Repeat("v", 11)}, []string{"SET", "3", "v"}, []string{"SET", "4", "v"},
		[]string{"DEL", "1"}, []string{"DEL", "2"})
	var codes []string
	for line := range strings.SplitSeq(strings.TrimSpace(got), "\r\n") {
		code, _, _ := strings.Cut(line, ":")
		codes = append(codes, code)
	}
	if got, want := strings.Join(codes, ","), "+OK,+OK,-LIMIT value bytes,+OK,-LIMIT keys,,-LIMIT commands per second"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	*now = now.Add(time.Minute)
	expect(t, replica, s, "SET 4 v", "+OK")
}

func TestStaleViewTakesNoNewSessions(t *testing.T) {
	b := commandtest.NewWith(t, command.All(), command.Limits{ViewStaleMax: time.Minute})
	s, fresh := b.Session(t, commandtest.AWriteSecret), b.Session(t, "")
	b.Node.ViewAge = 2 * time.Minute
	expect(t, b, s, "SET k v", "+OK", "AUTH "+commandtest.AReadSecret, "-STALEVIEW ")
	expect(t, b, fresh, "AUTH "+commandtest.AWriteSecret, "-STALEVIEW ", "GET k", "-NOAUTH ")
	b.Node.ViewAge = time.Minute
	expect(t, b, fresh, "AUTH "+commandtest.AWriteSecret, "+OK", "GET k", "$1")
}

// A command that was read after a revocation had been told isn't executed by the view before it.
func TestJointAsksForTheNewestView(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	j := b.Executor.NewJoint()
	if !j.Begin() {
		t.Fatal("no lease")
	}
	v := b.Node.Views.Current()
	b.Install(t, &atollpb.ViewFrame{FromRevision: v.Revision(), Revision: v.Revision() + 1, Last: true, RemovedTokens: []string{"t-a-rw"}})
	if j.Add(s, pipelineOf("SET k v")) {
		t.Error("a revoked session's command joined")
	}
	j.Execute(new(command.JointScratch), func([]int, [][]redcon.Command, bool) {})
	j.End()
	expect(t, b, s, "SET k v", "-NOAUTH ")
}

// A session that didn't join because it is revoked is tried alone, by the same view: that refuses it too.
func TestRevokedIsRefusedAgain(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	v := b.Node.Views.Current()
	b.Install(t, &atollpb.ViewFrame{FromRevision: v.Revision(), Revision: v.Revision() + 1, Last: true, RemovedTokens: []string{"t-a-rw"}})
	j := b.Executor.NewJoint()
	if !j.Begin() {
		t.Fatal("no lease")
	}
	for range 2 {
		if j.Add(s, pipelineOf("SET k v")) {
			t.Error("a revoked session's command joined")
		}
	}
	j.Execute(new(command.JointScratch), func([]int, [][]redcon.Command, bool) {})
	j.End()
	expect(t, b, s, "SET k v", "-NOAUTH ")
	expect(t, b, b.Session(t, commandtest.AReadSecret), "GET k", "$-1")
}

// Who authenticates by a view that another has just replaced, so late that nobody looks for it any more, doesn't stay.
func TestRevokedWhileAuthenticating(t *testing.T) {
	for name, f := range map[string]*atollpb.ViewFrame{
		"revoked":   {RemovedTokens: []string{"t-a-rw"}},
		"suspended": {Namespaces: []*atollpb.Namespace{{Id: commandtest.AID, Name: "a", State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE, Suspended: true}}},
		"unrelated": {RemovedTokens: []string{"t-a-ro"}},
	} {
		b := commandtest.New(t)
		s, looks := b.Session(t, ""), 0
		b.Env.Clock = func() time.Time {
			if looks++; looks == 2 { // the first is before the view is taken
				before := b.Node.Views.Current()
				f.FromRevision, f.Revision, f.Last = before.Revision(), before.Revision()+1, true
				v := b.Install(t, f)
				b.Executor.EndFallen(v, []uint64{commandtest.AID}, time.Now())
			}
			return time.Now()
		}
		got := b.Do(t, s, "AUTH", commandtest.AWriteSecret)
		if looks < 2 {
			t.Fatal("the view wasn't replaced")
		}
		closing, _ := s.Closing()
		if stays := name == "unrelated"; stays != (got == "+OK\r\n") || closing == stays {
			t.Errorf("%s: answered %q, closing: %v", name, got, closing)
		}
	}
}

// A token that expires while a pipeline waits, for another process perhaps, executes no more of it.
func TestTokenExpiresInAPipeline(t *testing.T) {
	var now *time.Time
	slow := command.Spec{Name: "slow", Arity: 1, Flags: command.FlagNetwork, Scope: command.ScopeTenant}
	slow.Run = func(c *command.Ctx) {
		*now = now.Add(10 * time.Second)
		c.Out.OK()
	}
	b := commandtest.NewWith(t, append(slices.Clone(command.All()), slow), command.Limits{})
	now = clock(b)
	v := b.Node.Views.Current()
	token := commandtest.Token("t-short", commandtest.AID, "short-secret", atollpb.Role_ROLE_READ_WRITE)
	token.ExpiresMs = now.UnixMilli() + 15_000
	b.Install(t, &atollpb.ViewFrame{FromRevision: v.Revision(), Revision: v.Revision() + 1, Last: true, Tokens: []*atollpb.Token{token}})
	s := b.Session(t, "short-secret")
	got := b.Pipeline(t, s, []string{"SLOW"}, []string{"SET", "k", "v"}, []string{"SLOW"}, []string{"SET", "k", "w"}, []string{"GET", "k"})
	if closing, _ := s.Closing(); !strings.HasPrefix(got, "+OK\r\n+OK\r\n+OK\r\n-NOAUTH ") || !closing {
		t.Errorf("answered %q, closing: %v", got, closing)
	}
	expect(t, b, b.Session(t, commandtest.AWriteSecret), "GET k", "$1\r\nv")
}

func TestFallenSessionsEnd(t *testing.T) {
	b := commandtest.New(t)
	closed := make(map[string]int)
	open := func(secret string) *command.Session {
		s := b.Registry.Open(command.Peer{Remote: "192.0.2.1:1"}, 0, time.Now(), func() { closed[secret]++ })
		t.Cleanup(func() { b.Registry.Remove(s) })
		b.Do(t, s, "AUTH", secret)
		return s
	}
	for range 3 {
		open(commandtest.AWriteSecret)
		open(commandtest.AReadSecret)
		open(commandtest.BWriteSecret)
	}
	end := func(f *atollpb.ViewFrame) {
		before := b.Node.Views.Current()
		f.FromRevision, f.Revision, f.Last = before.Revision(), before.Revision()+1, true
		b.Install(t, f)
		v, ids, ok := b.Node.Views.Touched(before)
		if !ok {
			t.Fatal("nothing is known of the change")
		}
		b.Executor.EndFallen(v, ids, time.Now())
	}
	check := func(write, read, other int) {
		t.Helper()
		if closed[commandtest.AWriteSecret] != write || closed[commandtest.AReadSecret] != read || closed[commandtest.BWriteSecret] != other {
			t.Errorf("closed are %v", closed)
		}
	}
	end(&atollpb.ViewFrame{Nodes: []*atollpb.Node{{Id: "another"}}})
	check(0, 0, 0)
	ids := []uint64{commandtest.AID, commandtest.AID, commandtest.BID, 12345}
	b.Executor.EndFallen(b.Node.Views.Current(), ids, time.Now())
	check(0, 0, 0)
	v := b.Node.Views.Current() // one change of several namespaces, which isn't looked at yet
	b.Install(t, &atollpb.ViewFrame{FromRevision: v.Revision(), Revision: v.Revision() + 1, Last: true, RemovedTokens: []string{"t-a-rw"}, RemovedNamespaces: []uint64{commandtest.BID}})
	b.Executor.EndFallen(b.Node.Views.Current(), ids, time.Now())
	check(3, 0, 3)
	end(&atollpb.ViewFrame{Namespaces: []*atollpb.Namespace{{Id: commandtest.AID, Name: "a", State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE, Suspended: true}}})
	check(3, 3, 3)
}
