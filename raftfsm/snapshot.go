package raftfsm

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"iter"
	"slices"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/audit"
)

// A snapshot is a header (magic, format), records (type byte, varint length, payload) in the order of
// their types and then of their ids, and a trailer: the type byte recordEnd, the number of records (8
// bytes) and the CRC-32C of everything before it (4 bytes). Fixed-size numbers are little endian.
const (
	snapshotMagic  = "ATOLMETA"
	snapshotFormat = 2 // 1 has no audit

	recordHeader    = 1
	recordCluster   = 2
	recordNamespace = 3
	recordToken     = 4
	recordNode      = 5
	recordGroup     = 6
	recordRequest   = 7
	recordAuthority = 8
	recordAudit     = 9
	recordInvite    = 10
	recordKey       = 11 // of a node
	recordEnd       = 0xff

	recordBytesMax = 64 << 20
)

// The errors of Restore.
var (
	// ErrSnapshotFormat means that the bytes are no snapshot, or one of another version.
	ErrSnapshotFormat = errors.New("not a snapshot of a known format")
	// ErrSnapshotCorrupt means that a snapshot is cut short or damaged.
	ErrSnapshotCorrupt = errors.New("snapshot is truncated or damaged")
)

// WriteSnapshot writes the state. Two states with the same content give the same bytes.
func (s *State) WriteSnapshot(w io.Writer) error {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	buf := bufio.NewWriterSize(w, 256<<10)
	sw := &snapshotWriter{w: io.MultiWriter(buf, sum), sum: sum}
	head := binary.LittleEndian.AppendUint32([]byte(snapshotMagic), snapshotFormat)
	sw.write(head)
	sw.own(recordHeader, &snapshotHeader{revision: s.revision, applied: s.applied})
	if c := s.Cluster(); c != nil {
		sw.message(recordCluster, c)
	}
	messages(sw, recordNamespace, s.AllNamespaces())
	messages(sw, recordToken, s.AllTokens())
	messages(sw, recordNode, s.Nodes())
	messages(sw, recordGroup, s.Groups())
	for r := range all[*request](s.reader, tableRequests, indexRevision) {
		sw.own(recordRequest, r)
	}
	if a := s.Authority(); a != nil {
		sw.message(recordAuthority, a)
	}
	for r := range s.Audit(0) {
		sw.own(recordAudit, auditRow{r})
	}
	messages(sw, recordInvite, s.Invites())
	messages(sw, recordKey, s.NodeKeys())
	sw.end()
	if sw.err == nil {
		sw.err = buf.Flush()
	}
	if sw.err != nil {
		return fmt.Errorf("write snapshot: %w", sw.err)
	}
	return nil
}

type snapshotHeader struct {
	revision, applied uint64
}

func (h *snapshotHeader) fields(f *fields) {
	f.u64(&h.revision)
	f.u64(&h.applied)
}

type snapshotWriter struct {
	w     io.Writer
	sum   hash.Hash32
	count uint64
	buf   []byte
	err   error
}

func (w *snapshotWriter) write(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
	}
}

func (w *snapshotWriter) record(kind byte, payload []byte) {
	w.count++
	w.write(binary.AppendUvarint([]byte{kind}, uint64(len(payload))))
	w.write(payload)
}

func (w *snapshotWriter) message(kind byte, m proto.Message) {
	var err error
	w.buf, err = proto.MarshalOptions{Deterministic: true}.MarshalAppend(w.buf[:0], m)
	w.err = errors.Join(w.err, err)
	w.record(kind, w.buf)
}

func messages[M proto.Message](w *snapshotWriter, kind byte, rows iter.Seq[M]) {
	for m := range rows {
		w.message(kind, m)
	}
}

func (w *snapshotWriter) own(kind byte, r interface{ fields(*fields) }) {
	f := &fields{}
	r.fields(f)
	w.record(kind, f.buf)
}

func (w *snapshotWriter) end() {
	w.write(binary.LittleEndian.AppendUint64([]byte{recordEnd}, w.count))
	w.write(binary.LittleEndian.AppendUint32(nil, w.sum.Sum32()))
}

// snapshotReader reads records and sums what it reads.
type snapshotReader struct {
	r     *bufio.Reader
	sum   hash.Hash32
	count uint64
	one   [1]byte
}

