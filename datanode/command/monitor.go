package command

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/tenant"
)

// monitorsMax is how many connections may monitor one namespace: each costs all of its commands.
const monitorsMax = 16

// monitorShown is how much of a command monitors are shown. Redis shows all of it.
var monitorShown = shownArgs{count: 256, bytes: 4096}

// monitorLineMax is how long a monitor's line gets before the rest of the arguments is left out, in bytes: one command
// must not be more than what may wait for a monitor.
const monitorLineMax = monitorBytesMax / 16

// monitorBytesMax is what may wait for a session to show it one command more, in bytes.
const monitorBytesMax = 1 << 20

// monitors are the sessions that MONITOR.
type monitors struct {
	any      atomic.Bool // false: there are none, which is all that a run looks at
	mu       sync.RWMutex
	sessions map[*Session]struct{}
}

// add makes s a monitor, unless its namespace has too many.
func (m *monitors) add(s *Session) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, part := 0, s.partOf()
	for other := range m.sessions {
		if g := other.sharedGrant(); other != s && g.NamespaceID == s.grant.NamespaceID && g.Admin() == (part == operators) {
			n++
		}
	}
	if n >= monitorsMax {
		return false
	}
	if m.sessions == nil {
		m.sessions = make(map[*Session]struct{})
	}
	m.sessions[s] = struct{}{}
	m.any.Store(true)
	return true
}

func (m *monitors) remove(s *Session) {
	if !m.any.Load() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sessions, s)
	m.any.Store(len(m.sessions) > 0)
}

// monitor makes the session one that is shown what others of its namespace do; an admin's, what all do.
func monitor(c *Ctx) {
	s := c.Session
	c.pushesFor()
	if !c.ex.sessions.monitors.add(s) {
		c.Out.Error("ERR too many connections monitor this namespace: at most " + strconv.Itoa(monitorsMax))
		return
	}
	s.monitoring.Store(true)
	c.Out.OK()
}

// stopMonitoring is RESET's.
func (e *Executor) stopMonitoring(s *Session) {
	if s.monitoring.Load() {
		s.monitoring.Store(false)
		e.sessions.monitors.remove(s)
		s.Pushes().drop()
	}
}

// checkMonitor refuses a monitor the commands on rows, as Redis does.
func checkMonitor(c *candidate) string {
	if c.cmd.Flags&(FlagWrite|FlagReadOnly) != 0 && c.session.monitoring.Load() {
		return "ERR Replica can't interact with the keyspace"
	}
	return ""
}

// feed shows monitors a command that a session has executed. As in Redis, operators' commands are not shown. A tenant
// sees what CLIENT LIST would show it the session of. The run's locks may be held: it does not log.
func (e *Executor) feed(s *Session, cmd *command, args [][]byte) {
	if cmd.Flags&FlagAdmin != 0 {
		return
	}
	var line, named *message // for the namespace's own, and for admins
	defer func() {
		for _, text := range []*message{line, named} {
			if text != nil {
				text.release()
			}
		}
	}()
	now := e.env.Clock()
	m := &e.sessions.monitors
	m.mu.RLock()
	defer m.mu.RUnlock()
	for to := range m.sessions {
		g := to.sharedGrant()
		text := &line
		switch {
		case g.Admin():
			text = &named
		case !g.Valid() || g.NamespaceID != s.grant.NamespaceID || s.grant.Admin():
			continue
		}
		if *text == nil {
			*text = newMessage(to.Pushes().of.Load(), monitorLine(s, &g, now, cmd, args))
		}
		if !to.Pushes().add(*text, monitorBytesMax) {
			e.cutSlow(to)
		}
	}
}

// monitorLine is a command as MONITOR shows it to one with grant g. To admins the namespace stands before the address.
func monitorLine(s *Session, g *tenant.Grant, now time.Time, cmd *command, args [][]byte) []byte {
	addr := s.Peer.Remote
	switch {
	case addr == "":
		addr = "replica:0" // that has passed it on
	case s.Peer.Socket:
		addr = "unix:" + addr
	}
	if g.Admin() {
		s.shared.mu.Lock()
		name := s.shared.namespace
		s.shared.mu.Unlock()
		if name != "" {
			addr = name + " " + addr
		}
	}
	b := fmt.Appendf(nil, "+%d.%06d [%d %s]", now.Unix(), now.Nanosecond()/1000, s.DB, addr)
	shown := 0
	for a := range monitorShown.of(cmd, args) {
		if len(b) > monitorLineMax {
			b = fmt.Appendf(b, ` "... (%d more arguments)"`, len(args)-shown)
			break
		}
		b = appendQuoted(append(b, ' '), a)
		shown++
	}
	return append(b, '\r', '\n')
}

// appendQuoted appends a in quotes, as Redis' sdscatrepr does.
func appendQuoted(dst, a []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range a {
		switch {
		case c == '\\' || c == '"':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c == '\a':
			dst = append(dst, '\\', 'a')
		case c == '\b':
			dst = append(dst, '\\', 'b')
		case c < ' ' || c > '~':
			dst = append(dst, '\\', 'x', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
