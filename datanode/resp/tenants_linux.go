package resp

// loopTenant is the connections of one namespace at one loop. Guarded by the loop's mutex.
type loopTenant struct {
	namespace uint64
	conns     int
	turn      uint64 // the last one that has served any
	cost      int    // of those that it served
}

// Where several namespaces share a loop, one turn serves connections of each until they cost turnCost, and the others
// wait for the next turn: a command waits for what others may send in one turn, not for all that they have sent. The
// unit is a command: one in a pipeline takes a microsecond or less, and a read and a write on a socket ten.
const (
	turnCost = 512
	connCost = 16
)

// enlist makes the connection one of the loop's.
func (l *loop) enlist(fd int, c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for fd >= len(l.conns) {
		l.conns = append(l.conns, make([]*conn, max(64, len(l.conns)))...)
	}
	l.conns[fd] = c
	id := c.session.Grant().NamespaceID // which no command changes that a loop executes
	t := l.tenants[id]
	if t == nil {
		t = &loopTenant{namespace: id}
		l.tenants[id] = t
	}
	t.conns++
	c.tenant, c.cost = t, connCost
}

// strike undoes enlist.
func (l *loop) strike(fd int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.conns[fd].tenant
	if t.conns--; t.conns == 0 {
		delete(l.tenants, t.namespace)
	}
	l.conns[fd] = nil
}

// ration leaves the claimed connections that this turn serves, and puts the others back. What a connection costs is known
// when it has been read; it is taken to send as much as the last time. The lock is held.
func (l *loop) ration(claimed []*conn) []*conn {
	if len(l.tenants) < 2 {
		return claimed
	}
	l.turn++
	served := claimed[:0]
	for _, c := range claimed {
		t := c.tenant
		if t.turn != l.turn {
			t.turn, t.cost = l.turn, 0
		}
		if t.cost >= turnCost {
			l.again = append(l.again, c)
			continue
		}
		t.cost += c.cost
		served = append(served, c)
	}
	clear(claimed[len(served):])
	return served
}
