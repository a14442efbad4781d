package command_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/command/compare"
)

// TestConfigSetAsRedis holds replies to an admin against those of a real server: the transcripts' sessions are tenants'.
func TestConfigSetAsRedis(t *testing.T) {
	redis := compare.Redis(t)()
	m := &memoryServer{tb: t, bench: commandtest.New(t)}
	m.session = m.bench.Session(t, commandtest.AdminSecret)
	for _, line := range []string{
		"CONFIG SET a b", "CONFIG SET a b c", "CONFIG SET slowlog-max-len -1", "CONFIG SET slowlog-max-len x",
		"CONFIG SET slowlog-log-slower-than -2", "CONFIG SET slowlog-log-slower-than 1x", "CONFIG SET SLOWLOG-max-len 1 slowlog-MAX-len 2",
		"CONFIG SET latency-monitor-threshold -1", "CONFIG SET latency-monitor-threshold x",
		"CONFIG SET slowlog-max-len 5 databases 3", "CONFIG GET slowlog-max-len",
		"CONFIG SET slowlog-max-len 5 foo 3", "CONFIG GET slowlog-max-len",
		"CONFIG SET slowlog-max-len 7 latency-monitor-threshold 5", "CONFIG GET slowlog-max-len latency-monitor-threshold",
		"CONFIG SET slowlog-log-slower-than -1", "CONFIG GET slowlog-log-slower-than", "CONFIG REWRITE",
		"CONFIG SET slowlog-max-len +5", "CONFIG SET slowlog-max-len 010", "CONFIG SET maxclients 0", "CONFIG SET maxclients 4294967296", "CONFIG SET maxclients x",
		"CONFIG SET timeout -1", "CONFIG SET timeout 2147483648", "CONFIG SET timeout 1.5", "CONFIG SET maxmemory-clients -1", "CONFIG SET maxmemory-clients 20.5mb",
		"CONFIG SET databases 3 foo 1", "CONFIG SET foo 1 databases 3", "CONFIG SET timeout x databases 3", "CONFIG SET timeout 1 TIMEOUT x", "CONFIG SET timeout x maxclients y", "CONFIG SET timeout 3 timeout 3 foo 1",
		"CONFIG SET maxclients 77 timeout 2147483647 maxmemory-clients 20mb", "CONFIG GET maxclients timeout maxmemory-clients", "CONFIG SET maxclients 78 timeout 5 maxmemory-clients x",
		"CONFIG GET max*clients timeout", "CONFIG SET maxmemory-clients 30M", "CONFIG GET maxmemory-clients", "CONFIG SET MAXMEMORY-clients 1gb timeout 0", "CONFIG GET maxmemory-clients timeout",
		"CONFIG SET maxmemory-clients 20000000b", "CONFIG GET maxmemory-clients",
		"SHUTDOWN foo", "SHUTDOWN ABORT", "SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT NOW",
		"BGSAVE x", "BGSAVE SCHEDULE x", "LASTSAVE x", "ROLE x", "MONITOR x",
	} {
		words := strings.Fields(line)
		want, err := redis.Do(words)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Do(words)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got[0].Sorted(2)) != fmt.Sprint(want[0].Sorted(2)) {
			t.Errorf("%s answered\n%v\nRedis answers\n%v", line, got[0], want[0])
		}
	}
}

// everythingIsSlow has every command in the slow log, and returns the admin that has set it.
func everythingIsSlow(t *testing.T, b *commandtest.Bench) *command.Session {
	t.Helper()
	admin := b.Session(t, commandtest.AdminSecret)
	if got := b.Do(t, admin, "CONFIG", "SET", "slowlog-log-slower-than", "0"); got != "+OK\r\n" {
		t.Fatalf("CONFIG SET answered %q", got)
	}
	return admin
}

