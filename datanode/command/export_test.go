package command

// NamespacesKept is of how many namespaces the executor keeps counters.
func (e *Executor) NamespacesKept() (n int) {
	e.stats.namespaces.Range(func(any, any) bool {
		n++
		return true
	})
	return n
}

// Retry has a session that waits try by itself, as after the run that was to serve it has failed.
func (s *Session) Retry() {
	w := s.waiter.Load()
	w.in.mu.Lock()
	defer w.in.mu.Unlock()
	w.again()
}

// Starved is how many messages were not held against all patterns.
func (e *Executor) Starved() uint64 { return e.stats.starved.Load() }

// Trying reports whether a session that waits is to try by itself.
func (s *Session) Trying() bool {
	w := s.waiter.Load()
	w.in.mu.Lock()
	defer w.in.mu.Unlock()
	return w.state == stateTrying
}
