package replication

import "slices"

// Acks is how many of the group's replicas, of those that follow this node's log now, have an entry.
type Acks struct {
	Primary bool // else the rest says nothing
	Written int
	Synced  int
	// LocalSynced says that this node has fsynced it.
	LocalSynced bool
	// Changed is closed when a replica has acknowledged more, one has come or gone, or the role has changed.
	Changed <-chan struct{}
}

// Acks tells who has the entry of an index. One beyond the log's end, of a history that has ended, is the last one.
func (m *Member) Acks(index uint64) Acks {
	o := m.source
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.acked == nil {
		o.acked = make(chan struct{})
	}
	a := Acks{Primary: o.store != nil, Changed: o.acked}
	if o.store == nil {
		return a
	}
	log := o.store.Log().State()
	index = min(index, log.Last)
	a.LocalSynced = log.SyncedIndex >= index
	replicas := m.placement().Group.GetReplicas()
	for k := range o.sinks {
		if !slices.Contains(replicas, k.nodeID) {
			continue
		}
		k.mu.Lock()
		if k.ack.GetWrittenIndex() >= index {
			a.Written++
		}
		if k.ack.GetSyncedIndex() >= index {
			a.Synced++
		}
		k.mu.Unlock()
	}
	return a
}

// announce wakes those who wait for acknowledgements. The source's lock is held.
func (o *source) announce() {
	if o.acked != nil {
		close(o.acked)
		o.acked = nil
	}
}

// acknowledged is announce of a sink.
func (o *source) acknowledged() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.announce()
}
