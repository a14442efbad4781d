package command

import (
	"math"
	"strconv"
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
		{Name: "bgsave", Arity: -1, Flags: FlagAdmin | FlagNoScript | FlagSession, Scope: ScopeAdmin, Group: "server", Since: "1.0.0",
			Summary: "Refused: every write is in the log already.", Run: bgSave},
		{Name: "save", Arity: 1, Flags: FlagAdmin | FlagNoScript | FlagSession, Scope: ScopeAdmin, Group: "server", Since: "1.0.0",
			Summary: "Refused: every write is in the log already.", Run: refuse(noSave)},
		{Name: "bgrewriteaof", Arity: 1, Flags: FlagAdmin | FlagNoScript | FlagSession, Scope: ScopeAdmin, Group: "server", Since: "1.0.0",
			Summary: "Refused: the log is cut by log-retain.", Run: refuse("BGREWRITEAOF is refused: the log is cut by itself, see log-retain and log-retain-age")},
		{Name: "lastsave", Arity: 1, Flags: FlagLoading | FlagStale | FlagFast | FlagSession, Scope: ScopeTenant, Group: "server", Since: "1.0.0",
			Summary: "Returns when this node has started: writes are saved as they come.", Run: lastSave},
	}
}

const noSave = "there is nothing to save: every write is in the log, and on the disk within a second; WAITAOF waits for it"

func bgSave(c *Ctx) {
	if len(c.Args) > 2 || len(c.Args) == 2 && !is(c.Args[1], "schedule") {
		c.Fail(errSyntax)
		return
	}
	c.Out.Error("ERR " + noSave)
}

// lastSave is a time from which on nothing was unsaved for long, which is what clients ask for.
func lastSave(c *Ctx) { c.Out.Int(c.ex.started.Unix()) }

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
