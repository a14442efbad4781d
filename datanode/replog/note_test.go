package replog

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// noted returns a log of one segment whose n entries are fsynced, by a note alone: no record knows.
func noted(t *testing.T, fs *vfs.MemFS, n int) *Log {
	t.Helper()
	l := newTestLog(t, fs)
	appendN(t, l, n, 100)
	must(t, l.Sync())
	must(t, l.NoteSynced())
	return l
}

// TestNoteTellsDamage: what breaks below the note is damage, and behind it a torn tail.
func TestNoteTellsDamage(t *testing.T) {
	for _, c := range []struct {
		name   string
		file   string
		change func([]byte) []byte
		want   error
		last   uint64
	}{
		{"nothing", segmentName(1), bytes.Clone, nil, 4},
		{"a flip in the last noted entry", segmentName(1), func(b []byte) []byte { return flip(len(b) - 300)(b) }, ErrDamaged, 0},
		{"a cut in it", segmentName(1), func(b []byte) []byte { return b[:len(b)-300] }, ErrDamaged, 0},
		{"a flip behind it", segmentName(1), func(b []byte) []byte { return flip(len(b) - 2)(b) }, nil, 3},
		{"a torn slot", noteFile, flip(20), nil, 4},
		{"the other slot", noteFile, flip(noteSector + 20), nil, 4},
		{"both", noteFile, func(b []byte) []byte { return flip(20)(flip(noteSector + 20)(b)) }, ErrDamaged, 0},
		{"another version", noteFile, func(b []byte) []byte { b[8] = 2; return b }, ErrFormat, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			l := noted(t, fs, 3)
			appendN(t, l, 1, 100) // nobody knows that it is fsynced
			must(t, l.Close())
			l, err := reopenWith(t, fs, c.file, c.change)
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Fatalf("it opens with %v, want %v", err, c.want)
			}
			if err != nil {
				return
			}
			if st := l.State(); st.Last != c.last {
				t.Errorf("the last entry is %d, want %d", st.Last, c.last)
			}
			must(t, l.Close())
		})
	}
}

// TestNoteOutlivesNoCut: after a cut the offsets are given again, and the note says nothing about them.
func TestNoteOutlivesNoCut(t *testing.T) {
	fs := vfs.NewMem()
	l := noted(t, fs, 5)
	must(t, l.Cut(2))
	must(t, l.Close())
	l, err := Open(testOptions(fs))
	must(t, err)
	if st := l.State(); st.Last != 2 {
		t.Errorf("the last entry is %d", st.Last)
	}
	appendN(t, l, 1, 10)
	must(t, l.Sync())
	must(t, l.NoteSynced())
	must(t, l.Close())
	l, err = Open(testOptions(fs))
	must(t, err)
	must(t, l.Close())
}

// TestLostSegment: a last segment that is gone is missed if the note knows of it.
func TestLostSegment(t *testing.T) {
	fs := vfs.NewMem()
	l := noted(t, fs, 40)
	last := l.segs[len(l.segs)-1].path
	if len(l.segs) < 2 {
		t.Fatal("one segment")
	}
	must(t, l.Close())
	must(t, fs.Remove(last))
	if l, err := Open(testOptions(fs)); !errors.Is(err, ErrDamaged) {
		t.Errorf("it opens: %v, %v", l, err)
	}
}

// fullFS has too many open files, and no room for what is written to notes.
type fullFS struct {
	vfs.FS
	full *bool
}

func (f fullFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if *f.full {
		return nil, syscall.EMFILE
	}
	return f.FS.Create(name, c)
}

func (f fullFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	if err == nil && strings.HasSuffix(name, noteFile) {
		file = fullFile{file, f.full}
	}
	return file, err
}

type fullFile struct {
	vfs.File
	full *bool
}

func (f fullFile) WriteAt(b []byte, at int64) (int, error) {
	if *f.full {
		return 0, syscall.ENOSPC
	}
	return f.File.WriteAt(b, at)
}

// TestNoteOnFullDisk: a note that finds no room is made later, and the log goes on.
func TestNoteOnFullDisk(t *testing.T) {
	full := true
	mem := vfs.NewMem()
	makeDir(t, mem)
	o := testOptions(fullFS{mem, &full})
	full = false
	l, err := Create(o, Start{History: "h"})
	must(t, err)
	for range 2 { // the first note makes the file
		appendN(t, l, 2, 10)
		must(t, l.Sync())
		full = true
		must(t, l.NoteSynced())
		if l.noted.offset == l.State().SyncedOffset {
			t.Error("noted without room")
		}
		full = false
		must(t, l.NoteSynced())
		if l.noted.offset != l.State().SyncedOffset {
			t.Error("not noted with room")
		}
	}
	must(t, l.Close())
}

// TestNoteOfUnsyncedSegment: a segment that no fsync has covered may be lost in a power cut, and its number given
// again by a cut. A note that was made meanwhile must not be about the new one.
func TestNoteOfUnsyncedSegment(t *testing.T) {
	fs := vfs.NewCrashableMem()
	l := newTestLog(t, fs)
	appendN(t, l, 5, 100)
	must(t, l.Sync())
	l.opts.SegmentBytes = 1
	appendN(t, l, 1, 10) // rolls
	must(t, l.NoteSynced())
	fs = fs.CrashClone(vfs.CrashCloneCfg{})
	must(t, l.Close())
	l, err := Open(testOptions(fs))
	must(t, err)
	must(t, l.Cut(2))
	fs = fs.CrashClone(vfs.CrashCloneCfg{})
	must(t, l.Close())
	l, err = Open(testOptions(fs))
	must(t, err)
	if st := l.State(); st.Last != 2 {
		t.Errorf("the last entry is %d", st.Last)
	}
	must(t, l.Close())
}

// TestLostCut: what a cut dropped is still in the file before it, and reaches further than the noted offset. It must
// not come back when the segment that overrides it is lost or broken.
func TestLostCut(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(t *testing.T, fs *vfs.MemFS, path string)
		more bool // whether entries follow the cut
		roll bool // whether another segment stands behind
	}{
		{"lost", removeFile, true, false},
		{"lost at once", removeFile, false, false},
		{"broken", breakHeader, true, false},
		{"broken at once", breakHeader, false, false},
		{"broken before another", breakHeader, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			l := noted(t, fs, 5)
			must(t, l.Cut(2))
			if c.more {
				appendN(t, l, 1, 10)
				must(t, l.Sync())
				must(t, l.NoteSynced())
			}
			path := l.current.path
			if c.roll {
				l.opts.SegmentBytes = 1
				appendN(t, l, 1, 10)
			}
			must(t, l.Close())
			c.harm(t, fs, path)
			if l, err := Open(testOptions(fs)); !errors.Is(err, ErrDamaged) {
				t.Errorf("it opens: %v", err)
				if err == nil {
					t.Errorf("with %+v", l.State())
				}
			}
		})
	}
}

func removeFile(t *testing.T, fs *vfs.MemFS, path string) {
	t.Helper()
	must(t, fs.Remove(path))
}

func breakHeader(t *testing.T, fs *vfs.MemFS, path string) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = f.WriteAt([]byte{0xff}, 30)
	must(t, errors.Join(err, f.Close()))
}
