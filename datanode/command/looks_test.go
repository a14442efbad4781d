package command_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/command/compare"
)

var looksCounted = []string{"keyspace_hits", "keyspace_misses"}

// infoOf returns fields of INFO stats.
func infoOf(c compare.Conn, fields ...string) (string, error) {
	replies, err := c.Do([]string{"INFO", "stats"})
	if err != nil {
		return "", err
	}
	var found []string
	for line := range strings.Lines(replies[0].Text) {
		if name, _, _ := strings.Cut(line, ":"); slices.Contains(fields, name) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, " "), nil
}

// lookLines call each command on keys, where K is one of every type in turn.
var lookLines = []string{
	"APPEND K x", "COPY K new", "COPY K s", "COPY K s REPLACE", "COPY m K", "COPY K new DB 1", "COPY K K", "DECR K", "DECRBY K 2", "DEL K m", "EXISTS K K m", "EXPIRE K 100", "EXPIRE K -1",
	"EXPIRE K 5 FOO", "EXPIREAT K 33177117420", "EXPIRETIME K", "GET K", "GETDEL K", "GETEX K", "GETEX K EX 100", "GETEX K EX 0", "GETEX K FOO", "GETEX K PERSIST", "GETRANGE K 0 1", "GETRANGE K x 1",
	"GETSET K v", "HDEL K f", "HEXISTS K f", "HGET K f", "HGETALL K", "HINCRBY K n 1", "HINCRBY K n x", "HINCRBYFLOAT K n 1.5", "HKEYS K", "HLEN K", "HMGET K f g", "HMSET K f v", "HRANDFIELD K",
	"HRANDFIELD K 2 WITHVALUES", "HRANDFIELD K x", "HSCAN K 0", "HSCAN K x", "HSCAN K 0 COUNT 0", "HSET K f v", "HSETNX K f v", "HSTRLEN K f", "HVALS K", "INCR K", "INCRBY K 1", "INCRBYFLOAT K 1",
	"KEYS *", "MEMORY USAGE K", "MGET K m K", "MSET K v", "MSETNX K v m v", "OBJECT ENCODING K", "OBJECT FREQ K", "OBJECT IDLETIME K", "OBJECT REFCOUNT K", "PERSIST K", "PEXPIRE K 100000",
	"PEXPIREAT K 33177117420123", "PEXPIRETIME K", "PSETEX K 100000 v", "PTTL K", "RANDOMKEY", "RENAME K new", "RENAME K m", "RENAMENX K s", "RENAMENX K new", "SCAN 0", "SCAN 0 TYPE string",
	"SCAN 0 MATCH s* TYPE nosuch", "SET K v", "SET K v GET", "SET K v NX GET", "SET K v XX", "SET K v GET EX 0", "SET K v KEEPTTL", "SETEX K 100 v", "SETNX K v", "SETRANGE K 1 v", "SETRANGE K 1 x",
	"STRLEN K", "SUBSTR K 0 1", "TOUCH K m", "TTL K", "TYPE K", "UNLINK K", "ZADD K 1 a", "ZADD K NX 1 a", "ZADD K INCR 1 a", "ZADD K x a", "ZCARD K", "ZCOUNT K 0 1", "ZCOUNT K x 1",
	"ZINCRBY K 1 a", "ZLEXCOUNT K - +", "ZLEXCOUNT K x +", "ZMSCORE K a b", "ZPOPMAX K", "ZPOPMIN K 0", "ZRANDMEMBER K", "ZRANDMEMBER K 2 WITHSCORES", "ZRANGE K 0 -1", "ZRANGE K 0 1 BYSCORE", "ZRANGE K x 1",
	"ZRANGE K - + BYLEX", "ZRANGEBYLEX K - +", "ZRANGEBYSCORE K 0 1", "ZRANGEBYSCORE K x 1", "ZRANK K a", "ZREM K a", "ZREMRANGEBYLEX K - +", "ZREMRANGEBYRANK K 0 0", "ZREMRANGEBYSCORE K 0 1", "ZREVRANGE K 0 1",
	"ZREVRANGEBYLEX K + -", "ZREVRANGEBYSCORE K 1 0", "ZREVRANK K a", "ZSCAN K 0", "ZSCORE K a",
	"BITCOUNT K", "BITCOUNT K x y", "BITFIELD K GET u8 0", "BITFIELD K SET u8 0 1", "BITFIELD_RO K GET u8 0", "BITOP AND new K s", "BITOP AND new s K m", "BITPOS K 1", "BITPOS K 2", "GETBIT K 1", "GETBIT K x", "SETBIT K 1 1",
	"LCS K s", "LCS m K", "LINDEX K 0", "LINSERT K BEFORE a b", "LLEN K", "LMOVE K l LEFT LEFT", "LMOVE l K LEFT LEFT", "LMPOP 2 K l LEFT", "LPOP K", "LPOP K 0", "LPOS K a", "LPUSH K a", "LPUSHX K a", "LRANGE K 0 1", "LREM K 0 a", "LSET K 0 a",
	"LTRIM K 0 0", "MOVE K 1", "RPOP K", "RPOPLPUSH K l", "RPUSH K a", "RPUSHX K a", "SWAPDB 0 1",
	"SADD K a", "SCARD K", "SDIFF K c m", "SDIFF c K", "SDIFFSTORE new K c", "SINTER K c", "SINTER c K m", "SINTERCARD 2 c K", "SINTERSTORE K c c", "SINTERSTORE new c m K", "SISMEMBER K a", "SMEMBERS K", "SMISMEMBER K a b",
	"SMOVE K c a", "SMOVE c K a", "SPOP K", "SPOP K 0", "SPOP K 1", "SPOP K 2", "SPOP K 100", "SPOP K x", "SRANDMEMBER K", "SRANDMEMBER K 2", "SRANDMEMBER K x", "SREM K a", "SSCAN K 0", "SUNION K c", "SUNION c m K", "SUNIONSTORE new K c",
	"ZDIFF 2 K z", "ZDIFFSTORE new 2 z K", "ZINTER 2 K z", "ZINTER 0 K", "ZINTERCARD 2 z K", "ZINTERSTORE new 2 K c", "ZMPOP 2 m K MIN", "ZRANGESTORE new K 0 1", "ZRANGESTORE K z 0 1", "ZUNION 3 z m K", "ZUNION 2 K z NOSUCH", "ZUNIONSTORE K 2 z c",
	"XACK K g 1-1", "XACK K g x", "XACK K h 1-1", "XADD K 5-5 f v", "XADD K NOMKSTREAM 5-5 f v", "XADD K x f v", "XAUTOCLAIM K g c 0 0", "XAUTOCLAIM K g c 0 x", "XCLAIM K g c 0 1-1", "XCLAIM K g c x 1-1", "XCLAIM K g c 0 1-1 FOO",
	"XDEL K 1-1", "XDEL K x", "XGROUP CREATE K n 0", "XGROUP CREATE K n 0 MKSTREAM", "XGROUP CREATECONSUMER K g c", "XGROUP DELCONSUMER K g c", "XGROUP DESTROY K g", "XGROUP SETID K g 0", "XINFO CONSUMERS K g", "XINFO GROUPS K",
	"XINFO STREAM K", "XINFO STREAM K FULL", "XINFO STREAM K FULL COUNT x", "XLEN K", "XPENDING K g", "XPENDING K g - + 1", "XPENDING K g x + 1", "XRANGE K - +", "XRANGE K x +", "XRANGE K - + COUNT 0", "XREVRANGE K + -",
	"XREAD STREAMS K 0", "XREAD STREAMS K $", "XREAD STREAMS K e 0 x", "XREAD STREAMS e K 0 0", "XREAD STREAMS m K 0 0", "XREADGROUP GROUP g c STREAMS K >", "XREADGROUP GROUP g c STREAMS K 0", "XREADGROUP GROUP g c STREAMS e K > >",
	"XREADGROUP GROUP h c STREAMS K >", "XREADGROUP GROUP g c STREAMS K x", "XSETID K 9-9", "XSETID K x", "XTRIM K MAXLEN 0", "XTRIM K MAXLEN x",
	"PFADD K", "PFADD K a", "PFADD K a b", "PFCOUNT K", "PFCOUNT K p", "PFCOUNT p K m", "PFCOUNT p", "PFDEBUG ENCODING K", "PFDEBUG GETREG K", "PFDEBUG TODENSE K", "PFDEBUG x K", "PFMERGE K", "PFMERGE K p", "PFMERGE p K m", "PFMERGE new p K",
	"GEOADD K 13 38 a", "GEOADD K NX 13 38 a", "GEOADD K x 38 a", "GEODIST K a b", "GEODIST K a b x", "GEOHASH K a b", "GEOPOS K a b", "GEORADIUS K 13 38 100 km", "GEORADIUS K 13 38 100 km STORE new", "GEORADIUS K 13 38 100 x",
	"GEORADIUS_RO K 13 38 100 km", "GEORADIUS_RO K 13 38 100 km STORE new", "GEORADIUSBYMEMBER K a 100 km", "GEORADIUSBYMEMBER K a 100 km STOREDIST z", "GEORADIUSBYMEMBER_RO K a 100 km",
	"GEOSEARCH K FROMMEMBER a BYRADIUS 100 km", "GEOSEARCH K FROMLONLAT 13 38 BYBOX 100 100 km", "GEOSEARCH K FROMLONLAT 13 38 ASC ASC", "GEOSEARCHSTORE new K FROMMEMBER a BYRADIUS 1 m", "GEOSEARCHSTORE K z FROMLONLAT 1 1 BYRADIUS 1 m",
	"SORT K", "SORT K ALPHA", "SORT K ALPHA DESC LIMIT 0 1", "SORT K ALPHA STORE new", "SORT K BY nosort GET # GET x", "SORT K BY s* ALPHA", "SORT K BY nosort GET s* GET h*->f", "SORT K x", "SORT_RO K ALPHA", "SORT_RO K BY s*", "SORT_RO K STORE x",
	"DUMP K", "RESTORE K 0 x", "RESTORE K 0 x REPLACE", "RESTORE K x x REPLACE", "RESTORE K 0 x NOSUCH",
	"DBSIZE", "PING", "SELECT 0", "WATCH K", "UNWATCH",
	"BLMOVE K l LEFT LEFT 0.001", "BLMOVE l K LEFT LEFT 0.001", "BLMPOP 0.001 2 m K LEFT", "BLPOP K 0.001", "BRPOP m K 0.001", "BRPOPLPUSH K l 0.001", "BZMPOP 0.001 2 m K MIN", "BZPOPMAX m K 0.001", "BZPOPMIN K 0.001",
}

