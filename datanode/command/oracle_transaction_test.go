package command_test

import (
	"github.com/atolldb/atoll/datanode/command/compare"
	"pgregory.net/rapid"
)

// transactionStep makes whole transactions among other commands, and watches keys that those write.
func transactionStep(t *rapid.T) []step {
	switch one(t, "transaction", "WATCH", "UNWATCH", "EXEC", "EXEC", "EXEC", "DISCARD", "none", "none", "alone") {
	case "WATCH":
		return []step{exact(maybe(t, 2, []string{"WATCH", key(t)}, key(t))...)}
	case "UNWATCH":
		return []step{exact("UNWATCH")}
	case "EXEC":
		return transactionOf(t, "EXEC")
	case "DISCARD":
		return transactionOf(t, "DISCARD")
	case "alone":
		return []step{exact(one(t, "end", "EXEC", "DISCARD"))}
	}
	return mixedStep(t)
}

// transactionOf is MULTI, some commands, and what ends it.
func transactionOf(t *rapid.T, end string) []step {
	var inner []step
	for range rapid.SampledFrom([]int{0, 1, 2, 3, 8}).Draw(t, "inner") {
		switch one(t, "inside", "mixed", "mixed", "mixed", "mixed", "mixed", "mixed", "mixed", "SELECT", "MULTI", "WATCH", "UNWATCH", "PING", "refused") {
		case "SELECT":
			inner = append(inner, exact("SELECT", one(t, "db", "0", "1", "0", "1", "16", "x")))
		case "MULTI":
			inner = append(inner, exact("MULTI"))
		case "WATCH":
			inner = append(inner, exact("WATCH", key(t)))
		case "UNWATCH":
			inner = append(inner, exact("UNWATCH"))
		case "PING":
			inner = append(inner, exact("PING", value(t)))
		case "refused":
			inner = append(inner, maybeRefused(t)...)
		default:
			inner = append(inner, mixedStep(t)...)
		}
	}
	batch := []step{exact("MULTI")}
	var queued []step
	for _, s := range inner {
		batch = append(batch, exact(s.args...))
		if s.args[0] != "MULTI" && s.args[0] != "WATCH" {
			queued = append(queued, s)
		}
	}
	last := exact(end)
	last.same = func(a, b compare.Value) bool {
		if a.Kind != '*' || len(a.List) != len(queued) || len(b.List) != len(queued) || a.Kind != b.Kind {
			return equalValues(a, b)
		}
		for i := range queued {
			if !queued[i].same(a.List[i], b.List[i]) {
				return false
			}
		}
		return true
	}
	return append(batch, last, exact("SELECT", "0"))
}

// maybeRefused is a command that most transactions do without, since it ends them.
func maybeRefused(t *rapid.T) []step {
	if rapid.IntRange(0, 3).Draw(t, "refuse") > 0 {
		return nil
	}
	return []step{exact(one(t, "refused", "NOSUCHCOMMAND", "GET", "EXEC x"), "a", "b", "c")}
}