func TestSlowLogEntries(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	b.Do(t, s, "CLIENT", "SETNAME", "me")
	everythingIsSlow(t, b)
	mset := []string{"MSET"}
	for i := range 40 {
		mset = append(mset, fmt.Sprint("w", i))
	}
	b.Pipeline(t, s, []string{"SET", "k", strings.Repeat("a", 300)}, mset, []string{"AUTH", "default", commandtest.AWriteSecret}, []string{"nosuch"},
		[]string{"HELLO", "3", "AUTH", "default", commandtest.AWriteSecret, "SETNAME", "me"}, []string{"HELLO", "2"})
	got := b.Do(t, s, "SLOWLOG", "GET", "-1")
	for _, want := range []string{
		"*5\r\n*6\r\n:4\r\n", "$3\r\nSET\r\n$1\r\nk\r\n$148\r\n" + strings.Repeat("a", 128) + "... (172 more bytes)\r\n",
		"*32\r\n$4\r\nMSET\r\n", "$3\r\nw29\r\n$23\r\n... (10 more arguments)\r\n$11\r\n192.0.2.1:1\r\n$2\r\nme\r\n",
		"*3\r\n$4\r\nAUTH\r\n$10\r\n(redacted)\r\n$10\r\n(redacted)\r\n",
		"$4\r\nAUTH\r\n$10\r\n(redacted)\r\n$10\r\n(redacted)\r\n$7\r\nSETNAME\r\n$2\r\nme\r\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the slow log has no %q: %q", want, got)
		}
	}
	if strings.Contains(got, "nosuch") || strings.Contains(got, "secret") {
		t.Errorf("the slow log has what it mustn't: %q", got)
	}
	play(t, b, s, []exchange{
		{"SLOWLOG LEN", ":6\r\n"}, {"SLOWLOG RESET", "+OK\r\n"}, {"SLOWLOG GET 1", "*1\r\n*6\r\n:7\r\n…"},
	})
}

// TestSlowLogsAreTenants holds who sees whose entries, and that admins' are nobody else's.
func TestSlowLogsAreTenants(t *testing.T) {
	b := commandtest.New(t)
	admin := everythingIsSlow(t, b)
	a, other, own := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.BWriteSecret), b.Session(t, commandtest.DefaultSecret)
	b.Do(t, a, "SET", "of-a", "1")
	b.Do(t, other, "SET", "of-b", "1")
	b.Do(t, admin, "SET", "of-admin", "1")
	b.Do(t, admin, "NAMESPACE", "ADD", "new", "the-new-token")
	for _, tt := range []struct {
		s    *command.Session
		sees string
	}{{a, "of-a"}, {other, "of-b"}, {own, ""}, {admin, "of-a of-b of-admin $1\r\na\r\n (redacted)"}} {
		got := b.Do(t, tt.s, "SLOWLOG", "GET", "-1")
		for _, key := range []string{"of-a", "of-b", "of-admin"} {
			if strings.Contains(got, key+"\r\n") != strings.Contains(tt.sees+" ", key+" ") {
				t.Errorf("one that is to see %q reads %q", tt.sees, got)
			}
		}
		if strings.Contains(got, "the-new-token") {
			t.Errorf("a secret is shown: %q", got)
		}
	}
	b.Do(t, a, "SLOWLOG", "RESET")
	if got := b.Do(t, other, "SLOWLOG", "GET", "-1"); !strings.Contains(got, "of-b") {
		t.Errorf("another's RESET has emptied the log: %q", got)
	}
	b.Do(t, admin, "SLOWLOG", "RESET")
	if got := b.Do(t, other, "SLOWLOG", "GET", "-1"); strings.Contains(got, "of-b") {
		t.Errorf("an admin's RESET has left %q", got)
	}
}

func TestSlowLogIsBounded(t *testing.T) {
	b := commandtest.New(t)
	admin := everythingIsSlow(t, b)
	s := b.Session(t, commandtest.AWriteSecret)
	b.Do(t, admin, "CONFIG", "SET", "slowlog-max-len", "3")
	for range 10 {
		b.Do(t, s, "PING")
	}
	play(t, b, s, []exchange{{"SLOWLOG LEN", ":3\r\n"}})
	b.Do(t, admin, "CONFIG", "SET", "slowlog-log-slower-than", "-1")
	b.Do(t, s, "SLOWLOG", "RESET")
	play(t, b, s, []exchange{{"PING", "+PONG\r\n"}, {"SLOWLOG LEN", ":0\r\n"}})
	b.Do(t, admin, "CONFIG", "SET", "slowlog-log-slower-than", "0", "slowlog-max-len", "0")
	play(t, b, s, []exchange{{"PING", "+PONG\r\n"}, {"SLOWLOG LEN", ":0\r\n"}})
}

