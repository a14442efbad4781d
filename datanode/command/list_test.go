package command_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/datatype"
)

// What Redis 7.2 does otherwise than 7.0, which the transcripts are compared with.
func TestListsAsInRedis72(t *testing.T) {
	b := commandtest.New(t)
	b.Env.Families.Limits = datatype.Limits{Members: 3, Bytes: 1000}
	s := b.Session(t, commandtest.AWriteSecret)
	play(t, b, s, []exchange{
		{"RPUSH l a b c", ":3\r\n"},
		{"OBJECT ENCODING l", "$8\r\nlistpack\r\n"},
		{"LPOS l a RANK -9223372036854775808", "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807\r\n"},
		{"LPUSH l d", ":4\r\n"},
		{"OBJECT ENCODING l", "$9\r\nquicklist\r\n"},
		{"LPOP l 3", "*3\r\n$1\r\nd\r\n$1\r\na\r\n$1\r\nb\r\n"},
		{"OBJECT ENCODING l", "$9\r\nquicklist\r\n"}, // once and for good
		{"MEMORY USAGE l", ":42\r\n"},                // 32, the key, an index, an element
		{"LMPOP 9223372036854775807 l LEFT", "-ERR syntax error\r\n"},
	})
}

// A list that is far beyond any packed form, with large elements in it, goes through every command.
func TestLargeLists(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	const n = 5000
	words := []string{"RPUSH", "l"}
	for i := range n {
		words = append(words, fmt.Sprint("element", i))
	}
	large := strings.Repeat("x", 200_000)
	ask := func(want string, words ...string) {
		t.Helper()
		if got := b.Do(t, s, words...); got != want {
			t.Errorf("%.60q answered %.100q, want %.100q", words, got, want)
		}
	}
	ask(fmt.Sprintf(":%d\r\n", n), words...)
	ask("$11\r\nelement2500\r\n", "LINDEX", "l", "2500")
	ask(":4000\r\n", "LPOS", "l", "element4000")
	ask(fmt.Sprintf(":%d\r\n", n+1), "LINSERT", "l", "AFTER", "element10", large)
	ask(fmt.Sprintf(":%d\r\n", n+2), "LINSERT", "l", "BEFORE", "element4990", large)
	ask("*3\r\n$9\r\nelement10\r\n$200000\r\n"+large+"\r\n$9\r\nelement11\r\n", "LRANGE", "l", "10", "12")
	ask("*3\r\n$11\r\nelement4989\r\n$200000\r\n"+large+"\r\n$11\r\nelement4990\r\n", "LRANGE", "l", "4990", "4992")
	ask("$200000\r\n"+large+"\r\n", "LINDEX", "l", "11")
	ask("+OK\r\n", "LSET", "l", "11", "small")
	ask(":1\r\n", "LREM", "l", "-1", large)
	ask("+OK\r\n", "LTRIM", "l", "11", "12")
	ask("*2\r\n$5\r\nsmall\r\n$9\r\nelement11\r\n", "LRANGE", "l", "0", "-1")
	ask("$5\r\nsmall\r\n", "LMOVE", "l", "to", "LEFT", "RIGHT")
	ask("+OK\r\n", "LSET", "to", "0", large)
	ask("$200000\r\n"+large+"\r\n", "RPOPLPUSH", "to", "l")
	ask("*2\r\n$200000\r\n"+large+"\r\n$9\r\nelement11\r\n", "LRANGE", "l", "0", "-1")
	ask("*2\r\n$1\r\nl\r\n*2\r\n$9\r\nelement11\r\n$200000\r\n"+large+"\r\n", "LMPOP", "2", "to", "l", "RIGHT", "COUNT", "9")
	ask(":0\r\n", "DBSIZE")
}
