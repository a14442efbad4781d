package datatype

import (
	"encoding/binary"

	"github.com/atolldb/atoll/datanode/store"
)

// Stream is one stream during a command: open, read and change, Save. It is never packed: each entry is a row that is
// named after its id, so that XADD writes that and a short key row, and reads no other. An empty stream stays a key.
type Stream struct {
	collection
	StreamInfo
	lostFirst bool // First was deleted: Save looks for the next one
	loud      bool // entries have changed, which WATCH sees
}

// StreamInfo is what a stream knows of itself, in its key row's data: seven uvarints for ids (two each) and counts,
// in the order of the fields.
type StreamInfo struct {
	Last       StreamID // the highest id that was ever given
	First      StreamID // of the first entry; 0-0 when there is none
	MaxDeleted StreamID // the highest id that XDEL has deleted
	Added      uint64   // entries ever added
	Groups     uint64   // consumer groups
	nextGroup  uint64   // the number of the next one: none comes twice
}

func (i *StreamInfo) fields() [9]*uint64 {
	return [...]*uint64{&i.Last.MS, &i.Last.Seq, &i.First.MS, &i.First.Seq, &i.MaxDeleted.MS, &i.MaxDeleted.Seq, &i.Added, &i.Groups, &i.nextGroup}
}

// readNumbers reads a row that is made of uvarints, and no more.
func readNumbers(b []byte, fields ...*uint64) error {
	for _, f := range fields {
		n, width := binary.Uvarint(b)
		if width <= 0 || width > 1 && b[width-1] == 0 {
			return errCorrupt
		}
		*f, b = n, b[width:]
	}
	if len(b) > 0 {
		return errCorrupt
	}
	return nil
}

func appendNumbers(dst []byte, fields ...*uint64) []byte {
	for _, f := range fields {
		dst = binary.AppendUvarint(dst, *f)
	}
	return dst
}

func readStreamInfo(b []byte) (i StreamInfo, err error) {
	f := i.fields()
	err = readNumbers(b, f[:]...)
	return i, err
}

// Stream opens the stream at key, an empty one when nothing is there.
func (s Space) Stream(key []byte) (Stream, error) {
	c, err := s.collection(key, store.TypeStream)
	st := Stream{collection: c}
	if err != nil || c.row.Version == 0 {
		return st, err
	}
	if !c.row.Spread {
		st.check(errCorrupt)
	}
	st.StreamInfo, err = readStreamInfo(c.row.Data)
	st.check(err)
	return st, nil
}

// There reports whether the key is.
func (s *Stream) There() bool { return s.row.Spread }

// Create makes the stream, if it isn't there, without entries.
func (s *Stream) Create() {
	if !s.row.Spread {
		s.startSpread()
		s.row.Groups, s.loud = 0, true
	}
}

// Save writes the key row if something has changed.
func (s *Stream) Save() {
	if s.lostFirst {
		s.lostFirst = false
		from := s.First
		s.First = StreamID{}
		s.eachRow(from, s.Last, false, func(id StreamID, _ []byte) bool {
			s.First = id
			return false
		})
	}
	if !s.changed {
		return
	}
	f := s.fields()
	s.Buf.edit = appendNumbers(s.Buf.edit[:0], f[:]...)
	s.row.Data = s.Buf.edit
	if s.loud {
		s.Tx.Put(s.DB, s.key, s.row)
	} else {
		s.Tx.PutQuiet(s.DB, s.key, s.row)
	}
	s.changed, s.loud = false, false
}

// NextID returns the id of an entry that is added at a time, and false when all are used up.
func (s *Stream) NextID(nowMS int64) (StreamID, bool) {
	if ms := uint64(max(nowMS, 0)); ms > s.Last.MS {
		return StreamID{MS: ms}, true
	}
	return s.Last.Next()
}

// Append adds an entry, whose id is above Last, with fields and values in turn.
func (s *Stream) Append(id StreamID, fields [][]byte) {
	s.Create()
	size := binary.MaxVarintLen64
	for _, f := range fields {
		size += chunkSize(len(f))
	}
	s.Tx.Hold(size)
	b := binary.AppendUvarint(s.Buf.edit[:0], uint64(len(fields)))
	for _, f := range fields {
		b = appendChunk(b, f)
	}
	s.Buf.edit = b
	s.putSub(store.SubEntry, s.entryName(id), b, 0)
	if s.row.Count++; s.row.Count == 1 {
		s.First = id
	}
	s.Last = id
	s.Added++
	s.changed, s.loud = true, true
}

