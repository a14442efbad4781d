package command_test

import (
	"github.com/atolldb/atoll/datanode/command/compare"
	"pgregory.net/rapid"
)

// member is a set's, often a number: Redis keeps those apart.
func member(t *rapid.T) string {
	if rapid.Bool().Draw(t, "number") {
		return one(t, "member", "1", "2", "3", "-7", "9223372036854775807", "-9223372036854775808", "012", "+1", "1.0")
	}
	return field(t)
}

func setStep(t *rapid.T) []step {
	k := key(t)
	switch one(t, "command", "SADD", "SADD", "SADD", "SREM", "SCARD", "SISMEMBER", "SMISMEMBER", "SMEMBERS", "SMOVE", "SMOVE", "SPOP", "SRANDMEMBER", "SSCAN", "DEL", "big") {
	case "SADD":
		return []step{exact("SADD", k, member(t), member(t), member(t))}
	case "SREM":
		return []step{exact("SREM", k, member(t), member(t), member(t))}
	case "SCARD":
		return []step{exact("SCARD", k)}
	case "SISMEMBER":
		return []step{exact("SISMEMBER", k, member(t))}
	case "SMISMEMBER":
		return []step{exact("SMISMEMBER", k, member(t), member(t))}
	case "SMEMBERS":
		return []step{{[]string{"SMEMBERS", k}, unordered(1)}}
	case "SMOVE":
		return []step{exact("SMOVE", k, key(t), member(t))}
	case "SPOP": // what is left differs, unless nothing is
		args := []string{"SPOP", k}
		if rapid.Bool().Draw(t, "all") {
			return []step{{append(args, "100"), unordered(1)}}
		}
		args = maybe(t, 2, args, one(t, "count", "0", "1", "2", "5", "-1", "x", "9223372036854775807"))
		return []step{{maybe(t, 20, args, "more"), shape}, exact("SCARD", k), exact("DEL", k)}
	case "SRANDMEMBER":
		return []step{random(t, "SRANDMEMBER", k, "WITHNOTHING")}
	case "SSCAN":
		return []step{{[]string{"SSCAN", k, "0", "COUNT", "1000", "MATCH", one(t, "pattern", "*", "f*", "f[1-3]", "*1", "x")}, scannedSet}}
	case "big":
		return newKey(t, k)
	}
	return []step{exact("DEL", k)}
}

// scannedSet compares the replies of a scan that is over at once.
func scannedSet(a, b compare.Value) bool {
	if len(a.List) != 2 || len(b.List) != 2 {
		return equalValues(a, b)
	}
	return equalValues(a.List[0], b.List[0]) && unordered(1)(a.List[1], b.List[1])
}

func setOperationStep(t *rapid.T) []step {
	name := one(t, "command", "SADD", "SADD", "SINTER", "SUNION", "SDIFF", "SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE", "SINTERCARD", "SET", "big")
	switch name {
	case "SADD":
		return []step{exact("SADD", key(t), member(t), member(t), member(t), field(t))}
	case "SET":
		if rapid.IntRange(0, 3).Draw(t, "seldom") == 0 {
			return []step{exact("SET", key(t), value(t))}
		}
	case "SINTERCARD":
		args := []string{"SINTERCARD", one(t, "numkeys", "1", "2", "2", "2", "3", "4", "0", "-1", "x", "9223372036854775807"), key(t), key(t)}
		args = maybe(t, 2, args, key(t))
		args = maybe(t, 3, args, "LIMIT", one(t, "limit", "0", "1", "2", "100", "-1", "x"))
		return []step{exact(maybe(t, 20, args, "LIMIT")...)}
	case "big":
		return newKey(t, key(t))
	default:
		args := []string{name, key(t), key(t)}
		args = maybe(t, 2, args, key(t))
		return []step{{maybe(t, 3, args, key(t)), unordered(1)}}
	}
	return []step{exact("SCARD", key(t))}
}
