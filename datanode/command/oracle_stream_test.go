package command_test

import (
	"slices"
	"strconv"

	"github.com/atolldb/atoll/datanode/command/compare"
	"pgregory.net/rapid"
)

// streamID is an explicit id among few, so that entries meet again; seldom one that is odd.
func streamID(t *rapid.T) string {
	if rapid.IntRange(0, 19).Draw(t, "odd id") == 0 {
		return one(t, "id", "x", "", "-", "+", "1-", "-1", "1-x", "1-1-1", "0", "0-0", "0-*", "1-*", "*-1", "05-01", "+5-3", " 5- 3", "5-3 ", "1--1", "1- -9", "1-1\x00x", "18446744073709551615-18446744073709551615",
			"18446744073709551615", "18446744073709551616-0", "18446744073709551615-*", "9223372036854775808-1", "(1-1", "$", ">", "1-1 and so much behind it that nobody who reads ids would take it for one, however long he looks at it, and that is what is asked for here")
	}
	return strconv.Itoa(rapid.IntRange(0, 12).Draw(t, "ms")) + "-" + strconv.Itoa(rapid.IntRange(0, 3).Draw(t, "seq"))
}

func rangeEnd(t *rapid.T, open string) string {
	if rapid.Bool().Draw(t, "all") {
		return open
	}
	if rapid.IntRange(0, 3).Draw(t, "exclusive") == 0 {
		return "(" + streamID(t)
	}
	return one(t, "bound", streamID(t), strconv.Itoa(rapid.IntRange(0, 12).Draw(t, "ms")))
}

func group(t *rapid.T) string    { return one(t, "group", "g1", "g1", "g1", "g2", "g2", "", "g\x00\xff") }
func consumer(t *rapid.T) string { return one(t, "consumer", "c1", "c1", "c2", "c3", "", "c\x00") }
func streamKey(t *rapid.T) string {
	return one(t, "stream", "a", "a", "a", "b", "b", "c", "key\x00\xff")
}
func bigCount(t *rapid.T) string {
	return one(t, "count", "1", "1", "2", "3", "5", "100", "0", "-1", "x", "9223372036854775807", "-9223372036854775808")
}

// oneNode has Redis keep a stream in one node, however much was deleted in it: its approximate trimming then takes all
// entries or none, and so does Atoll's from what the oracle makes, less than a hundred.
var oneNode = []string{"--stream-node-max-bytes", "0", "--stream-node-max-entries", "0"}

// trimming are the options that trim.
func trimming(t *rapid.T, args []string) []string {
	if rapid.Bool().Draw(t, "by length") {
		args = append(args, "MAXLEN")
		args = maybe(t, 3, args, one(t, "how", "=", "~"))
		args = append(args, one(t, "length", "0", "1", "2", "3", "5", "8", "20", "1000", "-1", "x"))
	} else {
		args = append(args, one(t, "word", "MINID", "minid"))
		args = maybe(t, 3, args, "=") // with ~ Redis also looks at the last entry of the node that was deleted
		args = append(args, streamID(t))
	}
	return maybe(t, 8, args, "LIMIT", one(t, "limit", "0", "1", "3", "100", "-1", "x"))
}

func xadd(t *rapid.T, k string) step {
	args := maybe(t, 8, []string{"XADD", k}, "NOMKSTREAM")
	if rapid.IntRange(0, 5).Draw(t, "trims") == 0 {
		args = trimming(t, args)
	}
	args = append(args, one(t, "id", streamID(t), strconv.Itoa(rapid.IntRange(0, 12).Draw(t, "ms"))+"-*"))
	for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(t, "fields") {
		args = append(args, field(t), one(t, "value", "", "v", "w", "a longer value", "\x00\r\n"))
	}
	return exact(maybe(t, 30, args, "odd")...)
}

