package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// overlayFS shows a filesystem with changes that it keeps in memory: recovery runs as it would at a start,
// and the disk stays as it is. Files of the disk can be read and removed, not written, renamed or linked.
// What is asked of it is what opening a log and Pebble without compactions asks.
type overlayFS struct {
	vfs.FS // the disk
	mem    *vfs.MemFS
	mu     sync.Mutex
	gone   map[string]bool // removed files of the disk
}

func newOverlay(fs vfs.FS) *overlayFS {
	return &overlayFS{FS: fs, mem: vfs.NewMem(), gone: make(map[string]bool)}
}

var errOverlay = errors.New("a check must not change the disk")

// changed says that a file is in memory; hidden, that it isn't to be looked for on the disk.
func (o *overlayFS) changed(name string) (changed, hidden bool) {
	info, err := o.mem.Stat(name)
	o.mu.Lock()
	defer o.mu.Unlock()
	return err == nil && !info.IsDir(), o.gone[name]
}

func (o *overlayFS) hide(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone[name] = true
}

// Create is vfs.FS.
func (o *overlayFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := o.mem.MkdirAll(o.PathDir(name), 0o700); err != nil {
		return nil, err
	}
	return o.mem.Create(name, c)
}

// Open is vfs.FS.
func (o *overlayFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	changed, hidden := o.changed(name)
	switch {
	case changed:
		return o.mem.Open(name, opts...)
	case hidden:
		return nil, &os.PathError{Op: "open", Path: name, Err: oserror.ErrNotExist}
	}
	f, err := o.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return frozenFile{f}, nil
}

// OpenReadWrite is vfs.FS.
func (o *overlayFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if changed, _ := o.changed(name); changed {
		return o.mem.OpenReadWrite(name, c, opts...)
	}
	f, err := o.Open(name, opts...)
	if oserror.IsNotExist(err) {
		return o.Create(name, c)
	}
	return f, err
}

// OpenDir is vfs.FS.
func (o *overlayFS) OpenDir(name string) (vfs.File, error) {
	if err := o.mem.MkdirAll(name, 0o700); err != nil {
		return nil, err
	}
	return o.mem.OpenDir(name)
}

// Remove is vfs.FS.
func (o *overlayFS) Remove(name string) error {
	changed, hidden := o.changed(name)
	_, err := o.FS.Stat(name)
	there := err == nil && !hidden
	if !changed && !there {
		return &os.PathError{Op: "remove", Path: name, Err: oserror.ErrNotExist}
	}
	o.hide(name)
	if changed {
		return o.mem.Remove(name)
	}
	return nil
}

// Rename is vfs.FS.
func (o *overlayFS) Rename(oldname, newname string) error {
	if changed, _ := o.changed(oldname); !changed {
		return fmt.Errorf("rename %s: %w", oldname, errOverlay)
	}
	o.hide(oldname)
	return o.mem.Rename(oldname, newname)
}

// RemoveAll is vfs.FS.
func (o *overlayFS) RemoveAll(name string) error {
	return fmt.Errorf("remove %s: %w", name, errOverlay)
}

// Link is vfs.FS.
func (o *overlayFS) Link(oldname, _ string) error {
	return fmt.Errorf("link %s: %w", oldname, errOverlay)
}

// ReuseForWrite is vfs.FS.
func (o *overlayFS) ReuseForWrite(oldname, _ string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, fmt.Errorf("reuse %s: %w", oldname, errOverlay)
}

// MkdirAll is vfs.FS.
func (o *overlayFS) MkdirAll(dir string, perm os.FileMode) error { return o.mem.MkdirAll(dir, perm) }

// Lock is vfs.FS. Who checks a data directory holds the lock of the whole of it.
func (o *overlayFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// List is vfs.FS.
func (o *overlayFS) List(dir string) ([]string, error) {
	names, err := o.FS.List(dir)
	if err != nil && !oserror.IsNotExist(err) {
		return nil, err
	}
	fresh, errMem := o.mem.List(dir)
	if err != nil && errMem != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	var list []string
	for _, n := range names {
		if changed, hidden := o.changed(o.PathJoin(dir, n)); !changed && !hidden {
			list, seen[n] = append(list, n), true
		}
	}
	for _, n := range fresh {
		if !seen[n] {
			list = append(list, n)
		}
	}
	return list, nil
}

// Stat is vfs.FS.
func (o *overlayFS) Stat(name string) (vfs.FileInfo, error) {
	changed, hidden := o.changed(name)
	switch {
	case changed:
		return o.mem.Stat(name)
	case hidden:
		return nil, &os.PathError{Op: "stat", Path: name, Err: oserror.ErrNotExist}
	}
	return o.FS.Stat(name)
}

// Unwrap is vfs.FS: nothing may reach the disk past the overlay.
func (o *overlayFS) Unwrap() vfs.FS { return nil }

// frozenFile is a file of the disk: reading it is all that can be done. What an earlier process has left to
// the kernel need not be fsynced to be read.
type frozenFile struct{ vfs.File }

// Write is vfs.File.
func (frozenFile) Write([]byte) (int, error) { return 0, errOverlay }

// WriteAt is vfs.File.
func (frozenFile) WriteAt([]byte, int64) (int, error) { return 0, errOverlay }

// Preallocate is vfs.File.
func (frozenFile) Preallocate(int64, int64) error { return errOverlay }

// Sync is vfs.File.
func (frozenFile) Sync() error { return nil }

// SyncTo is vfs.File.
func (frozenFile) SyncTo(int64) (bool, error) { return false, nil }

// SyncData is vfs.File.
func (frozenFile) SyncData() error { return nil }
