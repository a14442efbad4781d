package replication

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A node's data directory holds generations/<n>, each a whole store, and CURRENT, which names the one
// being served. A sync stages its files in the next number and makes it current by one rename.
const (
	generationsDir = "generations"
	checkpointsDir = "checkpoints"
	currentFile    = "CURRENT"
)

type disk struct {
	fs  vfs.FS
	dir string
}

func (d disk) path(elem ...string) string {
	return d.fs.PathJoin(append([]string{d.dir}, elem...)...)
}

func (d disk) generation(n uint64) string { return d.path(generationsDir, strconv.FormatUint(n, 10)) }

// prepare makes the directories, and removes what an earlier process left for its sinks.
func (d disk) prepare() error {
	if err := d.fs.RemoveAll(d.path(checkpointsDir)); err != nil {
		return err
	}
	for _, sub := range [...]string{generationsDir, checkpointsDir} {
		if err := d.fs.MkdirAll(d.path(sub), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// current returns the number of the generation being served, 0 if there is none.
func (d disk) current() (uint64, error) {
	b, err := readFile(d.fs, d.path(currentFile))
	if isNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", currentFile, err)
	}
	return parseCurrent(b)
}

// CURRENT is one line: a name, the format, the generation's number, and the CRC-32C of the line up to there
// in hex. A bit that flips in a number would name another generation.
const (
	currentName   = "atoll-current"
	currentFormat = 1
)

func appendCurrent(b []byte, n uint64) []byte {
	b = fmt.Appendf(b, "%s %d %d", currentName, currentFormat, n)
	return fmt.Appendf(b, " %08x\n", replog.Checksum(b))
}

func parseCurrent(b []byte) (uint64, error) {
	fields := strings.Fields(string(b))
	if len(fields) < 2 || fields[0] != currentName {
		return 0, fmt.Errorf("%w: %s holds %q", store.ErrDamage, currentFile, b)
	}
	// Before the checksum, which another format may keep elsewhere.
	if format := fields[1]; format != strconv.Itoa(currentFormat) {
		return 0, fmt.Errorf("%w: %s has format %s, this program reads format %d", store.ErrFormat, currentFile, format, currentFormat)
	}
	if len(fields) < 3 {
		return 0, fmt.Errorf("%w: %s holds %q", store.ErrDamage, currentFile, b)
	}
	n, err := strconv.ParseUint(fields[2], 10, 64)
	if err != nil || n == 0 || !bytes.Equal(b, appendCurrent(nil, n)) {
		return 0, fmt.Errorf("%w: %s holds %q", store.ErrDamage, currentFile, b)
	}
	return n, nil
}

// makeCurrent points CURRENT at a generation, durably.
func (d disk) makeCurrent(n uint64) error {
	return writeFile(d.fs, d.dir, currentFile, appendCurrent(nil, n))
}

// list returns the numbers of the generations on disk, ascending.
func (d disk) list() ([]uint64, error) {
	names, err := d.fs.List(d.path(generationsDir))
	if err != nil {
		return nil, err
	}
	var list []uint64
	for _, name := range names {
		if n, err := strconv.ParseUint(name, 10, 64); err == nil {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list, nil
}

func (d disk) remove(n uint64) error { return d.fs.RemoveAll(d.generation(n)) }

// writeFile replaces a small file durably: temp, fsync, rename, fsync of the directory.
func writeFile(fs vfs.FS, dir, name string, data []byte) error {
	path := fs.PathJoin(dir, name)
	f, err := fs.Create(path+".tmp", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fs.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return syncDir(fs, dir)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

func readFile(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

func isNotExist(err error) bool { return errors.Is(err, oserror.ErrNotExist) }
