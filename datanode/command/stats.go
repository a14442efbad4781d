package command

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/tenant"
)

// commandStats counts the calls of one command on this node.
type commandStats struct {
	times    histogram
	micros   atomic.Uint64 // a run's time, shared evenly by its commands
	rejected atomic.Uint64 // by a gate
}

// namespaceStats counts what one namespace did on this node since its start, and has what its sessions share.
type namespaceStats struct {
	id          uint64
	commands    atomic.Uint64
	connections atomic.Uint64                            // that authenticated
	in, out     atomic.Uint64                            // bytes of requests and replies
	limited     atomic.Uint64                            // commands that a hard limit refused
	hits        atomic.Uint64                            // keys that were looked up to be read, and were there
	misses      atomic.Uint64                            // and were not
	expired     atomic.Uint64                            // keys that ran out, and were deleted
	families    [familiesMax]atomic.Pointer[familyStats] // by command.family; nil before the first command of it
	errors      [len(errorCodes)]atomic.Uint64           // error replies
	histograms  atomic.Pointer[histograms]               // nil: it has none, or had no command yet
	base        atomic.Pointer[counts]                   // what it had counted at CONFIG RESETSTAT

	rules                     atomic.Pointer[rules] // the last that were made
	callRate, inRate, outRate bucket
	keys, bytes               atomic.Int64 // reserved by runs
	waiting                   waiting
	largeValue                atomic.Bool // a value was beyond the soft bound, since Usage looked
	marked                    atomic.Bool // it is in stats.marks
	told                      told        // Usage's own

	mu       sync.Mutex
	sessions map[*Session]string // with the id of their token
	tokens   map[string]*tokenUse
}

// tokenUse is what Usage knows of a token.
type tokenUse struct {
	lastMS      int64
	connections uint32

	toldMS          int64
	toldConnections uint32
}

// namespaceStats returns the counters of a namespace, made at first use.
func (e *Executor) namespaceStats(id uint64) *namespaceStats {
	if s, ok := e.stats.namespaces.Load(id); ok {
		return s.(*namespaceStats)
	}
	s, _ := e.stats.namespaces.LoadOrStore(id, &namespaceStats{id: id})
	return s.(*namespaceStats)
}

// mark has Usage look at a namespace.
func (e *Executor) mark(st *namespaceStats) {
	if st.marked.Load() || st.marked.Swap(true) {
		return
	}
	e.stats.marksMu.Lock()
	defer e.stats.marksMu.Unlock()
	e.stats.marks = append(e.stats.marks, st)
}

// enter makes the session one of a namespace's, by a token, unless it has most of them already; 0 is no bound.
// Sessions of forwarded commands are nobody's.
func (e *Executor) enter(s *Session, st *namespaceStats, token string, most uint64) bool {
	if s.registry == nil || (s.in == st && s.token == token) {
		return true
	}
	if !st.add(s, token, most) {
		return false
	}
	if s.in != st {
		s.depart()
	}
	s.in, s.token, s.marker = st, token, e
	e.mark(st)
	return true
}

// add is enter, but for the session's own part. Who is in already keeps the place, also by another token: nobody gets
// in between.
func (st *namespaceStats) add(s *Session, token string, most uint64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	was, in := st.sessions[s]
	switch {
	case in:
		st.leave(s, was)
	case most != 0 && uint64(len(st.sessions)) >= most:
		return false
	}
	if st.sessions == nil {
		st.sessions = make(map[*Session]string)
	}
	st.sessions[s] = token
	if token != "" {
		if st.tokens == nil {
			st.tokens = make(map[string]*tokenUse)
		}
		t := st.tokens[token]
		if t == nil {
			t = new(tokenUse)
			st.tokens[token] = t
		}
		t.connections++
		t.lastMS = max(t.lastMS, s.active.Load())
	}
	return true
}

// depart takes the session out of the namespace that it has entered.
func (s *Session) depart() {
	st := s.in
	if st == nil {
		return
	}
	st.mu.Lock()
	st.leave(s, s.token)
	st.mu.Unlock()
	s.marker.mark(st)
	s.in, s.token = nil, ""
}

// leave takes a session away from its token's, under the lock.
func (st *namespaceStats) leave(s *Session, token string) {
	delete(st.sessions, s)
	if t := st.tokens[token]; t != nil {
		t.connections--
		t.lastMS = max(t.lastMS, s.active.Load())
	}
}

// count is the number of the namespace's sessions now.
func (st *namespaceStats) count() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.sessions)
}

// EndFallen closes the sessions of namespaces that may not go on in v: their token or namespace is gone. It looks at
// no other's, so a change costs as much as the sessions that it concerns.
func (e *Executor) EndFallen(v *tenant.View, namespaces []uint64, now time.Time) {
	for i, id := range namespaces {
		st, ok := e.stats.namespaces.Load(id)
		if !ok || (i > 0 && namespaces[i-1] == id) || planted == seedKeepIdle {
			continue
		}
		e.mark(st.(*namespaceStats)) // its limits may be others
		for _, s := range st.(*namespaceStats).fallen(v, now.UnixMilli()) {
			e.log.Debug("session ended: its token or namespace is gone", "session", s.ID)
			s.Close()
		}
	}
}

func (st *namespaceStats) fallen(v *tenant.View, nowMS int64) (list []*Session) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for s := range st.sessions {
		if !s.Holds(v, nowMS) {
			list = append(list, s)
		}
	}
	return list
}
