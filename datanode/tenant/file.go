package tenant

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strings"

	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"
)

var (
	// ErrDamage says that a stored view has a part that is neither whole nor a torn end.
	ErrDamage = errors.New("the stored view is damaged")
	// ErrFormat says that a stored view was written by a version that this one doesn't know.
	ErrFormat = errors.New("the stored view has an unknown format")
)

// A view is kept in two files: view.base, a whole view, and view.log, the changes after it. Both start
// with a header of 16 bytes: a name (8), the format (4), the CRC-32C of these (4). Records follow: the
// length of the body (4), its CRC-32C (4), the CRC-32C of these eight bytes (4), the body. A body is a
// sequence of frames, each behind its length as a varint. Numbers are little endian. A record of the
// log is one fsync: the base is complete or absent, and only the log's last record can be torn.
const (
	baseName = "view.base"
	logName  = "view.log"

	baseMagic    = "ATOLVIEW"
	logMagic     = "ATOLVLOG"
	fileFormat   = 1
	headerBytes  = 16
	recordBytes  = 12
	recordsMax   = 1 << 30 // bytes of one body
	diskCategory = vfs.WriteCategoryUnspecified
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendHeader(b []byte, magic string) []byte {
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, fileFormat)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[len(b)-12:], castagnoli))
}

