package command

import (
	"bytes"
	"slices"
	"strings"

	"github.com/atolldb/atoll/datanode/datatype"
)

func commandSubs() []Spec {
	sub := func(name string, arity int, since, summary string, run func(*Ctx)) Spec {
		return Spec{Name: name, Arity: arity, Flags: FlagLoading | FlagStale | FlagSession, Scope: ScopeTenant,
			Since: since, Summary: summary, Run: run}
	}
	return []Spec{
		sub("count", 2, "2.8.13", "Returns the number of commands.", commandCount),
		sub("info", -2, "2.8.13", "Returns information about commands.", commandInfo),
		sub("list", -2, "7.0.0", "Lists the commands' names.", commandList),
		sub("docs", -2, "7.0.0", "Returns documentary information about commands.", commandDocs),
		sub("getkeys", -4, "2.8.13", "Returns the keys of a command line.", commandGetKeys),
		sub("help", 2, "5.0.0", "Lists the subcommands.", func(c *Ctx) { writeHelp(c, "COMMAND") }),
	}
}

// top yields the commands that aren't subcommands, as the table has them.
func (t *Table) top(yield func(*command) bool) {
	for _, c := range t.list {
		if t.byName[c.full] == c && !yield(c) {
			return
		}
	}
}

// lookup finds a command by its full name, "client|list" for a subcommand.
func (t *Table) lookup(name string) *command {
	outer, inner, isSub := strings.Cut(strings.ToLower(name), "|")
	c := t.byName[outer]
	if c == nil || !isSub {
		return c
	}
	return c.subs[inner]
}

// commandAll is COMMAND without a subcommand. One that is unknown comes here too.
func commandAll(c *Ctx) {
	if len(c.Args) > 1 {
		c.Out.Error(unknownSubcommand(c.Args[1], "COMMAND"))
		return
	}
	c.Out.Array(len(c.ex.table.byName))
	for cmd := range c.ex.table.top {
		writeInfo(c.Out, cmd)
	}
}

func commandCount(c *Ctx) { c.Out.Int(int64(len(c.ex.table.byName))) }

func commandInfo(c *Ctx) {
	if len(c.Args) == 2 {
		c.Args = c.Args[:1]
		commandAll(c)
		return
	}
	c.Out.Array(len(c.Args) - 2)
	for i := 2; i < len(c.Args); i++ {
		if cmd := c.ex.table.lookup(c.Arg(i)); cmd != nil {
			writeInfo(c.Out, cmd)
			continue
		}
		c.Out.Null()
	}
}

// flagNames are Redis' words for the flags that it has too.
var flagNames = [...]struct {
	flag Flags
	name string
}{
	{FlagWrite, "write"}, {FlagReadOnly, "readonly"}, {FlagDenyOOM, "denyoom"}, {FlagAdmin, "admin"},
	{FlagNoScript, "noscript"}, {FlagBlocking, "blocking"}, {FlagLoading, "loading"}, {FlagStale, "stale"},
	{FlagFast, "fast"}, {FlagNoAuth, "no_auth"},
}

// writeInfo writes the ten elements of COMMAND INFO.
func writeInfo(out *Reply, cmd *command) {
	out.Array(10)
	out.BulkString(cmd.full)
	out.Int(int64(cmd.Arity))
	names := flagsOf(cmd)
	out.Set(len(names))
	for _, n := range names {
		out.Simple(n)
	}
	out.Int(int64(cmd.Keys.First))
	out.Int(int64(cmd.Keys.Last))
	out.Int(int64(cmd.Keys.Step))
	categories := categoriesOf(cmd)
	out.Set(len(categories))
	for _, n := range categories {
		out.Simple(n)
	}
	out.Set(0) // tips
	writeKeySpecs(out, cmd)
	out.Set(len(cmd.Subs))
	for i := range cmd.Subs {
		writeInfo(out, cmd.subs[cmd.Subs[i].Name])
	}
}

func flagsOf(cmd *command) []string {
	var names []string
	for _, f := range flagNames {
		if cmd.Flags&f.flag != 0 {
			names = append(names, f.name)
		}
	}
	if cmd.Keys.Find != nil {
		names = append(names, "movablekeys")
	}
	return names
}

// categoriesOf derives the ACL categories that Redis would list.
func categoriesOf(cmd *command) []string {
	var list []string
	add := func(yes bool, name string) {
		if yes {
			list = append(list, name)
		}
	}
	add(cmd.Flags&FlagWrite != 0, "@write")
	add(cmd.Flags&FlagReadOnly != 0, "@read")
	switch cmd.Group {
	case "generic":
		add(true, "@keyspace")
	case "sorted-set":
		add(true, "@sortedset")
	case "transactions":
		add(true, "@transaction")
	case "server", "cluster":
	default:
		add(true, "@"+cmd.Group)
	}
	add(cmd.Flags&FlagAdmin != 0, "@admin")
	add(cmd.Flags&FlagAdmin != 0, "@dangerous")
	add(cmd.Flags&FlagFast != 0, "@fast")
	add(cmd.Flags&FlagFast == 0, "@slow")
	return list
}

