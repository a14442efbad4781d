package replog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A segment is one file: a header of headerSize bytes, then records. A record is
//
//	magic u32 | length of body u32 | CRC-32C of all that follows u32 | synced offset u64 | body
//
// in little endian. Magic and the start of the CRC come from the log's salt, a random number in every
// header: a tenant's value that looks like a record is not taken for one when a broken place is searched
// for what follows it. An offset counts bytes of records over the whole life of the log, headers left
// out, so that offsets of two segments compare. A segment never grows after the process that made it
// has ended: the next one starts a new segment. A later segment overrides an earlier one from its
// first index on; that is how a tail is cut, in one rename.
const (
	segmentMagic   = "ATOLLLOG"
	segmentVersion = 1
	headerSize     = 128
	historyMax     = 40
)

type segmentHeader struct {
	seq        uint64
	firstIndex uint64
	baseOffset uint64
	synced     uint64 // offset known to be fsynced when the segment was made
	prevEpoch  uint64 // epoch of the entry before the first
	salt       salt   // the log's
	history    string
}

// salt makes the records of one log unlike those of any other, and unlike what a tenant can write.
type salt uint64

func (s salt) magic() uint32            { return uint32(s) | 1 } // not zero, as a hole in a file is
func (s salt) checksum(b []byte) uint32 { return crc32.Update(uint32(s>>32), castagnoli, b) }

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
	for i, v := range [...]uint64{h.seq, h.firstIndex, h.baseOffset, h.synced, h.prevEpoch, uint64(h.salt)} {
		le.PutUint64(b[12+8*i:], v)
	}
	b[60] = byte(copy(b[61:61+historyMax], h.history))
	le.PutUint32(b[headerSize-4:], Checksum(b[:headerSize-4]))
	return b
}

func decodeSegmentHeader(b []byte) (segmentHeader, error) {
	var h segmentHeader
	le := binary.LittleEndian
	if len(b) < 12 || string(b[:8]) != segmentMagic {
		return h, errHeader
	}
	// The version comes before the checksum, which another version may keep elsewhere. Zero is a torn write.
	if v := le.Uint32(b[8:]); v != segmentVersion && v != 0 {
		return h, fmt.Errorf("%w: version %d, this program reads version %d", ErrFormat, v, segmentVersion)
	}
	if len(b) < headerSize || le.Uint32(b[headerSize-4:]) != Checksum(b[:headerSize-4]) || b[60] > historyMax {
		return h, errHeader
	}
	f := func(i int) uint64 { return le.Uint64(b[12+8*i:]) }
	h.seq, h.firstIndex, h.baseOffset, h.synced, h.prevEpoch, h.salt = f(0), f(1), f(2), f(3), f(4), salt(f(5))
	h.history = string(b[61 : 61+int(b[60])])
	return h, nil
}

// sealRecord fills the header of the record in rec, whose body starts at RecordHeader.
func sealRecord(rec []byte, s salt, synced uint64) {
	le := binary.LittleEndian
	le.PutUint32(rec, s.magic())
	le.PutUint32(rec[4:], uint32(len(rec)-RecordHeader))
	le.PutUint64(rec[12:], synced)
	le.PutUint32(rec[8:], s.checksum(rec[12:]))
}

// recordAt checks the record at the start of b and returns its length and what it knew to be synced.
func recordAt(b []byte, s salt) (length int, synced uint64, ok bool) {
	le := binary.LittleEndian
	if len(b) < RecordHeader+bodyFixed || le.Uint32(b) != s.magic() {
		return 0, 0, false
	}
	n := le.Uint32(b[4:])
	if n < bodyFixed || n > MaxBody || int(n) > len(b)-RecordHeader {
		return 0, 0, false
	}
	length = RecordHeader + int(n)
	if le.Uint32(b[8:]) != s.checksum(b[12:length]) && planted != seedAnyChecksum {
		return 0, 0, false
	}
	return length, le.Uint64(b[12:]), true
}

// segment is one file of the log that has been opened for reading. The log's mutex guards what
// changes: the end, the last index and the marks of the segment being written.
type segment struct {
	segmentHeader
	using sync.RWMutex // held shared while the file is read or fsynced, exclusively to close it
	shut  bool
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

// errShut is returned for a segment that retention or a cut has closed.
var errShut = errors.New("log segment is closed")

func (s *segment) readAt(b []byte, offset uint64) (int, error) {
	s.using.RLock()
	defer s.using.RUnlock()
	if s.shut {
		return 0, errShut
	}
	return s.file.ReadAt(b, s.fileOffset(offset))
}

// sync fsyncs the segment, unless it has been dropped: what it held is then needed no more.
func (s *segment) sync() error {
	s.using.RLock()
	defer s.using.RUnlock()
	if s.shut || planted == seedNoSync {
		return nil
	}
	return s.file.SyncData()
}

func (s *segment) close() error {
	s.using.Lock()
	defer s.using.Unlock()
	if s.shut {
		return nil
	}
	s.shut = true
	return s.file.Close()
}

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
