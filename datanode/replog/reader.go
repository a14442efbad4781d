package replog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Reader reads entries in order. It sees entries as they are appended. It is for one goroutine, and
// needs no closing: it holds no file of its own.
type Reader struct {
	log  *Log
	next uint64 // index of the entry that Next returns
	off  uint64 // its offset, valid if seg is set
	seg  *segment
	buf  []byte // bytes [from, from+len(buf)) of the record stream of seg
	from uint64
	cuts int // how many cuts it knows of
}

const readAhead = 256 << 10

// NewReader returns a reader whose first entry is index. It fails with ErrGone if the log doesn't
// reach back to it; an index one past the end is allowed.
func (l *Log) NewReader(index uint64) (*Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index < l.firstLocked() || index == 0 {
		return nil, fmt.Errorf("%w: entry %d, the oldest is %d", ErrGone, index, l.firstLocked())
	}
	if index > l.state.Last+1 {
		return nil, fmt.Errorf("%w: entry %d, the last is %d", ErrOrder, index, l.state.Last)
	}
	return &Reader{log: l, next: index, cuts: len(l.cuts)}, nil
}

// Next returns the body of the next entry, valid until the following call, or io.EOF at the present
// end of the log. ErrGone means that retention or a cut overtook the reader; ErrDamaged that the bytes are broken.
func (r *Reader) Next() ([]byte, error) {
	end, err := r.locate()
	if err != nil {
		return nil, err
	}
	head, err := r.bytes(RecordHeader, end)
	if err != nil {
		return nil, err
	}
	size := uint64(binary.LittleEndian.Uint32(head[4:])) + RecordHeader
	if binary.LittleEndian.Uint32(head) != r.log.salt.magic() || size > end-r.off {
		return nil, r.damage("its header is broken")
	}
	rec, err := r.bytes(size, end)
	if err != nil {
		return nil, err
	}
	if _, _, ok := recordAt(rec, r.log.salt); !ok {
		return nil, r.damage("its checksum doesn't match")
	}
	if got := bodyIndex(rec[RecordHeader:]); got != r.next {
		return nil, r.damage(fmt.Sprintf("it says that it is entry %d", got))
	}
	r.next++
	r.off += size
	return rec[RecordHeader:], nil
}

func (r *Reader) damage(what string) error {
	return &Damage{r.seg.path, r.seg.fileOffset(r.off), fmt.Sprintf("entry %d: %s", r.next, what)}
}

// locate makes seg and off those of the next entry, and returns the end of the segment's records.
func (r *Reader) locate() (end uint64, err error) {
	l := r.log
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return 0, ErrClosed
	}
	if err := r.overtakenLocked(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	if r.next > l.state.Last {
		l.mu.Unlock()
		return 0, io.EOF
	}
	var seg *segment
	for i := len(l.segs) - 1; i >= 0; i-- {
		if l.segs[i].firstIndex <= r.next {
			seg = l.segs[i]
			break
		}
	}
	if seg == nil {
		l.mu.Unlock()
		return 0, fmt.Errorf("%w: entry %d", ErrGone, r.next)
	}
	end = seg.end
	if seg == r.seg {
		l.mu.Unlock()
		return end, nil
	}
	at := mark{seg.firstIndex, seg.baseOffset}
	for _, m := range seg.marks {
		if m.index > r.next {
			break
		}
		at = m
	}
	l.mu.Unlock()
	want := r.next
	r.seg, r.off, r.buf = seg, at.offset, nil
	for r.next = at.index; r.next < want; {
		if err := r.skip(end); err != nil {
			r.seg, r.next = nil, want
			return 0, err
		}
	}
	return end, nil
}

// skip steps over one record by its length alone, and marks it in a segment of an earlier process.
func (r *Reader) skip(end uint64) error {
	head, err := r.bytes(RecordHeader, end)
	if err != nil {
		return err
	}
	size := uint64(binary.LittleEndian.Uint32(head[4:])) + RecordHeader
	if binary.LittleEndian.Uint32(head) != r.log.salt.magic() || size > end-r.off {
		return r.damage("its header is broken")
	}
	r.log.mu.Lock()
	if n := len(r.seg.marks); n == 0 || r.seg.marks[n-1].offset < r.off {
		r.seg.addMark(r.next, r.off)
	}
	r.log.mu.Unlock()
	r.off += size
	r.next++
	return nil
}

// bytes returns n bytes at off, reading ahead up to end.
func (r *Reader) bytes(n, end uint64) ([]byte, error) {
	if r.off < r.from || r.buf == nil || r.off+n > r.from+uint64(len(r.buf)) {
		if n > end-r.off {
			return nil, r.damage("it is cut short")
		}
		size := min(max(n, readAhead), end-r.off)
		if uint64(cap(r.buf)) < size {
			r.buf = make([]byte, size)
		}
		r.buf = r.buf[:size]
		r.from = r.off
		got, err := r.seg.readAt(r.buf, r.off)
		if uint64(got) < size {
			r.buf = nil
			return nil, r.readError(err)
		}
	}
	at := r.off - r.from
	return r.buf[at : at+n], nil
}

// overtakenLocked returns ErrGone if retention dropped the next entry, or a cut the last one. The log's
// mutex is held.
func (r *Reader) overtakenLocked() error {
	l := r.log
	for _, index := range l.cuts[r.cuts:] {
		if r.next > index+1 {
			return fmt.Errorf("%w: entry %d was cut off", ErrGone, r.next-1)
		}
	}
	r.cuts = len(l.cuts)
	if r.next < l.firstLocked() {
		return fmt.Errorf("%w: entry %d, the oldest is %d", ErrGone, r.next, l.firstLocked())
	}
	return nil
}

// readError tells a file that retention has closed from one that is broken.
func (r *Reader) readError(err error) error {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	if err := r.overtakenLocked(); err != nil {
		return err
	}
	if errors.Is(err, errShut) {
		return fmt.Errorf("%w: entry %d", ErrGone, r.next)
	}
	if err == nil || errors.Is(err, io.EOF) {
		return &Damage{r.seg.path, r.seg.fileOffset(r.off), fmt.Sprintf("entry %d: the file is cut short", r.next)}
	}
	return fmt.Errorf("read log %s: %w", r.seg.path, err)
}
