package command_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/atolldb/atoll/datanode/command/compare"
	"pgregory.net/rapid"
)

// The random commands of each family. Most arguments make sense, some don't.

func stringStep(t *rapid.T) []step {
	k := key(t)
	switch one(t, "command", "GET", "SET", "SET", "SETX", "SETNX", "SETEX", "PSETEX", "GETSET", "GETDEL", "GETEX", "MGET", "MSET", "MSETNX", "APPEND",
		"STRLEN", "GETRANGE", "SETRANGE", "INCR", "DECR", "INCRBY", "DECRBY", "INCRBYFLOAT", "PEXPIRETIME", "EXISTS") {
	case "GET":
		return []step{exact("GET", k)}
	case "SET":
		return []step{exact("SET", k, value(t))}
	case "SETX":
		return []step{exact(setOptionsStep(t, k)...)}
	case "SETNX":
		return []step{exact("SETNX", k, value(t))}
	case "SETEX":
		return []step{exact("SETEX", k, relativeSeconds(t), value(t))}
	case "PSETEX":
		return []step{exact("PSETEX", k, one(t, "millis", "100000", "500000", "0", "x"), value(t))}
	case "GETSET":
		return []step{exact("GETSET", k, value(t))}
	case "GETDEL":
		return []step{exact("GETDEL", k)}
	case "GETEX":
		args := []string{"GETEX", k}
		args = maybe(t, 3, args, "PERSIST")
		args = maybe(t, 3, args, "EXAT", absoluteSeconds(t))
		args = maybe(t, 3, args, "PXAT", absoluteMillis(t))
		args = maybe(t, 5, args, "EX", relativeSeconds(t))
		return []step{exact(args...)}
	case "MGET":
		return []step{exact("MGET", k, key(t), key(t))}
	case "MSET":
		return []step{exact(maybe(t, 8, []string{"MSET", k, value(t), key(t), value(t)}, key(t))...)}
	case "MSETNX":
		return []step{exact("MSETNX", k, value(t), key(t), value(t))}
	case "APPEND":
		return []step{exact("APPEND", k, value(t))}
	case "STRLEN":
		return []step{exact("STRLEN", k)}
	case "GETRANGE":
		return []step{exact(one(t, "name", "GETRANGE", "SUBSTR"), k, indexArg(t), indexArg(t))}
	case "SETRANGE":
		return []step{exact("SETRANGE", k, one(t, "offset", "0", "1", "5", "20", "-1", "536870912", "x"), value(t))}
	case "INCR":
		return []step{exact("INCR", k)}
	case "DECR":
		return []step{exact("DECR", k)}
	case "INCRBY":
		return []step{exact("INCRBY", k, integerArg(t))}
	case "DECRBY":
		return []step{exact("DECRBY", k, integerArg(t))}
	case "INCRBYFLOAT":
		return []step{exact("INCRBYFLOAT", k, floatArg(t))}
	case "PEXPIRETIME":
		return []step{{[]string{"PEXPIRETIME", k}, near(10_000)}}
	}
	return []step{exact("EXISTS", k, key(t))}
}

func setOptionsStep(t *rapid.T, k string) []string {
	args := []string{"SET", k, value(t)}
	args = maybe(t, 3, args, one(t, "condition", "NX", "XX", "nx", "xX"))
	args = maybe(t, 3, args, "GET")
	for range rapid.SampledFrom([]int{0, 1, 1, 1, 1, 2}).Draw(t, "times") {
		switch one(t, "time", "KEEPTTL", "EX", "PXAT", "EXAT") {
		case "KEEPTTL":
			args = append(args, "KEEPTTL")
		case "EX":
			args = append(args, "EX", relativeSeconds(t))
		case "PXAT":
			args = append(args, "PXAT", absoluteMillis(t))
		case "EXAT":
			args = append(args, "EXAT", absoluteSeconds(t))
		}
	}
	args = maybe(t, 8, args, one(t, "word", "PX", "nonsense", "NX", "XX", "PERSIST"))
	return args
}

