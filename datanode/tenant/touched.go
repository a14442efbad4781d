package tenant

// Touched returns the ids of the namespaces whose record, or a token of which, has changed from view since to the
// current one, sorted by nothing, some perhaps twice. ok is false when that isn't remembered: then every namespace may
// have.
func (s *Views) Touched(since *View) (now *View, ids []uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now = s.state.Load().view
	switch {
	case now == since:
		return now, nil, true
	case since == nil || len(s.ring) == 0 || s.ring[0].From > since.revision ||
		now.cluster.GetDefaultNamespaceId() != since.cluster.GetDefaultNamespaceId():
		return now, nil, false
	}
	for _, c := range s.ring {
		if c.Revision <= since.revision {
			continue
		}
		for _, n := range c.namespaces {
			ids = append(ids, n.ID)
		}
		ids = append(ids, c.removedNamespaces...)
		for _, t := range c.tokens {
			if old := since.Token(t.ID); old != nil {
				ids = append(ids, old.NamespaceID)
			}
			ids = append(ids, t.NamespaceID)
		}
		for _, id := range c.removedTokens { // one that has come since then is among these ids already
			if old := since.Token(id); old != nil {
				ids = append(ids, old.NamespaceID)
			}
		}
	}
	return now, ids, true
}
