package replog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// What the store has fsynced rests on entries that were fsynced before. If such entries break at the end of the
// log, no later record knows that they were fsynced, and cutting them as a torn tail would leave a store that
// shows a part of what follows. So the store has the log note how far it is fsynced before its own fsyncs.
//
// The file has two slots, each in a sector of its own, that are written in turn: a torn write leaves the other.
// A slot is: magic (8) | version (4) | salt of the log (8) | number of the newest fsynced segment (8) | offset (8) |
// CRC-32C of all that (4), in little endian.
const (
	noteFile    = "synced"
	noteMagic   = "ATOLSYNC"
	noteVersion = 1
	noteBytes   = 40
	noteSector  = 512
)

// note says that the log was fsynced up to an offset when the newest segment whose header is fsynced was seq. A later
// one may be lost in a power cut, and its number is then given again.
type note struct {
	seq, offset uint64
}

// higher returns the later note. Its offset may be the lower one: a cut gives offsets again, to a newer segment.
func (n note) higher(other note) note {
	if other.seq > n.seq || other.seq == n.seq && other.offset > n.offset {
		return other
	}
	return n
}

func (n note) encode(s salt) []byte {
	b := append(make([]byte, 0, noteBytes), noteMagic...)
	b = binary.LittleEndian.AppendUint32(b, noteVersion)
	for _, v := range [...]uint64{uint64(s), n.seq, n.offset} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, Checksum(b))
}

// decodeNote returns the note of a slot; ok is false for one that was never written, or isn't whole.
func decodeNote(b []byte, s salt) (n note, ok bool, err error) {
	le := binary.LittleEndian
	if len(b) < noteBytes || string(b[:8]) != noteMagic {
		return note{}, false, nil
	}
	if v := le.Uint32(b[8:]); v != noteVersion && v != 0 { // zero is a torn write
		return note{}, false, fmt.Errorf("%w: %s has version %d, this program reads version %d", ErrFormat, noteFile, v, noteVersion)
	}
	if le.Uint32(b[noteBytes-4:]) != Checksum(b[:noteBytes-4]) || salt(le.Uint64(b[12:])) != s {
		return note{}, false, nil
	}
	return note{le.Uint64(b[20:]), le.Uint64(b[28:])}, true, nil
}

// readNote returns the higher note of the file, none if there is no file.
func (r *recovery) readNote() (n note, err error) {
	path := r.opts.FS.PathJoin(r.opts.Dir, noteFile)
	f, err := r.opts.FS.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return note{}, nil
	}
	if err != nil {
		return note{}, fmt.Errorf("open %s: %w", path, err)
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return note{}, fmt.Errorf("read %s: %w", path, err)
	}
	whole := 0
	for at := range 2 {
		got, ok, err := decodeNote(b[min(at*noteSector, len(b)):], r.log.salt)
		if err != nil {
			return note{}, err
		}
		if ok {
			whole++
			n = n.higher(got)
		}
	}
	if whole == 0 {
		return note{}, &Damage{path, 0, "no note is whole"}
	}
	return n, nil
}

// believe raises what is known to be fsynced by the note, and refuses a log without a segment that the note knows of:
// it may be from a cut, and what it overrides would come back. A segment that is newer than the note and begins
// below it comes from a cut: what the note is about was cut, and its offsets were given again.
func (r *recovery) believe(n note) error {
	newest, cut := uint64(0), false
	for _, s := range append(r.segs, r.dropped...) {
		switch {
		case !r.broken[s]:
			newest = max(newest, s.seq)
			cut = cut || s.seq > n.seq && s.baseOffset < n.offset
		case s.seq <= n.seq:
			return &Damage{s.path, 0, "its header is broken, and was fsynced"}
		}
	}
	if newest < n.seq {
		return &Damage{r.opts.FS.PathJoin(r.opts.Dir, segmentName(n.seq)), 0, "it is missing, and was fsynced"}
	}
	if !cut {
		r.synced = max(r.synced, n.offset)
	}
	return nil
}

// NoteSynced makes durable how far the log is fsynced, so that damage below is never taken for a torn tail. Where
// it can't write, it does nothing. An error is that of an fsync, after which the process must end.
func (l *Log) NoteSynced() error {
	l.noteMu.Lock()
	defer l.noteMu.Unlock()
	l.mu.Lock()
	n := note{offset: l.state.SyncedOffset}
	for _, s := range l.segs {
		if !s.fresh {
			n.seq = s.seq
		}
	}
	closed := l.closed
	l.mu.Unlock()
	if n == l.noted || closed {
		return nil
	}
	var err error
	if l.notes == nil {
		err = l.beginNotes(n)
	} else {
		err = l.writeNote(n)
	}
	if errors.Is(err, errNoNote) {
		return nil // a full disk, or too many open files, have to be lived with; the next call tries again
	}
	if err != nil {
		return l.fail(fmt.Errorf("note how far the log is fsynced: %w", err))
	}
	l.noted = n
	return nil
}

// errNoNote marks errors that are none of an fsync.
var errNoNote = errors.New("no note was made")

// writeNote overwrites the older slot.
func (l *Log) writeNote(n note) error {
	l.noteSlot = 1 - l.noteSlot
	if _, err := l.notes.WriteAt(n.encode(l.salt), int64(l.noteSlot*noteSector)); err != nil {
		l.noteSlot = 1 - l.noteSlot // what it holds is unknown: the next note goes there too
		return fmt.Errorf("%w: %w", errNoNote, err)
	}
	return l.notes.SyncData()
}

// beginNotes replaces the file of an earlier process by one with a note in both slots.
func (l *Log) beginNotes(n note) error {
	o := l.opts
	path := o.FS.PathJoin(o.Dir, noteFile)
	f, err := o.FS.Create(path+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoNote, err)
	}
	b := make([]byte, 2*noteSector)
	copy(b, n.encode(l.salt))
	copy(b[noteSector:], n.encode(l.salt))
	if _, err = f.Write(b); err != nil {
		return errors.Join(errNoNote, err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := o.FS.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("%w: %w", errNoNote, err)
	}
	if err := syncDir(o.FS, o.Dir); errors.Is(err, errNoDir) {
		return fmt.Errorf("%w: %w", errNoNote, err)
	} else if err != nil {
		return err
	}
	if l.notes, err = o.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified); err != nil {
		return fmt.Errorf("%w: %w", errNoNote, err)
	}
	return nil
}
