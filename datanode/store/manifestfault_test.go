package store_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/store/storetest"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const manifestNotes = "data/manifest.synced"

// TestLastManifestRecord: a bit that flips in the last record, which has no other behind it, is damage, and no table
// is removed for it. The log may not reach back.
func TestLastManifestRecord(t *testing.T) {
	fs := vfs.NewMem()
	o := settled(t, fs, 7)
	name := manifest(t, fs)
	good := readFile(t, fs, name)
	bad := bytes.Clone(good)
	bad[len(bad)-3] ^= 1
	writeFile(t, fs, name, bad)
	before := tables(content(t, fs))
	if s, err := store.Open(o); !errors.Is(err, store.ErrDamage) {
		t.Fatalf("it opens: %v, %v", s != nil, err)
	}
	if after := tables(content(t, fs)); len(before) == 0 || !slices.Equal(before, after) {
		t.Errorf("tables %v, before %v", after, before)
	}
	writeFile(t, fs, name, good)
	s := reopenStore(t, o)
	if v, err := readKey(s, 7, 0, "k"); err != nil || len(v.data) != 64<<10 {
		t.Errorf("with the bit put right, the row reads as %d bytes, %v", len(v.data), err)
	}
}

// TestTornManifest: a record beyond the note is a torn tail, also where a key that a tenant chose, and that the
// record has in it, looks like another record behind. What is lost with it is in the log.
func TestTornManifest(t *testing.T) {
	sum := crc32.Checksum([]byte{1}, crc32.MakeTable(crc32.Castagnoli))
	chunk := binary.LittleEndian.AppendUint32(nil, (sum>>15|sum<<17)+0xa282ead8)
	key := "zzz" + string(append(chunk, 0, 0, 1)) + "zzzzzzzzz" // a whole chunk of no bytes
	fs := vfs.NewMem()
	o := settled(t, fs, 7)
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Resume()
	if _, err := s.Flush(t.Context()); err != nil { // the one that Open begins behind
		t.Fatal(err)
	}
	if err := put(s, 7, key, []byte("v")); err != nil {
		t.Fatal(err)
	}
	noted := readFile(t, fs, manifestNotes)
	if _, err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := manifest(t, fs)
	b := readFile(t, fs, name)
	at := bytes.LastIndex(b, []byte(key))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if at < 0 || manifest(t, fs) != name {
		t.Fatal("the key isn't in the manifest")
	}
	writeFile(t, fs, name, b[:at+len(key)+2])
	if s, err := store.Open(o); !errors.Is(err, store.ErrDamage) {
		t.Fatalf("torn below its note it opens: %v, %v", s != nil, err)
	}
	writeFile(t, fs, manifestNotes, noted) // the power went before the record was noted
	s = reopenStore(t, o)
	if v, err := readKey(s, 7, 0, key); err != nil || v.data != "v" {
		t.Errorf("the row reads as %q, %v", v.data, err)
	}
}

// noteFS fails what is done to the MANIFEST's notes: the making or the fsync.
type noteFS struct {
	vfs.FS
	noRoom, noSync atomic.Bool
}

func (f *noteFS) wrap(name string, open func() (vfs.File, error)) (vfs.File, error) {
	if !strings.HasPrefix(name, manifestNotes) {
		return open()
	}
	if f.noRoom.Load() {
		return nil, syscall.ENOSPC
	}
	file, err := open()
	if err != nil {
		return nil, err
	}
	return noteSyncFile{file, f}, nil
}

func (f *noteFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *noteFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.wrap(name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, c, o...) })
}

type noteSyncFile struct {
	vfs.File
	fs *noteFS
}

func (f noteSyncFile) sync(sync func() error) error {
	if f.fs.noSync.Load() {
		return syscall.ENOSPC
	}
	return sync()
}

func (f noteSyncFile) Sync() error     { return f.sync(f.File.Sync) }
func (f noteSyncFile) SyncData() error { return f.sync(f.File.SyncData) }

// TestManifestNoteWithoutRoom: a MANIFEST that can't be noted holds up nothing but the log's retirement.
func TestManifestNoteWithoutRoom(t *testing.T) {
	for _, made := range []bool{false, true} {
		fs := &noteFS{FS: vfs.NewMem()}
		fs.noRoom.Store(!made)
		o := storetest.Options(t, fs, "data")
		o.SegmentBytes, o.RetainBytes = 32<<10, 64<<10
		s := storetest.OpenWith(t, o)
		fs.noRoom.Store(true)
		for range 40 {
			if err := put(s, 7, "k", make([]byte, 8<<10)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(s.SyncLog(), s.StorePosition()); err != nil {
			t.Fatal(err)
		}
		if err := s.RetireLog(t.Context()); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("file there %v: retire: %v", made, err)
		}
		if first := s.Log().State().First; first != 1 {
			t.Errorf("file there %v: the log begins at %d: it was retired for a flush that isn't noted", made, first)
		}
		fs.noRoom.Store(false)
		if err := s.RetireLog(t.Context()); err != nil {
			t.Error(err)
		}
		if first := s.Log().State().First; first == 1 {
			t.Errorf("file there %v: the log isn't retired", made)
		}
	}
}

// TestManifestNoteSyncFails: a failed fsync of the note ends the process.
func TestManifestNoteSyncFails(t *testing.T) {
	fs := &noteFS{FS: vfs.NewMem()}
	o := storetest.Options(t, fs, "data")
	ends := make(chan error, 1)
	o.Fatal = func(err error) {
		select {
		case ends <- err:
		default:
		}
	}
	s, err := store.Create(o, replog.Start{})
	if err == nil {
		err = s.BeginEpoch(1, "history", 0)
	}
	if err == nil {
		err = put(s, 7, "k", []byte("v"))
	}
	if err != nil {
		t.Fatal(err)
	}
	fs.noSync.Store(true)
	go func() { _, _ = s.Flush(t.Context()) }() // it ends with the test's context at the latest
	if err := <-ends; !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "note the manifest") {
		t.Errorf("the process ends with %v", err)
	}
	fs.noSync.Store(false)
	_ = s.Close()
}
