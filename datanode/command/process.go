package command

import (
	"math"
	"strconv"
	"strings"
	"time"
)

func processSpecs() []Spec {
	const admin = FlagAdmin | FlagNoScript | FlagLoading | FlagStale
	return []Spec{
		{Name: "shutdown", Arity: -1, Flags: admin | FlagSession, Scope: ScopeAdmin, Group: "server", Since: "1.0.0",
			Summary: "Stops the process as a signal does: its writes are in the log.", Run: shutdown},
		{Name: "debug", Arity: -2, Flags: admin | FlagSession, Scope: ScopeAdmin, Group: "server", Since: "1.0.0",
			Summary: "Refused, but for SLEEP.", Run: refuse("DEBUG is refused, but for DEBUG SLEEP"), Subs: []Spec{
				{Name: "sleep", Arity: 3, Flags: admin | FlagNetwork, Scope: ScopeAdmin, Since: "1.0.0",
					Summary: "Keeps the connection waiting for a while.", Run: debugSleep},
			}},
		{Name: "bgsave", Arity: -1, Flags: FlagAdmin | FlagNoScript | FlagNetwork, Scope: ScopeAdmin, Group: "server", Since: "1.0.0",
			Summary: "Makes a save in the background: a local copy of this node's data that atoll server --from opens.", Run: bgSave},
		{Name: "save", Arity: 1, Flags: FlagAdmin | FlagNoScript | FlagNetwork, Scope: ScopeAdmin, Group: "server", Since: "1.0.0",
			Summary: "Makes a save, and waits for it; no other connection does.", Run: save},
		{Name: "bgrewriteaof", Arity: 1, Flags: FlagAdmin | FlagNoScript | FlagSession, Scope: ScopeAdmin, Group: "server", Since: "1.0.0",
			Summary: "Refused: the log is cut by log-retain.", Run: refuse("BGREWRITEAOF is refused: the log is cut by itself, see log-retain and log-retain-age")},
		{Name: "lastsave", Arity: 1, Flags: FlagLoading | FlagStale | FlagFast | FlagSession, Scope: ScopeTenant, Group: "server", Since: "1.0.0",
			Summary: "Returns when this node's newest save was made, or when the node has started.", Run: lastSave},
	}
}

// bgSave begins a save. SCHEDULE is for a Redis that rewrites its AOF meanwhile: here nothing ever stands in the way.
func bgSave(c *Ctx) {
	if len(c.Args) > 2 || len(c.Args) == 2 && !is(c.Args[1], "schedule") {
		c.Fail(errSyntax)
		return
	}
	if err := c.ex.node.Save(c.ctx, false); err != nil {
		c.failSave(err)
		return
	}
	c.Out.Simple("Background saving started")
}

func save(c *Ctx) {
	if err := c.ex.node.Save(c.ctx, true); err != nil {
		c.failSave(err)
		return
	}
	c.Out.OK()
}

// failSave answers an admin why there is no save: what isn't for all has no text of its own.
func (c *Ctx) failSave(err error) {
	if text := ErrorText(err); text != string(errInternal) {
		c.Out.Error(text)
		return
	}
	c.Out.Error("ERR the save failed: " + oneLine(err.Error()))
}

// oneLine makes a text that may be an error reply.
func oneLine(s string) string { return strings.NewReplacer("\r", " ", "\n", "; ").Replace(s) }

// lastSave is as in Redis: a node counts as saved when it starts.
func lastSave(c *Ctx) { c.Out.Int(c.ex.lastSave(c.ex.node.Saves())) }

// lastSave is in Unix seconds.
func (e *Executor) lastSave(s Saves) int64 {
	if s.Last.IsZero() {
		return e.started.Unix()
	}
	return s.Last.Unix()
}

// shutdown stops the process. SAVE and NOSAVE make no difference, since every write is in the log; NOW and FORCE
// neither: how long connections may take to end is drain-wait's. As in Redis, there is no reply.
func shutdown(c *Ctx) {
	var save, noSave, abort bool
	for _, a := range c.Args[1:] {
		switch {
		case is(a, "save"):
			save = true
		case is(a, "nosave"):
			noSave = true
		case is(a, "abort"):
			abort = true
		case is(a, "now"), is(a, "force"):
		default:
			c.Fail(errSyntax)
			return
		}
	}
	switch {
	case save && noSave, abort && len(c.Args) > 2:
		c.Fail(errSyntax)
	case abort:
		c.Out.Error("ERR No shutdown in progress.")
	case c.ex.shutdown == nil:
		c.Out.Error("ERR SHUTDOWN is refused here: stop the process instead")
	default:
		c.ex.log.Warn("SHUTDOWN was asked for", "session", c.Session.ID, "peer", c.Session.Peer.Remote, "token", c.Session.grant.TokenID)
		c.Session.drop = true
		c.ex.shutdown()
	}
}

// sleepMax bounds DEBUG SLEEP.
const sleepMax = time.Hour

// debugSleep keeps nobody waiting but its own connection: where Redis sleeps, all of it does.
func debugSleep(c *Ctx) {
	seconds, err := strconv.ParseFloat(string(c.Args[2]), 64)
	if err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > sleepMax.Seconds() {
		c.Out.Error("ERR the seconds to sleep are not in 0 to " + strconv.Itoa(int(sleepMax.Seconds())))
		return
	}
	c.Session.waitFor(c.ctx, time.Duration(seconds*float64(time.Second)), nil)
	c.Out.OK()
}
