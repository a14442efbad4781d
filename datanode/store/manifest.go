package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// Pebble takes the first chunk of a MANIFEST that isn't whole for a torn tail, goes on with the older state
// that stands before it, and removes the sstables that only the rest names. A break below what was noted as
// fsynced (manifestnote.go) is damage, which must be found before Pebble opens the directory.
//
// A MANIFEST is a sequence of blocks, a record one or more chunks. A chunk is: checksum (4, little endian),
// length (2), type (1), data, and doesn't cross a block's end.
const (
	manifestBlock  = 32 << 10
	manifestHeader = 7
	chunkTypeMax   = 4
)

// checkManifest returns a *replog.Damage if the directory's MANIFEST is damaged.
func checkManifest(fs vfs.FS, dir string, notes *manifestNotes) error {
	if _, err := fs.Stat(dir); err != nil {
		return fmt.Errorf("open pebble: %w", err)
	}
	value, err := atomicfs.ReadMarker(fs, dir, "manifest")
	if err != nil {
		return fmt.Errorf("find the manifest of %s: %w", dir, err)
	}
	if value == "" {
		return nil
	}
	name := fs.PathJoin(dir, value)
	f, err := fs.Open(name, vfs.SequentialReadsOption)
	if oserror.IsNotExist(err) {
		return fmt.Errorf("%w: manifest: %w", ErrDamage, err)
	}
	if err != nil {
		return fmt.Errorf("open the manifest: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	at := 0
	for at < len(b) {
		if room := manifestBlock - at%manifestBlock; room < manifestHeader {
			at += room
			continue
		}
		n := chunkAt(b, at)
		if n == 0 {
			break
		}
		at += n
	}
	number, _ := manifestNumber(value)
	// The marker came after the MANIFEST's first fsync, so its start is never a torn tail.
	if synced := max(notes.size(number), 1); uint64(at) < synced {
		return fmt.Errorf("%w: %w", ErrDamage, &replog.Damage{
			File: name, Offset: int64(at), What: fmt.Sprintf("the manifest is broken below byte %d, up to which it was fsynced", synced),
		})
	}
	return nil
}

// chunkAt returns the length of the whole chunk at a place, zero if there is none.
func chunkAt(b []byte, at int) int {
	room := min(manifestBlock-at%manifestBlock, len(b)-at)
	if room < manifestHeader {
		return 0
	}
	n := manifestHeader + int(binary.LittleEndian.Uint16(b[at+4:]))
	if kind := b[at+6]; kind == 0 || kind > chunkTypeMax || n > room {
		return 0
	}
	sum := crc32.Checksum(b[at+6:at+n], castagnoli)
	if binary.LittleEndian.Uint32(b[at:]) != (sum>>15|sum<<17)+0xa282ead8 { // Pebble's mask
		return 0
	}
	return n
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
