package datanode

import (
	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/resp"
	"github.com/atolldb/atoll/datanode/store"
)

// Command is what a node tells of one command that it serves, for a client's help and completion.
type Command struct {
	Name    string // in lower case; of a subcommand, its second word
	Group   string
	Since   string // the Redis version that has it first
	Summary string
	Subs    []Command
}

// Commands returns what a node serves, in the order of COMMAND.
func Commands() []Command { return told(command.All()) }

func told(specs []command.Spec) []Command {
	var list []Command
	for i := range specs {
		s := &specs[i]
		list = append(list, Command{s.Name, s.Group, s.Since, s.Summary, told(s.Subs)})
	}
	return list
}

// SplitInline splits a typed line into the words of a command, as a node does. The line is overwritten; ok is
// false when its quotes don't match.
func SplitInline(line []byte) (words []string, ok bool) { return resp.SplitInline(line) }

// InspectCommands returns the commands that look into the files of a stopped node's store.
func InspectCommands() []*cobra.Command { return store.InspectCommands() }
