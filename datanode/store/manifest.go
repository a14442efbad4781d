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
// that stands before it, and removes the sstables that only the rest names. But every record is fsynced before
// the next one is written, so the start of another record behind the place says that it was whole once:
// damage, which must be found before Pebble opens the directory.
//
// A MANIFEST is a sequence of blocks, a record one or more chunks. A chunk is: checksum (4, little endian),
// length (2), type (1), data, and doesn't cross a block's end.
const (
	manifestBlock  = 32 << 10
	manifestHeader = 7
	chunkFull      = 1 // a whole record
	chunkFirst     = 2 // of several
	chunkLast      = 4
)

// checkManifest returns a *replog.Damage if the directory's MANIFEST is damaged, and its name.
func checkManifest(fs vfs.FS, dir string) (name string, err error) {
	if _, err := fs.Stat(dir); err != nil {
		return "", fmt.Errorf("open pebble: %w", err)
	}
	value, err := atomicfs.ReadMarker(fs, dir, "manifest")
	if err != nil {
		return "", fmt.Errorf("find the manifest of %s: %w", dir, err)
	}
	if value == "" {
		return "", nil
	}
	name = fs.PathJoin(dir, value)
	f, err := fs.Open(name, vfs.SequentialReadsOption)
	if oserror.IsNotExist(err) {
		return name, fmt.Errorf("%w: manifest: %w", ErrDamage, err)
	}
	if err != nil {
		return name, fmt.Errorf("open the manifest: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return name, fmt.Errorf("read %s: %w", name, err)
	}
	at := 0
	for at < len(b) {
		if room := manifestBlock - at%manifestBlock; room < manifestHeader {
			at += room
			continue
		}
		n, _ := chunkAt(b, at)
		if n == 0 {
			break
		}
		at += n
	}
	for next := at + 1; next < len(b); next++ {
		if _, kind := chunkAt(b, next); kind == chunkFull || kind == chunkFirst {
			return name, fmt.Errorf("%w: %w", ErrDamage, &replog.Damage{File: name, Offset: int64(at), What: "a chunk of the manifest is broken"})
		}
	}
	return name, nil
}

// chunkAt returns length and type of the whole chunk at a place, zeros if there is none.
func chunkAt(b []byte, at int) (n int, kind byte) {
	room := min(manifestBlock-at%manifestBlock, len(b)-at)
	if room < manifestHeader {
		return 0, 0
	}
	n = manifestHeader + int(binary.LittleEndian.Uint16(b[at+4:]))
	if kind = b[at+6]; kind == 0 || kind > chunkLast || n > room {
		return 0, 0
	}
	sum := crc32.Checksum(b[at+6:at+n], castagnoli)
	if binary.LittleEndian.Uint32(b[at:]) != (sum>>15|sum<<17)+0xa282ead8 { // Pebble's mask
		return 0, 0
	}
	return n, kind
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
