package command_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/store"
)

// TestDamageRefusesWrites: a command that reads damage answers with a code of its own; from then on writes do
// too, as PING does, and reads of the rest go on.
func TestDamageRefusesWrites(t *testing.T) {
	broken := command.Spec{Name: "broken", Arity: 1, Flags: command.FlagReadOnly, Scope: command.ScopeTenant}
	broken.Run = func(*command.Ctx) { panic(store.Damage{Err: fmt.Errorf("%w: block checksum", store.ErrDamage)}) }
	b := commandtest.NewWith(t, append(slices.Clone(command.All()), broken), command.Limits{})
	s := b.Session(t, commandtest.AWriteSecret)
	const (
		read  = "-DAMAGED what the command reads is damaged on this node, nothing was written\r\n"
		write = "-DAMAGED this node holds damaged data and takes no writes, nothing was written\r\n"
	)
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"SET", "k", "v"}, "+OK\r\n"},
		{[]string{"PING"}, "+PONG\r\n"},
		{[]string{"BROKEN"}, read},
		{[]string{"SET", "k", "w"}, write},
		{[]string{"FLUSHDB"}, write},
		{[]string{"PING"}, write},
		{[]string{"GET", "k"}, "$1\r\nv\r\n"},
		{[]string{"DBSIZE"}, ":1\r\n"},
	} {
		if got := b.Do(t, s, step.args...); got != step.want {
			t.Errorf("%q answers %q, want %q", step.args, got, step.want)
		}
	}
}
