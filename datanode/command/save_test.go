package command_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/store"
)

// BGSAVE, SAVE and LASTSAVE answer as Redis does, and INFO says how the node's saves are.
func TestSaves(t *testing.T) {
	b := commandtest.New(t)
	admin, s := b.Session(t, commandtest.AdminSecret), b.Session(t, commandtest.AWriteSecret)
	info := func(want ...string) {
		t.Helper()
		got := b.Do(t, s, "INFO", "persistence")
		for _, line := range want {
			if !strings.Contains(got, "\r\n"+line+"\r\n") {
				t.Errorf("INFO lacks %s:\n%s", line, got)
			}
		}
	}
	started := strings.TrimSpace(strings.TrimPrefix(b.Do(t, s, "LASTSAVE"), ":"))
	info("rdb_bgsave_in_progress:0", "rdb_last_bgsave_status:ok", "rdb_last_bgsave_time_sec:-1", "rdb_current_bgsave_time_sec:-1", "rdb_last_save_time:"+started)
	play(t, b, s, []exchange{{"BGSAVE", "-ERR admin permission…"}, {"SAVE", "-ERR admin permission…"}})
	play(t, b, admin, []exchange{
		{"BGSAVE foo", "-ERR syntax error\r\n"}, {"BGSAVE SCHEDULE", "+Background saving started\r\n"},
		{"BGSAVE", "-ERR Background save already in progress\r\n"}, {"BGSAVE schedule", "-ERR Background save already in progress\r\n"},
		{"SAVE", "-ERR Background save already in progress\r\n"},
	})
	info("rdb_bgsave_in_progress:1", "rdb_current_bgsave_time_sec:0", "rdb_last_save_time:"+started)
	at := time.Unix(1_700_000_000, 0)
	b.Node.SaveDone(command.Saves{Last: at, Took: 3 * time.Second})
	info("rdb_bgsave_in_progress:0", "rdb_last_bgsave_status:ok", "rdb_last_bgsave_time_sec:3", "rdb_last_save_time:1700000000")
	play(t, b, s, []exchange{{"LASTSAVE", fmt.Sprintf(":%d\r\n", at.Unix())}})
	play(t, b, admin, []exchange{{"SAVE", "+OK\r\n"}})
	for err, want := range map[error]string{
		fmt.Errorf("%w: below its reserve", store.ErrDiskFull): "-MISCONF the disk is full…",
		fmt.Errorf("%w: a block", store.ErrReadOnly):           "-DAMAGED…",
		errors.New("no\nroom"):                                 "-ERR the save failed: no; room\r\n",
	} {
		b.Node.SaveFails = err
		play(t, b, admin, []exchange{{"BGSAVE", want}, {"SAVE", want}})
		info("rdb_last_bgsave_status:err")
	}
}