// TestLooksAsRedis: every command counts as many hits and misses as a real server does, whatever its keys are.
func TestLooksAsRedis(t *testing.T) {
	redis := compare.Redis(t)()
	m := &memoryServer{tb: t, bench: commandtest.New(t)}
	m.session = m.bench.Session(t, commandtest.AWriteSecret)
	seen, counted := map[string]bool{}, 0
	for _, line := range lookLines {
		for _, key := range []string{"s", "h", "z", "l", "c", "e", "p", "m"} {
			words := strings.Fields(line)
			seen[strings.ToLower(words[0])], seen[strings.ToLower(strings.Join(words[:min(2, len(words))], "|"))] = true, true
			for i, w := range words {
				if w == "K" {
					words[i] = key
				}
			}
			var texts [2]string
			for i, c := range []compare.Conn{m, redis} {
				_, err := c.Do([]string{"FLUSHALL"}, []string{"SET", "s", "12"}, []string{"HSET", "h", "f", "v"}, []string{"ZADD", "z", "1", "a"}, []string{"RPUSH", "l", "a", "b"}, []string{"SADD", "c", "a", "b"}, []string{"XADD", "e", "1-1", "f", "v"}, []string{"XGROUP", "CREATE", "e", "g", "0"}, []string{"PFADD", "p", "a"}, []string{"CONFIG", "RESETSTAT"}, words)
				if err == nil {
					texts[i], err = infoOf(c, looksCounted...)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if texts[0] != texts[1] {
				t.Errorf("%q: %s, and Redis %s", words, texts[0], texts[1])
			}
			if texts[1] != "keyspace_hits:0 keyspace_misses:0" {
				counted++
			}
		}
	}
	if counted < 150 {
		t.Errorf("%d lines have counted anything", counted)
	}
	var walk func(prefix string, specs []command.Spec)
	walk = func(prefix string, specs []command.Spec) {
		for i := range specs {
			s := &specs[i]
			if (s.Keys.First > 0 || s.Keys.Find != nil) && !s.Keys.NotKey && !seen[prefix+s.Name] {
				t.Errorf("%s%s has keys, and isn't tried", prefix, s.Name)
			}
			walk(s.Name+"|", s.Subs)
		}
	}
	walk("", command.All())
}

// TestExpiredKeys: a key that has run out is counted once, whoever deletes it, and as its namespace's.
func TestExpiredKeys(t *testing.T) {
	redis := compare.Redis(t)()
	b := commandtest.New(t)
	m := &memoryServer{tb: t, bench: b, session: b.Session(t, commandtest.AWriteSecret)}
	admin := &memoryServer{tb: t, bench: b, session: b.Session(t, commandtest.AdminSecret)}
	other := &memoryServer{tb: t, bench: b, session: b.Session(t, commandtest.BWriteSecret)}
	fields := append(slices.Clone(looksCounted), "expired_keys")
	want := "expired_keys:6 keyspace_hits:1 keyspace_misses:2"
	for _, c := range []compare.Conn{redis, m} {
		lines := [][]string{{"CONFIG", "RESETSTAT"}, {"SET", "stays", "v"}}
		for _, k := range []string{"swept", "read", "set", "deleted", "renamed", "incremented"} {
			lines = append(lines, []string{"SET", k, "1", "PX", "5"})
		}
		if _, err := c.Do(lines...); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Millisecond) // until they have run out, whether or not a sweeper has come
		_, err := c.Do([]string{"GET", "read"}, []string{"EXISTS", "swept"}, []string{"SET", "set", "2"}, []string{"DEL", "deleted"}, []string{"RENAME", "renamed", "x"}, []string{"INCR", "incremented"},
			[]string{"EXPIRE", "set", "-1"}, []string{"GET", "stays"})
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			got, err := infoOf(c, fields...)
			if err != nil {
				t.Fatal(err)
			}
			if got == want {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%T: %s, want %s", c, got, want)
			}
		}
	}
	if got, err := infoOf(admin, fields...); err != nil || got != want {
		t.Errorf("the node has %s, %v", got, err)
	}
	if got, err := infoOf(other, fields...); err != nil || got != "expired_keys:0 keyspace_hits:0 keyspace_misses:0" {
		t.Errorf("another namespace has %s, %v", got, err)
	}
}