func keyStep(t *rapid.T) []step {
	k := key(t)
	switch one(t, "command", "new", "new", "new", "DEL", "EXISTS", "TYPE", "EXPIREAT", "PEXPIREAT", "EXPIRE", "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "PERSIST",
		"TOUCH", "RENAME", "RENAMENX", "COPY", "MOVE", "MOVE", "SWAPDB", "KEYS", "DBSIZE", "RANDOMKEY", "FLUSH") {
	case "new":
		return newKey(t, k)
	case "DEL":
		return []step{exact(one(t, "name", "DEL", "UNLINK"), k, key(t))}
	case "EXISTS":
		return []step{exact("EXISTS", k, key(t), k)}
	case "TYPE":
		return []step{exact("TYPE", k)}
	case "EXPIREAT":
		return []step{exact(conditions(t, "EXPIREAT", k, absoluteSeconds(t))...)}
	case "PEXPIREAT":
		return []step{exact(conditions(t, "PEXPIREAT", k, absoluteMillis(t))...)}
	case "EXPIRE":
		return []step{exact("EXPIRE", k, relativeSeconds(t))}
	case "TTL":
		return []step{{[]string{"TTL", k}, near(10)}}
	case "PTTL":
		return []step{{[]string{"PTTL", k}, near(10_000)}}
	case "EXPIRETIME":
		return []step{{[]string{"EXPIRETIME", k}, near(10)}}
	case "PEXPIRETIME":
		return []step{{[]string{"PEXPIRETIME", k}, near(10_000)}}
	case "PERSIST":
		return []step{exact("PERSIST", k)}
	case "TOUCH":
		return []step{exact("TOUCH", k, key(t))}
	case "RENAME":
		return []step{exact("RENAME", k, key(t))}
	case "RENAMENX":
		return []step{exact("RENAMENX", k, key(t))}
	case "COPY":
		args := maybe(t, 2, []string{"COPY", k, key(t)}, "REPLACE")
		return []step{exact(maybe(t, 3, args, "DB", one(t, "db", "0", "1", "1", "16", "-1", "x"))...)}
	case "MOVE":
		return []step{exact("MOVE", k, one(t, "db", "1", "1", "1", "0", "16", "-1", "x", "99999999999"))}
	case "SWAPDB":
		return []step{exact("SWAPDB", one(t, "db", "0", "0", "0", "x", "16", "99999999999"), one(t, "other", "1", "1", "1", "0", "-1", "y"))}
	case "KEYS":
		return []step{{[]string{"KEYS", one(t, "pattern", "*", "a*", "[a-b]", "?", "[^a]", "", "*\xff", "k*\\y*")}, unordered(1)}}
	case "DBSIZE":
		return []step{exact(append([]string{"EXISTS"}, keyPool...)...), exact("DBSIZE")}
	case "RANDOMKEY":
		return []step{{[]string{"RANDOMKEY"}, shape}}
	}
	if rapid.IntRange(0, 4).Draw(t, "flush") > 0 {
		return []step{exact("TYPE", k)}
	}
	return []step{exact(one(t, "name", "FLUSHDB", "FLUSHALL"))}
}

func conditions(t *rapid.T, args ...string) []string {
	args = maybe(t, 4, args, "NX")
	args = maybe(t, 4, args, "XX")
	args = maybe(t, 4, args, "GT")
	args = maybe(t, 4, args, "LT")
	return maybe(t, 20, args, "nonsense")
}