func (s *Stream) entryName(id StreamID) []byte {
	s.Buf.name = id.appendName(s.Buf.name[:0])
	return s.Buf.name
}

// Fields are the fields and values of an entry, in turn.
type Fields struct {
	left int
	p    []byte
}

// readFields reads an entry's row: how many strings it has, uvarint, and these as chunks.
func readFields(b []byte) (Fields, error) {
	n, width := binary.Uvarint(b)
	if width <= 0 || width > 1 && b[width-1] == 0 || n > uint64(len(b)-width) || n%2 != 0 || n == 0 {
		return Fields{}, errCorrupt
	}
	for p, at, i := b[width:], 0, uint64(0); ; i++ {
		if i == n {
			if at != len(p) {
				return Fields{}, errCorrupt
			}
			return Fields{int(n), p}, nil
		}
		var err error
		if _, at, err = readChunk(p, at); err != nil {
			return Fields{}, err
		}
	}
}

// Len is how many strings are left.
func (f *Fields) Len() int { return f.left }

// Next returns the next string.
func (f *Fields) Next() []byte {
	chunk, at, _ := readChunk(f.p, 0) // which readFields has checked
	f.p = f.p[at:]
	f.left--
	return chunk
}

func (s *Stream) fieldsOf(value []byte) Fields {
	f, err := readFields(value)
	s.check(err)
	return f
}

// holds reports whether an id is among those from the first entry to the last: else there is no row to look for.
func (s *Stream) holds(id StreamID) bool {
	return s.row.Count > 0 && !id.Less(s.First) && !s.Last.Less(id)
}

// Has reports whether there is an entry of that id.
func (s *Stream) Has(id StreamID) bool {
	_, ok := s.entry(id)
	return ok
}

func (s *Stream) entry(id StreamID) ([]byte, bool) {
	if !s.holds(id) {
		return nil, false
	}
	return s.getSub(store.SubEntry, s.entryName(id))
}

// Get returns the fields of an entry, good until the stream is changed.
func (s *Stream) Get(id StreamID) (Fields, bool) {
	value, ok := s.entry(id)
	if !ok {
		return Fields{}, false
	}
	return s.fieldsOf(value), true
}

// Each calls fn for the entries from one id to another, both included, until it returns false. The fields are good
// for one call; fn must not change entries.
func (s *Stream) Each(from, to StreamID, reverse bool, fn func(id StreamID, f Fields) bool) {
	s.eachRow(from, to, reverse, func(id StreamID, value []byte) bool { return fn(id, s.fieldsOf(value)) })
}

func (s *Stream) eachRow(from, to StreamID, reverse bool, fn func(id StreamID, value []byte) bool) {
	if from.Less(s.First) {
		from = s.First // what was trimmed is passed over
	}
	if s.Last.Less(to) {
		to = s.Last
	}
	if s.row.Count == 0 || to.Less(from) {
		return
	}
	s.Buf.from = from.appendName(s.Buf.from[:0])
	s.Buf.to = append(to.appendName(s.Buf.to[:0]), 0)
	b := store.Bounds{From: s.Buf.from, To: s.Buf.to, Reverse: reverse}
	for name, value := range s.Tx.Subs(s.DB, s.key, s.row.Version, store.SubEntry, b) {
		if len(name) != streamIDSize {
			s.check(errCorrupt)
		}
		if !fn(streamIDOf(name), value) {
			return
		}
	}
}

// Top returns the id of the last entry.
func (s *Stream) Top() (top StreamID, ok bool) {
	s.eachRow(StreamID{}, MaxStreamID, true, func(id StreamID, _ []byte) bool {
		top, ok = id, true
		return false
	})
	return top, ok
}

// Delete removes an entry and reports whether it was there.
func (s *Stream) Delete(id StreamID) bool {
	value, ok := s.entry(id)
	if !ok {
		return false
	}
	s.deleteSub(store.SubEntry, s.entryName(id), streamIDSize+uint64(len(value)))
	s.row.Count--
	s.loud = true
	if s.MaxDeleted.Less(id) {
		s.MaxDeleted = id
	}
	s.lostFirst = s.lostFirst || id == s.First
	return true
}

// SetID changes what the stream knows of ids. A nil added or a zero deleted changes nothing.
func (s *Stream) SetID(last StreamID, added *uint64, deleted StreamID) {
	s.Last = last
	if added != nil {
		s.Added = *added
	}
	if !deleted.Zero() {
		s.MaxDeleted = deleted
	}
	s.changed = true
}
