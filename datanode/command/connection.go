package command

import (
	"errors"
	"math"
	"strings"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
)

// databases is how many numbered databases a namespace has.
const databases = store.Databases

// redisVersion is the Redis version whose commands and texts clients may count on.
const redisVersion = "7.2.4"

func connectionSpecs() []Spec {
	const conn = FlagFast | FlagLoading | FlagStale
	return []Spec{
		{Name: "auth", Arity: -2, Flags: conn | FlagNoAuth | FlagNoScript | FlagSession, Scope: ScopeConnection, Group: "connection",
			Since: "1.0.0", Summary: "Authenticates the connection with a token.", Run: auth},
		{Name: "hello", Arity: -1, Flags: conn | FlagNoAuth | FlagNoScript | FlagSession, Scope: ScopeConnection, Group: "connection",
			Since: "6.0.0", Summary: "Handshakes with the server.", Run: hello},
		{Name: "select", Arity: 2, Flags: conn | FlagSession, Scope: ScopeTenant, Group: "connection",
			Since: "1.0.0", Summary: "Changes the selected database.", Run: selectDB},
		{Name: "ping", Arity: -1, Flags: FlagFast, Scope: ScopeTenant, Group: "connection",
			Since: "1.0.0", Summary: "Returns the server's liveliness response.", Run: ping},
		{Name: "echo", Arity: 2, Flags: conn, Scope: ScopeTenant, Group: "connection",
			Since: "1.0.0", Summary: "Returns the given string.", Run: echo},
		{Name: "quit", Arity: -1, Flags: conn | FlagNoAuth | FlagNoScript | FlagSession | FlagInMulti, Scope: ScopeConnection, Group: "connection",
			Since: "1.0.0", Summary: "Closes the connection.", Run: quit},
		{Name: "reset", Arity: 1, Flags: conn | FlagNoAuth | FlagNoScript | FlagSession | FlagInMulti, Scope: ScopeConnection, Group: "connection",
			Since: "6.2.0", Summary: "Resets the connection.", Run: reset},
	}
}

// auth takes a token, with "default" or the name of its namespace before it.
func auth(c *Ctx) {
	if len(c.Args) > 3 {
		c.Fail(errSyntax)
		return
	}
	name, secret := "", c.Args[len(c.Args)-1]
	if len(c.Args) == 3 {
		name = c.Arg(1)
	}
	if c.authenticate(name, secret) {
		c.Out.OK()
	}
}

// authenticate gives the session the token's grant, or writes the refusal.
func (c *Ctx) authenticate(name string, secret []byte) bool {
	v := c.lease.View()
	if most := c.ex.limits.ViewStaleMax; most > 0 && c.ex.node.Facts().ViewAge > most {
		c.Fail(errViewStale)
		return false
	}
	g, err := v.Authenticate(name, secret, c.Env.NowMS())
	if errors.Is(err, tenant.ErrSuspended) {
		c.Fail(errSuspended)
		return false
	}
	if err != nil {
		c.ex.stats.authFailures.Add(1)
		wait, cut := c.ex.guard.Failed(c.Session.Peer.Remote, name, c.Env.Clock())
		if wait > 0 || !cut {
			c.Fail(errWrongPass)
		}
		c.Session.penalty, c.Session.closing = wait, cut || c.Session.closing
		return false
	}
	if c.Session.multi.running && g.NamespaceID != c.Session.grant.NamespaceID {
		c.Fail(errOtherNamespace)
		return false
	}
	if st := c.ex.namespaceStats(g.NamespaceID); !c.ex.enter(c.Session, st, g.TokenID, v.Namespace(g.NamespaceID).ConnectionsMax()) {
		st.limited.Add(1)
		c.ex.mark(st)
		c.Fail(errLimitConns)
		return false
	}
	if g.NamespaceID != c.Session.grant.NamespaceID {
		c.Session.selectDB(0)
	}
	c.ex.adopt(c.Session, v, g)
	c.Session.countConnection()
	// Those whom a newer view ends were looked for when it came, perhaps before this session was there to be found. No
	// second lease is taken for it: it would wait for a change of role that waits for the first.
	if newest := c.lease.Newest(); newest != v && !c.ex.hold(c.Session, newest, c.Env.NowMS()) {
		c.Fail(errRevoked)
		c.Session.closing = true
		return false
	}
	return true
}

