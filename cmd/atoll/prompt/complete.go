package prompt

import (
	"fmt"
	"slices"
	"strings"

	"github.com/atolldb/atoll/datanode"
)

// completer offers the names of commands and, behind a container, of its subcommands.
type completer struct {
	commands []datanode.Command
	// What is being cycled through: the line that TAB was pressed on first, and its candidates.
	stem  string
	found []string
	next  int
	shown string // the line that the last TAB made
}

// complete answers a key press of the terminal: TAB at the end of a line replaces it by the next candidate.
func (c *completer) complete(line string, pos int, key rune) (string, int, bool) {
	if key != '\t' {
		c.found = nil
		return "", 0, false
	}
	if pos != len(line) {
		return line, pos, true
	}
	if c.found == nil || line != c.shown {
		c.stem, c.found, c.next = line, c.candidates(line), 0
	}
	if len(c.found) == 0 {
		return line, pos, true
	}
	c.shown = c.found[c.next]
	c.next = (c.next + 1) % len(c.found)
	return c.shown, len(c.shown), true
}

// candidates returns the lines that one could become, in the case of what was typed.
func (c *completer) candidates(line string) []string {
	words := strings.Split(line, " ")
	prefix := ""
	commands := c.commands
	switch len(words) {
	case 1:
	case 2:
		spec := c.find(words[0])
		if spec == nil || len(spec.Subs) == 0 {
			return nil
		}
		prefix, commands = words[0]+" ", spec.Subs
	default:
		return nil
	}
	typed := words[len(words)-1]
	upper := typed == "" || typed != strings.ToLower(typed)
	var found []string
	for i := range commands {
		name := commands[i].Name
		if !strings.HasPrefix(name, strings.ToLower(typed)) {
			continue
		}
		if upper {
			name = strings.ToUpper(name)
		}
		found = append(found, prefix+name)
	}
	slices.Sort(found)
	return found
}

func (c *completer) find(name string) *datanode.Command {
	i := slices.IndexFunc(c.commands, func(s datanode.Command) bool { return strings.EqualFold(s.Name, name) })
	if i < 0 {
		return nil
	}
	return &c.commands[i]
}

// help says what is known about a command, or about all of them.
func (c *completer) help(words []string) string {
	if len(words) == 0 {
		return "Type a command, \"help COMMAND\" for what it does, TAB to complete its name, \"quit\" to leave.\n"
	}
	spec := c.find(words[0])
	if spec == nil {
		return fmt.Sprintf("There is no command %q.\n", words[0])
	}
	var b strings.Builder
	name := strings.ToUpper(spec.Name)
	fmt.Fprintf(&b, "%s: %s\n  group %s, since Redis %s\n", name, spec.Summary, spec.Group, spec.Since)
	for i := range spec.Subs {
		fmt.Fprintf(&b, "  %s %s: %s\n", name, strings.ToUpper(spec.Subs[i].Name), spec.Subs[i].Summary)
	}
	return b.String()
}