// ticking makes every look at the time take a step.
func ticking(b *commandtest.Bench, step time.Duration) {
	at := time.Duration(0)
	b.Env.Elapsed = func() time.Duration {
		at += step
		return at
	}
}

// TestSlowIsACommandsOwnTime: in a run of many commands each is as slow as it was itself.
func TestSlowIsACommandsOwnTime(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	at, looks := time.Duration(0), 0
	b.Env.Elapsed = func() time.Duration {
		if looks++; looks == 4 { // behind the second command
			at += 20 * time.Millisecond
		}
		return at
	}
	b.Pipeline(t, s, []string{"SET", "quick", "1"}, []string{"SET", "slow", "1"}, []string{"SET", "again", "1"})
	got := b.Do(t, s, "SLOWLOG", "GET")
	if !strings.HasPrefix(got, "*1\r\n") || !strings.Contains(got, ":20000\r\n*3\r\n$3\r\nSET\r\n$4\r\nslow\r\n") {
		t.Errorf("the slow log is %q", got)
	}
}

func TestLatencyEvents(t *testing.T) {
	b := commandtest.New(t)
	admin, s, other := b.Session(t, commandtest.AdminSecret), b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.BWriteSecret)
	ticking(b, 30*time.Millisecond)
	play(t, b, s, []exchange{{"GET k", "$-1\r\n"}, {"LATENCY LATEST", "*0\r\n"}, {"LATENCY DOCTOR", "$…"}})
	b.Do(t, admin, "CONFIG", "SET", "latency-monitor-threshold", "25")
	b.Do(t, s, "GET", "k")
	b.Do(t, s, "KEYS", "*")
	got := b.Do(t, s, "LATENCY", "LATEST")
	if !strings.HasPrefix(got, "*2\r\n*4\r\n$7\r\ncommand\r\n") || !strings.Contains(got, "$12\r\nfast-command\r\n") || strings.Count(got, ":30\r\n") != 4 {
		t.Errorf("LATEST is %q", got)
	}
	if got := b.Do(t, s, "LATENCY", "HISTORY", "command"); !strings.HasPrefix(got, "*1\r\n*2\r\n:") || !strings.HasSuffix(got, ":30\r\n") {
		t.Errorf("HISTORY is %q", got)
	}
	if got := b.Do(t, s, "LATENCY", "GRAPH", "command"); !strings.Contains(got, "command - high 30 ms, low 30 ms (all time high 30 ms)") {
		t.Errorf("GRAPH is %q", got)
	}
	if got := b.Do(t, s, "LATENCY", "DOCTOR"); !strings.Contains(got, "fast-command: 1 latency spikes") {
		t.Errorf("DOCTOR is %q", got)
	}
	if got := b.Do(t, admin, "LATENCY", "LATEST"); !strings.HasPrefix(got, "*2\r\n") {
		t.Errorf("the node's events are %q", got)
	}
	play(t, b, other, []exchange{{"LATENCY LATEST", "*0\r\n"}, {"LATENCY RESET", ":0\r\n"}})
	play(t, b, s, []exchange{{"LATENCY RESET command nosuch", ":1\r\n"}, {"LATENCY RESET", ":1\r\n"}})
}

