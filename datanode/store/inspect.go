package store

import (
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/tool"
	"github.com/spf13/cobra"
)

// InspectCommands returns Pebble's own commands that read its files, knowing how this store orders keys. Those that
// would change a file are left out, and those that open the store: they refuse its options, which let no compaction
// run during an open.
func InspectCommands() []*cobra.Command {
	o := &pebble.Options{Comparer: comparer()}
	o.EnsureDefaults()
	t := tool.New(tool.DefaultComparer(o.Comparer), tool.Filters(bloomPolicy), tool.KeySchemas(o.KeySchemas[o.KeySchema]))
	keep := map[string][]string{
		"manifest": {"check", "dump", "summarize"},
		"sstable":  {"check", "layout", "properties", "scan", "space"},
		"find":     nil,
		"lsm":      nil,
	}
	var list []*cobra.Command
	for _, c := range t.Commands {
		subs, ok := keep[c.Name()]
		if !ok {
			continue
		}
		for _, sub := range c.Commands() {
			if !slices.Contains(subs, sub.Name()) {
				c.RemoveCommand(sub)
			}
		}
		list = append(list, c)
	}
	return list
}
