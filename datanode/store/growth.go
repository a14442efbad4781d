package store

// Growth is how the namespace's counters would change if the transaction were committed now, but for dropped
// databases. It walks over the rows that the transaction has read.
func (tx *Tx) Growth() Counters {
	var c Counters
	for i := range tx.keys.rows {
		if p := &tx.keys.rows[i]; p.dirty {
			k, _ := parseRowKey(p.key)
			c.add(p.old, -1)
			c.add(p.now(len(k.rest)), 1)
		}
	}
	return c
}

// Usage returns a namespace's counters; zero of one that has none. Unlike Namespace it makes nothing.
func (s *Store) Usage(id uint64) Counters {
	if n, ok := s.namespaces.Load(id); ok {
		return n.(*Namespace).Counters()
	}
	return Counters{}
}
