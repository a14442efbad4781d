package command_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command"
)

var updateReference = flag.Bool("update", false, "write COMMANDS.md anew")

// TestCommandReference holds COMMANDS.md to the table of commands.
func TestCommandReference(t *testing.T) {
	want := commandReference()
	if *updateReference {
		if err := os.WriteFile("COMMANDS.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("COMMANDS.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("COMMANDS.md is not what the table says: run go test ./datanode/command -run TestCommandReference -update")
	}
}

// commandReference renders the table, group by group.
func commandReference() string {
	var b strings.Builder
	b.WriteString("# Commands\n\nMade from the table of commands by `go test ./datanode/command -run TestCommandReference -update`.\n\n" +
		"Arguments count with the name, `≥` is at least. *Who*: `anybody`, also before `AUTH`; a `tenant`'s session, in its own namespace;\n" +
		"an `admin`'s. *Kind*: what a read-only token may not do is a `write`. Deviations from Redis are in the [README](../../README.md#deliberately-different).\n")
	specs := command.All()
	slices.SortStableFunc(specs, func(a, b command.Spec) int { return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Name, b.Name)) })
	group := ""
	for i := range specs {
		s := &specs[i]
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(&b, "\n## %s\n\n| command | arguments | who | kind | since Redis | what |\n|---|---|---|---|---|---|\n", group)
		}
		if s.Run != nil || len(s.Subs) == 0 {
			referenceRow(&b, "", s)
		}
		for k := range s.Subs {
			referenceRow(&b, s.Name+" ", &s.Subs[k])
		}
	}
	return b.String()
}

func referenceRow(b *strings.Builder, container string, s *command.Spec) {
	arity := fmt.Sprint(s.Arity)
	if s.Arity < 0 {
		arity = fmt.Sprintf("≥ %d", -s.Arity)
	}
	who := map[command.Scope]string{
		command.ScopeDeny: "nobody", command.ScopeConnection: "anybody", command.ScopeTenant: "tenant", command.ScopeAdmin: "admin",
	}[s.Scope]
	kind := ""
	switch {
	case s.Flags&(command.FlagWrite|command.FlagShared) != 0:
		kind = "write"
	case s.Flags&command.FlagReadOnly != 0:
		kind = "read"
	}
	fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s | %s |\n", strings.ToUpper(container+s.Name), arity, who, kind, s.Since, s.Summary)
}