// helloOptions is what HELLO was asked for.
type helloOptions struct {
	proto      int // 0: unchanged
	auth       bool
	name       string
	secret     []byte
	setName    bool
	clientName string
}

func hello(c *Ctx) {
	o, refusal := parseHello(c.Args)
	if refusal != "" {
		c.Fail(refusal)
		return
	}
	if o.auth && !c.authenticate(o.name, o.secret) {
		return
	}
	if !c.Session.grant.Valid() {
		c.Out.Error("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> " +
			"AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	if o.setName {
		c.Session.setName(o.clientName)
	}
	if o.proto != 0 {
		c.Session.setProto(o.proto)
	}
	role := "master"
	if !c.lease.Primary() {
		role = "replica"
	}
	c.Out.Map(7)
	c.Out.BulkString("server")
	c.Out.BulkString("redis")
	c.Out.BulkString("version")
	c.Out.BulkString(redisVersion)
	c.Out.BulkString("proto")
	c.Out.Int(int64(c.Out.Proto()))
	c.Out.BulkString("id")
	c.Out.Int(c.Session.ID)
	c.Out.BulkString("mode")
	c.Out.BulkString("standalone")
	c.Out.BulkString("role")
	c.Out.BulkString(role)
	c.Out.BulkString("modules")
	c.Out.Array(0)
}

// parseHello looks at every option before one of them changes the session.
func parseHello(args [][]byte) (o helloOptions, refusal Error) {
	if len(args) > 1 {
		n, ok := datatype.ParseInt(args[1])
		if !ok {
			return o, "ERR Protocol version is not an integer or out of range"
		}
		if n < 2 || n > 3 {
			return o, "NOPROTO unsupported protocol version"
		}
		o.proto = int(n)
	}
	for i := 2; i < len(args); i++ {
		left := len(args) - 1 - i
		switch {
		case is(args[i], "auth") && left >= 2:
			o.auth, o.name, o.secret = true, string(args[i+1]), args[i+2]
			i += 2
		case is(args[i], "setname") && left >= 1:
			if refusal = checkClientName("Client names", args[i+1]); refusal != "" {
				return o, refusal
			}
			o.setName, o.clientName = true, string(args[i+1])
			i++
		default:
			return o, Error("ERR Syntax error in HELLO option '" + printable(args[i], 128) + "'")
		}
	}
	return o, ""
}

func (s *Session) setProto(v int) {
	s.Out.SetProto(v)
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.proto = v
}

func (s *Session) selectDB(i int) {
	s.DB = i
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.db = i
}

func selectDB(c *Ctx) {
	n, refusal := parseDB(c.Args[1])
	if refusal != "" {
		c.Fail(refusal)
		return
	}
	c.Session.selectDB(n)
	c.Out.OK()
}

// parseDB reads the number of a database.
func parseDB(b []byte) (n int, refusal Error) {
	i, ok := datatype.ParseInt(b)
	switch {
	case !ok:
		return 0, errNotInteger
	case i < math.MinInt32 || i > math.MaxInt32:
		return 0, errIntRange
	case i < 0 || i >= databases:
		return 0, errDBIndex
	}
	return int(i), ""
}

// ping answers an error where Redis does: when writes are refused because the disk is in trouble.
func ping(c *Ctx) {
	switch len(c.Args) {
	case 1:
		if c.lease.Store().Damaged() != nil {
			c.Out.Error(string(errDamaged))
			return
		}
		c.Out.Simple("PONG")
	case 2:
		c.Out.Bulk(c.Args[1])
	default:
		c.Out.Error("ERR wrong number of arguments for 'ping' command")
	}
}

func echo(c *Ctx) { c.Out.Bulk(c.Args[1]) }

func quit(c *Ctx) {
	c.Out.OK()
	c.Session.closing = true
}

// reset makes the session what it was when it connected.
func reset(c *Ctx) {
	s := c.Session
	c.ex.stopMonitoring(s)
	s.leave(c.Env.Clock())
	if s.replies == replyOff { // as in Redis, SKIP skips this reply and ends with it
		s.replies = replyOn
	}
	s.selectDB(0)
	s.setProto(2)
	s.setName("")
	s.shared.mu.Lock()
	s.shared.noEvict, s.shared.noTouch = false, false
	s.shared.mu.Unlock()
	c.Out.Simple("RESET")
}

// is reports whether b is the lower-case word, in whatever case.
func is(b []byte, word string) bool {
	return len(b) == len(word) && strings.EqualFold(string(b), word)
}
