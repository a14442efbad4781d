package command_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command/compare"
	"github.com/atolldb/atoll/datanode/datatype"
	"pgregory.net/rapid"
)

// TestDumpsTravel: what one server dumps the other restores, whatever random commands have made.
func TestDumpsTravel(t *testing.T) {
	dial := compare.Redis(t)
	setChecks(t, 20)
	families := []func(*rapid.T) []step{stringStep, hllStep, hashStep, setStep, zsetStep, zrangeStep, listStep, geoStep, bigStep}
	for _, l := range []datatype.Limits{{Members: 4, Bytes: 90}, datatype.DefaultLimits} {
		o := &oracle{redis: dial(), atoll: newMemoryServer(t, l), proto: 2}
		rapid.Check(t, func(t *rapid.T) {
			o.check(t, rapid.SampledFrom(families).Draw(t, "family"))
			keys := o.compare(t, []step{{[]string{"KEYS", "*"}, unordered(1)}})[0]
			for _, k := range keys.List {
				o.travel(t, k.Text, "copy of "+k.Text)
			}
			o.whole(t)
		})
	}
}

// dumpStep restores dumps of all forms, whole and damaged.
func dumpStep(t *rapid.T) []step {
	k := key(t)
	switch one(t, "command", "RESTORE", "RESTORE", "RESTORE", "DUMP", "new", "DEL") {
	case "DUMP": // whose bytes may differ
		return []step{{[]string{"DUMP", k}, shape}}
	case "new":
		return newKey(t, k)
	case "DEL":
		return []step{exact("DEL", k)}
	}
	dump := rapid.SampledFrom(restorable).Draw(t, "dump").dump
	args := []string{"RESTORE", k, one(t, "ttl", "0", "0", "0", "100000", "500000", "1", "-1", "x"), dump}
	if rapid.IntRange(0, 3).Draw(t, "absolute") == 0 {
		args[2] = absoluteMillis(t)
		args = append(args, "ABSTTL")
	}
	args = maybe(t, 2, args, "REPLACE")
	args = maybe(t, 4, args, one(t, "use", "IDLETIME", "FREQ"), one(t, "often", "0", "5", "255", "256", "-1", "x"))
	args = maybe(t, 8, args, one(t, "word", "IDLETIME", "FREQ", "x", "replace"))
	if args[2] == "1" { // which may be over for one of the servers
		args[2] = "0"
	}
	return []step{exact(args...)}
}

var restorable = slices.DeleteFunc(olderDumps(), func(d olderDump) bool { return strictly[d.name] })

// travel restores each server's dump of a key into the other.
func (o *oracle) travel(t interface{ Fatal(...any) }, key, to string) {
	dump := func(c compare.Conn) string {
		replies, err := c.Do([]string{"DUMP", key})
		if err != nil || replies[0].Kind != '$' {
			t.Fatal("dump ", key, replies, err)
		}
		return replies[0].Text
	}
	ours, theirs := dump(o.atoll), dump(o.redis)
	for _, way := range []struct {
		into    compare.Conn
		payload string
	}{{o.redis, ours}, {o.atoll, theirs}} {
		replies, err := way.into.Do([]string{"RESTORE", to, "0", way.payload, "REPLACE"})
		if err != nil || replies[0].Text != "OK" {
			t.Fatal("restore ", fmt.Sprintf("%q into %T: %q", key, way.into, way.payload), replies, err)
		}
	}
	o.commands += 4
}

