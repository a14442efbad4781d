package replication

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/atolldb/atoll/datanode/replog"
)

// On the wire a log record is its body's length (4, little endian), the CRC-32C of the body (4), and
// the body. Records cross chunks, so that frames stay bounded whatever an entry's size.
const (
	wireHeader = 8
	chunkMax   = 512 << 10
)

var errWire = errors.New("the log stream is broken")

func appendWire(buf, body []byte) []byte {
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(body)))
	buf = binary.LittleEndian.AppendUint32(buf, replog.Checksum(body))
	return append(buf, body...)
}

// unpacker puts the records of a stream together. It keeps at most one unfinished record.
type unpacker struct {
	rest []byte
	rec  []byte
}

// feed takes a chunk and calls take for every record that it completes. The record has the log's room
// in front of its body, and is valid during the call.
func (u *unpacker) feed(data []byte, take func(rec []byte) error) error {
	joined := len(u.rest) > 0
	if joined {
		u.rest = append(u.rest, data...)
		data = u.rest
	}
	size := len(data)
	for len(data) >= wireHeader {
		n := binary.LittleEndian.Uint32(data)
		if n > replog.MaxBody {
			return fmt.Errorf("%w: record of %d bytes, the bound is %d", errWire, n, replog.MaxBody)
		}
		if uint64(len(data)) < wireHeader+uint64(n) {
			break
		}
		body := data[wireHeader : wireHeader+n]
		if replog.Checksum(body) != binary.LittleEndian.Uint32(data[4:]) {
			return fmt.Errorf("%w: a record's checksum doesn't match", errWire)
		}
		u.rec = append(append(u.rec[:0], make([]byte, replog.RecordHeader)...), body...)
		if err := take(u.rec); err != nil {
			return err
		}
		data = data[wireHeader+n:]
	}
	if cap(u.rec) > 4*chunkMax {
		u.rec = nil
	}
	switch {
	case joined && len(data) == size: // a long record goes on: it is not copied for every chunk
	case len(data) <= chunkMax && cap(u.rest) > 4*chunkMax:
		u.rest = append([]byte(nil), data...)
	default:
		u.rest = append(u.rest[:0], data...)
	}
	return nil
}
