package tenant

import "github.com/atolldb/atoll/rpc/atollpb"

// Limit bounds one thing that a namespace uses. 0 is no bound.
type Limit struct {
	Soft uint64 // beyond it an event is noted
	Hard uint64 // beyond it what would use more is refused
}

// Limits of a namespace. Those of connections and rates hold on each node by itself. They are immutable.
type Limits struct {
	Keys        Limit
	Bytes       Limit // of keys and values
	Connections Limit
	Commands    Limit // a second
	InBytes     Limit // of requests, a second
	OutBytes    Limit // of replies, a second
	ValueBytes  Limit // of the largest argument of a write
}

// ConnectionsMax is the hard limit of the namespace's connections; 0 is none.
func (n *Namespace) ConnectionsMax() uint64 {
	if n.Limits == nil {
		return 0
	}
	return n.Limits.Connections.Hard
}

// fromLimits returns nil for limits that bound nothing.
func fromLimits(m *atollpb.Limits) *Limits {
	l := Limits{
		Keys: fromLimit(m.GetKeys()), Bytes: fromLimit(m.GetBytes()), Connections: fromLimit(m.GetConnections()),
		Commands: fromLimit(m.GetCommandsPerSecond()), InBytes: fromLimit(m.GetInBytesPerSecond()),
		OutBytes: fromLimit(m.GetOutBytesPerSecond()), ValueBytes: fromLimit(m.GetValueBytes()),
	}
	if l == (Limits{}) {
		return nil
	}
	return &l
}

func fromLimit(m *atollpb.Limit) Limit { return Limit{Soft: m.GetSoft(), Hard: m.GetHard()} }

func (l *Limits) proto() *atollpb.Limits {
	if l == nil {
		return nil
	}
	return &atollpb.Limits{
		Keys: l.Keys.proto(), Bytes: l.Bytes.proto(), Connections: l.Connections.proto(),
		CommandsPerSecond: l.Commands.proto(), InBytesPerSecond: l.InBytes.proto(),
		OutBytesPerSecond: l.OutBytes.proto(), ValueBytes: l.ValueBytes.proto(),
	}
}

func (l Limit) proto() *atollpb.Limit {
	if l == (Limit{}) {
		return nil
	}
	return &atollpb.Limit{Soft: l.Soft, Hard: l.Hard}
}