// bigStep makes values beyond the limits of each form of a dump.
func bigStep(t *rapid.T) []step {
	n := rapid.SampledFrom([]int{1, 2, 127, 128, 129, 511, 512, 513, 2000}).Draw(t, "members")
	text := func(i int) string {
		switch i % 5 {
		case 0:
			return fmt.Sprint(i)
		case 1:
			return fmt.Sprint(-i * i * i * 1000)
		case 2:
			return strings.Repeat("x", i%70) + fmt.Sprint(i)
		}
		return fmt.Sprintf("member %d\x00\xff", i)
	}
	odd := one(t, "odd", "-1", strings.Repeat("a", 63), strings.Repeat("b", 64), strings.Repeat("c", 65), strings.Repeat("de", 2048), strings.Repeat("fgh", 3000), strings.Repeat("z", 70_000), "9223372036854775807")
	var args []string
	switch one(t, "type", "string", "list", "set", "numbers", "hash", "zset") {
	case "string":
		return []step{exact("SET", "a", strings.Repeat(odd, rapid.IntRange(1, 3).Draw(t, "times")))}
	case "list":
		args = []string{"RPUSH", "b"}
		for i := range n {
			args = append(args, text(i))
		}
		return []step{exact("DEL", "b"), exact(append(args, odd)...)}
	case "set":
		args = []string{"SADD", "c", odd}
		for i := range n {
			args = append(args, text(i))
		}
		return []step{exact("DEL", "c"), exact(args...)}
	case "numbers":
		factor := rapid.SampledFrom([]int{1, 100, 100_000, 1 << 40}).Draw(t, "factor")
		args = []string{"SADD", "numbers"}
		for i := range n {
			args = append(args, fmt.Sprint((i-n/2)*factor))
		}
		return []step{exact("DEL", "numbers"), exact(args...)}
	case "hash":
		args = []string{"HSET", "d", odd, "1", "f", odd}
		for i := range n {
			args = append(args, text(i), text(i+1))
		}
		return []step{exact("DEL", "d"), exact(args...)}
	}
	args = []string{"ZADD", "z", "-0.1", odd, "inf", "x", "1e300", "y", "-inf", "\x00", "1e17", "big"}
	for i := range n {
		args = append(args, fmt.Sprint(i%7), text(i))
	}
	return []step{exact("DEL", "z"), exact(args...)}
}

// TestRestoreAsRedis: both servers make the same of the forms of older versions, and refuse the same damage.
func TestRestoreAsRedis(t *testing.T) {
	dial := compare.Redis(t)
	o := &oracle{redis: dial(), atoll: newMemoryServer(t, datatype.DefaultLimits), proto: 2}
	for _, c := range olderDumps() {
		t.Run(c.name, func(t *testing.T) {
			var answers [2]string
			for i, conn := range []compare.Conn{o.redis, o.atoll} {
				replies, err := conn.Do([]string{"DEL", "k"}, []string{"RESTORE", "k", "0", c.dump}, []string{"TYPE", "k"})
				if err != nil {
					t.Fatal(err)
				}
				read := map[string][]string{"string": {"GET", "k"}, "list": {"LRANGE", "k", "0", "-1"}, "set": {"SMEMBERS", "k"}, "hash": {"HGETALL", "k"}, "zset": {"ZRANGE", "k", "0", "-1", "WITHSCORES"}, "none": {"GET", "k"}}[replies[2].Text]
				content, err := conn.Do(read)
				if err != nil {
					t.Fatal(err)
				}
				group := map[string]int{"HGETALL": 2, "SMEMBERS": 1}[read[0]]
				if group > 0 {
					content[0] = content[0].Sorted(group)
				}
				answers[i] = fmt.Sprint(replies[1:], content)
			}
			if answers[0] != answers[1] && !strictly[c.name] {
				t.Errorf("redis: %s\natoll: %s", answers[0], answers[1])
			}
			if strings.Contains(answers[1], "ERR") == c.whole {
				t.Errorf("%s", answers[1])
			}
		})
	}
}

// strictly are dumps that Redis reads, and makes broken values of.
var strictly = map[string]bool{"cut string": true, "twice in a hash": true}

type olderDump struct {
	name, dump string
	whole      bool
}

// sealed ends a dump.
func sealed(version byte, parts ...string) string {
	body := strings.Join(parts, "") + string([]byte{version, 0})
	return body + string(datatype.AppendDumpSum(nil, []byte(body)))
}

// lengthened puts a length before a string.
func lengthened(s string) string {
	return string([]byte{0x80, byte(len(s) >> 24), byte(len(s) >> 16), byte(len(s) >> 8), byte(len(s))}) + s
}

// ziplist makes the packed form of Redis before 7; entries are what stands behind the size of the one before.
func ziplist(entries ...string) string {
	var body strings.Builder
	last, before := 10, 0
	for _, e := range entries {
		last = 10 + body.Len()
		size := string([]byte{byte(before)})
		if before >= 254 {
			size = string([]byte{254, byte(before), byte(before >> 8), 0, 0})
		}
		body.WriteString(size + e)
		before = len(size) + len(e)
	}
	total := 11 + body.Len()
	return string([]byte{byte(total), byte(total >> 8), 0, 0, byte(last), byte(last >> 8), 0, 0, byte(len(entries)), 0}) + body.String() + "\xff"
}

