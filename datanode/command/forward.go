package command

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/tidwall/redcon"
)

// Forwarder executes on the primary what replicas pass on. It is safe for concurrent use.
type Forwarder struct {
	ex   *Executor
	pool sync.Pool
}

// NewForwarder returns a Forwarder over e.
func NewForwarder(e *Executor) *Forwarder {
	return &Forwarder{ex: e, pool: sync.Pool{New: func() any { return &Session{Out: NewReply(0)} }}}
}

// Execute runs one write for a session of another node. It refuses, with nothing executed, what isn't a
// write of that session's namespace, and everything when this node is not the primary in a view of at
// least MinRevision.
func (f *Forwarder) Execute(from ForwardSession, args [][]byte) ForwardReply {
	s := f.pool.Get().(*Session)
	defer f.pool.Put(s)
	s.reset(from)
	if len(args) == 0 || from.DB < 0 || from.DB >= databases {
		return ForwardReply{Refused: "the forwarded command is malformed"}
	}
	reply, refused := f.ex.forwarded(s, from, args)
	if refused != "" {
		return ForwardReply{Refused: refused}
	}
	return reply
}

// reset makes a pooled session that of from.
func (s *Session) reset(from ForwardSession) {
	s.leave(time.Time{}) // nobody waits for it to authenticate
	s.closing, s.drop, s.DB = false, false, from.DB
	s.Out.Reset(64 << 10)
	s.Out.SetProto(max(2, min(from.Proto, 3)))
}

func (e *Executor) forwarded(s *Session, from ForwardSession, args [][]byte) (ForwardReply, string) {
	lease, err := e.node.Acquire()
	if err != nil {
		return ForwardReply{}, "the primary is loading"
	}
	v := lease.View()
	var g tenant.Grant
	ok := false
	if from.TokenID == "" {
		g, ok = v.OpenGrant()
	} else {
		g, ok = v.TokenGrant(from.TokenID, e.env.NowMS())
	}
	if !ok || g.NamespaceID != from.NamespaceID {
		lease.Release()
		s.Out.Error(string(errRevoked))
		return ForwardReply{RESP: clone(s.Out.Bytes())}, ""
	}
	if !lease.Primary() || v.Revision() < from.MinRevision {
		lease.Release()
		return ForwardReply{}, fmt.Sprintf("the node is not the primary of revision %d", from.MinRevision)
	}
	e.adopt(s, v, g)
	if e.pauses.any.Load() && e.pauses.holds(s, e.env.NowMS()) {
		lease.Release()
		return ForwardReply{}, "the primary's clients are paused"
	}
	cmds := []redcon.Command{{Args: args}}
	sc := &s.scratch
	sc.shares[0].plan = e.plan(sc.shares[0].plan[:0], &sc.candidate, s, lease, cmds)
	p := &sc.shares[0].plan[0]
	if p.kind == kindAlone || p.kind == kindPlain || (p.kind == kindData && p.cmd.Flags&FlagWrite == 0) {
		lease.Release()
		return ForwardReply{}, "only writes are forwarded"
	}
	e.single(s, lease, cmds, p.kind == kindData)
	r := ForwardReply{RESP: clone(s.Out.Bytes())}
	if p.kind == kindData {
		r.Index = sc.tx.Index()
	}
	return r, ""
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }

// forward has the primary execute the planned writes, up to one that the session's rules refuse, and returns how many
// it has answered.
func (e *Executor) forward(ctx context.Context, s *Session, cmds []redcon.Command) int {
	began, start := e.env.Clock(), s.Out.Len()
	plan := s.scratch.shares[0].plan
	if s.rules != nil {
		var refusal Error
		if cmds, refusal = e.affordable(s, plan, cmds); len(cmds) == 0 {
			s.Out.Error(string(refusal))
			e.stats.commands[plan[0].cmd.order].rejected.Add(1)
			return 1
		}
	}
	calls := make([][][]byte, len(cmds))
	for i := range cmds {
		calls[i] = cmds[i].Args
	}
	from := ForwardSession{
		NamespaceID: s.grant.NamespaceID, TokenID: s.grant.TokenID, DB: s.DB, Proto: s.Out.Proto(),
		MinRevision: s.view.Revision(),
	}
	size := 0
	for i := range cmds {
		size += len(cmds[i].Raw)
	}
	ctx, done := s.within(ctx, e.limits.ForwardTimeout+time.Duration(size/forwardRate)*time.Second)
	defer done()
	answered, history := 0, s.view.Group(groupID).GetHistoryId()
	err := e.node.Forward(ctx, from, calls, func(r ForwardReply) {
		if answered == len(calls) {
			return
		}
		answered++
		if r.Refused != "" {
			s.Out.Error("TRYAGAIN " + r.Refused + ", nothing was written")
			return
		}
		s.Out.rawReply(r.RESP)
		if r.Index > 0 {
			s.wait = written{r.Index, history}
		}
	})
	text := errMaybe
	if errors.Is(err, ErrNotForwarded) {
		text = errNoPrimary
	} else if answered < len(calls) && !s.closed.Load() {
		e.log.Warn("a forwarded write broke off", "answered", answered, "calls", len(calls), "error", err)
	}
	for ; answered < len(calls); answered++ {
		s.Out.Error(string(text))
	}
	if e.sessions.monitors.any.Load() {
		for i := range cmds {
			e.feed(s, plan[i].cmd, cmds[i].Args)
		}
	}
	e.account(s, plan[:len(cmds)], e.env.Clock().Sub(began)/time.Duration(len(cmds)))
	e.measure(s, cmds, s.Out.Len()-start, 0)
	return len(cmds)
}

// forwardRate is the least that a network between nodes is expected to carry, in bytes per second.
const forwardRate = 8 << 20
