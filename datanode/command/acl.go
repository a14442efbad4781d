package command

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// ACL shows the tokens of the own namespace as Redis shows users: a user is a token's id, and "default" the open
// sessions of the default namespace. Changes are the metadata service's.

func aclSpec() Spec {
	const plain = FlagNoScript | FlagLoading | FlagStale | FlagSession
	const shown = plain | FlagAdmin
	sub := func(name string, arity int, flags Flags, since, summary string, run func(*Ctx)) Spec {
		return Spec{Name: name, Arity: arity, Flags: flags, Scope: ScopeTenant, Since: since, Summary: summary, Run: run}
	}
	tokens := refuse("ACL changes nothing: users are tokens, which `atoll token` and the admin API create and revoke")
	noFile := refuse("ACL knows no file: users are tokens, which the metadata service keeps; see `atoll token`")
	return Spec{Name: "acl", Arity: -2, Flags: FlagNoScript | FlagLoading | FlagStale, Scope: ScopeTenant, Group: "server", Since: "6.0.0",
		Summary: "A container for what clients ask about users, which are tokens.", Subs: []Spec{
			sub("cat", -2, plain, "6.0.0", "Lists the categories, or the commands of one.", aclCat),
			sub("deluser", -3, shown, "6.0.0", "Refused: tokens are revoked with `atoll token`.", tokens),
			sub("dryrun", -4, shown, "7.0.0", "Says whether a token may run a command.", aclDryRun),
			sub("genpass", -2, plain, "6.0.0", "Returns a random secret.", aclGenPass),
			sub("getuser", 3, shown, "6.0.0", "Describes a token.", aclGetUser),
			sub("list", 2, shown, "6.0.0", "Lists the tokens of the namespace as rules.", aclList),
			sub("load", 2, shown, "6.0.0", "Refused: there is no file of users.", noFile),
			sub("log", -2, shown, "6.0.0", "Returns denied commands: none are kept.", aclLog),
			sub("save", 2, shown, "6.0.0", "Refused: there is no file of users.", noFile),
			sub("setuser", -3, shown, "6.0.0", "Refused: tokens are created with `atoll token`.", tokens),
			sub("users", 2, shown, "6.0.0", "Lists the ids of the namespace's tokens.", aclUsers),
			sub("whoami", 2, plain, "6.0.0", "Returns the id of the session's token.", aclWhoAmI),
			{Name: "help", Arity: 2, Flags: FlagLoading | FlagStale | FlagSession, Scope: ScopeTenant, Since: "6.0.0",
				Summary: "Lists the subcommands.", Run: func(c *Ctx) { writeHelp(c, "ACL") }},
		}}
}

// defaultUser is the user of sessions without a token, as in Redis.
const defaultUser = "default"

// userOf is the user that a grant is shown as.
func userOf(g *tenant.Grant) string {
	if g.TokenID == "" {
		return defaultUser
	}
	return g.TokenID
}

func aclWhoAmI(c *Ctx) { c.Out.BulkString(userOf(&c.Session.grant)) }

// user is a token, or the open default namespace, in Redis' terms.
type user struct {
	name string
	role atollpb.Role
	on   bool
	open bool // without a secret
}

// users are those of the own namespace that the session may know of: admins' tokens are for admins.
func (c *Ctx) users() (list []user) {
	own, v, now := &c.Session.grant, c.lease.View(), c.Env.NowMS()
	if g, ok := v.OpenGrant(); ok && g.NamespaceID == own.NamespaceID {
		list = append(list, user{defaultUser, g.Role, true, true})
	}
	for t := range v.Tokens(own.NamespaceID) {
		if t.Role == atollpb.Role_ROLE_ADMIN && !own.Admin() {
			continue
		}
		list = append(list, user{t.ID, t.Role, t.ExpiresMS == 0 || now < t.ExpiresMS, false})
	}
	slices.SortFunc(list, func(a, b user) int { return strings.Compare(a.name, b.name) })
	return list
}

func (c *Ctx) user(name []byte) (user, bool) {
	for _, u := range c.users() {
		if u.name == string(name) {
			return u, true
		}
	}
	return user{}, false
}

// commands are the rules that come nearest to the role.
func (u *user) commands() string {
	switch u.role {
	case atollpb.Role_ROLE_ADMIN:
		return "+@all"
	case atollpb.Role_ROLE_READ_WRITE:
		return "-@all +@read +@write +@pubsub +@connection"
	default:
		return "-@all +@read +@pubsub -publish -spublish +@connection"
	}
}

func (u *user) flags() (list []string) {
	list = append(list, "off")
	if u.on {
		list[0] = "on"
	}
	if u.open {
		list = append(list, "nopass")
	}
	return list
}

