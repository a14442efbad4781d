package replication

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
)

// staging is a snapshot that is being taken: the next generation's directory, not yet current.
type staging struct {
	number   uint64
	header   *atollpb.SnapshotHeader // nil until the first frame
	complete bool                    // every file is whole and fsynced
	store    *store.Store            // open once it is complete
}

const (
	manifestFile   = "snapshot.json"
	fetchSilence   = 30 * time.Second
	manifestFormat = 1
)

// manifest is what a restarted sink knows of a snapshot that it was taking.
type manifest struct {
	Format   int             `json:"format"`
	Header   json.RawMessage `json:"header"`
	Complete bool            `json:"complete"`
	Checksum string          `json:"checksum"` // CRC-32C in hex of the two before
}

func (m *manifest) sum() string {
	return fmt.Sprintf("%08x", replog.Checksum(fmt.Appendf(nil, "%t %s", m.Complete, m.Header)))
}

func (f *follower) stagedDir() string { return f.m.disk.generation(f.staged.number) }

func (f *follower) pebbleDir() string {
	return store.PebbleDir(f.stagedDir(), f.m.cfg.FS.PathJoin)
}

// discard closes a staged store; its files stay, so that the sync goes on later.
func (f *follower) discard() {
	if f.staged != nil && f.staged.store != nil {
		if err := f.staged.store.Close(); err != nil {
			f.m.cfg.Logger.Error("close the staged store", "err", err)
		}
	}
	f.m.update(func(s *Status) { s.Syncing = false })
	if f.staged != nil {
		f.staged.store = nil
	}
}

func (f *follower) removeStaged() error {
	n := f.staged.number
	f.staged = nil
	if err := f.m.disk.remove(n); err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	return nil
}

// resumeStaging picks up a snapshot that an earlier process, or an earlier stream, has not finished.
func (f *follower) resumeStaging() error {
	if f.staged != nil {
		return f.openStaged()
	}
	list, err := f.m.disk.list()
	if err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	for _, n := range list {
		if n <= f.m.number {
			continue
		}
		f.staged = &staging{number: n}
		if err := f.readManifest(); err != nil {
			f.m.cfg.Logger.Warn("starting a full sync anew", "reason", err)
			if err := f.removeStaged(); err != nil {
				return err
			}
			continue
		}
		return f.openStaged()
	}
	return nil
}

// openStaged opens the store of a complete snapshot.
func (f *follower) openStaged() error {
	if !f.staged.complete || f.staged.store != nil {
		return nil
	}
	s, err := store.OpenSnapshot(f.m.cfg.Options(f.stagedDir()))
	if err != nil && noSpace(err) {
		return fmt.Errorf("open the snapshot: %w", err) // its files are good, and wait for room
	}
	if err != nil {
		// A snapshot can be had again: what is wrong with this one ends with it.
		f.m.cfg.Logger.Error("the snapshot can't be opened; taking another", "err", err)
		if gone := f.removeStaged(); gone != nil {
			return gone
		}
		return fmt.Errorf("open the snapshot: %s", err.Error()) // not wrapped: this damage doesn't end the process
	}
	f.staged.store = s
	f.m.update(func(s *Status) { s.Syncing = true })
	return nil
}

func (f *follower) readManifest() error {
	b, err := readFile(f.m.cfg.FS, f.m.cfg.FS.PathJoin(f.stagedDir(), manifestFile))
	if err != nil {
		return err
	}
	f.staged.header, f.staged.complete, err = parseManifest(b)
	return err
}

func parseManifest(b []byte) (h *atollpb.SnapshotHeader, complete bool, err error) {
	var man manifest
	if err := json.Unmarshal(b, &man); err != nil {
		return nil, false, err
	}
	if man.Format != manifestFormat {
		return nil, false, fmt.Errorf("%s has format %d, this program reads format %d", manifestFile, man.Format, manifestFormat)
	}
	if man.Checksum != man.sum() {
		return nil, false, fmt.Errorf("%s is damaged: its checksum doesn't match", manifestFile)
	}
	h = new(atollpb.SnapshotHeader)
	if err := protojson.Unmarshal(man.Header, h); err != nil {
		return nil, false, err
	}
	return h, man.Complete, nil
}

