package command

import (
	"strings"
	"time"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// gate is one condition that a command must meet before it runs. check returns the refusal, empty to
// let it through. Before any gate, a node without a view or data has refused with LOADING.
type gate struct {
	name  string
	check func(*candidate) string
}

// candidate is a command at the gates.
type candidate struct {
	ex      *Executor
	session *Session
	args    [][]byte
	primary bool
	damaged bool
	cmd     *command // set by the first gate
	forward bool     // set by the last: this node passes it on
}

// gates returns the gates in their order. The order of the first three is Redis'.
func gates() []gate {
	return []gate{
		{"known", checkKnown},
		{"arity", checkArity},
		{"authentication", checkAuthenticated},
		{"scope", checkScope},
		{"role", checkRole},
		{"subscribed", checkSubscribed},
		{"monitor", checkMonitor},
		{"read-only", checkPrimary},
		{"transaction", checkTransaction},
	}
}

// pass sends c through every gate.
func (e *Executor) pass(c *candidate) string {
	for i := range e.gates {
		if refusal := e.gates[i].check(c); refusal != "" {
			return refusal
		}
	}
	return ""
}

// flags are those of the command and those that only this call has: what notes something in rows is a write where the
// session may write, and the store takes writes.
func (c *candidate) flags(st *store.Store) Flags {
	f := c.cmd.Flags
	if c.cmd.More != nil {
		f |= c.cmd.More(c.args)
	}
	if f&FlagNotes != 0 && c.primary && !c.damaged && !st.DiskFull() && c.session.grant.MayWrite() && (c.session.rules == nil || !c.session.rules.readOnly) {
		f |= FlagWrite
	}
	return f
}

func checkKnown(c *candidate) string {
	if c.cmd = find(c.ex.table.byName, c.args[0]); c.cmd == nil {
		return unknownCommand(c.args)
	}
	if c.cmd.subs == nil || len(c.args) < 2 {
		return ""
	}
	if sub := find(c.cmd.subs, c.args[1]); sub != nil {
		c.cmd = sub
		return ""
	}
	if c.cmd.Run != nil {
		return ""
	}
	return unknownSubcommand(c.args[1], strings.ToUpper(c.cmd.Name))
}

func unknownSubcommand(name []byte, container string) string {
	return "ERR unknown subcommand '" + printable(name, 128) + "'. Try " + container + " HELP."
}

func checkArity(c *candidate) string {
	if c.cmd.arityOK(len(c.args)) && (c.cmd.Run != nil || c.cmd.Scope == ScopeDeny) {
		return ""
	}
	return "ERR wrong number of arguments for '" + c.cmd.full + "' command"
}

func checkAuthenticated(c *candidate) string {
	if c.cmd.Scope == ScopeConnection || c.session.grant.Valid() {
		return ""
	}
	if c.damaged && c.session.Peer.SameHost && c.cmd.Name == "ping" {
		return string(errDamaged) // `atoll health` has no token
	}
	return string(errNoAuth)
}

func checkScope(c *candidate) string {
	switch c.cmd.Scope {
	case ScopeConnection, ScopeTenant:
		return ""
	case ScopeAdmin:
		if c.session.grant.Admin() {
			return ""
		}
		return string(errAdmin)
	}
	return noPermission(c.cmd)
}

func checkRole(c *candidate) string {
	if c.cmd.Flags&(FlagWrite|FlagShared) == 0 || c.session.grant.MayWrite() {
		return ""
	}
	return noPermission(c.cmd)
}

func checkPrimary(c *candidate) string {
	blocks := c.cmd.blocks(c.args)
	if c.primary || c.cmd.Flags&(FlagWrite|FlagWatch) == 0 && !blocks || c.cmd.Flags&FlagNetwork != 0 {
		return ""
	}
	if !c.ex.limits.ForwardWrites || blocks || c.cmd.Flags&FlagWatch != 0 || c.session.multi.open {
		return string(errReadOnly)
	}
	c.forward = true
	return ""
}

func noPermission(cmd *command) string {
	return "NOPERM this user has no permissions to run the '" + cmd.full + "' command"
}

// unknownCommand is Redis' text: the name and the first arguments, 128 bytes of each part.
func unknownCommand(args [][]byte) string {
	var b strings.Builder
	b.WriteString("ERR unknown command '" + printable(args[0], 128) + "', with args beginning with: ")
	shown := 0
	for _, a := range args[1:] {
		if shown >= 128 {
			break
		}
		part := "'" + printable(a, 128-shown) + "' "
		shown += len(part)
		b.WriteString(part)
	}
	return b.String()
}

// printable returns at most n bytes of b.
func printable(b []byte, n int) string { return string(b[:min(len(b), n)]) }

// hold renews the session's grant against the view of its next run, and reports whether it still
// stands. It gives a loopback peer the open default namespace.
func (e *Executor) hold(s *Session, v *tenant.View, nowMS int64) bool {
	if s.view == v && !s.grant.Expired(nowMS) {
		return true
	}
	s.view = v
	if !s.grant.Valid() {
		if g, ok := v.OpenGrant(); ok && s.Peer.Loopback {
			e.adopt(s, v, g)
			s.countConnection()
		}
		return true
	}
	g, ok := v.Renew(s.grant, nowMS)
	if !ok {
		s.view = nil // whoever asks again gets the same answer
		return false
	}
	e.adopt(s, v, g)
	return true
}

// adopt gives the session a grant of view v.
func (e *Executor) adopt(s *Session, v *tenant.View, g tenant.Grant) {
	if s.grant.NamespaceID != g.NamespaceID {
		e.leaveHub(s)
		s.multi.watched.Release()
		s.ns, s.nsStore = nil, nil
		s.stats = e.namespaceStats(g.NamespaceID)
		s.wait = written{}
	}
	e.enter(s, s.stats, g.TokenID, 0) // if authenticate didn't
	s.grant, s.view = g, v
	ns := v.Namespace(g.NamespaceID)
	s.rules = s.stats.rulesOf(ns)
	s.durability = store.Async
	if ns.Durability == atollpb.Durability_DURABILITY_LOCAL {
		s.durability = store.Local
	}
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	s.shared.grant, s.shared.namespace = g, ns.Name
}

// countConnection counts a connection in the namespace that it has entered, once for each time that it
// changes it. Sessions of forwarded commands are nobody's connection.
func (s *Session) countConnection() {
	if s.countedIn != s.grant.NamespaceID {
		s.countedIn = s.grant.NamespaceID
		s.stats.connections.Add(1)
	}
}

// leave takes the session's grant away. Where authentication is asked for, its time begins again.
func (s *Session) leave(now time.Time) {
	s.unsubscribeAll()
	s.depart()
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	if s.grant.Valid() { // else a peer that never authenticates could stay for ever
		s.shared.anonymousSince = now
	}
	s.shared.grant, s.shared.namespace = tenant.Grant{}, ""
	s.grant, s.view, s.ns, s.nsStore, s.stats, s.rules = tenant.Grant{}, nil, nil, nil, nil, nil
	s.wait = written{}
	s.discard()
}

// namespaceIn returns the runtime of the session's namespace in a generation.
func (s *Session) namespaceIn(st *store.Store) *store.Namespace {
	if s.nsStore != st {
		s.ns, s.nsStore = st.Namespace(s.grant.NamespaceID), st
	}
	return s.ns
}
