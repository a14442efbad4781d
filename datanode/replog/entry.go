package replog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Kind says what an entry does. The numbers are part of the format and append-only.
type Kind uint8

const (
	// KindData carries the effects of commands.
	KindData Kind = 1
	// KindEpoch is the first entry of an epoch; Note holds the history id.
	KindEpoch Kind = 2
	// KindPurge deletes the rows of the namespace named by Subject.
	KindPurge Kind = 3
)

// Delta is what an entry changes in the counters of one keyspace.
type Delta struct {
	Namespace uint64
	Keyspace  uint64
	Keys      int64
	Bytes     int64
	Expires   int64
	Garbage   int64
}

// Entry is one record of the log. Payload is the representation of one Pebble batch, or empty.
type Entry struct {
	Kind        Kind
	Epoch       uint64
	Index       uint64
	MinRevision uint64 // the view that a node must have before it exposes this entry's data
	CommitIndex uint64 // the group's commit index when the entry was made
	TimeMS      int64  // Unix milliseconds on the primary; for people, no decision rests on it
	Versions    uint64 // the highest version handed out so far
	Subject     uint64
	Note        []byte
	Deltas      []Delta
	Payload     []byte
}

// ErrCorrupt is returned for a body that can't be decoded although its checksum held.
var ErrCorrupt = errors.New("log entry is malformed")

const (
	bodyFixed = 1 + 7*8
	// MaxBody bounds one entry's body, in bytes.
	MaxBody = 1 << 30
	// RecordHeader is the room that AppendHeader leaves in front of a body.
	RecordHeader = 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC-32C that log records and the log stream use.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// AppendHeader appends to buf the room of a record's header, and everything of the entry that stands
// in front of its payload. The caller appends the payload and hands the whole to Log.Append.
func AppendHeader(buf []byte, e *Entry) []byte {
	var room [RecordHeader]byte
	buf = append(buf, room[:]...)
	buf = append(buf, byte(e.Kind))
	for _, v := range [...]uint64{e.Epoch, e.Index, e.MinRevision, e.CommitIndex, uint64(e.TimeMS), e.Versions, e.Subject} {
		buf = binary.LittleEndian.AppendUint64(buf, v)
	}
	buf = binary.AppendUvarint(buf, uint64(len(e.Note)))
	buf = append(buf, e.Note...)
	buf = binary.AppendUvarint(buf, uint64(len(e.Deltas)))
	for i := range e.Deltas {
		d := &e.Deltas[i]
		buf = binary.AppendUvarint(buf, d.Namespace)
		buf = binary.AppendUvarint(buf, d.Keyspace)
		buf = binary.AppendVarint(buf, d.Keys)
		buf = binary.AppendVarint(buf, d.Bytes)
		buf = binary.AppendVarint(buf, d.Expires)
		buf = binary.AppendVarint(buf, d.Garbage)
	}
	return buf
}

// Decode parses a body into e, whose Note and Payload then point into body. It reuses e.Deltas.
func (e *Entry) Decode(body []byte) error {
	if len(body) < bodyFixed {
		return fmt.Errorf("%w: %d bytes", ErrCorrupt, len(body))
	}
	e.Kind = Kind(body[0])
	if e.Kind < KindData || e.Kind > KindPurge {
		return fmt.Errorf("%w: unknown kind %d", ErrCorrupt, body[0])
	}
	f := func(i int) uint64 { return binary.LittleEndian.Uint64(body[1+8*i:]) }
	e.Epoch, e.Index, e.MinRevision, e.CommitIndex = f(0), f(1), f(2), f(3)
	e.TimeMS, e.Versions, e.Subject = int64(f(4)), f(5), f(6)
	d := decoder{b: body[bodyFixed:]}
	note := d.uvarint()
	if note > uint64(len(d.b)) {
		return fmt.Errorf("%w: note of %d bytes", ErrCorrupt, note)
	}
	if e.Kind == KindEpoch && note > historyMax {
		return fmt.Errorf("%w: history id of %d bytes, the bound is %d", ErrCorrupt, note, historyMax)
	}
	e.Note, d.b = d.b[:note], d.b[note:]
	n := d.uvarint()
	if n > uint64(len(d.b))/6 {
		return fmt.Errorf("%w: %d counter changes", ErrCorrupt, n)
	}
	e.Deltas = e.Deltas[:0]
	for range n {
		e.Deltas = append(e.Deltas, Delta{
			Namespace: d.uvarint(), Keyspace: d.uvarint(),
			Keys: d.varint(), Bytes: d.varint(), Expires: d.varint(), Garbage: d.varint(),
		})
		if d.bad {
			break
		}
	}
	if d.bad {
		return fmt.Errorf("%w: cut short", ErrCorrupt)
	}
	e.Payload = d.b
	return nil
}

// epochHistory returns the history id that an epoch's first entry names; ok is false for other entries.
func epochHistory(body []byte) (history string, ok bool, err error) {
	if Kind(body[0]) != KindEpoch {
		return "", false, nil
	}
	var e Entry
	if err := e.Decode(body); err != nil {
		return "", false, err
	}
	return string(e.Note), true, nil
}

// bodyIndex and bodyEpoch read two fields of a body without decoding the rest.
func bodyEpoch(body []byte) uint64 { return binary.LittleEndian.Uint64(body[1:]) }
func bodyIndex(body []byte) uint64 { return binary.LittleEndian.Uint64(body[9:]) }

// decoder reads varints and remembers that one was broken.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// BodyMinRevision reads the min_revision of a body without decoding the rest.
func BodyMinRevision(body []byte) uint64 { return binary.LittleEndian.Uint64(body[17:]) }

// BodyIndex reads the index of a body without decoding the rest.
func BodyIndex(body []byte) uint64 { return bodyIndex(body) }

// BodyEpoch reads the epoch of a body without decoding the rest.
func BodyEpoch(body []byte) uint64 { return bodyEpoch(body) }

// BodyWhole says that a body is long enough for its fixed fields.
func BodyWhole(body []byte) bool { return len(body) >= bodyFixed && len(body) <= MaxBody }
