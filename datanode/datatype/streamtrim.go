package datatype

import "github.com/atolldb/atoll/datanode/store"

// Trim says which of the first entries of a stream have to go.
type Trim struct {
	ByLength bool
	Length   uint64   // ByLength: how many stay
	Before   StreamID // else: entries with lower ids go
	// Approx lets up to TrimStep-1 entries more stay than need to, and Limit (0: none) all that are beyond it: it takes
	// them in steps of TrimStep, or all that there are.
	Approx bool
	Limit  uint64
}

// TrimStep is how many entries an approximate trimming takes at a time: as many as a node of Redis' has.
const TrimStep = 100

// trimRows is up to how many entries are removed one by one. A range costs every later read of the stream a little,
// until a compaction has taken it away.
const trimRows = 256

// cut is where a trimming ends.
type cut struct {
	n     uint64   // entries that go
	bytes uint64   // of their rows
	first StreamID // the first one that stays, 0-0 if none does
	names []byte   // of the rows, if they are few
}

// Trim removes entries and returns how many. What goes is walked over, or what stays if that is less; nothing is if
// many entries go, and none stays.
func (s *Stream) Trim(t Trim) uint64 {
	count := s.row.Count
	if count == 0 {
		return 0
	}
	if all := t.ByLength && t.Length == 0 || !t.ByLength && s.Last.Less(t.Before); all && (t.Limit == 0 || count <= t.Limit) {
		if count > trimRows {
			return s.cut(cut{n: count, bytes: s.row.Bytes - s.row.Groups})
		}
		return s.cut(s.findFront(count, t))
	}
	n := count // at most
	switch {
	case !t.ByLength:
	case count <= t.Length:
		return 0
	default:
		n = count - t.Length
	}
	if t.Approx {
		if t.Limit != 0 {
			n = min(n, t.Limit)
		}
		if n < count {
			n -= n % TrimStep
		}
	}
	if t.ByLength {
		if stay := count - n; n > trimRows && stay < n {
			return s.cut(s.findBack(n, stay))
		}
		return s.cut(s.findFront(n, t))
	}
	c := s.findFront(n, t)
	if t.Approx && c.n%TrimStep != 0 && c.n < count {
		c = s.findFront(c.n-c.n%TrimStep, t)
	}
	return s.cut(c)
}

// findFront finds the end of the first n entries, as far as t lets them go.
func (s *Stream) findFront(n uint64, t Trim) cut {
	var c cut
	names := s.Buf.edit[:0]
	if n > 0 {
		s.eachRow(StreamID{}, MaxStreamID, false, func(id StreamID, value []byte) bool {
			if c.n == n || !t.ByLength && !id.Less(t.Before) {
				c.first = id
				return false
			}
			if c.n < trimRows {
				names = id.appendName(names)
			}
			c.n++
			c.bytes += streamIDSize + uint64(len(value))
			return true
		})
	}
	if s.Buf.edit = names; c.n <= trimRows {
		c.names = names
	}
	return c
}

// findBack finds the end of the first n entries from behind the others.
func (s *Stream) findBack(n, stay uint64) cut {
	c := cut{n: n, bytes: s.row.Bytes - s.row.Groups}
	s.eachRow(StreamID{}, MaxStreamID, true, func(id StreamID, value []byte) bool {
		c.bytes -= streamIDSize + uint64(len(value))
		c.first = id
		stay--
		return stay > 0
	})
	return c
}

// cut removes the first entries.
func (s *Stream) cut(c cut) uint64 {
	if c.n == 0 {
		return 0
	}
	for names := c.names; len(names) > 0; names = names[streamIDSize:] {
		s.Tx.DeleteSub(s.DB, s.key, s.row.Version, store.SubEntry, names[:streamIDSize])
	}
	if c.names == nil {
		s.Buf.from, s.Buf.to = s.First.appendName(s.Buf.from[:0]), c.first.appendName(s.Buf.to[:0])
		if c.n == s.row.Count {
			s.Buf.to = append(s.Last.appendName(s.Buf.to[:0]), 0)
		}
		s.Tx.DeleteSubs(s.DB, s.key, s.row.Version, store.SubEntry, s.Buf.from, s.Buf.to)
	}
	s.row.Count -= c.n
	s.row.Bytes -= c.bytes
	s.First, s.changed, s.loud = c.first, true, true
	return c.n
}
