package consensus

import (
	"context"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// newRaftLogger sends Raft's lines to slog.
func newRaftLogger(log *slog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "raft", Level: hclog.Info, Output: raftLines{log}, DisableTime: true,
	})
}

// raftLines takes lines such as "[WARN]  raft: heartbeat timeout reached: last-leader-id=a".
type raftLines struct{ log *slog.Logger }

// Write implements io.Writer; hclog calls it once per line.
func (w raftLines) Write(line []byte) (int, error) {
	level, text, _ := strings.Cut(strings.TrimSpace(string(line)), "]")
	l := slog.LevelDebug // Raft's informational lines are for its developers
	switch level {
	case "[WARN":
		l = slog.LevelWarn
	case "[ERROR":
		l = slog.LevelError
	}
	w.log.Log(context.Background(), l, strings.TrimPrefix(strings.TrimSpace(text), "raft: "), "part", "raft")
	return len(line), nil
}
