package replication

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// wire gives the frames of an input, each behind its length in two bytes.
type wire struct {
	grpc.ClientStream
	b []byte
}

func (w *wire) Recv() (*atollpb.SnapshotFrame, error) {
	if len(w.b) < 2 {
		return nil, io.EOF
	}
	n := min(int(w.b[0])<<8|int(w.b[1]), len(w.b)-2)
	fr := new(atollpb.SnapshotFrame)
	err := proto.Unmarshal(w.b[2:2+n], fr)
	w.b = w.b[2+n:]
	return fr, err
}

func framesOf(f *testing.F, frames ...*atollpb.SnapshotFrame) (b []byte) {
	for _, fr := range frames {
		raw, err := proto.Marshal(fr)
		if err != nil {
			f.Fatal(err)
		}
		b = append(append(b, byte(len(raw)>>8), byte(len(raw))), raw...)
	}
	return b
}

func header(id string, files ...*atollpb.SnapshotFile) *atollpb.SnapshotFrame {
	return &atollpb.SnapshotFrame{Kind: &atollpb.SnapshotFrame_Header{Header: &atollpb.SnapshotHeader{SnapshotId: id, Format: snapshotFormat, Files: files}}}
}

func chunk(file uint32, offset uint64, data string) *atollpb.SnapshotFrame {
	return &atollpb.SnapshotFrame{Kind: &atollpb.SnapshotFrame_Chunk{Chunk: &atollpb.FileChunk{
		File: file, Offset: offset, Data: []byte(data), Crc: replog.Checksum([]byte(data)),
	}}}
}

func endOf(crcs ...uint32) *atollpb.SnapshotFrame {
	return &atollpb.SnapshotFrame{Kind: &atollpb.SnapshotFrame_End{End: &atollpb.SnapshotEnd{FileCrcs: crcs}}}
}

// FuzzSnapshotFrames takes a snapshot from a source that sends anything: files are written where a snapshot's are, each
// within the size that it was announced with, and a whole one has exactly that.
func FuzzSnapshotFrames(f *testing.F) {
	a, b := &atollpb.SnapshotFile{Name: "000001.sst", Size: 10}, &atollpb.SnapshotFile{Name: "MANIFEST-000001", Size: 3}
	ab := replog.Checksum([]byte("0123456789"))
	f.Add(framesOf(f, header("s", a, b), chunk(0, 0, "01234"), chunk(0, 5, "56789"), chunk(1, 0, "abc"), endOf(ab, replog.Checksum([]byte("abc")))), uint8(0))
	f.Add(framesOf(f, header("s", a), chunk(0, 0, "0123456789abcdef")), uint8(0))
	f.Add(framesOf(f, header("s", a), chunk(0, 4, "456789"), endOf(ab)), uint8(4))
	f.Add(framesOf(f, header("s", a), chunk(0, 0, "01234"), endOf(replog.Checksum([]byte("01234")))), uint8(0))
	f.Add(framesOf(f, header("s", a, a), chunk(1, 0, "x"), header("t", b), chunk(0, 0, "abc"), endOf(0)), uint8(0))
	f.Add(framesOf(f, chunk(0, 0, "x")), uint8(0))
	f.Add(framesOf(f, header("s", &atollpb.SnapshotFile{Name: "../x", Size: 1 << 63}, &atollpb.SnapshotFile{Name: "y", Size: 1 << 63})), uint8(0))
	f.Add(framesOf(f, &atollpb.SnapshotFrame{Kind: &atollpb.SnapshotFrame_View{View: &atollpb.ViewFrame{Full: true, Last: true, Revision: 3}}}, endOf()), uint8(0))
	f.Fuzz(func(t *testing.T, input []byte, have uint8) {
		fs := vfs.NewMem()
		views, err := tenant.OpenViews(fs, "")
		if err != nil {
			t.Fatal(err)
		}
		defer views.Close()
		m := NewMember(Config{
			FS: fs, Dir: "dir", Views: views, Options: func(dir string) store.Options { return store.Options{Dir: dir} },
			Logger: slog.New(slog.DiscardHandler), Now: time.Now,
		})
		if err := fs.MkdirAll(m.disk.path(generationsDir), 0o700); err != nil {
			t.Fatal(err)
		}
		fo := &follower{m: m, staged: &staging{number: 1}}
		tk := &taking{f: fo, silence: time.NewTimer(time.Hour)}
		defer tk.silence.Stop()
		if have > 0 { // the rest of a snapshot that was begun
			if err := tk.begin(header("s", &atollpb.SnapshotFile{Name: "000001.sst", Size: uint64(have)}).GetHeader()); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(tk.chunk(chunk(0, 0, strings.Repeat("x", int(have))).GetChunk()), tk.finishFiles()); err != nil {
				t.Fatal(err)
			}
			tk = &taking{f: fo, silence: tk.silence, have: []uint64{uint64(have)}}
		}
		err = errors.Join(tk.run(&wire{b: input}), tk.finishFiles())
		checkFiles(t, fo, err == nil)
	})
}

// checkFiles looks at what is on the disk after a snapshot was taken, or broke off.
func checkFiles(t *testing.T, f *follower, whole bool) {
	t.Helper()
	fs, sizes := f.m.cfg.FS, map[string]uint64{}
	for _, file := range f.staged.header.GetFiles() {
		sizes[file.GetName()] = file.GetSize()
	}
	names, err := fs.List(f.pebbleDir())
	if err != nil && f.staged.header != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		info, err := fs.Stat(fs.PathJoin(f.pebbleDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		announced, ok := sizes[name]
		if !ok || uint64(info.Size()) > announced || (whole && uint64(info.Size()) != announced) {
			t.Errorf("%s has %d bytes, it was announced with %d (%v), whole %v", name, info.Size(), announced, ok, whole)
		}
		delete(sizes, name)
	}
	if whole && len(sizes) > 0 {
		t.Errorf("a whole snapshot lacks %v", sizes)
	}
	above, err := fs.List("dir")
	if err != nil || len(above) != 1 {
		t.Errorf("beside the generations there are %v, %v", above, err)
	}
}
