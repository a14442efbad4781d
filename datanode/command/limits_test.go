package command_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
)

// TestWhatCantBeSentIsNotRead asks for replies of 10 MB and more on a connection that may hold 100 KB of
// them: it ends, and little was collected or read for it.
func TestWhatCantBeSentIsNotRead(t *testing.T) {
	b := commandtest.New(t)
	big := strings.Repeat("v", 10_000)
	lines := [][]string{{"SET", "k", big}, {"HSET", "few", "f", big}}
	for i := range 1000 {
		lines = append(lines, []string{"SET", fmt.Sprint("key", i, big), ""})
	}
	hash, zset, list := []string{"HSET", "h"}, []string{"ZADD", "z"}, slices.Repeat([]string{big}, 100)
	for i := range 1000 {
		hash, zset = append(hash, fmt.Sprint(i, big), big), append(zset, "1", fmt.Sprint(i, big))
	}
	b.Pipeline(t, b.Session(t, commandtest.AWriteSecret), append(lines, hash, zset, append([]string{"RPUSH", "l"}, list...), append([]string{"RPUSH", "pops"}, list...))...)
	for _, line := range [][]string{
		append([]string{"MGET"}, slices.Repeat([]string{"k"}, 2000)...), append([]string{"HMGET", "few"}, slices.Repeat([]string{"f"}, 2000)...),
		{"HGETALL", "h"}, {"HKEYS", "h"}, {"HVALS", "h"}, {"KEYS", "*"}, {"SCAN", "0", "COUNT", "9223372036854775807"},
		{"HSCAN", "h", "0", "COUNT", "1000000"}, {"ZSCAN", "z", "0", "COUNT", "1000000"}, {"ZRANGE", "z", "0", "-1"},
		{"ZRANGE", "z", "0", "5", "BYSCORE", "WITHSCORES"}, {"ZREVRANGE", "z", "1", "-1", "WITHSCORES"}, {"HRANDFIELD", "h", "1000", "WITHVALUES"},
		{"HRANDFIELD", "h", "-1000"}, {"ZRANDMEMBER", "z", "1000"}, {"LRANGE", "l", "0", "-1"}, {"LPOP", "pops", "100"}, {"HRANDFIELD", "few", "-4000000000000000000", "WITHVALUES"},
	} {
		s := b.Registry.Open(command.Peer{Remote: "192.0.2.1:1", Local: "192.0.2.2:6379"}, 100_000, time.Now(), nil)
		b.Do(t, s, "AUTH", commandtest.AWriteSecret)
		if got := allocated(func() { b.Do(t, s, line...) }); got > 8<<20 {
			t.Errorf("%s, %d words: allocated %d bytes", line[0], len(line), got)
		}
		if _, drop := s.Closing(); !drop {
			t.Errorf("the session goes on after %s", line[0])
		}
		b.Registry.Remove(s)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
