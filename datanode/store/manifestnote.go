package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The note says up to which size Pebble's MANIFEST is fsynced: a break below is damage, and one beyond a torn
// tail. The MANIFEST itself can't tell, since tenants choose some of its bytes, and its last record has no other
// behind it.
//
// It is written after the MANIFEST's fsync and before Pebble hears of that. So while an older one stands, Pebble
// has neither removed a table nor ended a flush because of the record beyond it: what is lost if that record
// breaks is in the log. Where no note can be written, for want of room or of open files, Pebble goes on, and the
// log is not retired (Store.noteManifest) until one is.
//
// The file has two slots, each in a sector of its own; the one with the later note of the MANIFEST in use is not
// overwritten. A slot is: magic (8) | version (4) | number of the MANIFEST (8) | size (8) | CRC-32C of all
// that (4), in little endian. Numbers are never reused, since the directory is fsynced before a new one is noted.
const (
	manifestNoteFile    = "manifest.synced"
	manifestNoteMagic   = "ATOLMNFT"
	manifestNoteVersion = 1
	manifestNoteBytes   = 32
	manifestNoteSector  = 512
	manifestPrefix      = "MANIFEST-"
)

type manifestNote struct{ number, size uint64 }

func (n manifestNote) encode() []byte {
	b := append(make([]byte, 0, manifestNoteBytes), manifestNoteMagic...)
	b = binary.LittleEndian.AppendUint32(b, manifestNoteVersion)
	b = binary.LittleEndian.AppendUint64(b, n.number)
	b = binary.LittleEndian.AppendUint64(b, n.size)
	return binary.LittleEndian.AppendUint32(b, replog.Checksum(b))
}

// decodeManifestNote returns the note of a slot; ok is false for one that isn't whole.
func decodeManifestNote(b []byte) (n manifestNote, ok bool, err error) {
	le := binary.LittleEndian
	if len(b) < manifestNoteBytes || string(b[:8]) != manifestNoteMagic {
		return n, false, nil
	}
	if v := le.Uint32(b[8:]); v != manifestNoteVersion && v != 0 { // zero is a torn write
		return n, false, fmt.Errorf("%w: %s has version %d, this program reads version %d", ErrFormat, manifestNoteFile, v, manifestNoteVersion)
	}
	if le.Uint32(b[manifestNoteBytes-4:]) != replog.Checksum(b[:manifestNoteBytes-4]) {
		return n, false, nil
	}
	return manifestNote{le.Uint64(b[12:]), le.Uint64(b[20:])}, true, nil
}

// manifestNumber returns the number of a MANIFEST by its file's name.
func manifestNumber(base string) (uint64, bool) {
	digits, ok := strings.CutPrefix(base, manifestPrefix)
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil
}

// manifestNotes are the notes of one store.
type manifestNotes struct {
	fs   vfs.FS
	dir  string // the store's
	path string

	mu    sync.Mutex
	slots [2]manifestNote // as far as they are known to be whole
	there bool            // the file is
	named uint64          // the MANIFEST whose directory entry is durable
	last  manifestNote    // of the last fsync
	noted manifestNote
}

// errNoNote marks errors that are none of an fsync.
var errNoNote = errors.New("the manifest could not be noted")

// readManifestNotes reads the file, if there is one. A file without a whole slot is damage: a power cut tears one.
func readManifestNotes(fs vfs.FS, dir string) (*manifestNotes, error) {
	n := &manifestNotes{fs: fs, dir: dir, path: fs.PathJoin(dir, manifestNoteFile)}
	f, err := fs.Open(n.path)
	if oserror.IsNotExist(err) {
		return n, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", n.path, err)
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", n.path, err)
	}
	whole := 0
	for i := range n.slots {
		got, ok, err := decodeManifestNote(b[min(i*manifestNoteSector, len(b)):])
		if err != nil {
			return nil, err
		}
		if ok {
			whole++
			n.slots[i] = got
		}
	}
	if whole == 0 {
		return nil, fmt.Errorf("%w: %w", ErrDamage, &replog.Damage{File: n.path, What: "no note of the manifest is whole"})
	}
	n.there = true
	return n, nil
}

