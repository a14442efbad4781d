package command

import (
	"fmt"
	"strings"

	"github.com/atolldb/atoll/datanode/datatype"
)

const errClientName = Error("ERR Client names cannot contain spaces, newlines or special characters.")

// clientNameMax bounds what CLIENT SETNAME and SETINFO keep, in bytes.
const clientNameMax = 256

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

func validClientName(b []byte) bool {
	if len(b) > clientNameMax {
		return false
	}
	for _, c := range b {
		if c < '!' || c > '~' {
			return false
		}
	}
	return true
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
	if !validClientName(c.Args[2]) {
		c.Fail(errClientName)
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
	if !validClientName(c.Args[3]) {
		c.Out.Error("ERR " + option + " cannot contain spaces, newlines or special characters.")
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
	user := "default"
	if sh.grant.TokenID != "" {
		user = sh.grant.TokenID
	}
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=N db=%d sub=0 psub=0 ssub=0 multi=-1 "+
		"qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=%s user=%s "+
		"redir=-1 resp=%d lib-name=%s lib-ver=%s namespace=%s tot-cmds=%d",
		s.ID, s.Peer.Remote, s.Peer.Local, s.ID, sh.name, age, idle, sh.db, last, user, sh.proto, sh.libName, sh.libVer,
		sh.namespace, s.count.Load())
}

func clientInfo(c *Ctx) {
	// The running command is the last one.
	c.Session.last.Store(find(c.ex.table.byName["client"].subs, c.Args[1]))
	c.Out.Verbatim("txt", c.Session.line(c.Env.NowMS())+"\n")
}

// visible yields the sessions that this one may know of: its namespace's, an admin every one.
func (c *Ctx) visible(yield func(*Session) bool) {
	admin, own := c.Session.grant.Admin(), c.Session.grant.NamespaceID
	for _, s := range c.ex.sessions.All() {
		if (admin || s.namespaceID() == own) && !yield(s) {
			return
		}
	}
}

func (s *Session) namespaceID() uint64 {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	return s.shared.grant.NamespaceID
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

// killFilter is what CLIENT KILL was asked for; the zero value fits everything.
type killFilter struct {
	id          int64
	addr, laddr string
	user        string
	maxAge      int64
	none        bool // a type that no connection here has
	skipMe      bool
}

func (f *killFilter) fits(s *Session, nowMS int64) bool {
	user := "default"
	s.shared.mu.Lock()
	if s.shared.grant.TokenID != "" {
		user = s.shared.grant.TokenID
	}
	s.shared.mu.Unlock()
	return !f.none && (f.id == 0 || f.id == s.ID) && (f.addr == "" || f.addr == s.Peer.Remote) &&
		(f.laddr == "" || f.laddr == s.Peer.Local) && (f.user == "" || f.user == user) &&
		(f.maxAge == 0 || (nowMS-s.created.UnixMilli())/1000 >= f.maxAge)
}

func clientKill(c *Ctx) {
	f, refusal := parseKill(c.Args)
	if refusal != "" {
		c.Fail(refusal)
		return
	}
	old := len(c.Args) == 3
	killed, now := int64(0), c.Env.NowMS()
	for s := range c.visible {
		if (s == c.Session && f.skipMe) || !f.fits(s, now) {
			continue
		}
		killed++
		if s == c.Session {
			s.closing = true // after the reply
			continue
		}
		s.Close()
	}
	switch {
	case !old:
		c.Out.Int(killed)
	case killed == 0:
		c.Out.Error("ERR No such client")
	default:
		c.Out.OK()
	}
}

func parseKill(args [][]byte) (f killFilter, refusal Error) {
	if len(args) == 3 {
		return killFilter{addr: string(args[2])}, ""
	}
	f.skipMe = true
	for i := 2; i < len(args); i += 2 {
		if i+1 >= len(args) {
			return f, errSyntax
		}
		value := args[i+1]
		switch {
		case is(args[i], "id"):
			id, ok := datatype.ParseInt(value)
			if !ok || id <= 0 {
				return f, "ERR client-id should be greater than 0"
			}
			f.id = id
		case is(args[i], "addr"):
			f.addr = string(value)
		case is(args[i], "laddr"):
			f.laddr = string(value)
		case is(args[i], "user"):
			f.user = string(value)
		case is(args[i], "maxage"):
			age, ok := datatype.ParseInt(value)
			if !ok || age <= 0 {
				return f, "ERR maxage is not an integer or out of range"
			}
			f.maxAge = age
		case is(args[i], "type"):
			normal, ok := clientType(value)
			if !ok {
				return f, Error("ERR Unknown client type '" + printable(value, 128) + "'")
			}
			f.none = !normal
		case is(args[i], "skipme") && is(value, "yes"):
			f.skipMe = true
		case is(args[i], "skipme") && is(value, "no"):
			f.skipMe = false
		default:
			return f, errSyntax
		}
	}
	return f, ""
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
	if is(c.Args[2], "yes") || is(c.Args[2], "no") {
		c.Out.Error("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled")
		return
	}
	c.Fail(errSyntax)
}

func clientUnblock(c *Ctx) {
	if _, ok := datatype.ParseInt(c.Args[2]); !ok {
		c.Fail(errNotInteger)
		return
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
