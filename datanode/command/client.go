package command

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/tenant"
)

// clientNameMax bounds what CLIENT SETNAME and SETINFO keep, in bytes; Redis has no bound.
const clientNameMax = 4096

func clientSpecs() []Spec {
	const conn = FlagNoScript | FlagLoading | FlagStale | FlagSession
	sub := func(name string, arity int, since, summary string, run func(*Ctx)) Spec {
		return Spec{Name: name, Arity: arity, Flags: conn, Scope: ScopeTenant, Since: since, Summary: summary, Run: run}
	}
	return []Spec{{
		Name: "client", Arity: -2, Flags: FlagSession, Scope: ScopeTenant, Group: "connection", Since: "2.4.0",
		Summary: "A container for client connection commands.",
		Subs: []Spec{
			sub("id", 2, "5.0.0", "Returns the connection's id.", func(c *Ctx) { c.Out.Int(c.Session.ID) }),
			sub("getname", 2, "2.6.9", "Returns the connection's name.", clientGetName),
			sub("setname", 3, "2.6.9", "Sets the connection's name.", clientSetName),
			sub("setinfo", 4, "7.2.0", "Sets what the client says of its library.", clientSetInfo),
			sub("info", 2, "6.2.0", "Describes the connection.", clientInfo),
			sub("list", -2, "2.4.0", "Lists the connections of the namespace.", clientList),
			sub("kill", -3, "2.4.0", "Ends connections of the namespace.", clientKill),
			{Name: "pause", Arity: -3, Flags: conn | FlagAdmin | FlagShared, Scope: ScopeTenant, Since: "3.0.0",
				Summary: "Holds up the commands of the namespace's connections.", Run: clientPause},
			{Name: "unpause", Arity: 2, Flags: conn | FlagAdmin | FlagShared, Scope: ScopeTenant, Since: "6.2.0",
				Summary: "Ends a pause.", Run: clientUnpause},
			sub("no-evict", 3, "7.0.0", "Sets the connection's eviction mode.", clientNoEvict),
			sub("no-touch", 3, "7.2.0", "Sets whether commands change the keys' last access.", clientNoTouch),
			sub("reply", 3, "3.2.0", "Says whether the server replies to commands.", clientReply),
			sub("tracking", -3, "6.0.0", "Refused: there is no client-side caching.", clientTracking),
			sub("trackinginfo", 2, "6.2.0", "Describes client-side caching: it is off.", clientTrackingInfo),
			sub("getredir", 2, "6.0.0", "Returns where invalidations go: nowhere.", func(c *Ctx) { c.Out.Int(-1) }),
			sub("caching", 3, "6.0.0", "Refused: there is no client-side caching.", clientCaching),
			sub("unblock", -3, "5.0.0", "Unblocks a blocked connection: none ever is.", clientUnblock),
			sub("help", 2, "5.0.0", "Lists the subcommands.", clientHelp),
		},
	}}
}

// checkClientName returns the refusal of a name, or of what else the client says of itself, as what.
func checkClientName(what string, b []byte) Error {
	if len(b) > clientNameMax {
		return Error("ERR " + what + " cannot be longer than " + strconv.Itoa(clientNameMax) + " bytes.")
	}
	for _, c := range b {
		if c < '!' || c > '~' {
			return Error("ERR " + what + " cannot contain spaces, newlines or special characters.")
		}
	}
	return ""
}

func (s *Session) setName(name string) {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.name = name
}

func clientGetName(c *Ctx) {
	if name := c.Session.Name(); name != "" {
		c.Out.BulkString(name)
		return
	}
	c.Out.Null()
}

func clientSetName(c *Ctx) {
	if refusal := checkClientName("Client names", c.Args[2]); refusal != "" {
		c.Fail(refusal)
		return
	}
	c.Session.setName(c.Arg(2))
	c.Out.OK()
}

func clientSetInfo(c *Ctx) {
	option := strings.ToLower(printable(c.Args[2], 32))
	if option != "lib-name" && option != "lib-ver" {
		c.Out.Error("ERR Unrecognized option '" + printable(c.Args[2], 128) + "'")
		return
	}
	if refusal := checkClientName(option, c.Args[3]); refusal != "" {
		c.Fail(refusal)
		return
	}
	s := &c.Session.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if option == "lib-name" {
		s.libName = c.Arg(3)
	} else {
		s.libVer = c.Arg(3)
	}
	c.Out.OK()
}

// line is one connection as CLIENT LIST shows it. Sizes of buffers that Atoll has no like of are 0.
func (s *Session) line(nowMS int64) string {
	last := "NULL"
	if cmd := s.last.Load(); cmd != nil {
		last = cmd.full
	}
	age := max(0, nowMS-s.created.UnixMilli()) / 1000
	idle := max(0, nowMS-s.active.Load()) / 1000
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	sh := &s.shared
	user := userOf(&sh.grant)
	flags := "N"
	if s.Peer.Socket {
		flags = "U"
	}
	if s.monitoring.Load() {
		flags = "O"
	}
	queued := s.queued.Load()
	if queued > 0 {
		flags = strings.Replace(flags, "N", "", 1) + "x"
	}
	if s.waiter.Load() != nil {
		flags = strings.Replace(flags, "N", "", 1) + "b"
	}
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=%d sub=0 psub=0 ssub=0 multi=%d "+
		"qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=%s user=%s "+
		"redir=-1 resp=%d lib-name=%s lib-ver=%s namespace=%s tot-cmds=%d",
		s.ID, s.Peer.Remote, s.Peer.Local, s.ID, sh.name, age, idle, flags, sh.db, queued-1, last, user, sh.proto, sh.libName, sh.libVer,
		sh.namespace, s.count.Load())
}

