package command

// NamespacesKept is of how many namespaces the executor keeps counters.
func (e *Executor) NamespacesKept() (n int) {
	e.stats.namespaces.Range(func(any, any) bool {
		n++
		return true
	})
	return n
}
