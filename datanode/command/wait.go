package command

import (
	"math"
	"time"

	"github.com/atolldb/atoll/datanode/datatype"
)

const (
	errUnblocked = Error("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)")
	errWait      = Error("ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured " +
		"to be writable (which is not the default) writes to replicas are just local and are not propagated.")
	errWaitAOF = Error("ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and " +
		"are not propagated.")
)

func waitSpecs() []Spec {
	const flags = FlagNoScript | FlagBlocking | FlagNetwork
	return []Spec{
		{Name: "wait", Arity: 3, Flags: flags, Scope: ScopeTenant, Group: "generic", Since: "3.0.0",
			Summary: "Waits until replicas have written the session's last write.", Run: wait},
		{Name: "waitaof", Arity: 4, Flags: flags, Scope: ScopeTenant, Group: "generic", Since: "7.2.0",
			Summary: "Waits until this node and replicas have fsynced the session's last write.", Run: waitAOF},
	}
}

// wait answers how many replicas have written the session's last write, once they are as many as asked for or
// the time is over.
func wait(c *Ctx) {
	acks := c.ex.node.Acks(c.Session.lastWrite)
	if !acks.Primary {
		c.Fail(errWait)
		return
	}
	replicas, ok := datatype.ParseInt(c.Args[1])
	if !ok {
		c.Fail(errNotInteger)
		return
	}
	ms, ok := parseTimeout(c, c.Args[2])
	if !ok {
		return
	}
	acks = c.await(acks, ms, func(a *Acks) bool { return int64(a.Written) >= replicas })
	if !acks.Primary {
		c.Fail(errUnblocked)
		return
	}
	c.Out.Int(int64(acks.Written))
}

// await waits, under no lock, until enough says so, for at most ms milliseconds: 0 is without end. It ends too with the
// connection, with the node, and when this node is no primary any more.
func (c *Ctx) await(acks Acks, ms int64, enough func(*Acks) bool) Acks {
	s := c.Session
	left := time.Duration(math.MaxInt64)
	if ms > 0 {
		left = time.Duration(nanoseconds(ms, time.Millisecond))
	}
	began := c.Env.Clock()
	for acks.Primary && !enough(&acks) {
		over := left - c.Env.Clock().Sub(began)
		if over <= 0 || s.hurried.Load() || c.ctx.Err() != nil {
			break
		}
		s.waitFor(c.ctx, over, acks.Changed)
		acks = c.ex.node.Acks(s.lastWrite)
	}
	return acks
}

// waitAOF answers whether this node has fsynced the session's last write, 1 or 0, and how many replicas have.
func waitAOF(c *Ctx) {
	local, ok := datatype.ParseInt(c.Args[1])
	switch {
	case !ok:
		c.Fail(errNotInteger)
		return
	case local < 0 || local > 1:
		c.Out.Error("ERR value is out of range, value must between 0 and 1")
		return
	}
	replicas, ok := datatype.ParseInt(c.Args[2])
	switch {
	case !ok:
		c.Fail(errNotInteger)
		return
	case replicas < 0:
		c.Out.Error("ERR value is out of range, must be positive")
		return
	}
	ms, ok := parseTimeout(c, c.Args[3])
	if !ok {
		return
	}
	acks := c.ex.node.Acks(c.Session.lastWrite)
	if !acks.Primary {
		c.Fail(errWaitAOF)
		return
	}
	if local == 1 && !acks.LocalSynced {
		if err := c.ex.node.SyncLog(); err != nil {
			c.Fail(err)
			return
		}
		acks = c.ex.node.Acks(c.Session.lastWrite)
	}
	acks = c.await(acks, ms, func(a *Acks) bool { return (local == 0 || a.LocalSynced) && int64(a.Synced) >= replicas })
	if !acks.Primary {
		c.Fail(errUnblocked)
		return
	}
	c.Out.Array(2)
	c.Out.Int(int64(boolInt(acks.LocalSynced)))
	c.Out.Int(int64(acks.Synced))
}
