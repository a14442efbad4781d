package command

import (
	"errors"
	"strings"
	"unsafe"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/tidwall/redcon"
)

const (
	errNestedMulti    = Error("ERR MULTI calls can not be nested")
	errExecAbort      = Error("EXECABORT Transaction discarded because of previous errors.")
	errExecNoMulti    = Error("ERR EXEC without MULTI")
	errDiscardNoMulti = Error("ERR DISCARD without MULTI")
	errWatchInMulti   = Error("ERR WATCH inside MULTI is not allowed")
	errNoMulti        = Error("ERR Command not allowed inside a transaction")
	errOtherNamespace = Error("ERR the token is of another namespace, where a transaction can't go on")
	execAborted       = "EXECABORT Transaction discarded because of: "
)

// errChanged says that a key has changed that a transaction's session watches.
var errChanged = errors.New("a watched key has changed")

// transaction is what a session watches, and the commands that it has sent since MULTI. EXEC executes them as one run:
// under the locks of all their keys and of those that are watched, as one part of one entry of the log. What the rules
// of the namespace or the store refuse of it, they refuse all of.
type transaction struct {
	open    bool // MULTI was called
	aborted bool // a command was refused since: EXEC will be
	running bool // EXEC is executing
	cmds    []redcon.Command
	flags   Flags // of all of them
	bytes   int   // of cmds
	watched store.Watched
	// published is what the commands of a running one have published: it is sent once they are committed.
	published []*Message
}

// queueFrame is what a queued argument takes beside its bytes.
const queueFrame = int(unsafe.Sizeof([]byte{}))

// held returns the size of it all, in bytes.
func (t *transaction) held() int { return t.bytes + t.watched.Bytes() }

func transactionSpecs() []Spec {
	const flags = FlagNoScript | FlagLoading | FlagStale
	spec := func(name, since, summary string, more Flags, run func(*Ctx)) Spec {
		return Spec{Name: name, Arity: 1, Flags: flags | FlagSession | more, Scope: ScopeTenant, Group: "transactions",
			Since: since, Summary: summary, Run: run}
	}
	return []Spec{
		spec("multi", "1.2.0", "Starts a transaction.", FlagFast|FlagInMulti, multi),
		spec("exec", "1.2.0", "Executes all commands in a transaction.", FlagInMulti, exec),
		spec("discard", "2.0.0", "Discards a transaction.", FlagFast|FlagInMulti, discard),
		spec("unwatch", "2.2.0", "Forgets about watched keys of a transaction.", FlagFast, unwatch),
		{Name: "watch", Arity: -2, Flags: flags | FlagFast | FlagWatch | FlagInMulti, Scope: ScopeTenant, Group: "transactions",
			Keys: KeySpec{First: 1, Last: -1, Step: 1}, Since: "2.2.0",
			Summary: "Monitors changes to keys to determine the execution of a transaction.", Run: watch},
	}
}

func multi(c *Ctx) {
	if c.Session.multi.open {
		c.Fail(errNestedMulti)
		return
	}
	c.Session.multi.open = true
	c.Session.queued.Store(1)
	c.Out.OK()
}

func discard(c *Ctx) {
	if !c.Session.multi.open {
		c.Fail(errDiscardNoMulti)
		return
	}
	c.Session.discard()
	c.Out.OK()
}

// watch runs under the locks of the keys, so that it sees each write of them as a whole, before or after.
func watch(c *Ctx) {
	if c.Session.multi.open {
		c.Fail(errWatchInMulti)
		return
	}
	for _, key := range c.Args[1:] {
		c.Session.multi.watched.Watch(c.Tx, c.DB, key)
	}
	c.Out.OK()
}

func unwatch(c *Ctx) {
	c.Session.multi.watched.Release()
	c.Out.OK()
}

// discard forgets the session's transaction, and what it watches.
func (s *Session) discard() {
	s.multi.watched.Release()
	if s.multi.open {
		s.multi = transaction{}
		s.queued.Store(0)
	}
}

// checkTransaction is the gate of what a session has begun: EXEC needs the primary if one of its commands does.
func checkTransaction(c *candidate) string {
	t := &c.session.multi
	switch {
	case !t.open || t.running:
		return ""
	case c.cmd.Flags&FlagNoMulti != 0 || c.cmd.Flags&FlagNetwork != 0 && c.cmd.Flags&FlagBlocking == 0:
		return string(errNoMulti)
	case c.cmd.Name == "exec" && !t.aborted && !c.primary && t.flags&FlagWrite != 0:
		return string(errReadOnly)
	}
	return ""
}