// size returns up to where a MANIFEST is known to be fsynced, and spares that note until a newer MANIFEST is in
// use. Zero is none.
func (n *manifestNotes) size(number uint64) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.slots {
		if s.number == number && s.size > n.noted.size {
			n.noted = s
		}
	}
	return n.noted.size
}

// add notes a size that was fsynced. An error is that of an fsync, after which the process must end.
func (n *manifestNotes) add(number, size uint64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = manifestNote{number, size}
	if err := n.write(); !errors.Is(err, errNoNote) {
		return err
	}
	return nil
}

// catchUp writes the note that could not be written. Errors are errNoNote and that of an fsync.
func (n *manifestNotes) catchUp() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.write()
}

// write notes the last fsync, unless that is done. The mutex is held.
func (n *manifestNotes) write() error {
	if n.last == n.noted || n.last == (manifestNote{}) {
		return nil
	}
	if n.named != n.last.number && planted != seedMarkerOrder {
		if err := n.syncDir(n.fs.PathJoin(n.dir, pebbleDir)); err != nil {
			return err
		}
		n.named = n.last.number
	}
	if !n.there {
		return n.create()
	}
	slot := n.free()
	f, err := n.fs.OpenReadWrite(n.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoNote, err)
	}
	n.slots[slot] = manifestNote{} // until it is known to be whole
	if _, err := f.WriteAt(n.last.encode(), int64(slot*manifestNoteSector)); err != nil {
		return errors.Join(errNoNote, err, f.Close())
	}
	if err := errors.Join(f.SyncData(), f.Close()); err != nil {
		return fmt.Errorf("note the manifest: %w", err)
	}
	n.slots[slot], n.noted = n.last, n.last
	return nil
}

// free returns the slot to be written: one that isn't whole, so that never both are torn, or else the one that
// doesn't hold the last note.
func (n *manifestNotes) free() int {
	if n.slots[1] == (manifestNote{}) || n.slots[0] == n.noted && n.slots[0] != (manifestNote{}) {
		return 1
	}
	return 0
}

// create makes the file with the same note in both slots.
func (n *manifestNotes) create() error {
	f, err := n.fs.Create(n.path+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoNote, err)
	}
	b := make([]byte, 2*manifestNoteSector)
	copy(b, n.last.encode())
	copy(b[manifestNoteSector:], n.last.encode())
	if _, err := f.Write(b); err != nil {
		return errors.Join(errNoNote, err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("note the manifest: %w", err)
	}
	if err := n.fs.Rename(n.path+".tmp", n.path); err != nil {
		return fmt.Errorf("%w: %w", errNoNote, err)
	}
	if err := n.syncDir(n.dir); err != nil {
		return err
	}
	n.there, n.slots, n.noted = true, [2]manifestNote{n.last, n.last}, n.last
	return nil
}

// syncDir tells a directory that can't be opened from one whose fsync fails.
func (n *manifestNotes) syncDir(dir string) error {
	d, err := n.fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoNote, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("note the manifest: sync directory %s: %w", dir, err)
	}
	return nil
}

// noteManifest makes sure that the MANIFEST's last fsync is noted, as what the log is retired for must be.
func (s *Store) noteManifest() error {
	err := s.manifest.catchUp()
	if err != nil && !errors.Is(err, errNoNote) {
		return s.fatal(err)
	}
	return err
}

// manifestFile is the MANIFEST being written. Pebble holds a lock while it writes or fsyncs it.
type manifestFile struct {
	logFirstFile
	number, size uint64
}

// Write is vfs.File.
func (f *manifestFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	f.size += uint64(n)
	return n, err
}

// Sync is vfs.File.
func (f *manifestFile) Sync() error { return f.noted(f.File.Sync) }

// SyncData is vfs.File.
func (f *manifestFile) SyncData() error { return f.noted(f.File.SyncData) }

func (f *manifestFile) noted(sync func() error) error {
	add := func() error { return f.fs.manifest.add(f.number, f.size) }
	return f.fs.logFirst(func() error {
		first, then := sync, add
		if planted == seedNoteEarly {
			first, then = add, sync
		}
		if err := first(); err != nil {
			return err
		}
		return then()
	})
}
