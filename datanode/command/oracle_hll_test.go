package command_test

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"
)

// craftedHLLs are strings that look like HyperLogLogs: whole ones that Redis wouldn't make, and broken ones. None of them lets one
// element in and refuses the next, before there are many: Redis keeps what came before an error.
var craftedHLLs = []string{
	"HYLL", "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "HYLL\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x7f\xff",
	"HYLL\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x7f\xff", "hyll\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x7f\xff", "not one, but long enough",
	hllWith(1, "\x07\x06\x05\x04\x03\x02\x01\x00", "\x7f\xff"), hllWith(1, "\x00\x00\x00\x00\x00\x00\x00\x80", "\x7f\xff\x00"), hllWith(1, "\x00\x00\x00\x00\x00\x00\x00\x80", "\x7f\xff\x83"),
	hllWith(1, "\x00\x00\x00\x00\x00\x00\x00\x80", "\x5f\xff\x5f\xff"), hllWith(1, "\x00\x00\x00\x00\x00\x00\x00\x80", strings.Repeat("\x3f", 256)), hllWith(1, "\x00\x00\x00\x00\x00\x00\x00\x80", strings.Repeat("\x8f", 4096)),
	hllWith(1, "\x00\x00\x00\x00\x00\x00\x00\x80", "\x9f\x9f\x9f\x9f\x90\x84"+strings.Repeat("\x85\x00", 3)+"\x7f\xe1"), hllWith(0, "\x00\x00\x00\x00\x00\x00\x00\x80", strings.Repeat("\xff", 12288)),
	hllWith(0, "\x00\x00\x00\x00\x00\x00\x00\x80", strings.Repeat("\x41\x10\x04", 4096)), hllWith(0, "\x01\x00\x00\x00\x00\x00\x00\x00", strings.Repeat("\x00", 12288)),
	hllWith(0, "\x00\x00\x00\x00\x00\x00\x00\x80", strings.Repeat("\x00", 12287)+"\xcc"), hllWith(1, "\x00\x00\x00\x00\x00\x00\x00\x80", strings.Repeat("\xff", 4096)),
}

func hllWith(encoding byte, count, registers string) string {
	return "HYLL" + string(encoding) + "\x05\x06\x07" + count + registers
}

func hllStep(t *rapid.T) []step {
	k := key(t)
	name := one(t, "command", "PFADD", "PFADD", "PFADD", "PFADD", "PFADD", "many", "PFCOUNT", "PFCOUNT", "PFCOUNT", "PFMERGE", "PFMERGE", "PFDEBUG", "PFDEBUG", "GET", "craft", "big", "DEL")
	switch name {
	case "PFADD", "many":
		n := rapid.SampledFrom([]int{0, 1, 1, 1, 2, 3, 20}).Draw(t, "elements")
		if name == "many" {
			k = one(t, "whole key", keyPool[3:]...)
			n = rapid.SampledFrom([]int{300, 600, 1000, 3000}).Draw(t, "elements")
		}
		first := rapid.IntRange(0, 1<<17).Draw(t, "first")
		if rapid.Bool().Draw(t, "again") {
			first %= 4
		}
		args := []string{"PFADD", k}
		for i := range n {
			args = append(args, strings.Repeat("x", (first+i)%11)+fmt.Sprint(first+i))
		}
		return []step{exact(maybe(t, 8, args, field(t))...)}
	case "PFCOUNT":
		args := maybe(t, 2, []string{name, k}, key(t))
		return []step{exact(maybe(t, 3, args, key(t))...)}
	case "PFMERGE":
		args := maybe(t, 2, []string{name, k}, key(t))
		return []step{exact(maybe(t, 2, args, key(t))...)}
	case "PFDEBUG":
		return []step{exact(name, one(t, "subcommand", "ENCODING", "DECODE", "decode", "TODENSE", "GETREG", "x"), k)}
	case "craft":
		if rapid.IntRange(0, 2).Draw(t, "seldom") == 0 {
			return []step{exact("SET", one(t, "crafted key", keyPool[:3]...), one(t, "bytes", craftedHLLs...))}
		}
	case "big":
		if rapid.IntRange(0, 3).Draw(t, "seldom") == 0 {
			return newKey(t, k)
		}
	case "DEL":
		return []step{exact("DEL", k)}
	}
	return []step{exact("GET", k)}
}