func streamStep(t *rapid.T) []step {
	k := streamKey(t)
	switch one(t, "command", "XADD", "XADD", "XADD", "XADD", "XADD", "add", "XLEN", "XRANGE", "XRANGE", "XDEL", "XDEL", "XTRIM", "XSETID", "XREAD", "XREAD", "XINFO", "XINFO", "group", "group", "group", "group", "group", "group", "group", "other") {
	case "XADD":
		return []step{xadd(t, k)}
	case "add": // some at once, so that there is something to read
		var steps []step
		for i := range rapid.IntRange(2, 6).Draw(t, "entries") {
			steps = append(steps, exact("XADD", k, strconv.Itoa(rapid.IntRange(0, 12).Draw(t, "ms"))+"-*", "f", strconv.Itoa(i)))
		}
		return steps
	case "XLEN":
		return []step{exact("XLEN", k)}
	case "XRANGE":
		args := []string{"XRANGE", k, rangeEnd(t, "-"), rangeEnd(t, "+")}
		if rapid.Bool().Draw(t, "reverse") {
			args = []string{"XREVRANGE", k, args[3], args[2]}
		}
		args = maybe(t, 2, args, "COUNT", bigCount(t))
		return []step{exact(maybe(t, 20, args, one(t, "word", "COUNT", "x"))...)}
	case "XDEL":
		return []step{exact(maybe(t, 2, []string{"XDEL", k, streamID(t), streamID(t)}, streamID(t), streamID(t))...)}
	case "XTRIM":
		return []step{exact(maybe(t, 30, trimming(t, []string{"XTRIM", k}), one(t, "word", "MAXLEN", "3", "x"))...)}
	case "XSETID":
		args := maybe(t, 3, []string{"XSETID", k, streamID(t)}, "ENTRIESADDED", one(t, "added", "0", "3", "10", "100", "-1", "x"))
		return []step{exact(maybe(t, 3, args, "MAXDELETEDID", streamID(t))...)}
	case "XREAD":
		return []step{xread(t)}
	case "XINFO":
		return []step{xinfo(t, k)}
	case "group":
		return groupStep(t, k)
	}
	switch one(t, "other", "DEL", "COPY", "COPY", "RENAME", "MOVE", "TYPE", "SCAN", "new") {
	case "DEL":
		return []step{exact("DEL", k)}
	case "COPY":
		return []step{exact(maybe(t, 2, []string{"COPY", k, streamKey(t)}, "REPLACE")...)}
	case "RENAME":
		return []step{exact("RENAME", k, streamKey(t))}
	case "MOVE":
		return []step{exact("MOVE", k, "1")}
	case "TYPE":
		return []step{exact("TYPE", k)}
	case "SCAN":
		return []step{{[]string{"SCAN", "0", "COUNT", "1000", "TYPE", "stream"}, scannedSet}}
	}
	return newKey(t, k)
}

// xread is XREAD of one stream or two. It never blocks: a call that would wait is compared elsewhere.
func xread(t *rapid.T) step {
	args := maybe(t, 2, []string{"XREAD"}, "COUNT", bigCount(t))
	args = maybe(t, 30, args, one(t, "word", "NOACK", "x", "GROUP", "COUNT"))
	after := func() string { return one(t, "after", streamID(t), "0", "0", "$", "5") }
	if rapid.Bool().Draw(t, "two") {
		return exact(append(args, "STREAMS", streamKey(t), streamKey(t), after(), after())...)
	}
	return exact(append(args, "streams", streamKey(t), after())...)
}

func xinfo(t *rapid.T, k string) step {
	switch one(t, "info", "STREAM", "FULL", "FULL", "GROUPS", "GROUPS", "CONSUMERS") {
	case "STREAM":
		return step{[]string{"XINFO", "STREAM", k}, sameTimes}
	case "FULL":
		return step{maybe(t, 2, []string{"XINFO", "STREAM", k, "FULL"}, "COUNT", one(t, "count", "0", "1", "2", "100", "-1", "x")), sameTimes}
	case "GROUPS":
		return exact("XINFO", "GROUPS", k)
	}
	return step{[]string{"XINFO", "CONSUMERS", k, group(t)}, sameTimes}
}

