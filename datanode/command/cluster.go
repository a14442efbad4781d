package command

import (
	"context"
	"errors"
	"net"
	"strings"
	"unicode/utf8"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// The texts of NAMESPACE are Apache Kvrocks', for people who come from it.
const (
	errNamespaceExists   = Error("ERR the namespace already exists")
	errTokenExists       = Error("ERR the token already exists")
	errNamespaceNotFound = Error("ERR the namespace was not found")
	errDefaultDel        = Error("ERR forbidden to delete the default namespace")
	errDefaultAdd        = Error("ERR forbidden to add the default namespace")
	errDefaultSet        = Error("ERR forbidden to update the default namespace")
	errMetadataAway      = Error("ERR the metadata service can't be reached, nothing was changed")
	errMetadataMaybe     = Error("MAYBE the metadata service did not answer: the change may or may not have been made")
)

// Bounds of what NAMESPACE takes, in bytes.
const (
	namespaceNameMax = 255
	secretMax        = 512
)

// groupID is the one group of this version.
const groupID = 1

func clusterSpecs() []Spec {
	const conn = FlagNoScript | FlagLoading | FlagStale | FlagSession
	const remote = FlagAdmin | FlagNoScript | FlagLoading | FlagStale | FlagNetwork
	noCluster := func(name string) Spec {
		return Spec{Name: name, Arity: 1, Flags: FlagFast | FlagLoading | FlagStale, Scope: ScopeTenant, Group: "cluster",
			Since: "3.0.0", Summary: "Refused: Redis Cluster is not spoken.", Run: func(c *Ctx) { c.Fail(errNoCluster) }}
	}
	return []Spec{
		{Name: "namespace", Arity: -2, Flags: FlagNoScript | FlagLoading | FlagStale, Scope: ScopeTenant, Group: "server", Since: "1.0.0",
			Summary: "A container for the commands of namespaces.", Subs: []Spec{
				{Name: "add", Arity: 4, Flags: remote, Scope: ScopeAdmin, Since: "1.0.0",
					Summary: "Creates a namespace with a read-write token.", Run: namespaceAdd},
				{Name: "set", Arity: 4, Flags: remote, Scope: ScopeAdmin, Since: "1.0.0",
					Summary: "Replaces a namespace's tokens by one.", Run: namespaceSet},
				{Name: "del", Arity: 3, Flags: remote, Scope: ScopeAdmin, Since: "1.0.0",
					Summary: "Deletes a namespace with its data.", Run: namespaceDel},
				{Name: "get", Arity: 3, Flags: FlagAdmin | conn, Scope: ScopeAdmin, Since: "1.0.0",
					Summary: "Returns the token ids of a namespace, or of all with *.", Run: namespaceGet},
				{Name: "current", Arity: 2, Flags: conn, Scope: ScopeTenant, Since: "1.0.0",
					Summary: "Returns the name of the session's namespace.", Run: namespaceCurrent},
				{Name: "help", Arity: 2, Flags: conn, Scope: ScopeTenant, Since: "1.0.0",
					Summary: "Lists the subcommands.", Run: func(c *Ctx) { writeHelp(c, "NAMESPACE") }},
			}},
		{Name: "replicaof", Arity: 3, Flags: FlagAdmin | conn, Scope: ScopeAdmin, Group: "server", Since: "5.0.0",
			Summary: "Confirms that this node is a replica of a registered primary.", Run: replicaOf},
		{Name: "slaveof", Arity: 3, Flags: FlagAdmin | conn, Scope: ScopeAdmin, Group: "server", Since: "1.0.0",
			Summary: "The old name of REPLICAOF.", Run: replicaOf},
		{Name: "role", Arity: 1, Flags: FlagFast | conn, Scope: ScopeTenant, Group: "server", Since: "2.8.12",
			Summary: "Returns the replication role of this node.", Run: role},
		{Name: "cluster", Arity: -2, Flags: FlagFast | FlagLoading | FlagStale, Scope: ScopeTenant, Group: "cluster",
			Since: "3.0.0", Summary: "Refused: Redis Cluster is not spoken.", Run: clusterCommand},
		noCluster("readonly"),
		noCluster("readwrite"),
		noCluster("asking"),
	}
}

// clusterCommand tells the subcommands that Redis knows, and refuses with its cluster support off, from others.
func clusterCommand(c *Ctx) {
	switch strings.ToLower(printable(c.Args[1], nameBytesMax)) {
	case "addslots", "addslotsrange", "bumpepoch", "count-failure-reports", "countkeysinslot", "delslots", "delslotsrange", "failover",
		"flushslots", "forget", "getkeysinslot", "help", "info", "keyslot", "links", "meet", "myid", "nodes", "replicate", "replicas",
		"reset", "saveconfig", "set-config-epoch", "setslot", "shards", "slaves", "slots":
		c.Fail(errNoCluster)
	default:
		c.Out.Error(unknownSubcommand(c.Args[1], "CLUSTER"))
	}
}

func namespaceAdd(c *Ctx) {
	c.changeNamespace(NamespaceAdd, c.Arg(2), c.Args[3], errDefaultAdd)
}

func namespaceSet(c *Ctx) {
	c.changeNamespace(NamespaceSet, c.Arg(2), c.Args[3], errDefaultSet)
}

func namespaceDel(c *Ctx) {
	c.changeNamespace(NamespaceDel, c.Arg(2), nil, errDefaultDel)
}

// changeNamespace has the metadata leader make the change. What the view can refuse for certain about
// the arguments is refused here; whether a name or a token is taken, only the leader knows.
func (c *Ctx) changeNamespace(op NamespaceOp, name string, secret []byte, forbidden Error) {
	v := c.Session.view
	call := NamespaceCall{Op: op, Name: name, TokenID: c.Session.grant.TokenID, Client: c.Session.Peer.Remote}
	switch {
	case v.Default() != nil && v.Default().Name == name:
		c.Fail(forbidden)
		return
	case name == "" || len(name) > namespaceNameMax:
		c.Out.Error("ERR the name of a namespace has 1 to 255 bytes")
		return
	case !utf8.ValidString(name): // a message between processes can't hold it
		c.Out.Error("ERR name is not valid UTF-8")
		return
	case op == NamespaceAdd && (name == "*" || name == "default"): // NAMESPACE GET and AUTH mean something else by them
		c.Out.Error("ERR the name of a namespace cannot be '" + name + "'")
		return
	case op != NamespaceDel && (len(secret) == 0 || len(secret) > secretMax):
		c.Out.Error("ERR a token has 1 to 512 bytes")
		return
	}
	if op != NamespaceDel {
		call.TokenHash = v.HashSecret(secret)
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.ex.limits.NamespaceTimeout)
	defer cancel()
	r, err := c.ex.node.Namespaces(ctx, call)
	if err != nil {
		c.ex.log.Warn("namespace change failed", "error", err)
		if errors.Is(err, ErrNotForwarded) {
			c.Fail(errMetadataAway)
			return
		}
		c.Fail(errMetadataMaybe)
		return
	}
	switch r.Status {
	case NamespaceOK:
		c.Out.OK()
	case NamespaceExists:
		c.Fail(errNamespaceExists)
	case NamespaceTokenExists:
		c.Fail(errTokenExists)
	case NamespaceNotFound:
		c.Fail(errNamespaceNotFound)
	case NamespaceForbidden:
		c.Fail(forbidden)
	default:
		c.Out.Error("ERR " + r.Message)
	}
	if len(r.Lagging) > 0 {
		c.ex.log.Warn("nodes have not applied a namespace change in time", "nodes", r.Lagging)
	}
}

// namespaceGet answers from this node's view. Secrets are hashed: it shows the public ids of tokens.
func namespaceGet(c *Ctx) {
	v := c.lease.View()
	if name := c.Arg(2); name != "*" {
		ns := v.NamespaceByName(name)
		if ns == nil {
			c.Out.Null()
			return
		}
		c.Out.BulkString(tokenIDs(v, ns.ID))
		return
	}
	c.Out.Array(2 * v.Len())
	for ns := range v.Namespaces() {
		c.Out.BulkString(ns.Name)
		c.Out.BulkString(tokenIDs(v, ns.ID))
	}
}

func tokenIDs(v *tenant.View, namespace uint64) string {
	var ids []string
	for t := range v.Tokens(namespace) {
		ids = append(ids, t.ID)
	}
	return strings.Join(ids, ",")
}

func namespaceCurrent(c *Ctx) {
	c.Out.BulkString(c.lease.View().Namespace(c.Session.grant.NamespaceID).Name)
}

// replicaOf checks an order against the view: a registered node is in its group from the moment that it
// joined, so the one order that can be followed is the one that is in force already.
func replicaOf(c *Ctx) {
	host, port := c.Arg(1), c.Arg(2)
	if strings.EqualFold(host, "no") && strings.EqualFold(port, "one") {
		c.Out.Error("ERR REPLICAOF NO ONE is refused: move the primary with `atoll group promote`")
		return
	}
	v, self := c.lease.View(), c.ex.node.Facts().NodeID
	address := net.JoinHostPort(host, port)
	var target *atollpb.Node
	for n := range v.Nodes() {
		if n.GetRespAddr() == address {
			target = n
		}
	}
	primary := v.Group(groupID).GetPrimary()
	switch {
	case target == nil:
		c.Out.Error("ERR " + printable([]byte(address), 300) + " is not the client address of a registered node")
	case target.GetId() == self:
		c.Out.Error("ERR this node can't be its own replica")
	case target.GetId() != primary:
		c.Out.Error("ERR node " + target.GetId() + " is not a primary: move the primary with `atoll group promote`")
	default:
		c.Out.Simple("OK Already connected to specified master")
	}
}

// role answers as Redis' ROLE, with log indexes for offsets. Those, and the replicas, are for admins.
func role(c *Ctx) {
	f := c.ex.node.Facts()
	if !c.Session.grant.Admin() {
		f.AppliedIndex, f.Written.Index, f.Sinks = 0, 0, nil
	}
	if !c.lease.Primary() {
		host, port := primaryAddress(c.lease.View())
		state := "connect"
		switch {
		case f.Syncing:
			state = "sync"
		case f.SourceUp:
			state = "connected"
		}
		c.Out.Array(5)
		c.Out.BulkString("slave")
		c.Out.BulkString(host)
		c.Out.Int(port)
		c.Out.BulkString(state)
		c.Out.Int(int64(f.AppliedIndex))
		return
	}
	c.Out.Array(3)
	c.Out.BulkString("master")
	c.Out.Int(int64(f.Written.Index))
	c.Out.Array(len(f.Sinks))
	for _, s := range f.Sinks {
		host, port, _ := net.SplitHostPort(s.RESPAddr)
		c.Out.Array(3)
		c.Out.BulkString(host)
		c.Out.BulkString(port)
		c.Out.BulkInt(int64(s.AppliedIndex))
	}
}

// primaryAddress is where clients reach the group's primary; empty when the view has none.
func primaryAddress(v *tenant.View) (host string, port int64) {
	h, p, err := net.SplitHostPort(v.Node(v.Group(groupID).GetPrimary()).GetRespAddr())
	if err != nil {
		return "", 0
	}
	port, _ = datatype.ParseInt([]byte(p))
	return h, port
}
