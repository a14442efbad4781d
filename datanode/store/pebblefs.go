package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// bloomPolicy has 10 bits a key: about one read in a hundred of an absent key touches a block.
const bloomPolicy = bloom.FilterPolicy(10)

// logFirstFS fsyncs the log before any of Pebble's files is fsynced: no effect becomes durable in
// Pebble before its entry is in the log. Otherwise a power cut could leave the store ahead of the log,
// and indexes would be used twice.
type logFirstFS struct {
	vfs.FS
	log   atomic.Pointer[replog.Log] // nil while the log of a snapshot is not made yet
	fatal func(error)

	dir      string         // Pebble's; a checkpoint's files are in others
	manifest *manifestNotes // set before Pebble opens
	// pause makes the next file wait for a moment: after a failed flush Pebble tries again at once, and
	// would burn a core while the disk is full.
	pause atomic.Bool
	// hopeless says that what failed will fail again: the pause is then a long one.
	hopeless func() bool
}

const (
	retryPause = 50 * time.Millisecond
	longPause  = 10 * time.Second
)

func (f *logFirstFS) wait() {
	for began := time.Now(); ; {
		time.Sleep(retryPause)
		if !f.hopeless() || time.Since(began) >= longPause {
			return
		}
	}
}

// Create is vfs.FS.
func (f *logFirstFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.pause.Swap(false) {
		f.wait()
	}
	if err := f.beforeMarker(name); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, c)
	if number, ok := manifestNumber(f.PathBase(name)); ok && err == nil && f.PathDir(name) == f.dir {
		return &manifestFile{logFirstFile{file, f}, number, 0}, nil
	}
	return f.wrap(file, err)
}

// Remove is vfs.FS.
func (f *logFirstFS) Remove(name string) error {
	if err := f.beforeMarker(name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// beforeMarker fsyncs the directory before a marker file comes or goes. Pebble makes a MANIFEST and the
// marker that names it, and removes the old marker, before one fsync of their directory: it trusts the
// filesystem to keep that order over a power cut, which POSIX doesn't promise.
func (f *logFirstFS) beforeMarker(name string) error {
	if !strings.HasPrefix(f.PathBase(name), "marker.") || planted == seedMarkerOrder {
		return nil
	}
	dir, err := f.OpenDir(f.PathDir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// OpenDir is vfs.FS. Pebble makes a file known by the fsync of its directory, and would try again when that
// has failed.
func (f *logFirstFS) OpenDir(name string) (vfs.File, error) {
	if planted == seedDirSync {
		return f.FS.OpenDir(name)
	}
	return f.wrap(f.FS.OpenDir(name))
}

// OpenReadWrite is vfs.FS.
func (f *logFirstFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.wrap(f.FS.OpenReadWrite(name, c, opts...))
}

// ReuseForWrite is vfs.FS.
func (f *logFirstFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.ReuseForWrite(oldname, newname, c))
}

// Unwrap is vfs.FS.
func (f *logFirstFS) Unwrap() vfs.FS { return f.FS }

func (f *logFirstFS) wrap(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &logFirstFile{File: file, fs: f}, nil
}

// logFirst ends the process when an fsync fails, since nobody can say then what the disk holds.
func (f *logFirstFS) logFirst(sync func() error) (err error) {
	if l := f.log.Load(); l != nil && planted != seedNoLogFirst {
		if err = l.Sync(); err == nil {
			err = l.NoteSynced()
		}
	}
	if err == nil {
		err = sync()
	}
	if err != nil {
		f.fatal(fmt.Errorf("fsync: %w", err))
	}
	return err
}

// logFirstFile leaves SyncTo alone: it only spreads the writing of an sstable, and rows of an sstable
// are durable once it is named by a MANIFEST, whose fsync comes here.
type logFirstFile struct {
	vfs.File
	fs *logFirstFS
}

// Write is vfs.File. Flushes and compactions write block after block, and let go of the processor after each: runs
// that wait for it would else wait for as long as the scheduler lets a goroutine go on, 10 ms.
func (f *logFirstFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	runtime.Gosched()
	return n, err
}

// Sync is vfs.File.
func (f *logFirstFile) Sync() error { return f.fs.logFirst(f.File.Sync) }

// SyncData is vfs.File.
func (f *logFirstFile) SyncData() error { return f.fs.logFirst(f.File.SyncData) }

// pebbleLogger hands Pebble's words to slog. Pebble says Fatalf where it can't go on.
type pebbleLogger struct {
	log   *slog.Logger
	fatal func(error)
}

// Infof is pebble.Logger.
func (l pebbleLogger) Infof(format string, args ...any) {
	if !l.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	l.log.Debug(fmt.Sprintf(format, args...), "from", "pebble")
}

// Errorf is pebble.Logger.
func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error(fmt.Sprintf(format, args...), "from", "pebble")
}

// Fatalf is pebble.Logger.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.fatal(fmt.Errorf("pebble: "+format, args...))
}

var _ pebble.Logger = pebbleLogger{}
