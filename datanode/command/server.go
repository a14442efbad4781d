package command

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/atolldb/atoll/datanode/datatype"
)

func serverSpecs() []Spec {
	const quick = FlagLoading | FlagStale | FlagFast
	return []Spec{
		{Name: "time", Arity: 1, Flags: quick, Scope: ScopeTenant, Group: "server", Since: "2.6.0",
			Summary: "Returns the server time.", Run: serverTime},
		{Name: "info", Arity: -1, Flags: FlagLoading | FlagStale | FlagSession, Scope: ScopeTenant, Group: "server", Since: "1.0.0",
			Summary: "Returns information about the server and the own namespace.", Run: info},
		{Name: "command", Arity: -1, Flags: FlagLoading | FlagStale | FlagSession, Scope: ScopeTenant, Group: "server", Since: "2.8.13",
			Summary: "Returns information about the commands.", Run: commandAll, Subs: commandSubs()},
		{Name: "config", Arity: -2, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale, Scope: ScopeTenant, Group: "server",
			Since: "2.0.0", Summary: "A container for the server's configuration.", Subs: []Spec{
				{Name: "get", Arity: -3, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale | FlagSession, Scope: ScopeTenant,
					Since: "2.0.0", Summary: "Returns the values of configuration parameters.", Run: configGet},
				{Name: "set", Arity: -4, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale | FlagSession, Scope: ScopeAdmin,
					Since: "2.0.0", Summary: "Sets what may change while a node runs.", Run: configSet},
				{Name: "rewrite", Arity: 2, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale | FlagSession, Scope: ScopeAdmin,
					Since: "2.8.0", Summary: "Refused: a node is started with flags, and writes no file of them.", Run: configRewrite},
				{Name: "resetstat", Arity: 2, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale | FlagSession | FlagShared, Scope: ScopeTenant,
					Since: "2.0.0", Summary: "Resets what INFO counts of the namespace on this node.", Run: configResetStat},
				{Name: "help", Arity: 2, Flags: FlagLoading | FlagStale | FlagSession, Scope: ScopeTenant, Since: "5.0.0",
					Summary: "Lists the subcommands.", Run: func(c *Ctx) { writeHelp(c, "CONFIG") }},
			}},
		aclSpec(),
		{Name: "monitor", Arity: 1, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale | FlagSession | FlagNoMulti, Scope: ScopeTenant,
			Group: "server", Since: "1.0.0", Summary: "Shows the commands of the namespace as they are executed.", Run: monitor},
		slowlogSpec(),
		latencySpec(),
		memorySpec(),
		{Name: "module", Arity: -2, Flags: FlagNoScript | FlagLoading | FlagStale, Scope: ScopeTenant, Group: "server", Since: "4.0.0",
			Summary: "A container for what clients ask about modules.", Subs: []Spec{
				{Name: "list", Arity: 2, Flags: FlagNoScript | FlagLoading | FlagStale | FlagSession, Scope: ScopeTenant, Since: "4.0.0",
					Summary: "Lists the modules: none.", Run: func(c *Ctx) { c.Out.Array(0) }},
				{Name: "help", Arity: 2, Flags: FlagLoading | FlagStale | FlagSession, Scope: ScopeTenant, Since: "5.0.0",
					Summary: "Lists the subcommands.", Run: func(c *Ctx) { writeHelp(c, "MODULE") }},
			}},
	}
}

// refuse returns a command that answers with one error.
func refuse(text string) func(*Ctx) {
	return func(c *Ctx) { c.Out.Error("ERR " + text) }
}

func serverTime(c *Ctx) {
	now := c.Env.Clock()
	c.Out.Array(2)
	c.Out.BulkInt(now.Unix())
	c.Out.BulkInt(int64(now.Nanosecond() / 1000))
}

// settings are what CONFIG GET answers, sorted. They say how Atoll behaves in Redis' terms.
func settings(c *Ctx) [][2]string {
	readOnly := "yes"
	if c.ex.limits.ForwardWrites {
		readOnly = "no"
	}
	list := [][2]string{
		{"appendfsync", "everysec"},
		{"appendonly", "yes"},
		{"databases", strconv.Itoa(databases)},
		{"io-threads", "1"},
		{"maxmemory", "0"},
		{"maxmemory-policy", "noeviction"},
		{"notify-keyspace-events", ""},
		{"proto-max-bulk-len", strconv.Itoa(c.ex.limits.BulkBytes)},
		{"replica-read-only", readOnly},
		{"save", ""},
		{"slave-read-only", readOnly},
	}
	for _, k := range c.ex.tunables.list() {
		list = append(list, [2]string{k.name, k.String()})
	}
	slices.SortFunc(list, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return list
}

func configGet(c *Ctx) {
	var found [][2]string
	for _, s := range settings(c) {
		for _, pattern := range c.Args[2:] {
			if !datatype.Glob(bytes.ToLower(pattern), []byte(s[0])) {
				continue
			}
			if !bytes.ContainsAny(pattern, "[*?") {
				s[0] = string(pattern) // as it was asked for
			}
			found = append(found, s)
			break
		}
	}
	c.Out.Map(len(found))
	for _, s := range found {
		c.Out.BulkString(s[0])
		c.Out.BulkString(s[1])
	}
}