func (f *follower) writeManifest() error {
	raw, err := protojson.Marshal(f.staged.header)
	if err != nil {
		return err
	}
	var compact bytes.Buffer // as it will be in the file
	if err := json.Compact(&compact, raw); err != nil {
		return err
	}
	man := manifest{Format: manifestFormat, Header: compact.Bytes(), Complete: f.staged.complete}
	man.Checksum = man.sum()
	b, err := json.Marshal(man)
	if err != nil {
		return err
	}
	if err := writeFile(f.m.cfg.FS, f.stagedDir(), manifestFile, b); err != nil {
		return spaceOrLocal(err)
	}
	return nil
}

// fetch takes a snapshot, or the rest of one, into the staged directory. It returns errAgain when the
// files are whole, for the stream of entries that follows.
func (f *follower) fetch(ctx context.Context, client atollpb.ReplicationClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if f.staged == nil {
		f.staged = &staging{number: f.m.number + 1}
	}
	if f.m.current.Load() == nil {
		f.m.say(atollpb.NodeState_NODE_STATE_SYNCING, "taking a full sync from "+f.primary)
	}
	f.m.update(func(s *Status) { s.Syncing = true })
	r := &atollpb.SnapshotRequest{ClusterId: f.m.cfg.ClusterID(), NodeId: f.m.cfg.NodeID, ToNodeId: f.primary, WireVersion: rpc.WireVersion}
	if h := f.staged.header; h != nil {
		r.SnapshotId = h.GetSnapshotId()
		for _, file := range h.GetFiles() {
			r.Have = append(r.Have, f.haveBytes(file))
		}
	}
	if v := f.m.cfg.Views.Current(); v != nil {
		r.ViewRevision = v.Revision()
	}
	began := f.m.cfg.Now()
	stream, err := client.Snapshot(ctx, r)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	t := &taking{f: f, have: r.GetHave(), silence: time.AfterFunc(fetchSilence, cancel)}
	defer t.silence.Stop()
	err = t.run(stream)
	err = errors.Join(err, t.finishFiles())
	if err != nil {
		f.m.syncs.broken.Add(1)
		return fmt.Errorf("snapshot: %w", err)
	}
	f.staged.complete = true
	if err := f.writeManifest(); err != nil {
		f.staged.complete = false // it is opened only when a restart will know that it may have been
		return err
	}
	f.m.cfg.Logger.Info("took the files of a snapshot", "snapshot_id", f.staged.header.GetSnapshotId(),
		"bytes", t.received, "resumed_bytes", t.resumed, "took", f.m.cfg.Now().Sub(began))
	return errAgain
}

func (f *follower) haveBytes(file *atollpb.SnapshotFile) uint64 {
	info, err := f.m.cfg.FS.Stat(f.m.cfg.FS.PathJoin(f.pebbleDir(), file.GetName()))
	if err != nil {
		return 0
	}
	return min(uint64(info.Size()), file.GetSize())
}

// taking is one stream of files.
type taking struct {
	f        *follower
	have     []uint64
	views    tenant.Assembler
	crcs     []uint32
	file     vfs.File
	index    int    // of file
	offset   uint64 // bytes of file that are there
	received uint64
	resumed  uint64
	silence  *time.Timer // ends the stream

	syncs   sync.WaitGroup
	syncMu  sync.Mutex
	syncErr error
}

func (t *taking) run(stream grpc.ServerStreamingClient[atollpb.SnapshotFrame]) error {
	for {
		frame, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return fmt.Errorf("%w: it ended without an end", errWire)
			}
			return err
		}
		t.silence.Reset(fetchSilence)
		switch k := frame.GetKind().(type) {
		case *atollpb.SnapshotFrame_Header:
			err = t.begin(k.Header)
		case *atollpb.SnapshotFrame_View:
			switch {
			case seedViewAfterSwap:
				t.f.late = append(t.f.late, k.View)
			case !seedNoViewWait:
				err = t.f.m.installView(&t.views, k.View)
			}
		case *atollpb.SnapshotFrame_Chunk:
			err = t.chunk(k.Chunk)
		case *atollpb.SnapshotFrame_End:
			return t.end(k.End)
		}
		if err != nil {
			return err
		}
	}
}