// refuse answers with the gate's refusal. Between MULTI and EXEC it ends what EXEC could execute; of EXEC itself, all.
func (s *Session) refuse(p *planned) {
	exec := p.cmd != nil && p.cmd.Name == "exec"
	switch {
	case exec:
		s.discard()
		s.Out.Error(execAborted + strings.TrimPrefix(p.refusal, "ERR "))
		return
	case s.multi.open:
		s.multi.aborted = true
	}
	s.Out.Error(p.refusal)
}

// queue keeps a command for EXEC, in memory of its own.
func (s *Session) queue(cmd *command, c *redcon.Command) {
	t := &s.multi
	if !t.aborted { // else it is never executed
		size := 0
		for _, a := range c.Args {
			size += len(a)
		}
		raw, args := make([]byte, 0, size), make([][]byte, len(c.Args))
		for i, a := range c.Args {
			raw = append(raw, a...)
			args[i] = raw[len(raw)-len(a) : len(raw) : len(raw)]
		}
		t.cmds = append(t.cmds, redcon.Command{Raw: raw, Args: args})
		t.bytes += size + queueFrame*len(args) + int(unsafe.Sizeof(redcon.Command{}))
		t.flags |= cmd.Flags
	}
	s.queued.Add(1)
	s.Out.Simple("QUEUED")
}

// exec executes what was queued since MULTI.
func exec(c *Ctx) {
	s := c.Session
	if !s.multi.open {
		c.Fail(errExecNoMulti)
		return
	}
	defer s.discard()
	if s.multi.aborted {
		c.Fail(errExecAbort)
		return
	}
	s.multi.running = true
	c.ex.whole(s, c.lease)
}

// whole executes a session's transaction as one run.
func (e *Executor) whole(s *Session, lease Lease) {
	t := &s.multi
	sh := [1]share{{session: s, cmds: t.cmds, whole: true, plan: make([]planned, len(t.cmds))}}
	cand := &s.scratch.candidate
	data, damaged := t.watched.Len() > 0, lease.Store().Damaged() != nil
	for i := range t.cmds {
		*cand = candidate{ex: e, session: s, args: t.cmds[i].Args, primary: lease.Primary(), damaged: damaged}
		p := &sh[0].plan[i]
		p.refusal = e.pass(cand)
		if p.cmd = cand.cmd; p.cmd != nil {
			p.flags = cand.flags(lease.Store())
		}
		switch {
		case p.refusal != "":
			p.kind = kindRefused
		case p.cmd.rows():
			p.kind, data = kindData, true
		default:
			p.kind = kindPlain
		}
	}
	*cand = candidate{}
	e.transact(&s.scratch, sh[:], lease, data)
}

// rows reports whether the command is called under the locks of rows.
func (c *command) rows() bool { return c.Flags&(FlagWrite|FlagReadOnly|FlagWatch) != 0 }

// failed answers for a transaction that has not happened, or may have.
func (sh *share) failed(err error) {
	out := sh.session.Out
	out.truncate(sh.from)
	out.forget()
	switch text := ErrorText(err); {
	case errors.Is(err, errChanged):
		out.NullArray()
	case text == string(errMaybe):
		out.Error(text)
	default:
		out.Error(execAborted + strings.TrimPrefix(text, "ERR "))
	}
}

// wholeLocks appends what a transaction locks beside its commands' keys.
func (sh *share) wholeLocks(dst []uint64) []uint64 {
	if planted == seedExecLocks {
		return dst
	}
	return sh.session.multi.watched.Hashes(dst)
}

// executes reports whether a planned command is EXEC, with commands of the session's.
func (s *Session) executes(p *planned) bool {
	return s.multi.open && p.kind == kindAlone && p.cmd.Name == "exec"
}

// selects returns the database that the share's commands after p work on. Only a transaction changes it on the way.
func (sh *share) selects(p *planned, db int, args [][]byte) int {
	if sh.whole && p.kind == kindPlain && p.cmd.Name == "select" {
		if n, refusal := parseDB(args[1]); refusal == "" {
			return n
		}
	}
	return db
}