// TestResetStat: whoever resets begins anew, and nobody else does.
func TestResetStat(t *testing.T) {
	b := commandtest.New(t)
	var servers []*memoryServer
	for _, secret := range []string{commandtest.AdminSecret, commandtest.AWriteSecret, commandtest.BWriteSecret} {
		m := &memoryServer{tb: t, bench: b, session: b.Session(t, secret)}
		servers = append(servers, m)
		b.Pipeline(t, m.session, []string{"GET", "k"}, []string{"HGET"}, []string{"PING"})
	}
	admin, a, other := servers[0], servers[1], servers[2]
	expect := func(c compare.Conn, want string) {
		t.Helper()
		if got, err := infoOf(c, "total_connections_received", "total_commands_processed", "total_error_replies", "keyspace_misses"); err != nil || got != want {
			t.Errorf("%s, want %s (%v)", got, want, err)
		}
	}
	expect(a, "total_connections_received:1 total_commands_processed:3 total_error_replies:1 keyspace_misses:1")
	expect(admin, "total_connections_received:3 total_commands_processed:10 total_error_replies:3 keyspace_misses:3")
	b.Do(t, a.session, "CONFIG", "RESETSTAT")
	expect(a, "total_connections_received:0 total_commands_processed:1 total_error_replies:0 keyspace_misses:0")
	expect(admin, "total_connections_received:3 total_commands_processed:13 total_error_replies:3 keyspace_misses:3")
	b.Do(t, admin.session, "CONFIG", "RESETSTAT")
	if got := b.Do(t, admin.session, "INFO", "errorstats"); !strings.HasSuffix(got, "# Errorstats\r\n\r\n") {
		t.Errorf("the errors are %q", got)
	}
	expect(admin, "total_connections_received:0 total_commands_processed:2 total_error_replies:0 keyspace_misses:0")
	expect(other, "total_connections_received:1 total_commands_processed:3 total_error_replies:1 keyspace_misses:1")
}