func olderDumps() []olderDump {
	long := strings.Repeat("long ", 100)
	entries := []string{"\x01a", "\x02bb", "\xf1", "\xfd", "\xfe\x80", "\xc0\x00\x80", "\xf0\x00\x00\x80", "\xd0\x00\x00\x00\x80", "\xe0\xff\xff\xff\xff\xff\xff\xff\x7f", "\x41\xf4" + long, "\x80\x00\x00\x01\xf4" + long, "\x00"}
	scored := []string{"\x01a", "\xf2", "\x01b", "\x031.5", "\x01c", "\x03inf"}
	zipmap := "\x02\x01a\x02\x00xy\x02bb\x01\x02z\x00\x00\xff"
	list := []olderDump{
		{"number", sealed(6, "\x00\xc0\x85"), true}, {"short number", sealed(6, "\x00\xc1\x39\x30"), true}, {"long number", sealed(6, "\x00\xc2\x15\xcd\x5b\x07"), true},
		{"compressed", sealed(6, "\x00\xc3\x05\x14\x00a\xe0\x0a\x00"), true},
		{"plain list", sealed(2, "\x01\x02\x01a\xc0\x05"), true}, {"set", sealed(2, "\x02\x02\x01a\xc0\x05"), true}, {"hash", sealed(2, "\x04\x01\x01a\xc0\x05"), true},
		{"old sorted set", sealed(2, "\x03\x03\x01a\x031.5\x01b\xfe\x01c\xff"), true}, {"sorted set", sealed(8, "\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x3f"), true},
		{"zipmap", sealed(2, "\x09", lengthened(zipmap)), true}, {"ziplist", sealed(6, "\x0a", lengthened(ziplist(entries...))), true},
		{"intset", sealed(6, "\x0b", lengthened("\x02\x00\x00\x00\x03\x00\x00\x00\xff\xff\x01\x00\x05\x00")), true}, {"wide intset", sealed(6, "\x0b", lengthened("\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80")), true},
		{"ziplist of scores", sealed(6, "\x0c", lengthened(ziplist(scored...))), true}, {"ziplist of fields", sealed(6, "\x0d", lengthened(ziplist(entries[:4]...))), true},
		{"quicklist", sealed(7, "\x0e\x02", lengthened(ziplist(entries...)), lengthened(ziplist("\x01z"))), true}, {"quicklist with an empty node", sealed(7, "\x0e\x02", lengthened(ziplist()), lengthened(ziplist("\x01z"))), true},
		{"nodes", sealed(10, "\x12\x02\x01\x03abc\x02", lengthened("\x0a\x00\x00\x00\x01\x00\x81x\x02\xff")), true}, {"bytes behind", sealed(10, "\x00\x01abcdef"), true},
	}
	for name, dump := range map[string]string{
		"nothing": sealed(10), "a version to come": sealed(12, "\x00\x01a"), "empty list": sealed(10, "\x01\x00"), "empty node": sealed(7, "\x0e\x01", lengthened(ziplist())), "no nodes": sealed(7, "\x0e\x00"),
		"twice in a set": sealed(10, "\x02\x02\x01a\x01a"), "twice in a hash": sealed(10, "\x04\x02\x01a\x01b\x01a\x01c"), "twice in a sorted set": sealed(10, "\x05\x02\x01a\x00\x00\x00\x00\x00\x00\xf8\x3f\x01a\x00\x00\x00\x00\x00\x00\xf8\x3f"),
		"no number": sealed(10, "\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x7f"), "old no number": sealed(3, "\x03\x01\x01a\xfd"), "cut string": sealed(10, "\x00\x05abc"), "cut list": sealed(10, "\x01\x03\x01a"),
		"unknown form": sealed(10, "\x2a\x01a"), "a module's": sealed(10, "\x07\x01a"), "unknown special": sealed(10, "\x00\xc7"), "many": sealed(10, "\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a"),
		"unknown container": sealed(10, "\x12\x01\x03\x01a"), "cut listpack": sealed(10, "\x12\x01\x02", lengthened("\x0b\x00\x00\x00\x01\x00\x81x\x02\xff")), "copy from nowhere": sealed(6, "\x00\xc3\x05\x14\x00a\xe0\x0a\x01"),
		"odd intset": sealed(6, "\x0b", lengthened("\x03\x00\x00\x00\x01\x00\x00\x00\x01\x02\x03")), "cut intset": sealed(6, "\x0b", lengthened("\x02\x00\x00\x00\x03\x00\x00\x00\xff\xff")), "short": "abc", "wrong sum": sealed(10, "\x00\x01a")[:12] + "x",
		"odd ziplist of fields": sealed(6, "\x0d", lengthened(ziplist("\x01a"))), "odd zipmap": sealed(2, "\x09", lengthened("\x02\x01a\xff")),
	} {
		list = append(list, olderDump{name, dump, false})
	}
	slices.SortFunc(list, func(a, b olderDump) int { return strings.Compare(a.name, b.name) })
	return list
}
