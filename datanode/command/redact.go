package command

import (
	"strconv"
)

// redactedWord stands where a secret was, as in Redis.
const redactedWord = "(redacted)"

// secretAt reports whether argument i of a command is a secret, which nobody else is ever shown: a token, or the name
// that was sent with one.
func secretAt(cmd *command, args [][]byte, i int) bool {
	switch cmd.full {
	case "auth":
		return i > 0
	case "hello":
		return i > 1 && is(args[i-1], "auth") || i > 2 && is(args[i-2], "auth") // also where the version was forgotten
	case "namespace|add", "namespace|set":
		return i > 2
	}
	return false
}

// shownArgs is how much of a command others are shown: so many arguments, and so many bytes of each.
type shownArgs struct{ count, bytes int }

// of yields the arguments of a command as they are shown: without secrets, and trimmed as Redis' slow log does. What
// it yields is good until the next one.
func (m shownArgs) of(cmd *command, args [][]byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		shown := len(args)
		if shown > m.count {
			shown = m.count - 1
		}
		for i, a := range args[:shown] {
			switch {
			case secretAt(cmd, args, i):
				a = []byte(redactedWord)
			case len(a) > m.bytes:
				a = append(append(make([]byte, 0, m.bytes+40), a[:m.bytes]...), "... ("+strconv.Itoa(len(a)-m.bytes)+" more bytes)"...)
			}
			if !yield(a) {
				return
			}
		}
		if shown < len(args) {
			yield([]byte("... (" + strconv.Itoa(len(args)-shown) + " more arguments)"))
		}
	}
}