// newKey makes a key of some type, also one beyond the packed limits.
func newKey(t *rapid.T, k string) []step {
	switch one(t, "type", "string", "hash", "set", "zset", "list", "big hash", "big set", "big zset", "big list") {
	case "hash":
		return []step{exact("HSET", k, field(t), value(t))}
	case "set":
		return []step{exact("SADD", k, field(t))}
	case "zset":
		return []step{exact("ZADD", k, "1", field(t))}
	case "big set":
		args := []string{"SADD", k}
		for i := range 9 {
			args = append(args, fmt.Sprintf("f%d", i))
		}
		return []step{exact(args...)}
	case "list":
		return []step{exact("RPUSH", k, item(t))}
	case "big list":
		return []step{exact("LPUSH", k, "1", "2", "3", "a", "b", "a", "c", "a", item(t))}
	case "big hash":
		args := []string{"HSET", k}
		for i := range 9 {
			args = append(args, fmt.Sprintf("f%d", i), value(t))
		}
		return []step{exact(args...)}
	case "big zset":
		args := []string{"ZADD", k}
		for i := range 9 {
			args = append(args, fmt.Sprint(i%4), fmt.Sprintf("f%d", i))
		}
		return []step{exact(args...)}
	}
	return []step{exact("SET", k, value(t))}
}

func hashStep(t *rapid.T) []step {
	k := key(t)
	switch one(t, "command", "HSET", "HSET", "HSET", "HMSET", "HSETNX", "HGET", "HMGET", "HGETALL", "HDEL", "HLEN", "HSTRLEN", "HEXISTS", "HKEYS", "HVALS", "HINCRBY",
		"HINCRBYFLOAT", "HRANDFIELD", "HSCAN", "DEL", "big") {
	case "HSET":
		return []step{exact("HSET", k, field(t), value(t), field(t), value(t))}
	case "HMSET":
		return []step{exact(maybe(t, 6, []string{"HMSET", k, field(t), value(t)}, field(t))...)}
	case "HSETNX":
		return []step{exact("HSETNX", k, field(t), value(t))}
	case "HGET":
		return []step{exact("HGET", k, field(t))}
	case "HMGET":
		return []step{exact("HMGET", k, field(t), field(t))}
	case "HGETALL":
		return []step{{[]string{"HGETALL", k}, unordered(2)}}
	case "HDEL":
		return []step{exact("HDEL", k, field(t), field(t), field(t))}
	case "HLEN":
		return []step{exact("HLEN", k)}
	case "HSTRLEN":
		return []step{exact("HSTRLEN", k, field(t))}
	case "HEXISTS":
		return []step{exact("HEXISTS", k, field(t))}
	case "HKEYS":
		return []step{{[]string{"HKEYS", k}, unordered(1)}}
	case "HVALS":
		return []step{{[]string{"HVALS", k}, unordered(1)}}
	case "HINCRBY":
		return []step{exact("HINCRBY", k, field(t), integerArg(t))}
	case "HINCRBYFLOAT":
		return []step{exact("HINCRBYFLOAT", k, field(t), floatArg(t))}
	case "HRANDFIELD":
		return []step{random(t, "HRANDFIELD", k, "WITHVALUES")}
	case "HSCAN":
		return []step{{[]string{"HSCAN", k, "0", "COUNT", "1000", "MATCH", one(t, "pattern", "*", "f*", "f[1-3]", "*1", "x", "")}, scanned(false)}}
	case "big":
		return newKey(t, k)
	}
	return []step{exact("DEL", k)}
}

// scanned compares the replies of a scan of a hash, or a sorted set, that is over at once.
func scanned(scores bool) func(a, b compare.Value) bool {
	return func(a, b compare.Value) bool {
		if len(a.List) != 2 || len(b.List) != 2 {
			return equalValues(a, b)
		}
		found := [2]compare.Value{a.List[1], b.List[1]}
		if scores {
			found[0], found[1] = plainScores(a.List[1]), plainScores(b.List[1])
		}
		return equalValues(a.List[0], b.List[0]) && equalValues(found[0].Sorted(2), found[1].Sorted(2))
	}
}