func groupStep(t *rapid.T, k string) []step {
	g, c := group(t), consumer(t)
	// What Redis 7.2 makes of itself where 7.0 doesn't.
	made := exact("XGROUP", "CREATECONSUMER", k, g, c)
	read := func(args []string) []string {
		return maybe(t, 10, args, one(t, "read", "ENTRIESREAD"), one(t, "entries", "0", "1", "3", "100", "-1", "-2", "x"))
	}
	switch one(t, "group command", "CREATE", "CREATE", "CREATE", "SETID", "DESTROY", "CREATECONSUMER", "DELCONSUMER", "new", "new", "new", "new", "history", "XACK", "XACK", "XPENDING", "XPENDING", "XCLAIM", "XCLAIM", "XAUTOCLAIM", "XAUTOCLAIM") {
	case "CREATE":
		args := []string{"XGROUP", "CREATE", k, g, one(t, "from", "0", "0", "0", "$", streamID(t))}
		return []step{exact(read(maybe(t, 3, args, "MKSTREAM"))...)}
	case "SETID":
		return []step{exact(read([]string{"XGROUP", "SETID", k, g, one(t, "from", "0", "0", "$", streamID(t))})...)}
	case "DESTROY":
		return []step{exact("XGROUP", "DESTROY", k, g)}
	case "CREATECONSUMER":
		return []step{made}
	case "DELCONSUMER":
		return []step{exact("XGROUP", "DELCONSUMER", k, g, c)}
	case "new", "history":
		return readGroupSteps(t, k, g, c)
	case "XACK":
		return []step{exact(maybe(t, 2, []string{"XACK", k, g, streamID(t), streamID(t)}, streamID(t), streamID(t))...)}
	case "XPENDING":
		args := []string{"XPENDING", k, g}
		if rapid.IntRange(0, 2).Draw(t, "summary") == 0 {
			return []step{exact(maybe(t, 20, args, "-", "+")...)}
		}
		args = maybe(t, 3, args, "IDLE", one(t, "idle", "0", "500000", "90000000000", "-1", "x"))
		args = append(args, rangeEnd(t, "-"), rangeEnd(t, "+"), bigCount(t))
		return []step{{maybe(t, 2, args, c), sameTimes}}
	case "XCLAIM":
		args := []string{"XCLAIM", k, g, c, one(t, "min idle", "0", "0", "0", "500000", "-1", "x"), streamID(t), streamID(t), streamID(t)}
		args = maybe(t, 3, args, "IDLE", one(t, "idle", "0", "1000000", "-5", "99999999999999", "x"))
		args = maybe(t, 5, args, "TIME", one(t, "time", "1", "1000000", "-1", "99999999999999", "x"))
		args = maybe(t, 4, args, "RETRYCOUNT", one(t, "retries", "0", "7", "-1", "x"))
		args = maybe(t, 3, args, "FORCE")
		args = maybe(t, 3, args, "JUSTID")
		args = maybe(t, 6, args, "LASTID", streamID(t))
		return []step{made, exact(maybe(t, 30, args, one(t, "word", "x", "IDLE", "1-1"))...)}
	}
	args := []string{"XAUTOCLAIM", k, g, c, one(t, "min idle", "0", "0", "500000", "-1", "x"), one(t, "start", "0", "0", "-", rangeEnd(t, "-"))}
	args = maybe(t, 2, args, "COUNT", one(t, "count", "1", "2", "3", "100", "0", "-1", "x", "9223372036854775807", "576460752303423488"))
	return []step{made, exact(maybe(t, 3, args, one(t, "just", "JUSTID", "JUSTID", "JUSTID", "x", "COUNT"))...)}
}

func readGroupSteps(t *rapid.T, k, g, c string) []step {
	args := maybe(t, 2, []string{"XREADGROUP", "GROUP", g, c}, "COUNT", bigCount(t))
	args = maybe(t, 5, args, "NOACK")
	args = maybe(t, 40, args, one(t, "word", "x", "GROUP", "COUNT"))
	after := func() string {
		return one(t, "after", ">", ">", ">", ">", "0", "0", streamID(t), one(t, "odd", "$", "18446744073709551615-18446744073709551615", "+"))
	}
	steps := []step{exact("XGROUP", "CREATECONSUMER", k, g, c)}
	if rapid.IntRange(0, 3).Draw(t, "two") > 0 {
		return append(steps, exact(append(args, "STREAMS", k, after())...))
	}
	other := streamKey(t)
	steps = append(steps, exact("XGROUP", "CREATECONSUMER", other, g, c))
	return append(steps, exact(append(args, "STREAMS", k, other, after(), after())...))
}

// sameTimes compares all but what passes between two servers, without what 7.2 adds to 7.0 and Redis' tree, in which
// deleted entries stay.
func sameTimes(a, b compare.Value) bool { return alike(without(a), without(b)) }

var notCompared = []string{"inactive", "active-time", "radix-tree-keys", "radix-tree-nodes"}

func without(v compare.Value) compare.Value {
	var list []compare.Value
	for i := 0; i < len(v.List); i++ {
		if e := v.List[i]; e.Kind == '$' && i%2 == 0 && i+1 < len(v.List) && slices.Contains(notCompared, e.Text) {
			i++
			continue
		}
		list = append(list, without(v.List[i]))
	}
	v.List = list
	return v
}

func alike(a, b compare.Value) bool {
	if len(a.List) == 0 || len(a.List) != len(b.List) || a.Kind != b.Kind {
		return equalValues(a, b)
	}
	for i := range a.List {
		same := alike
		if n := len(a.List); isTime(a.List, i) && n == len(b.List) {
			same = near(5_000)
		}
		if !same(a.List[i], b.List[i]) {
			return false
		}
	}
	return true
}

// isTime says whether an element is a time: that of a named field, or of something pending.
func isTime(list []compare.Value, i int) bool {
	named := i%2 == 1 && slices.Contains([]string{"idle", "seen-time"}, list[i-1].Text)
	return list[i].Kind == ':' && (named || len(list) == 4 && i == 2 && list[0].Kind == '$' || len(list) == 3 && i == 1 && list[0].Kind == '$')
}
