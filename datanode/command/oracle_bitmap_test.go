package command_test

import "pgregory.net/rapid"

func bitmapStep(t *rapid.T) []step {
	k := key(t)
	offset := func() string {
		return one(t, "offset", "0", "1", "7", "8", "9", "20", "63", "100", "-1", "x", "4294967295", "4294967296")
	}
	bit := func() string { return one(t, "bit", "0", "1", "1", "0", "2", "-1", "x") }
	name := one(t, "command", "SETBIT", "SETBIT", "SETBIT", "GETBIT", "BITCOUNT", "BITPOS", "BITPOS", "BITOP", "BITFIELD", "BITFIELD", "BITFIELD_RO", "SET", "LCS", "LCS", "big")
	switch name {
	case "SETBIT":
		if offset := offset(); offset != "4294967295" { // half a gigabyte
			return []step{exact(name, k, offset, bit())}
		}
	case "GETBIT":
		return []step{exact(name, k, offset())}
	case "BITCOUNT":
		args := []string{name, k}
		if rapid.Bool().Draw(t, "range") {
			args = maybe(t, 2, append(args, indexArg(t), indexArg(t)), one(t, "unit", "BIT", "BYTE", "x"))
		}
		return []step{exact(maybe(t, 10, args, "0")...)}
	case "BITPOS":
		args := []string{name, k, bit()}
		if rapid.Bool().Draw(t, "start") {
			args = append(args, indexArg(t))
			if rapid.Bool().Draw(t, "end") {
				args = maybe(t, 2, append(args, indexArg(t)), one(t, "unit", "BIT", "BYTE", "bit", "x"))
			}
		}
		return []step{exact(args...)}
	case "BITOP":
		args := []string{name, one(t, "operation", "AND", "OR", "XOR", "NOT", "NOT", "x"), k, key(t)}
		return []step{exact(maybe(t, 2, args, key(t))...)}
	case "BITFIELD", "BITFIELD_RO":
		return []step{exact(bitfieldArgs(t, name, k)...)}
	case "SET":
		return []step{exact("SET", k, one(t, "bytes", "\xff\xff\xff", "\x00\x00\x00", "\xff\x00\xf0", "ohmytext", "mynewtext", "aaabbb", "ababab", "", "\x00\xff\x01\x80\x7f\xfe\x55\xaa\x12"))}
	case "LCS":
		args := maybe(t, 4, []string{name, k, key(t)}, "LEN")
		args = maybe(t, 2, args, "IDX")
		args = maybe(t, 3, args, "MINMATCHLEN", one(t, "least", "0", "2", "-1", "x"))
		return []step{exact(maybe(t, 3, args, "WITHMATCHLEN")...)}
	case "big":
		return newKey(t, k)
	}
	return []step{exact("GET", k)}
}

func bitfieldArgs(t *rapid.T, name, k string) []string {
	args := []string{name, k}
	for range rapid.IntRange(0, 4).Draw(t, "calls") {
		field := one(t, "type", "u8", "i8", "u1", "i1", "i64", "u63", "i5", "u5", "i16", "u64", "i65", "u0", "x8", "u", "i08")
		at := one(t, "at", "0", "1", "4", "8", "#0", "#1", "#2", "100", "-1", "#-1", "x", "#", "4294967296")
		number := one(t, "number", "0", "1", "-1", "127", "255", "-128", "300", "-300", "9223372036854775807", "-9223372036854775808", "x")
		switch one(t, "call", "GET", "SET", "SET", "INCRBY", "INCRBY", "OVERFLOW", "OVERFLOW", "odd") {
		case "GET":
			args = append(args, "GET", field, at)
		case "SET":
			args = append(args, "SET", field, at, number)
		case "INCRBY":
			args = append(args, "INCRBY", field, at, number)
		case "OVERFLOW":
			args = append(args, "OVERFLOW", one(t, "overflow", "WRAP", "SAT", "FAIL", "sat", "fail", "x"))
		default:
			args = maybe(t, 3, args, one(t, "word", "x", "GET", "SET"))
		}
	}
	return args
}