func random(t *rapid.T, name, k, with string) step {
	args := []string{name, k}
	if rapid.Bool().Draw(t, "counted") {
		args = append(args, one(t, "count", "0", "1", "3", "100", "-1", "-5", "x", "-9223372036854775808"))
		args = maybe(t, 2, args, with)
	}
	return step{args, shape}
}

func zsetStep(t *rapid.T) []step {
	k := key(t)
	switch one(t, "command", "ZADD", "ZADD", "ZADD", "ZADDX", "ZADDX", "ZINCRBY", "ZREM", "ZSCORE", "ZMSCORE", "ZCARD", "ZCOUNT", "ZRANK", "ZREVRANK", "ZPOPMIN", "ZPOPMAX",
		"ZRANDMEMBER", "ZSCAN", "ZRANGE", "DEL", "big") {
	case "ZADD":
		return []step{exact("ZADD", k, floatArg(t), field(t), one(t, "score", "1", "2", "3"), field(t))}
	case "ZADDX":
		args := []string{"ZADD", k}
		for _, option := range []string{"NX", "XX", "GT", "LT", "CH", "INCR"} {
			args = maybe(t, 4, args, option)
		}
		args = append(args, floatArg(t), field(t))
		return []step{exact(maybe(t, 3, args, floatArg(t), field(t))...)}
	case "ZINCRBY":
		return []step{exact("ZINCRBY", k, floatArg(t), field(t))}
	case "ZREM":
		return []step{exact("ZREM", k, field(t), field(t), field(t))}
	case "ZSCORE":
		return []step{exact("ZSCORE", k, field(t))}
	case "ZMSCORE":
		return []step{exact("ZMSCORE", k, field(t), field(t))}
	case "ZCARD":
		return []step{exact("ZCARD", k)}
	case "ZCOUNT":
		return []step{exact("ZCOUNT", k, scoreBound(t), scoreBound(t))}
	case "ZRANK":
		return []step{exact("ZRANK", k, field(t))}
	case "ZREVRANK":
		return []step{exact("ZREVRANK", k, field(t))}
	case "ZPOPMIN", "ZPOPMAX":
		args := []string{one(t, "name", "ZPOPMIN", "ZPOPMAX"), k}
		return []step{exact(maybe(t, 2, args, one(t, "count", "0", "1", "2", "5", "100", "-1", "x"))...)}
	case "ZRANDMEMBER":
		return []step{random(t, "ZRANDMEMBER", k, "WITHSCORES")}
	case "ZSCAN":
		return []step{{[]string{"ZSCAN", k, "0", "COUNT", "1000", "MATCH", one(t, "pattern", "*", "f*", "f[1-3]", "*1", "x")}, scanned(true)}}
	case "ZRANGE":
		return []step{exact("ZRANGE", k, "0", "-1", "WITHSCORES")}
	case "big":
		return newKey(t, k)
	}
	return []step{exact("DEL", k)}
}

func scoreBound(t *rapid.T) string {
	return one(t, "bound", "-inf", "+inf", "inf", "0", "1", "2", "3", "1.5", "(1", "(2", "(3", "(-inf", "(inf", "0.1", "-1", "x", "((1", "nan", "", "(", " 1", "1 ", "-1e999", "1e-999")
}

func lexBound(t *rapid.T) string {
	return one(t, "bound", "-", "+", "[f1", "[f3", "[f5", "(f1", "(f4", "(f6", "[", "(", "[f", "(g", "[\xff", "f1", "", "-x")
}

