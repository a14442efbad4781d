package command

import (
	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// killFilter is what CLIENT KILL was asked for; the zero value fits everything.
type killFilter struct {
	id          int64
	addr, laddr string
	user        string
	maxAge      int64
	kind        string // of Session.kind; empty: any
	skipMe      bool
}

func (f *killFilter) fits(s *Session, g *tenant.Grant, nowMS int64) bool {
	user := "default"
	if g.TokenID != "" {
		user = g.TokenID
	}
	return (f.kind == "" || f.kind == s.kind()) && (f.id == 0 || f.id == s.ID) && (f.addr == "" || f.addr == s.Peer.Remote) &&
		(f.laddr == "" || f.laddr == s.Peer.Local) && (f.user == "" || f.user == user) &&
		(f.maxAge == 0 || (nowMS-s.created.UnixMilli())/1000 >= f.maxAge)
}

func clientKill(c *Ctx) {
	f, refusal := parseKill(c.Args)
	if refusal != "" {
		c.Fail(refusal)
		return
	}
	if f.user != "" && !c.knowsUser(f.user) {
		c.Out.Error("ERR No such user '" + printable([]byte(f.user), 128) + "'")
		return
	}
	old, own := len(c.Args) == 3, &c.Session.grant
	killed, now := int64(0), c.Env.NowMS()
	for s, g := range c.visible {
		if (s == c.Session && f.skipMe) || !f.fits(s, &g, now) {
			continue
		}
		if g.TokenID != own.TokenID && !own.AtLeast(&g) {
			continue // as if it weren't there
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

// knowsUser reports whether a user, which is a token's id, is one that this session may know of.
func (c *Ctx) knowsUser(name string) bool {
	if name == "default" {
		return true
	}
	own, t := &c.Session.grant, c.lease.View().Token(name)
	return t != nil && (own.Admin() || (t.NamespaceID == own.NamespaceID && t.Role != atollpb.Role_ROLE_ADMIN))
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
			kind, ok := clientType(value)
			if !ok {
				return f, Error("ERR Unknown client type '" + printable(value, 128) + "'")
			}
			f.kind = kind
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