// readSnapshot builds a new database from a snapshot. Every record is checked before the caller sees any.
func readSnapshot(in io.Reader) (*memdb.MemDB, *State, error) {
	r := &snapshotReader{r: bufio.NewReaderSize(in, 256<<10), sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
	head := make([]byte, len(snapshotMagic)+4)
	if err := r.full(head); err != nil {
		return nil, nil, err
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, nil, ErrSnapshotFormat
	}
	if format := binary.LittleEndian.Uint32(head[len(snapshotMagic):]); format < 1 || format > snapshotFormat {
		return nil, nil, fmt.Errorf("%w: format %d, this version knows formats up to %d", ErrSnapshotFormat, format, snapshotFormat)
	}
	db, err := newDB()
	if err != nil {
		return nil, nil, err
	}
	txn := db.Txn(true)
	defer txn.Abort() // without effect after Commit
	state := &State{}
	last := byte(0)
	for {
		kind, payload, err := r.record()
		if err != nil {
			return nil, nil, err
		}
		if kind == recordEnd {
			break
		}
		if kind < last || (last == 0) != (kind == recordHeader) {
			return nil, nil, fmt.Errorf("record type %d after %d: %w", kind, last, ErrSnapshotCorrupt)
		}
		last = kind
		if err := state.load(txn, kind, payload); err != nil {
			return nil, nil, fmt.Errorf("record %d of type %d: %w: %w", r.count, kind, err, ErrSnapshotCorrupt)
		}
	}
	if last == 0 {
		return nil, nil, fmt.Errorf("no header record: %w", ErrSnapshotCorrupt)
	}
	txn.Commit()
	state.reader = reader{db.Txn(false)}
	return db, state, nil
}

// load puts one record into the database.
func (s *State) load(txn *memdb.Txn, kind byte, payload []byte) error {
	switch kind {
	case recordHeader:
		var h snapshotHeader
		err := decodeOwn(payload, &h)
		s.revision, s.applied = h.revision, h.applied
		return err
	case recordCluster:
		return loadMessage(txn, tableCluster, payload, &atollpb.ClusterInfo{})
	case recordNamespace:
		return loadMessage(txn, tableNamespaces, payload, &atollpb.Namespace{})
	case recordToken:
		return loadMessage(txn, tableTokens, payload, &atollpb.Token{})
	case recordNode:
		return loadMessage(txn, tableNodes, payload, &atollpb.Node{})
	case recordGroup:
		return loadMessage(txn, tableGroups, payload, &atollpb.Group{})
	case recordRequest:
		if planted == seedForgetRequests {
			return nil
		}
		r := &request{}
		if err := decodeOwn(payload, r); err != nil {
			return err
		}
		s.requests++
		return txn.Insert(tableRequests, r)
	case recordAuthority:
		return loadMessage(txn, tableAuthority, payload, &atollpb.CertificateAuthority{})
	case recordInvite:
		return loadMessage(txn, tableInvites, payload, &atollpb.Invite{})
	case recordKey:
		return loadMessage(txn, tableKeys, payload, &atollpb.NodeKey{})
	case recordAudit:
		r := auditRow{&audit.Record{}}
		if err := decodeOwn(payload, r); err != nil {
			return err
		}
		s.audits++
		return txn.Insert(tableAudit, r.Record)
	}
	return errors.New("unknown type")
}

func loadMessage(txn *memdb.Txn, table string, payload []byte, m proto.Message) error {
	if err := proto.Unmarshal(payload, m); err != nil {
		return err
	}
	return txn.Insert(table, m)
}

func decodeOwn(payload []byte, r interface{ fields(*fields) }) error {
	f := &fields{buf: payload, reading: true}
	r.fields(f)
	return f.end()
}

// ReadByte implements io.ByteReader, for the varints.
func (r *snapshotReader) ReadByte() (byte, error) {
	err := r.full(r.one[:])
	return r.one[0], err
}

func (r *snapshotReader) full(b []byte) error {
	if _, err := io.ReadFull(r.r, b); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return ErrSnapshotCorrupt
		}
		return err
	}
	_, _ = r.sum.Write(b) // a hash never fails
	return nil
}

// record returns the next record; at the trailer it checks count, sum and that nothing follows.
func (r *snapshotReader) record() (byte, []byte, error) {
	kind, err := r.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	if kind == recordEnd {
		return kind, nil, r.trailer()
	}
	n, err := binary.ReadUvarint(r)
	if err != nil || n > recordBytesMax {
		return 0, nil, fmt.Errorf("record length: %w", ErrSnapshotCorrupt)
	}
	r.count++
	var payload []byte
	for uint64(len(payload)) < n { // by steps: a damaged length allocates no more than there is
		step := int(min(n-uint64(len(payload)), 1<<20))
		at := len(payload)
		payload = slices.Grow(payload, step)[:at+step]
		if err := r.full(payload[at:]); err != nil {
			return 0, nil, err
		}
	}
	return kind, payload, nil
}

func (r *snapshotReader) trailer() error {
	var b [12]byte
	if err := r.full(b[:8]); err != nil {
		return err
	}
	sum := r.sum.Sum32()
	if err := r.full(b[8:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint64(b[:8]) != r.count || binary.LittleEndian.Uint32(b[8:]) != sum {
		return fmt.Errorf("checksum: %w", ErrSnapshotCorrupt)
	}
	if _, err := r.r.ReadByte(); err != io.EOF {
		return fmt.Errorf("bytes after the trailer: %w", ErrSnapshotCorrupt)
	}
	return nil
}
