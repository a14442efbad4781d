package command_test

import (
	"strings"

	"pgregory.net/rapid"
)

func zsetOperationStep(t *rapid.T) []step {
	name := one(t, "command", "ZADD", "ZADD", "SADD", "ZUNION", "ZINTER", "ZDIFF", "ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE", "ZINTERCARD", "ZRANGESTORE", "ZMPOP", "SET", "big")
	score := func() string { return one(t, "score", "1", "2", "-3", "0.1", "0.2", "1e17", "inf", "-inf", "0") }
	switch name {
	case "ZADD":
		return []step{exact("ZADD", key(t), score(), field(t), score(), field(t), score(), field(t))}
	case "SADD":
		return []step{exact("SADD", key(t), field(t), field(t))}
	case "SET":
		if rapid.IntRange(0, 3).Draw(t, "seldom") == 0 {
			return []step{exact("SET", key(t), value(t))}
		}
	case "big":
		return newKey(t, key(t))
	case "ZRANGESTORE":
		return []step{exact(zrangestoreArgs(t)...)}
	case "ZMPOP":
		args := []string{name, one(t, "numkeys", "1", "2", "2", "2", "3", "0", "-1", "x"), key(t), key(t), one(t, "end", "MIN", "MAX", "max", "x")}
		args = maybe(t, 2, args, "COUNT", one(t, "count", "1", "2", "100", "0", "-1", "x"))
		return []step{exact(maybe(t, 20, args, "COUNT")...)}
	default:
		args := []string{name}
		if strings.HasSuffix(name, "STORE") {
			args = append(args, key(t))
		}
		args = append(args, one(t, "numkeys", "2", "2", "2", "2", "2", "1", "3", "0", "-1", "x", "100"), key(t), key(t))
		args = maybe(t, 6, args, key(t))
		args = maybe(t, 2, args, "WEIGHTS", floatArg(t), score())
		args = maybe(t, 2, args, "AGGREGATE", one(t, "aggregate", "SUM", "MIN", "max", "x"))
		args = maybe(t, 2, args, "WITHSCORES")
		return []step{exact(maybe(t, 4, args, "LIMIT", one(t, "limit", "0", "1", "2", "-1", "x"))...)}
	}
	return []step{exact("ZCARD", key(t))}
}

func zrangestoreArgs(t *rapid.T) []string {
	args := []string{"ZRANGESTORE", key(t), key(t)}
	switch one(t, "by", "rank", "score", "lex") {
	case "rank":
		args = append(args, indexArg(t), indexArg(t))
	case "score":
		args = append(args, scoreBound(t), scoreBound(t), "BYSCORE")
	default: // which means something only where all scores are equal
		args = append(args[:2], "lex1", lexBound(t), lexBound(t), "BYLEX")
	}
	args = maybe(t, 3, args, "REV")
	args = maybe(t, 3, args, "LIMIT", one(t, "offset", "0", "1", "-1"), one(t, "limit", "0", "1", "2", "-1", "x"))
	return maybe(t, 10, args, "WITHSCORES")
}