func clientInfo(c *Ctx) {
	// The running command is the last one.
	c.Session.last.Store(find(c.ex.table.byName["client"].subs, c.Args[1]))
	c.Out.Verbatim("txt", c.Session.line(c.Env.NowMS())+"\n")
}

// visible yields the sessions that this one may know of, with their grants: those of its namespace, but not
// those of admins, which are in the default namespace; an admin every one.
func (c *Ctx) visible(yield func(*Session, tenant.Grant) bool) {
	own := &c.Session.grant
	for _, s := range c.ex.sessions.All() {
		g := s.sharedGrant()
		if (own.Admin() || (g.NamespaceID == own.NamespaceID && !g.Admin())) && !yield(s, g) {
			return
		}
	}
}

func (s *Session) sharedGrant() tenant.Grant {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	return s.shared.grant
}

func clientList(c *Ctx) {
	var ids map[int64]bool
	normal := true
	switch {
	case len(c.Args) == 2:
	case len(c.Args) == 4 && is(c.Args[2], "type"):
		var ok bool
		if normal, ok = clientType(c.Args[3]); !ok {
			c.Out.Error("ERR Unknown client type '" + printable(c.Args[3], 128) + "'")
			return
		}
	case len(c.Args) >= 4 && is(c.Args[2], "id"):
		ids = make(map[int64]bool, len(c.Args)-3)
		for _, a := range c.Args[3:] {
			id, ok := datatype.ParseInt(a)
			if !ok {
				c.Out.Error("ERR Invalid client ID")
				return
			}
			ids[id] = true
		}
	default:
		c.Fail(errSyntax)
		return
	}
	c.Session.last.Store(find(c.ex.table.byName["client"].subs, c.Args[1]))
	var b strings.Builder
	now := c.Env.NowMS()
	for s := range c.visible {
		if normal && (ids == nil || ids[s.ID]) {
			b.WriteString(s.line(now))
			b.WriteByte('\n')
		}
	}
	c.Out.Verbatim("txt", b.String())
}

// clientType reports whether a CLIENT type is the only one that connections here have.
func clientType(b []byte) (normal, known bool) {
	switch strings.ToLower(printable(b, 16)) {
	case "normal":
		return true, true
	case "master", "replica", "slave", "pubsub":
		return false, true
	}
	return false, false
}

// onOff reads the argument of the on/off subcommands, or writes the refusal.
func onOff(c *Ctx) (on, ok bool) {
	if is(c.Args[2], "on") {
		return true, true
	}
	if is(c.Args[2], "off") {
		return false, true
	}
	c.Fail(errSyntax)
	return false, false
}

func clientNoEvict(c *Ctx) {
	if on, ok := onOff(c); ok {
		c.Session.shared.mu.Lock()
		c.Session.shared.noEvict = on
		c.Session.shared.mu.Unlock()
		c.Out.OK()
	}
}

func clientNoTouch(c *Ctx) {
	if on, ok := onOff(c); ok {
		c.Session.shared.mu.Lock()
		c.Session.shared.noTouch = on
		c.Session.shared.mu.Unlock()
		c.Out.OK()
	}
}

func clientReply(c *Ctx) {
	switch {
	case is(c.Args[2], "on"):
		c.Session.replies = replyOn
		c.Out.OK()
	case is(c.Args[2], "off"):
		c.Session.replies = replyOff
	case is(c.Args[2], "skip"):
		if c.Session.replies != replyOff {
			c.Session.replies = replySkip
		}
	default:
		c.Fail(errSyntax)
	}
}

func clientTracking(c *Ctx) {
	switch on, ok := onOff(c); {
	case !ok:
	case on:
		c.Fail(errNoTracking)
	default:
		c.Out.OK()
	}
}

func clientTrackingInfo(c *Ctx) {
	c.Out.Map(3)
	c.Out.BulkString("flags")
	c.Out.Set(1)
	c.Out.BulkString("off")
	c.Out.BulkString("redirect")
	c.Out.Int(-1)
	c.Out.BulkString("prefixes")
	c.Out.Array(0)
}

func clientCaching(c *Ctx) {
	c.Out.Error("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled")
}

func clientUnblock(c *Ctx) {
	switch {
	case len(c.Args) > 4:
		c.Out.Error("ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.")
		return
	case len(c.Args) == 4 && !is(c.Args[3], "timeout") && !is(c.Args[3], "error"):
		c.Out.Error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
		return
	}
	id, ok := datatype.ParseInt(c.Args[2])
	if !ok {
		c.Fail(errNotInteger)
		return
	}
	refusal := noRefusal
	if len(c.Args) == 4 && is(c.Args[3], "error") {
		refusal = errUnblockedBy
	}
	for s := range c.visible {
		if s.ID == id {
			w := s.waiter.Load()
			c.Out.Int(bit(w != nil && w.end(refusal, false)))
			return
		}
	}
	c.Out.Int(0)
}

func clientHelp(c *Ctx) { writeHelp(c, "CLIENT") }

// writeHelp lists the subcommands of a container.
func writeHelp(c *Ctx, name string) {
	subs := c.ex.table.byName[strings.ToLower(name)].Subs
	c.Out.Array(1 + 2*len(subs))
	c.Out.Simple(name + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
	for i := range subs {
		c.Out.Simple(strings.ToUpper(subs[i].Name))
		c.Out.Simple("    " + subs[i].Summary)
	}
}