func aclList(c *Ctx) {
	list := c.users()
	c.Out.Array(len(list))
	for i := range list {
		u := &list[i]
		c.Out.BulkString("user " + u.name + " " + strings.Join(u.flags(), " ") + " ~* &* " + u.commands())
	}
}

func aclUsers(c *Ctx) {
	list := c.users()
	c.Out.Array(len(list))
	for i := range list {
		c.Out.BulkString(list[i].name)
	}
}

// aclGetUser shows no hash: secrets stay with the metadata service.
func aclGetUser(c *Ctx) {
	u, ok := c.user(c.Args[2])
	if !ok {
		c.Out.Null()
		return
	}
	c.Out.Map(6)
	c.Out.BulkString("flags")
	flags := u.flags()
	c.Out.Set(len(flags))
	for _, f := range flags {
		c.Out.BulkString(f)
	}
	c.Out.BulkString("passwords")
	c.Out.Array(0)
	c.Out.BulkString("commands")
	c.Out.BulkString(u.commands())
	c.Out.BulkString("keys")
	c.Out.BulkString("~*")
	c.Out.BulkString("channels")
	c.Out.BulkString("&*")
	c.Out.BulkString("selectors")
	c.Out.Array(0)
}

func aclCat(c *Ctx) {
	categories := strings.Fields("keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin fast slow " +
		"blocking dangerous connection transaction scripting")
	switch len(c.Args) {
	case 2:
		c.Out.Array(len(categories))
		for _, name := range categories {
			c.Out.BulkString(name)
		}
	case 3:
		name := strings.ToLower(printable(c.Args[2], 128))
		if !slices.Contains(categories, name) {
			c.Out.Error("ERR Unknown category '" + printable(c.Args[2], 128) + "'")
			return
		}
		var found []string
		for _, cmd := range c.ex.table.list {
			if slices.Contains(categoriesOf(cmd), "@"+name) {
				found = append(found, cmd.full)
			}
		}
		c.Out.Array(len(found))
		for _, name := range found {
			c.Out.BulkString(name)
		}
	default:
		c.Out.Error("ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP.")
	}
}

// aclDryRun passes a command through the gates that look at the role.
func aclDryRun(c *Ctx) {
	u, ok := c.user(c.Args[2])
	if !ok {
		c.Out.Error("ERR User '" + printable(c.Args[2], 128) + "' not found")
		return
	}
	as := &Session{grant: tenant.Grant{NamespaceID: c.Session.grant.NamespaceID, TokenID: u.name, Role: u.role}}
	on := &candidate{ex: c.ex, session: as, args: c.Args[3:]}
	if checkKnown(on) != "" {
		c.Out.Error("ERR Command '" + printable(c.Args[3], 128) + "' not found")
		return
	}
	if refusal := checkArity(on); refusal != "" {
		c.Out.Error(refusal)
		return
	}
	if checkScope(on) != "" || checkRole(on) != "" {
		c.Out.BulkString("User " + u.name + " has no permissions to run the '" + on.cmd.full + "' command")
		return
	}
	c.Out.OK()
}

// genPassBitsMax bounds ACL GENPASS, as in Redis.
const genPassBitsMax = 4096

func aclGenPass(c *Ctx) {
	bits := int64(256)
	if len(c.Args) > 3 {
		c.Out.Error("ERR unknown subcommand or wrong number of arguments for 'GENPASS'. Try ACL HELP.")
		return
	}
	if len(c.Args) == 3 {
		var ok bool
		if bits, ok = datatype.ParseInt(c.Args[2]); !ok {
			c.Fail(errNotInteger)
			return
		}
		if bits < 1 || bits > genPassBitsMax {
			c.Out.Error("ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096")
			return
		}
	}
	digits := (bits + 3) / 4
	secret := make([]byte, (digits+1)/2)
	_, _ = rand.Read(secret) // never fails
	c.Out.BulkString(hex.EncodeToString(secret)[:digits])
}

// aclLog is empty: a refusal is answered and counted, not kept.
func aclLog(c *Ctx) {
	switch {
	case len(c.Args) > 3:
		c.Out.Error("ERR unknown subcommand or wrong number of arguments for 'LOG'. Try ACL HELP.")
	case len(c.Args) == 3 && is(c.Args[2], "reset"):
		c.Out.OK()
	default:
		if len(c.Args) == 3 {
			if _, ok := datatype.ParseInt(c.Args[2]); !ok {
				c.Fail(errNotInteger)
				return
			}
		}
		c.Out.Array(0)
	}
}
