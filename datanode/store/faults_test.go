package store_test

import (
	"fmt"
	"io/fs"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// fault is what goes wrong with one file operation.
type fault int

const (
	broken fault = iota // EIO, at any operation
	full                // ENOSPC, where room is needed
	short               // half of a write is done, then ENOSPC
)

func (h fault) String() string { return [...]string{"EIO", "ENOSPC", "short write"}[h] }

// may says whether the fault can happen to an operation.
func (h fault) may(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt:
		return true
	case errorfs.OpCreate, errorfs.OpLink, errorfs.OpRename, errorfs.OpReuseForWrite, errorfs.OpMkdirAll, errorfs.OpFilePreallocate:
		return h != short
	case errorfs.OpGetDiskUsage:
		return false // memory doesn't know it either
	}
	return h == broken
}

// faults fails the operation number at, counted from 0, of those that the fault can happen to.
type faults struct {
	how   fault
	at    int
	inner vfs.FS

	mu   sync.Mutex
	seen int
	hit  *errorfs.Op // what has failed
	half string      // the file whose next write stops half-way
}

// disk is the filesystem with the faults.
func (f *faults) disk() vfs.FS { return errorfs.Wrap(halfFS{f.inner, f}, f) }

func (f *faults) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := "nothing"
	if f.hit != nil {
		at = fmt.Sprintf("%s (kind %d)", f.hit.Path, f.hit.Kind)
	}
	return fmt.Sprintf("%s at operation %d: %s", f.how, f.at, at)
}

// MaybeError is errorfs.Injector.
func (f *faults) MaybeError(op errorfs.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.how.may(op) {
		return nil
	}
	f.seen++
	if f.seen-1 != f.at {
		return nil
	}
	f.hit = &op
	if f.how == short {
		f.half = op.Path
		return nil
	}
	return f.errorOf(op)
}

func (f *faults) errorOf(op errorfs.Op) error {
	errno := syscall.ENOSPC
	if f.how == broken {
		errno = syscall.EIO
	}
	return &fs.PathError{Op: fmt.Sprintf("operation of kind %d on", op.Kind), Path: op.Path, Err: errno}
}

// failed says whether the fault has happened, and whether to an fsync.
func (f *faults) failed() (yes, fsync bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit != nil, f.hit != nil && (f.hit.Kind == errorfs.OpFileSync || f.hit.Kind == errorfs.OpFileSyncData)
}

// stops says whether this write of a file is the one that stops half-way.
func (f *faults) stops(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.half != name || name == "" {
		return false
	}
	f.half = ""
	return true
}

// halfFS does what errorfs can't: a part of a write.
type halfFS struct {
	vfs.FS
	f *faults
}

func (h halfFS) wrap(name string, file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return halfFile{file, name, h.f}, nil
}

func (h halfFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := h.FS.Create(name, c)
	return h.wrap(name, file, err)
}

func (h halfFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := h.FS.OpenReadWrite(name, c, o...)
	return h.wrap(name, file, err)
}

type halfFile struct {
	vfs.File
	name string
	f    *faults
}

func (h halfFile) Write(b []byte) (int, error) {
	if !h.f.stops(h.name) {
		return h.File.Write(b)
	}
	n, err := h.File.Write(b[:len(b)/2])
	if err == nil {
		err = syscall.ENOSPC
	}
	return n, err
}

func (h halfFile) WriteAt(b []byte, at int64) (int, error) {
	if !h.f.stops(h.name) {
		return h.File.WriteAt(b, at)
	}
	n, err := h.File.WriteAt(b[:len(b)/2], at)
	if err == nil {
		err = syscall.ENOSPC
	}
	return n, err
}