func TestACLShowsTokens(t *testing.T) {
	b := commandtest.New(t)
	admin, s, own := b.Session(t, commandtest.AdminSecret), b.Session(t, commandtest.AReadSecret), b.Session(t, commandtest.DefaultSecret)
	const ro = "user t-a-ro on ~* &* -@all +@read +@pubsub -publish -spublish +@connection"
	const rw = "user t-a-rw on ~* &* -@all +@read +@write +@pubsub +@connection"
	play(t, b, s, []exchange{
		{"ACL WHOAMI", "$6\r\nt-a-ro\r\n"},
		{"ACL USERS", "*2\r\n$6\r\nt-a-ro\r\n$6\r\nt-a-rw\r\n"},
		{"ACL GETUSER t-b-rw", "$-1\r\n"}, {"ACL GETUSER t-a-rw", "*12\r\n$5\r\nflags\r\n*1\r\n$2\r\non\r\n…"},
		{"ACL DRYRUN t-a-ro get k", "+OK\r\n"}, {"ACL DRYRUN t-a-ro ssubscribe k", "+OK\r\n"}, {"ACL DRYRUN t-a-ro get", "-ERR wrong number of arguments for 'get' command\r\n"},
		{"ACL DRYRUN t-a-ro nosuch k", "-ERR Command 'nosuch' not found\r\n"}, {"ACL DRYRUN t-b-rw get k", "-ERR User 't-b-rw' not found\r\n"},
		{"ACL SETUSER x on", "-ERR ACL changes nothing: users are tokens, which `atoll token` and the admin API create and revoke\r\n"},
		{"ACL DELUSER x", "-ERR ACL changes nothing…"}, {"ACL SAVE", "-ERR ACL knows no file…"}, {"ACL GENPASS 5", "$2\r\n…"}, {"ACL GENPASS", "$64\r\n…"},
	})
	if got, want := b.Do(t, s, "ACL", "LIST"), fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(ro), ro, len(rw), rw); got != want {
		t.Errorf("LIST is %q, want %q", got, want)
	}
	for name, line := range map[string][]string{"set": {"set", "k", "v"}, "client|pause": {"client", "pause", "1"}, "slowlog|reset": {"slowlog", "reset"},
		"publish": {"publish", "c", "m"}, "spublish": {"spublish", "c", "m"}} {
		if got := b.Do(t, s, append([]string{"ACL", "DRYRUN", "t-a-ro"}, line...)...); !strings.Contains(got, "User t-a-ro has no permissions to run the '"+name+"' command") {
			t.Errorf("DRYRUN is %q", got)
		}
	}
	if got := b.Do(t, own, "ACL", "LIST"); strings.Contains(got, "t-admin") {
		t.Errorf("a tenant sees an admin's token: %q", got)
	}
	if got := b.Do(t, admin, "ACL", "LIST"); !strings.Contains(got, "user t-admin on ~* &* +@all") {
		t.Errorf("an admin sees %q", got)
	}
	if got := b.Do(t, s, "ACL", "CAT", "admin"); !strings.Contains(got, "$7\r\nmonitor\r\n") || strings.Contains(got, "$3\r\nget\r\n") {
		t.Errorf("CAT admin is %q", got)
	}
}

func TestRoleAndMemoryOfATenant(t *testing.T) {
	b := commandtest.New(t)
	s, admin := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AdminSecret)
	b.Do(t, s, "SET", "k", strings.Repeat("v", 1000))
	play(t, b, s, []exchange{
		{"ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"}, {"MEMORY USAGE k", ":1033\r\n"}, {"MEMORY USAGE k SAMPLES 0", ":1033\r\n"},
		{"MEMORY PURGE", "-ERR admin permission…"}, {"MEMORY DOCTOR", "$…"}, {"MEMORY STATS", "*28\r\n$14\r\npeak.allocated\r\n…"},
	})
	play(t, b, admin, []exchange{{"MEMORY PURGE", "+OK\r\n"}, {"MEMORY MALLOC-STATS", "$…"}, {"DEBUG SLEEP 0.001", "+OK\r\n"},
		{"DEBUG SLEEP 3601", "-ERR the seconds to sleep are not in 0 to 3600\r\n"}, {"DEBUG SLEEP nan", "-ERR the seconds…"}, {"DEBUG OBJECT k", "-ERR DEBUG is refused…"},
		{"SHUTDOWN", "-ERR SHUTDOWN is refused here…"}, {"BGREWRITEAOF", "-ERR BGREWRITEAOF is refused…"}, {"LASTSAVE", ":…"}})
	b.Node.SetReplica(true)
	play(t, b, s, []exchange{{"ROLE", "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$7\r\nconnect\r\n:0\r\n"}})
}
