package datatype

import (
	"encoding/binary"
	"fmt"

	"github.com/atolldb/atoll/datanode/store"
)

// Pending is an entry that was delivered to a consumer, who has not acknowledged it.
type Pending struct {
	consumer    uint64
	DeliveredMS uint64
	Count       uint64 // of deliveries
	size        uint64 // of its row
}

func (p *Pending) fields() [3]*uint64 { return [...]*uint64{&p.consumer, &p.DeliveredMS, &p.Count} }

func readPending(b []byte) (p Pending, err error) {
	f := p.fields()
	err = readNumbers(b, f[:]...)
	p.size = pendingName + uint64(len(b))
	return p, err
}

// IdleMS is how long ago the entry was delivered last.
func (p *Pending) IdleMS(now int64) int64 { return max(now-int64(p.DeliveredMS), 0) }

func (g *Group) pendingName(id StreamID) []byte { return id.appendName(g.rowName(pendingTag)) }

func (g *Group) ownedName(consumer uint64, id StreamID) []byte {
	return id.appendName(binary.BigEndian.AppendUint64(g.rowName(ownedTag), consumer))
}

// Get returns what is pending of an entry.
func (g *Group) Get(id StreamID) (Pending, bool) {
	if g.GroupInfo.Pending == 0 || g.top.Less(id) {
		return Pending{}, false
	}
	value, ok := g.s.getSub(store.SubGroup, g.pendingName(id))
	if !ok {
		return Pending{}, false
	}
	p, err := readPending(value)
	g.s.check(err)
	return p, true
}

// Owner returns the consumer of a pending entry.
func (g *Group) Owner(p Pending) *Consumer { return g.owner(p.consumer) }

// Owns reports whether a pending entry is the consumer's.
func (c *Consumer) Owns(p Pending) bool { return c.number == p.consumer }

// Deliver makes an entry pending of a consumer. old is what is pending of it, nil if nothing is.
func (g *Group) Deliver(id StreamID, c *Consumer, old *Pending, deliveredMS, count uint64) {
	p := Pending{consumer: c.number, DeliveredMS: deliveredMS, Count: count}
	var size uint64
	if old != nil {
		size = old.size
	}
	f := p.fields()
	var b [3 * binary.MaxVarintLen64]byte
	g.put(g.pendingName(id), appendNumbers(b[:0], f[:]...), size)
	if old != nil && old.consumer == c.number {
		return
	}
	if old != nil {
		g.disown(id, *old)
	} else {
		g.GroupInfo.Pending++
		if g.top.Less(id) {
			g.top = id
		}
	}
	g.put(g.ownedName(c.number, id), nil, 0)
	c.Pending++
	c.changed = true
}

// disown takes an entry off its consumer.
func (g *Group) disown(id StreamID, p Pending) {
	g.remove(g.ownedName(p.consumer, id), ownedName)
	c := g.owner(p.consumer)
	c.Pending--
	c.changed = true
}

// Acknowledge takes away what is pending of an entry.
func (g *Group) Acknowledge(id StreamID, p Pending) {
	g.remove(g.pendingName(id), p.size)
	g.disown(id, p)
	g.GroupInfo.Pending--
}

// EachPending calls fn for what is pending from one entry to another, both included, until it returns false.
func (g *Group) EachPending(from, to StreamID, reverse bool, fn func(id StreamID, p Pending) bool) {
	if g.GroupInfo.Pending == 0 || to.Less(from) {
		return
	}
	prefix := appendMember(nil, g.number, pendingTag)
	n := len(prefix)
	lower, upper := from.appendName(prefix[:n:n]), append(to.appendName(prefix[:n:n]), 0)
	for name, value := range g.s.Tx.Subs(g.s.DB, g.s.key, g.s.row.Version, store.SubGroup, store.Bounds{From: lower, To: upper, Reverse: reverse}) {
		p, err := readPending(value)
		g.s.check(err)
		if len(name) != pendingName {
			g.s.check(errCorrupt)
		}
		if !fn(streamIDOf(name[n:]), p) {
			return
		}
	}
}

// Each calls fn for the entries from one on that are pending of the consumer, until it returns false.
func (c *Consumer) Each(from StreamID, fn func(id StreamID) bool) {
	if c.Pending == 0 {
		return
	}
	prefix := binary.BigEndian.AppendUint64(appendMember(nil, c.g.number, ownedTag), c.number)
	n := len(prefix)
	lower, upper := from.appendName(prefix[:n:n]), append(MaxStreamID.appendName(prefix[:n:n]), 0)
	for name := range c.g.s.Tx.Subs(c.g.s.DB, c.g.s.key, c.g.s.row.Version, store.SubGroup, store.Bounds{From: lower, To: upper}) {
		if len(name) != ownedName {
			c.g.s.check(errCorrupt)
		}
		if !fn(streamIDOf(name[n:])) {
			return
		}
	}
}

// pendingRow is about what one row of a group takes of a run's memory and of its entry, beside the stream's name.
const pendingRow = 256

// room returns store.ErrTooLarge if that many rows for each of n entries are more than a run may write.
func (s *Stream) room(n, rows uint64) error {
	if size := rows * uint64(pendingRow+2*len(s.key)); n > store.MaxRunBytes/size {
		return fmt.Errorf("%w: rows of %d pending entries", store.ErrTooLarge, n)
	}
	return nil
}

// Room returns store.ErrTooLarge if so many entries of the stream can't be made pending, or be claimed, by one run.
func (s *Stream) Room(n uint64) error { return s.room(n, 3) }

// Advance has the group have delivered an entry, if it hadn't, and counts it as Redis does.
func (g *Group) Advance(id StreamID) {
	if !g.Last.Less(id) {
		return
	}
	switch {
	case g.Read() != ReadUnknown && !g.s.deletedFrom(id):
		g.read++
	case g.s.Added > 0:
		g.read = uint64(g.s.distance(id) + 1)
	}
	g.Last, g.changed = id, true
}

// gaps reports whether XDEL may have deleted entries behind the first.
func (s *Stream) gaps() bool { return !s.MaxDeleted.Zero() && !s.MaxDeleted.Less(s.First) }

// deletedFrom reports whether an entry behind an id, or of it, may have been deleted by XDEL.
func (s *Stream) deletedFrom(id StreamID) bool {
	return s.row.Count > 0 && s.gaps() && !s.MaxDeleted.Less(id)
}

// distance returns how many of all entries that were ever added are up to an id, ReadUnknown where that can't be told.
func (s *Stream) distance(id StreamID) int64 {
	count, added := s.row.Count, s.Added
	at := id.Compare(s.Last)
	switch {
	case added == 0:
		return 0
	case count == 0 && at < 1, at == 0:
		return int64(added)
	case at > 0:
		return ReadUnknown
	}
	if !s.gaps() {
		switch id.Compare(s.First) {
		case -1:
			return int64(added - count)
		case 0:
			return int64(added - count + 1)
		}
	}
	return ReadUnknown
}

// Lag returns how many entries the group has not read yet, and false where that can't be told.
func (g *Group) Lag() (int64, bool) {
	s := g.s
	if s.Added == 0 {
		return 0, true
	}
	read := g.Read()
	if read == ReadUnknown || s.deletedFrom(g.Last) {
		if read = s.distance(g.Last); read == ReadUnknown {
			return 0, false
		}
	}
	return int64(s.Added) - read, true
}