// begin takes the header. Another snapshot than the one that was being taken starts anew.
func (t *taking) begin(h *atollpb.SnapshotHeader) error {
	f := t.f
	total, err := checkHeader(h)
	switch {
	case err != nil:
		return err
	case t.crcs != nil:
		return fmt.Errorf("%w: a second header", errWire)
	}
	if !sameSnapshot(f.staged.header, h) {
		if err := f.m.disk.remove(f.staged.number); err != nil {
			return fmt.Errorf("%w: %w", errLocal, err)
		}
		if err := f.m.cfg.FS.MkdirAll(f.pebbleDir(), 0o700); err != nil {
			return spaceOrLocal(err)
		}
		if err := syncDir(f.m.cfg.FS, f.m.disk.path(generationsDir)); err != nil {
			return fmt.Errorf("%w: %w", errLocal, err)
		}
		f.m.syncs.started.Add(1)
		f.staged.header, t.have = h, nil
		if err := f.writeManifest(); err != nil {
			return err
		}
	}
	for _, n := range t.have {
		t.resumed += n
	}
	need := total - min(total, t.resumed) + f.m.cfg.Options(f.stagedDir()).ReserveBytes
	if u, err := f.m.cfg.FS.GetDiskUsage(f.m.cfg.Dir); err == nil && u.AvailBytes < need {
		return fmt.Errorf("the disk has %d bytes free, the snapshot needs %d with the reserve", u.AvailBytes, need)
	}
	t.crcs = make([]uint32, len(h.GetFiles()))
	t.index = -1
	return nil
}

// sameSnapshot reports whether two headers are of one snapshot. One of the same id, but of other files, is another.
func sameSnapshot(a, b *atollpb.SnapshotHeader) bool {
	return a != nil && a.GetSnapshotId() == b.GetSnapshotId() &&
		slices.EqualFunc(a.GetFiles(), b.GetFiles(), func(a, b *atollpb.SnapshotFile) bool {
			return a.GetName() == b.GetName() && a.GetSize() == b.GetSize()
		})
}

// checkHeader refuses what is no header of a snapshot, and returns the size of all its files.
func checkHeader(h *atollpb.SnapshotHeader) (total uint64, err error) {
	if h.GetFormat() != snapshotFormat {
		return 0, fmt.Errorf("%w: the snapshot has format %d, this program reads format %d", errWire, h.GetFormat(), snapshotFormat)
	}
	seen := make(map[string]bool, len(h.GetFiles()))
	for _, file := range h.GetFiles() {
		name, size := file.GetName(), file.GetSize()
		if name == "" || strings.ContainsAny(name, "/\\") || name == ".." || name == "." || seen[name] {
			return 0, fmt.Errorf("%w: file name %q", errWire, name)
		}
		seen[name] = true
		if total += size; size > math.MaxInt64 || total > math.MaxInt64 {
			return 0, fmt.Errorf("%w: file %q has %d bytes", errWire, name, size)
		}
	}
	return total, nil
}

func (t *taking) chunk(c *atollpb.FileChunk) error {
	if t.f.staged.header == nil || t.crcs == nil || int(c.GetFile()) >= len(t.crcs) || int(c.GetFile()) < t.index {
		return fmt.Errorf("%w: a chunk of file %d", errWire, c.GetFile())
	}
	if replog.Checksum(c.GetData()) != c.GetCrc() {
		return fmt.Errorf("%w: a chunk's checksum doesn't match", errWire)
	}
	for t.index < int(c.GetFile()) {
		if err := t.next(); err != nil {
			return err
		}
	}
	if c.GetOffset() != t.offset {
		return fmt.Errorf("%w: a chunk at %d of file %d, which has %d bytes", errWire, c.GetOffset(), c.GetFile(), t.offset)
	}
	if size := t.f.staged.header.GetFiles()[t.index].GetSize(); uint64(len(c.GetData())) > size-min(size, t.offset) {
		return fmt.Errorf("%w: a chunk beyond the %d bytes of file %d", errWire, size, c.GetFile())
	}
	if _, err := t.file.WriteAt(c.GetData(), int64(t.offset)); err != nil {
		return fmt.Errorf("write snapshot file: %w", err)
	}
	t.crcs[t.index] = crc32.Update(t.crcs[t.index], castagnoli, c.GetData())
	t.offset += uint64(len(c.GetData()))
	t.received += uint64(len(c.GetData()))
	return nil
}