func zrangeStep(t *rapid.T) []step {
	// Ranges of members mean something only where all scores are equal: those sets have keys of their own.
	k, lex := key(t), one(t, "lex key", "lex1", "lex2")
	limit := func(args []string) []string {
		return maybe(t, 3, args, "LIMIT", one(t, "offset", "0", "1", "3", "-1", "100"), one(t, "limit", "0", "1", "2", "-1", "100", "x"))
	}
	switch one(t, "command", "ZADD", "ZADD", "lex", "lex", "ZRANGE", "BYSCORE", "BYLEX", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE", "ZRANGEBYLEX", "ZREVRANGE", "ZLEXCOUNT",
		"ZREMRANGEBYRANK", "ZREMRANGEBYSCORE", "ZREMRANGEBYLEX", "big") {
	case "ZADD":
		return []step{exact("ZADD", k, one(t, "score", "1", "2", "3", "1.5", "-inf", "inf", "0.1"), field(t), one(t, "score", "1", "2", "3"), field(t))}
	case "lex":
		return []step{exact("ZADD", lex, "0", field(t), "0", field(t), "0", field(t))}
	case "ZRANGE":
		args := maybe(t, 2, []string{"ZRANGE", k, indexArg(t), indexArg(t)}, "REV")
		args = maybe(t, 2, args, "WITHSCORES")
		if rapid.IntRange(0, 9).Draw(t, "limit") == 0 {
			args = limit(args)
		}
		return []step{exact(args...)}
	case "BYSCORE":
		args := maybe(t, 2, []string{"ZRANGE", k, scoreBound(t), scoreBound(t), "BYSCORE"}, "REV")
		return []step{exact(limit(maybe(t, 2, args, "WITHSCORES"))...)}
	case "BYLEX":
		args := maybe(t, 2, []string{"ZRANGE", lex, lexBound(t), lexBound(t), "BYLEX"}, "REV")
		return []step{exact(limit(maybe(t, 10, args, "WITHSCORES"))...)}
	case "ZRANGEBYSCORE", "ZREVRANGEBYSCORE":
		args := []string{one(t, "name", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE"), k, scoreBound(t), scoreBound(t)}
		return []step{exact(limit(maybe(t, 2, args, "WITHSCORES"))...)}
	case "ZRANGEBYLEX":
		return []step{exact(limit([]string{one(t, "name", "ZRANGEBYLEX", "ZREVRANGEBYLEX"), lex, lexBound(t), lexBound(t)})...)}
	case "ZREVRANGE":
		return []step{exact(maybe(t, 2, []string{"ZREVRANGE", k, indexArg(t), indexArg(t)}, "WITHSCORES")...)}
	case "ZLEXCOUNT":
		return []step{exact("ZLEXCOUNT", lex, lexBound(t), lexBound(t))}
	case "ZREMRANGEBYRANK":
		return []step{exact("ZREMRANGEBYRANK", k, indexArg(t), indexArg(t))}
	case "ZREMRANGEBYSCORE":
		return []step{exact("ZREMRANGEBYSCORE", k, scoreBound(t), scoreBound(t))}
	case "ZREMRANGEBYLEX":
		return []step{exact("ZREMRANGEBYLEX", lex, lexBound(t), lexBound(t))}
	}
	return newKey(t, k)
}

func mixedStep(t *rapid.T) []step {
	steps := rapid.SampledFrom([]func(*rapid.T) []step{stringStep, bitmapStep, hllStep, geoStep, keyStep, hashStep, setStep, setOperationStep, zsetStep, zrangeStep, zsetOperationStep, listStep, streamStep}).Draw(t, "family")(t)
	if rapid.IntRange(0, 20).Draw(t, "arity") == 0 {
		// One argument less, or one more, than whatever it was.
		last := &steps[len(steps)-1]
		if strings.HasPrefix(last.args[0], "FLUSH") || len(last.args) < 2 || len(steps) > 1 { // the last of several undoes what differs
			return steps
		}
		if rapid.Bool().Draw(t, "less") {
			last.args = slices.Clone(last.args[:len(last.args)-1])
		} else if !strings.HasSuffix(last.args[0], "RANK") { // which Redis 7.2 gave one more
			last.args = append(slices.Clone(last.args), "more")
		}
	}
	return steps
}
