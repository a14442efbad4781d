package command_test

import (
	"testing"

	"github.com/atolldb/atoll/datanode/command/commandtest"
)

func TestRankWithScore(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	play(t, b, s, []exchange{
		{"ZADD z 1.5 a 2 b", ":2\r\n"},
		{"ZRANK z b withscore", "*2\r\n:1\r\n$1\r\n2\r\n"},
		{"ZREVRANK z a WITHSCORE", "*2\r\n:1\r\n$3\r\n1.5\r\n"},
		{"ZRANK z nobody WITHSCORE", "*-1\r\n"},
		{"ZRANK nokey a WITHSCORE", "*-1\r\n"},
		{"ZRANK z nobody", "$-1\r\n"},
		{"ZRANK z a WITHSCORES", "-ERR syntax error\r\n"},
		{"ZRANK z a WITHSCORE x", "-ERR wrong number of arguments for 'zrank' command\r\n"},
	})
}
