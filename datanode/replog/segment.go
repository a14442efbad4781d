package replog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A segment is one file: a header of headerSize bytes, then records. A record is
//
//	magic u32 | length of body u32 | CRC-32C of all that follows u32 | synced offset u64 | body
//
// in little endian. An offset counts bytes of records over the whole life of the log, headers left
// out, so that offsets of two segments compare. A segment never grows after the process that made it
// has ended: the next one starts a new segment. A later segment overrides an earlier one from its
// first index on; that is how a tail is cut, in one rename.
const (
	segmentMagic   = "ATOLLLOG"
	segmentVersion = 1
	headerSize     = 128
	recordMagic    = 0x674c7441 // "AtLg"
	historyMax     = 40
)

type segmentHeader struct {
	seq        uint64
	firstIndex uint64
	baseOffset uint64
	synced     uint64 // offset known to be fsynced when the segment was made
	prevEpoch  uint64 // epoch of the entry before the first
	history    string
}

var (
	// ErrFormat is returned for a log of another version of the format.
	ErrFormat = errors.New("log has an unknown format")
	// ErrDamaged is returned when fsynced bytes of the log are broken or missing.
	ErrDamaged = errors.New("log is damaged")
	// errHeader means that a segment's header is not whole.
	errHeader = errors.New("segment header is broken")
)

func (h *segmentHeader) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, segmentMagic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], segmentVersion)
	for i, v := range [...]uint64{h.seq, h.firstIndex, h.baseOffset, h.synced, h.prevEpoch} {
		le.PutUint64(b[12+8*i:], v)
	}
	b[52] = byte(len(h.history))
	copy(b[53:53+historyMax], h.history)
	le.PutUint32(b[headerSize-4:], Checksum(b[:headerSize-4]))
	return b
}

func decodeSegmentHeader(b []byte) (segmentHeader, error) {
	var h segmentHeader
	le := binary.LittleEndian
	if len(b) < headerSize || string(b[:8]) != segmentMagic || le.Uint32(b[headerSize-4:]) != Checksum(b[:headerSize-4]) {
		return h, errHeader
	}
	if v := le.Uint32(b[8:]); v != segmentVersion {
		return h, fmt.Errorf("%w: version %d, this program reads version %d", ErrFormat, v, segmentVersion)
	}
	f := func(i int) uint64 { return le.Uint64(b[12+8*i:]) }
	h.seq, h.firstIndex, h.baseOffset, h.synced, h.prevEpoch = f(0), f(1), f(2), f(3), f(4)
	if n := int(b[52]); n <= historyMax {
		h.history = string(b[53 : 53+n])
	}
	return h, nil
}

// sealRecord fills the header of the record in rec, whose body starts at RecordHeader.
func sealRecord(rec []byte, synced uint64) {
	le := binary.LittleEndian
	le.PutUint32(rec, recordMagic)
	le.PutUint32(rec[4:], uint32(len(rec)-RecordHeader))
	le.PutUint64(rec[12:], synced)
	le.PutUint32(rec[8:], Checksum(rec[12:]))
}

// recordAt checks the record at the start of b and returns its length and what it knew to be synced.
func recordAt(b []byte) (length int, synced uint64, ok bool) {
	le := binary.LittleEndian
	if len(b) < RecordHeader+bodyFixed || le.Uint32(b) != recordMagic {
		return 0, 0, false
	}
	n := le.Uint32(b[4:])
	if n < bodyFixed || n > MaxBody || int(n) > len(b)-RecordHeader {
		return 0, 0, false
	}
	length = RecordHeader + int(n)
	if le.Uint32(b[8:]) != Checksum(b[12:length]) {
		return 0, 0, false
	}
	return length, le.Uint64(b[12:]), true
}

// segment is one file of the log that has been opened for reading. The log's mutex guards what
// changes: the end, the last index and the marks of the segment being written.
type segment struct {
	segmentHeader
	file  vfs.File
	path  string
	end   uint64 // offset after the last valid record
	last  uint64 // index of the last record; firstIndex-1 if there is none
	epoch uint64 // of the last record, or prevEpoch
	marks []mark // sparse index; nil until it is needed for a segment of an earlier process
	dirty bool   // holds bytes that no fsync has covered
	fresh bool   // its directory entry has not been fsynced
	bornM int64  // Unix milliseconds of the last write, for retention by age
}

// mark says where a record starts: one every markEvery bytes.
type mark struct{ index, offset uint64 }

const markEvery = 64 << 10

func (s *segment) fileOffset(offset uint64) int64 { return int64(offset-s.baseOffset) + headerSize }

func (s *segment) addMark(index, offset uint64) {
	if n := len(s.marks); n == 0 || offset-s.marks[n-1].offset >= markEvery {
		s.marks = append(s.marks, mark{index, offset})
	}
}

// readAll returns the record bytes of the file, from its header's end to the file's end.
func readAll(f vfs.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() <= headerSize {
		return nil, nil
	}
	b := make([]byte, info.Size()-headerSize)
	n, err := f.ReadAt(b, headerSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}
