package command_test

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/command/compare"
	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

// memoryServer is a session of an executor over a store in memory.
type memoryServer struct {
	tb      testing.TB
	bench   *commandtest.Bench
	session *command.Session
}

func newMemoryServer(tb testing.TB, limits datatype.Limits) *memoryServer {
	b := commandtest.New(tb)
	b.Env.Families.Limits = limits
	return &memoryServer{tb: tb, bench: b, session: b.Session(tb, commandtest.AWriteSecret)}
}

func (m *memoryServer) store() *store.Store { return m.bench.Node.Data }

// Do implements compare.Conn.
func (m *memoryServer) Do(commands ...[]string) ([]compare.Value, error) {
	out := m.bench.Pipeline(m.tb, m.session, commands...)
	r := bufio.NewReader(strings.NewReader(out))
	var replies []compare.Value
	for range commands {
		v, err := compare.Read(r)
		if err != nil {
			return nil, fmt.Errorf("reply %d to %q: %w", len(replies), commands, err)
		}
		replies = append(replies, v)
	}
	if rest, _ := io.ReadAll(r); len(rest) > 0 {
		return nil, fmt.Errorf("bytes behind the replies to %q: %q", commands, rest)
	}
	return replies, nil
}

func TestTranscripts(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		compare.Transcripts(t, "testdata/transcript", func(t *testing.T) compare.Conn {
			return newMemoryServer(t, datatype.DefaultLimits)
		})
	})
	t.Run("spread", func(t *testing.T) { // but for OBJECT ENCODING, nobody can tell
		compare.Transcripts(t, "testdata/transcript", func(t *testing.T) compare.Conn {
			return newMemoryServer(t, datatype.Limits{Members: 1, Bytes: 40})
		})
	})
	t.Run("redis", func(t *testing.T) {
		dial := compare.Redis(t)
		compare.Transcripts(t, "testdata/transcript", func(t *testing.T) compare.Conn {
			c := dial()
			if _, err := c.Do([]string{"FLUSHALL"}); err != nil {
				t.Fatal(err)
			}
			return c
		})
	})
}
