package command_test

import "pgregory.net/rapid"

// item is an element of a list: few different ones, so that they repeat, and now and then a large one.
func item(t *rapid.T) string {
	if rapid.IntRange(0, 9).Draw(t, "odd item") == 0 {
		return one(t, "item", "", "\x00\xff", "1", "an element that alone is too large for a packed list under small limits, by a good number of bytes ..")
	}
	return one(t, "item", "a", "b", "c", "d", "e")
}

func items(t *rapid.T, args ...string) []string {
	for range rapid.SampledFrom([]int{1, 1, 1, 2, 3, 8}).Draw(t, "items") {
		args = append(args, item(t))
	}
	return args
}

func side(t *rapid.T) string { return one(t, "side", "LEFT", "RIGHT", "left", "rIGHT", "UP") }

func countArg(t *rapid.T) string {
	return one(t, "count", "0", "1", "2", "3", "7", "100", "9223372036854775807", "-1", "x", "")
}

func listStep(t *rapid.T) []step {
	k := one(t, "list", "a", "b", "c", "d", "key\x00\xff")
	switch one(t, "command", "push", "push", "push", "push", "push", "pushx", "pop", "pop", "LMPOP", "LMOVE", "LMOVE", "RPOPLPUSH", "LLEN", "LINDEX", "LSET", "LSET",
		"LINSERT", "LINSERT", "LINSERT", "LREM", "LREM", "LTRIM", "LPOS", "LPOS", "LRANGE", "COPY", "RENAME", "other") {
	case "push":
		return []step{exact(items(t, one(t, "name", "LPUSH", "RPUSH"), k)...)}
	case "pushx":
		return []step{exact(items(t, one(t, "name", "LPUSHX", "RPUSHX"), k)...)}
	case "pop":
		return []step{exact(maybe(t, 2, []string{one(t, "name", "LPOP", "RPOP"), k}, countArg(t))...)}
	case "LMPOP":
		args := []string{"LMPOP", one(t, "numkeys", "2", "2", "2", "2", "1", "3", "0", "-1", "x"), k, key(t), side(t)}
		args = maybe(t, 2, args, "COUNT", countArg(t))
		return []step{exact(maybe(t, 10, args, one(t, "more", "COUNT", "1", "x"))...)}
	case "LMOVE":
		return []step{exact("LMOVE", k, one(t, "target", k, key(t)), side(t), side(t))}
	case "RPOPLPUSH":
		return []step{exact("RPOPLPUSH", k, one(t, "target", k, key(t)))}
	case "LLEN":
		return []step{exact("LLEN", k)}
	case "LINDEX":
		return []step{exact("LINDEX", k, indexArg(t))}
	case "LSET":
		return []step{exact("LSET", k, indexArg(t), item(t))}
	case "LINSERT":
		return []step{exact("LINSERT", k, one(t, "where", "BEFORE", "AFTER", "before", "After", "IN"), item(t), item(t))}
	case "LREM":
		return []step{exact("LREM", k, one(t, "times", "0", "0", "1", "2", "-1", "-2", "3", "-9223372036854775807", "x"), item(t))}
	case "LTRIM":
		return []step{exact("LTRIM", k, indexArg(t), indexArg(t))}
	case "LPOS":
		args := maybe(t, 2, []string{"LPOS", k, item(t)}, "RANK", one(t, "rank", "1", "2", "3", "-1", "-2", "-3", "0", "x", "9223372036854775807"))
		args = maybe(t, 2, args, "COUNT", countArg(t))
		args = maybe(t, 3, args, "maxlen", countArg(t))
		return []step{exact(maybe(t, 20, args, one(t, "word", "RANK", "x"))...)}
	case "LRANGE":
		return []step{exact("LRANGE", k, indexArg(t), indexArg(t))}
	case "COPY":
		return []step{exact(maybe(t, 2, []string{"COPY", k, key(t)}, "REPLACE")...)}
	case "RENAME":
		return []step{exact("RENAME", k, key(t))}
	}
	return newKey(t, k)
}
