package command

import "sync/atomic"

// commandStats counts the calls of one command on this node.
type commandStats struct {
	calls    atomic.Uint64
	micros   atomic.Uint64 // a run's time, shared evenly by its commands
	rejected atomic.Uint64 // by a gate
}

// namespaceStats counts what one namespace did on this node since its start.
type namespaceStats struct {
	commands    atomic.Uint64
	connections atomic.Uint64 // that authenticated
}

// namespaceStats returns the counters of a namespace, made at first use.
func (e *Executor) namespaceStats(id uint64) *namespaceStats {
	if s, ok := e.stats.namespaces.Load(id); ok {
		return s.(*namespaceStats)
	}
	s, _ := e.stats.namespaces.LoadOrStore(id, new(namespaceStats))
	return s.(*namespaceStats)
}
