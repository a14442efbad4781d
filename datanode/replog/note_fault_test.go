package replog

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestNoteAfterCut: one slot is of before the cut, at a higher offset of an older segment.
func TestNoteAfterCut(t *testing.T) {
	fs := vfs.NewMem()
	l := noted(t, fs, 20)
	must(t, l.Cut(5))
	appendN(t, l, 1, 100)
	must(t, l.Sync())
	must(t, l.NoteSynced())
	must(t, l.Close())
	l, err := Open(testOptions(fs))
	must(t, err)
	if st := l.State(); st.Last != 6 {
		t.Errorf("the last entry is %d", st.Last)
	}
	must(t, l.Close())
	// The note of after the cut is the one that counts.
	newest := l.segs[len(l.segs)-1].path
	if _, err := reopenWith(t, fs, fs.PathBase(newest), func(b []byte) []byte { return flip(len(b) - 2)(b) }); !errors.Is(err, ErrDamaged) {
		t.Errorf("a flip in an entry noted after the cut: %v", err)
	}
}

// oddFS can open no directory, or fails the fsync of notes, while told to.
type oddFS struct {
	vfs.FS
	noDir   bool
	syncErr error
}

func (f *oddFS) OpenDir(name string) (vfs.File, error) {
	if f.noDir {
		return nil, syscall.EMFILE
	}
	return f.FS.OpenDir(name)
}

func (f *oddFS) wrap(name string, file vfs.File, err error) (vfs.File, error) {
	if err == nil && strings.Contains(name, noteFile) {
		file = oddFile{file, f}
	}
	return file, err
}

func (f *oddFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return f.wrap(name, file, err)
}

func (f *oddFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	return f.wrap(name, file, err)
}

type oddFile struct {
	vfs.File
	fs *oddFS
}

func (f oddFile) Sync() error     { return errors.Join(f.fs.syncErr, f.File.Sync()) }
func (f oddFile) SyncData() error { return errors.Join(f.fs.syncErr, f.File.SyncData()) }

func oddLog(t *testing.T) (*oddFS, *Log) {
	t.Helper()
	mem := vfs.NewMem()
	makeDir(t, mem)
	f := &oddFS{FS: mem}
	o := testOptions(f)
	o.SegmentBytes, o.RetainBytes = 1000, 1000
	l, err := Create(o, Start{History: "h"})
	must(t, err)
	appendN(t, l, 40, 100)
	must(t, l.Sync())
	return f, l
}

// TestNoDirectory: a directory that can't be opened is no failed fsync. What was to be done is done later.
func TestNoDirectory(t *testing.T) {
	f, l := oddLog(t)
	f.noDir = true
	must(t, l.NoteSynced())
	if l.noted.offset != 0 {
		t.Error("noted without an fsync of the directory")
	}
	if err := l.Retire(30); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("retire: %v", err)
	}
	f.noDir = false
	must(t, l.Sync())
	must(t, l.Append(record(41, 1, "", nil)))
	must(t, l.NoteSynced())
	if l.noted.offset != l.State().SyncedOffset {
		t.Error("not noted")
	}
	if !l.Droppable(0) {
		t.Error("the segment whose removal isn't durable is forgotten")
	}
	must(t, l.Retire(30))
	if l.Droppable(30) {
		t.Error("not everything was dropped")
	}
	must(t, l.Close())
}

// TestNoteSyncFails: a failed fsync of the note is final, also one that says that there is no room, of its file's
// making and of the next note.
func TestNoteSyncFails(t *testing.T) {
	for _, first := range []bool{true, false} {
		f, l := oddLog(t)
		if !first {
			must(t, l.NoteSynced())
			must(t, l.Append(record(41, 1, "", nil)))
			must(t, l.Sync())
		}
		f.syncErr = syscall.ENOSPC
		if err := l.NoteSynced(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("first %v: the note ends with %v", first, err)
		}
		f.syncErr = nil
		if err := l.Sync(); err == nil {
			t.Errorf("first %v: the log goes on", first)
		}
		_ = l.Close()
	}
}