// checkWhole refuses to leave a file that has not all its bytes.
func (t *taking) checkWhole() error {
	if t.index < 0 {
		return nil
	}
	if file := t.f.staged.header.GetFiles()[t.index]; t.offset != file.GetSize() {
		return fmt.Errorf("%w: file %s ended after %d of %d bytes", errWire, file.GetName(), t.offset, file.GetSize())
	}
	return nil
}

// next closes the file being written, and opens the one after it, with what it has already.
func (t *taking) next() error {
	if err := t.checkWhole(); err != nil {
		return err
	}
	t.closeFile()
	t.index++
	info := t.f.staged.header.GetFiles()[t.index]
	path := t.f.m.cfg.FS.PathJoin(t.f.pebbleDir(), info.GetName())
	have := uint64(0)
	if t.index < len(t.have) {
		have = t.have[t.index]
	}
	var err error
	if have == 0 {
		t.file, err = t.f.m.cfg.FS.Create(path, vfs.WriteCategoryUnspecified)
	} else {
		t.file, err = t.f.m.cfg.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	}
	if err != nil {
		return fmt.Errorf("open snapshot file: %w", err)
	}
	t.offset = 0
	for buf := make([]byte, min(have, chunkMax)); t.offset < have; {
		n, err := t.file.ReadAt(buf[:min(uint64(len(buf)), have-t.offset)], int64(t.offset))
		if n == 0 {
			return fmt.Errorf("read back snapshot file: %w", err)
		}
		t.crcs[t.index] = crc32.Update(t.crcs[t.index], castagnoli, buf[:n])
		t.offset += uint64(n)
		t.silence.Reset(fetchSilence)
	}
	return nil
}

// closeFile fsyncs the file behind, while the stream goes on.
func (t *taking) closeFile() {
	if t.file == nil {
		return
	}
	file := t.file
	t.file = nil
	t.syncs.Go(func() {
		if err := errors.Join(file.Sync(), file.Close()); err != nil {
			t.syncMu.Lock()
			defer t.syncMu.Unlock()
			t.syncErr = errors.Join(t.syncErr, fmt.Errorf("sync snapshot file: %w", err))
		}
	})
}

// end checks every file against the source's checksum.
func (t *taking) end(e *atollpb.SnapshotEnd) error {
	if t.crcs == nil || len(e.GetFileCrcs()) != len(t.crcs) {
		return fmt.Errorf("%w: an end for %d files", errWire, len(e.GetFileCrcs()))
	}
	files := t.f.staged.header.GetFiles()
	for t.index < len(files)-1 {
		if err := t.next(); err != nil {
			return err
		}
	}
	if err := t.checkWhole(); err != nil {
		return err
	}
	for i, file := range files {
		if e.GetFileCrcs()[i] != t.crcs[i] {
			err := fmt.Errorf("%w: file %s differs from the source's", errWire, file.GetName())
			return errors.Join(err, t.f.m.cfg.FS.Remove(t.f.m.cfg.FS.PathJoin(t.f.pebbleDir(), file.GetName())))
		}
	}
	return nil
}

func (t *taking) finishFiles() error {
	t.closeFile()
	t.syncs.Wait()
	if t.syncErr != nil {
		return fmt.Errorf("%w: %w", errLocal, t.syncErr)
	}
	if t.crcs == nil {
		return nil
	}
	if err := syncDir(t.f.m.cfg.FS, t.f.pebbleDir()); err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	return nil
}