// writeKeySpecs writes the key specification of a plain range; other commands have none.
func writeKeySpecs(out *Reply, cmd *command) {
	k := cmd.Keys
	if k.First <= 0 {
		out.Set(0)
		return
	}
	last := k.Last
	if last >= 0 {
		last -= k.First
	}
	access := "RO"
	if cmd.Flags&FlagWrite != 0 {
		access = "RW"
	}
	out.Set(1)
	out.Map(3)
	out.BulkString("flags")
	out.Set(2)
	out.Simple(access)
	out.Simple("access")
	out.BulkString("begin_search")
	out.Map(2)
	out.BulkString("type")
	out.BulkString("index")
	out.BulkString("spec")
	out.Map(1)
	out.BulkString("index")
	out.Int(int64(k.First))
	out.BulkString("find_keys")
	out.Map(2)
	out.BulkString("type")
	out.BulkString("range")
	out.BulkString("spec")
	out.Map(3)
	out.BulkString("lastkey")
	out.Int(int64(last))
	out.BulkString("keystep")
	out.Int(int64(k.Step))
	out.BulkString("limit")
	out.Int(0)
}

func commandList(c *Ctx) {
	fits := func(*command) bool { return true }
	switch {
	case len(c.Args) == 2:
	case len(c.Args) == 5 && is(c.Args[2], "filterby") && is(c.Args[3], "module"):
		fits = func(*command) bool { return false }
	case len(c.Args) == 5 && is(c.Args[2], "filterby") && is(c.Args[3], "aclcat"):
		want := "@" + strings.ToLower(c.Arg(4))
		fits = func(cmd *command) bool {
			return slices.Contains(categoriesOf(cmd), want)
		}
	case len(c.Args) == 5 && is(c.Args[2], "filterby") && is(c.Args[3], "pattern"):
		fits = func(cmd *command) bool { return datatype.Glob(bytes.ToLower(c.Args[4]), []byte(cmd.full)) }
	default:
		c.Fail(errSyntax)
		return
	}
	var names []string
	for _, cmd := range c.ex.table.list {
		if fits(cmd) {
			names = append(names, cmd.full)
		}
	}
	c.Out.Array(len(names))
	for _, n := range names {
		c.Out.BulkString(n)
	}
}

func commandDocs(c *Ctx) {
	var list []*command
	if len(c.Args) == 2 {
		for cmd := range c.ex.table.top {
			list = append(list, cmd)
		}
	}
	for i := 2; i < len(c.Args); i++ {
		if cmd := c.ex.table.lookup(c.Arg(i)); cmd != nil {
			list = append(list, cmd)
		}
	}
	c.Out.Map(len(list))
	for _, cmd := range list {
		c.Out.BulkString(cmd.full)
		writeDocs(c.Out, cmd)
	}
}

func writeDocs(out *Reply, cmd *command) {
	n := 3
	if len(cmd.Subs) > 0 {
		n = 4
	}
	out.Map(n)
	out.BulkString("summary")
	out.BulkString(cmd.Summary)
	out.BulkString("since")
	out.BulkString(cmd.Since)
	out.BulkString("group")
	out.BulkString(cmd.Group)
	if len(cmd.Subs) == 0 {
		return
	}
	out.BulkString("subcommands")
	out.Map(len(cmd.Subs))
	for i := range cmd.Subs {
		sub := cmd.subs[cmd.Subs[i].Name]
		out.BulkString(sub.full)
		writeDocs(out, sub)
	}
}

func commandGetKeys(c *Ctx) {
	args := c.Args[2:]
	cmd := find(c.ex.table.byName, args[0])
	if cmd != nil && cmd.subs != nil && len(args) > 1 {
		cmd = find(cmd.subs, args[1])
	}
	switch {
	case cmd == nil:
		c.Out.Error("ERR Invalid command specified")
		return
	case cmd.Keys.First <= 0 && cmd.Keys.Find == nil:
		c.Out.Error("ERR The command has no key arguments")
		return
	case !cmd.arityOK(len(args)):
		c.Out.Error("ERR Invalid number of arguments specified for command")
		return
	}
	positions := cmd.Keys.Positions(args, nil)
	if len(positions) == 0 {
		c.Out.Error("ERR Invalid arguments specified for command")
		return
	}
	c.Out.Array(len(positions))
	for _, i := range positions {
		c.Out.Bulk(args[i])
	}
}