func checkHeader(b []byte, magic, name string) error {
	if len(b) < headerBytes || string(b[:8]) != magic ||
		crc32.Checksum(b[:12], castagnoli) != binary.LittleEndian.Uint32(b[12:]) {
		return fmt.Errorf("%w: header of %s", ErrDamage, name)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != fileFormat {
		return fmt.Errorf("%w: %s has format %d, this version knows %d", ErrFormat, name, v, fileFormat)
	}
	return nil
}

// appendRecord appends a record of the changes' frames.
func appendRecord(b []byte, frames func(func(*atollpb.ViewFrame) bool)) ([]byte, error) {
	start := len(b)
	b = append(b, make([]byte, recordBytes)...)
	var err error
	for f := range frames {
		b = binary.AppendUvarint(b, uint64(proto.Size(f)))
		if b, err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend(b, f); err != nil {
			return nil, fmt.Errorf("encode view frame: %w", err)
		}
	}
	body := b[start+recordBytes:]
	if len(body) > recordsMax {
		return nil, fmt.Errorf("encode view: %d bytes exceed %d", len(body), recordsMax)
	}
	h := b[start:]
	binary.LittleEndian.PutUint32(h, uint32(len(body)))
	binary.LittleEndian.PutUint32(h[4:], crc32.Checksum(body, castagnoli))
	binary.LittleEndian.PutUint32(h[8:], crc32.Checksum(h[:8], castagnoli))
	return b, nil
}

// record returns the body of the record at the start of b and what follows it; ok is false when it is
// not whole.
func record(b []byte) (body, rest []byte, ok bool) {
	if len(b) < recordBytes || crc32.Checksum(b[:8], castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return nil, nil, false
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n > len(b)-recordBytes {
		return nil, nil, false
	}
	body = b[recordBytes : recordBytes+n]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, nil, false
	}
	return body, b[recordBytes+n:], true
}

// frames hands every frame of a body to add.
func frames(body []byte, add func(*atollpb.ViewFrame) error) error {
	for len(body) > 0 {
		n, k := binary.Uvarint(body)
		if k <= 0 || n > uint64(len(body)-k) {
			return fmt.Errorf("%w: length of a frame", ErrDamage)
		}
		f := new(atollpb.ViewFrame)
		if err := proto.Unmarshal(body[k:k+int(n)], f); err != nil {
			return fmt.Errorf("%w: frame: %w", ErrDamage, err)
		}
		if err := add(f); err != nil {
			return err
		}
		body = body[k+int(n):]
	}
	return nil
}

// load reads the stored view; nil when there is none. dirty says that the log has something in it.
func load(fsys vfs.FS, dir string) (v *View, dirty bool, err error) {
	base, err := readFile(fsys, fsys.PathJoin(dir, baseName))
	if err != nil || base == nil {
		return nil, false, err
	}
	if v, err = decodeBase(base); err != nil {
		return nil, false, err
	}
	log, err := readFile(fsys, fsys.PathJoin(dir, logName))
	if err != nil || log == nil {
		return v, false, err
	}
	v, err = replay(v, log)
	return v, len(log) > headerBytes, err
}

func decodeBase(b []byte) (*View, error) {
	if err := checkHeader(b, baseMagic, baseName); err != nil {
		return nil, err
	}
	b = b[headerBytes:]
	var a Assembler
	var v *View
	for len(b) > 0 {
		body, rest, ok := record(b)
		if !ok || v != nil {
			return nil, fmt.Errorf("%w: %s", ErrDamage, baseName)
		}
		err := frames(body, func(f *atollpb.ViewFrame) error {
			c, err := a.Add(f)
			if err != nil || c == nil {
				return err
			}
			v, err = v.apply(c)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", baseName, err)
		}
		b = rest
	}
	if v == nil {
		return nil, fmt.Errorf("%w: %s has no end", ErrDamage, baseName)
	}
	return v, nil
}

// replay applies the log's changes to v. Those that the base holds already are passed over.
func replay(v *View, b []byte) (*View, error) {
	if err := checkHeader(b, logMagic, logName); err != nil {
		return nil, err
	}
	for at := headerBytes; at < len(b); {
		body, rest, ok := record(b[at:])
		if !ok {
			if wholeRecordIn(b[at+1:]) {
				return nil, fmt.Errorf("%w: %s at offset %d", ErrDamage, logName, at)
			}
			return v, nil // the torn end of the last write, which was never reported
		}
		var a Assembler
		err := frames(body, func(f *atollpb.ViewFrame) error {
			c, err := a.Add(f)
			if err != nil || c == nil {
				return err
			}
			v, err = v.apply(c)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", logName, err)
		}
		at = len(b) - len(rest)
	}
	return v, nil
}

// wholeRecordIn reports whether a record starts anywhere in b: each is fsynced before the next is
// written, so the one before it was whole once.
func wholeRecordIn(b []byte) bool {
	for i := range b {
		if body, _, ok := record(b[i:]); ok && len(body) > 0 {
			return true
		}
	}
	return false
}

// readFile returns the content of a file, nil if there is none.
func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat %s: %w", name, err)
	}
	b := make([]byte, st.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

// replaceFile writes a file in one step: temp, fsync, rename, fsync the directory. It returns the
// file, still open for appending.
func replaceFile(fsys vfs.FS, dir, name string, write func(io.Writer) error) (_ vfs.File, err error) {
	temp := fsys.PathJoin(dir, name+".tmp")
	f, err := fsys.Create(temp, diskCategory)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", temp, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", name, err), f.Close())
		}
	}()
	if err := write(f); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if err := fsys.Rename(temp, fsys.PathJoin(dir, name)); err != nil {
		return nil, err
	}
	if err := syncDir(fsys, dir); err != nil {
		return nil, err
	}
	return f, nil
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeBase replaces the base by v, and returns its size.
func writeBase(fsys vfs.FS, dir string, v *View) (int64, error) {
	size := int64(headerBytes)
	f, err := replaceFile(fsys, dir, baseName, func(w io.Writer) error {
		if _, err := w.Write(appendHeader(nil, baseMagic)); err != nil {
			return err
		}
		var b []byte
		for frame := range v.Full().Frames() {
			var err error
			b, err = appendRecord(b[:0], func(yield func(*atollpb.ViewFrame) bool) { yield(frame) })
			if err != nil {
				return err
			}
			if _, err := w.Write(b); err != nil {
				return err
			}
			size += int64(len(b))
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return size, f.Close()
}

// newLog replaces the log by an empty one, open for appending.
func newLog(fsys vfs.FS, dir string) (vfs.File, error) {
	return replaceFile(fsys, dir, logName, func(w io.Writer) error {
		_, err := w.Write(appendHeader(nil, logMagic))
		return err
	})
}

// WriteView stores a view in dir, durably, for ReadView there.
func WriteView(fsys vfs.FS, dir string, v *View) error {
	_, err := writeBase(fsys, dir, v)
	return err
}

// ReadView reads the stored view and changes nothing; nil when there is none. Errors are those of OpenViews.
func ReadView(fsys vfs.FS, dir string) (*View, error) {
	v, _, err := load(fsys, dir)
	return v, err
}

// Owns says whether a name in a data node's directory is this package's.
func Owns(name string) bool {
	name = strings.TrimSuffix(name, ".tmp")
	return name == baseName || name == logName
}
