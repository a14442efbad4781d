package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// blockTrailer is behind each block of an sstable: the compression (1) and a checksum (4).
const blockTrailer = 5

// checkTable reads every block of an sstable and hands those that are broken to say. An error is one of
// opening the file, or of finding its blocks.
func checkTable(ctx context.Context, fs vfs.FS, path string, say func(replog.Finding)) (err error) {
	r, readable, err := openTable(ctx, fs, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	l, err := r.Layout()
	if err != nil {
		return err
	}
	kinds := []struct {
		what string
		list []block.Handle
	}{
		{"index block", append(append([]block.Handle(nil), l.Index...), l.TopIndex)},
		{"block of range deletes", []block.Handle{l.RangeDel}}, {"block of range keys", []block.Handle{l.RangeKey}},
		{"value block", l.ValueBlock}, {"value index", []block.Handle{l.ValueIndex}},
		{"properties", []block.Handle{l.Properties}}, {"meta index", []block.Handle{l.MetaIndex}},
		{"blob references", []block.Handle{l.BlobReferenceIndex}}, {"data block", nil}, {"filter block", nil},
	}
	for _, d := range l.Data {
		kinds[len(kinds)-2].list = append(kinds[len(kinds)-2].list, d.Handle)
	}
	for _, d := range l.Filter {
		kinds[len(kinds)-1].list = append(kinds[len(kinds)-1].list, d.Handle)
	}
	var buf []byte
	for _, k := range kinds {
		for _, h := range k.list {
			if h.Length == 0 {
				continue
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if size := int(h.Length) + blockTrailer; cap(buf) < size {
				buf = make([]byte, size)
			}
			b := buf[:h.Length+blockTrailer]
			if err := readable.ReadAt(ctx, b, int64(h.Offset)); err != nil {
				say(replog.Finding{File: path, Offset: int64(h.Offset), What: fmt.Sprintf("%s: %v", k.what, err)})
			} else if err := block.ValidateChecksum(block.ChecksumTypeCRC32c, b, h); err != nil {
				say(replog.Finding{File: path, Offset: int64(h.Offset), What: fmt.Sprintf("%s: %v", k.what, err)})
			}
		}
	}
	return nil
}

func openTable(ctx context.Context, fs vfs.FS, path string) (*sstable.Reader, objstorage.Readable, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, nil, err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	o := &pebble.Options{Comparer: comparer()}
	o.EnsureDefaults()
	r, err := sstable.NewReader(ctx, readable, o.MakeReaderOptions())
	if err != nil {
		return nil, nil, errors.Join(err, readable.Close())
	}
	return r, readable, nil
}

func tableName(t pebble.SSTableInfo) string { return fmt.Sprintf("%s.sst", t.BackingSSTNum) }

// isPebbles says whether a name is one that Pebble gives its files.
func isPebbles(name string) bool {
	for _, prefix := range [...]string{"MANIFEST-", "OPTIONS-", "marker.", "temporary."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	number, kind, _ := strings.Cut(name, ".")
	if name == "LOCK" || strings.Trim(number, "0123456789") == "" && number != "" {
		return name == "LOCK" || kind == "sst" || kind == "blob" || kind == "log" || kind == "dbtmp"
	}
	return false
}
