package store

import (
	"fmt"
	"log/slog"
	"sync/atomic"

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
	log atomic.Pointer[replog.Log] // nil while the log of a snapshot is not made yet
}

// Create is vfs.FS.
func (f *logFirstFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.Create(name, c))
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

func (f *logFirstFS) syncLog() error {
	if l := f.log.Load(); l != nil {
		return l.Sync()
	}
	return nil
}

type logFirstFile struct {
	vfs.File
	fs *logFirstFS
}

// Sync is vfs.File.
func (f *logFirstFile) Sync() error {
	if err := f.fs.syncLog(); err != nil {
		return err
	}
	return f.File.Sync()
}

// SyncData is vfs.File.
func (f *logFirstFile) SyncData() error {
	if err := f.fs.syncLog(); err != nil {
		return err
	}
	return f.File.SyncData()
}

// SyncTo is vfs.File.
func (f *logFirstFile) SyncTo(length int64) (bool, error) {
	if err := f.fs.syncLog(); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}

// pebbleLogger hands Pebble's words to slog. Pebble says Fatalf where it can't go on.
type pebbleLogger struct {
	log   *slog.Logger
	fatal func(error)
}

// Infof is pebble.Logger.
func (l pebbleLogger) Infof(format string, args ...any) {
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
