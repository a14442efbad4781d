package replication

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// checkpoint is a frozen copy of the store that sinks are taking. Several share one; it goes when none
// has read it for a while, and with it the pin on the log.
type checkpoint struct {
	header *atollpb.SnapshotHeader
	dir    string
	pin    *replog.Pin
	store  *store.Store
	made   time.Time
	once   sync.Once

	// Guarded by source.mu.
	readers int
	idle    time.Time // since when nobody reads
}

const (
	shareFor         = 5 * time.Second // a sink that comes so soon takes the same checkpoint
	checkpointMaxAge = 24 * time.Hour  // then the pin on the log ends, whoever reads; its size is bounded always
	quietMax         = 64 << 20        // bytes of what the sink has that are read between two frames
	snapshotFormat   = 1
)

func (c *checkpoint) drop(m *Member) {
	c.once.Do(func() {
		c.pin.Release()
		if err := m.cfg.FS.RemoveAll(c.dir); err != nil {
			m.cfg.Logger.Error("remove checkpoint", "dir", c.dir, "err", err)
		}
	})
}

// janitor drops checkpoints that nobody comes back for.
func (o *source) janitor(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := o.m.cfg.Now()
		var list []*checkpoint
		o.mu.Lock()
		for id, c := range o.checkpoints {
			if (c.readers == 0 && now.Sub(c.idle) > o.m.cfg.SnapshotIdle) || now.Sub(c.made) > checkpointMaxAge {
				list = append(list, c)
				delete(o.checkpoints, id)
			}
		}
		o.mu.Unlock()
		for _, c := range list {
			c.drop(o.m)
		}
	}
}

// open returns the checkpoint of that id, or one that may be shared, or a new one.
func (o *source) open(ctx context.Context, s *store.Store, id string) (*checkpoint, error) {
	if c := o.share(s, id); c != nil {
		return c, nil
	}
	select { // one is made at a time, for all that wait for it
	case o.making <- struct{}{}:
		defer func() { <-o.making }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c := o.share(s, id); c != nil {
		return c, nil
	}
	c, err := o.m.makeCheckpoint(ctx, s)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	closed := o.closed
	if !closed {
		o.checkpoints[c.header.GetSnapshotId()] = c
		c.readers++
	}
	o.mu.Unlock()
	if closed {
		c.drop(o.m)
		return nil, status.Error(codes.Unavailable, "this node is shutting down")
	}
	return c, nil
}

// share takes part in a checkpoint that there is, or returns nil.
func (o *source) share(s *store.Store, id string) *checkpoint {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.checkpoints[id]
	if c == nil {
		for _, other := range o.checkpoints {
			if o.m.cfg.Now().Sub(other.made) < shareFor {
				c = other
			}
		}
	}
	if c == nil || c.store != s {
		return nil
	}
	c.readers++
	return c
}

func (o *source) release(c *checkpoint) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c.readers--
	c.idle = o.m.cfg.Now()
}

func (m *Member) makeCheckpoint(ctx context.Context, s *store.Store) (*checkpoint, error) {
	id := rand.Text()
	dir := m.disk.path(checkpointsDir, id)
	began := m.cfg.Now()
	cp, err := s.Checkpoint(ctx, dir)
	if err != nil {
		return nil, errors.Join(err, m.cfg.FS.RemoveAll(dir))
	}
	c := &checkpoint{dir: dir, pin: cp.Pin, store: s, made: m.cfg.Now()}
	c.header = &atollpb.SnapshotHeader{
		SnapshotId: id, ToIndex: cp.To, Epoch: s.Applied().Epoch, MinRevision: s.Applied().MinRevision, Format: snapshotFormat,
		From: &atollpb.Position{HistoryId: cp.From.History, Epoch: cp.From.Epoch, Index: cp.From.Index},
	}
	names, err := m.cfg.FS.List(dir)
	total := uint64(0)
	slices.Sort(names)
	for _, name := range names {
		info, statErr := m.cfg.FS.Stat(m.cfg.FS.PathJoin(dir, name))
		if err = errors.Join(err, statErr); err != nil {
			break
		}
		c.header.Files = append(c.header.Files, &atollpb.SnapshotFile{Name: name, Size: uint64(info.Size())})
		total += uint64(info.Size())
	}
	if err != nil {
		c.drop(m)
		return nil, fmt.Errorf("list checkpoint: %w", err)
	}
	m.cfg.Logger.Info("made a checkpoint", "snapshot_id", id, "from", cp.From.Index, "to", cp.To, "files", len(names),
		"bytes", total, "min_revision", c.header.GetMinRevision(), "took", m.cfg.Now().Sub(began))
	return c, nil
}

type snapshotStream = grpc.ServerStreamingServer[atollpb.SnapshotFrame]

// Snapshot streams a checkpoint: header, this node's view where the sink's is older, the files from
// where the sink left off, and the checksum of each whole file.
func (m *Member) Snapshot(r *atollpb.SnapshotRequest, stream snapshotStream) error {
	if err := rpc.CheckWire(r.GetWireVersion()); err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	s, demoted, err := m.source.serving(r.GetClusterId(), r.GetToNodeId())
	if err != nil {
		return err
	}
	if err := s.Damaged(); err != nil { // it would be copied as it is
		return status.Errorf(codes.FailedPrecondition, "this node's data is damaged: %v", err)
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() { // ends with this call at the latest
		defer cancel()
		select {
		case <-demoted:
		case <-ctx.Done():
		}
	}()
	c, err := m.source.open(ctx, s, r.GetSnapshotId())
	if err != nil {
		return status.Errorf(codes.Unavailable, "make a checkpoint: %v", err)
	}
	defer m.source.release(c)
	if err := stream.Send(&atollpb.SnapshotFrame{Kind: &atollpb.SnapshotFrame_Header{Header: c.header}}); err != nil {
		return err
	}
	for _, change := range m.cfg.Views.Since(r.GetViewRevision()) {
		for f := range change.Frames() {
			if err := stream.Send(&atollpb.SnapshotFrame{Kind: &atollpb.SnapshotFrame_View{View: f}}); err != nil {
				return err
			}
		}
	}
	have := r.GetHave()
	if c.header.GetSnapshotId() != r.GetSnapshotId() {
		have = nil
	}
	end := &atollpb.SnapshotEnd{}
	pace := pacer{perSecond: m.cfg.BytesPerSecond, now: m.cfg.Now, began: m.cfg.Now()}
	for i, f := range c.header.GetFiles() {
		from := uint64(0)
		if i < len(have) {
			from = min(have[i], f.GetSize())
		}
		crc, err := m.sendFile(stream, &pace, demoted, c, uint32(i), from)
		if err != nil {
			return err
		}
		end.FileCrcs = append(end.FileCrcs, crc)
	}
	return stream.Send(&atollpb.SnapshotFrame{Kind: &atollpb.SnapshotFrame_End{End: end}})
}

// sendFile reads the whole of a file, for its checksum, and sends it from an offset on.
func (m *Member) sendFile(stream snapshotStream, pace *pacer, demoted <-chan struct{}, c *checkpoint, i uint32, from uint64) (crc uint32, err error) {
	file, err := m.cfg.FS.Open(m.cfg.FS.PathJoin(c.dir, c.header.GetFiles()[i].GetName()), vfs.SequentialReadsOption)
	if err != nil {
		return 0, status.Errorf(codes.Aborted, "open checkpoint file: %v", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buf := make([]byte, min(chunkMax, c.header.GetFiles()[i].GetSize()+1))
	for offset := uint64(0); ; {
		n, err := io.ReadFull(file, buf)
		if n == 0 && errors.Is(err, io.EOF) {
			return crc, nil
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return 0, status.Errorf(codes.Aborted, "read checkpoint file: %v", err)
		}
		data := buf[:n]
		crc = crc32.Update(crc, castagnoli, data)
		if skip := min(from-min(from, offset), uint64(n)); skip < uint64(n) {
			chunk := &atollpb.FileChunk{File: i, Offset: offset + skip, Data: data[skip:], Crc: replog.Checksum(data[skip:])}
			if err := stream.Send(&atollpb.SnapshotFrame{Kind: &atollpb.SnapshotFrame_Chunk{Chunk: chunk}}); err != nil {
				return 0, err
			}
			if err := pace.wait(stream.Context(), demoted, n); err != nil {
				return 0, err
			}
			pace.quiet = 0
		} else if pace.quiet += n; pace.quiet > quietMax {
			if err := stream.Send(&atollpb.SnapshotFrame{}); err != nil { // it only shows that this node is at work
				return 0, err
			}
			pace.quiet = 0
		}
		offset += uint64(n)
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pacer keeps a stream under a rate.
type pacer struct {
	perSecond int64
	now       func() time.Time
	began     time.Time
	sent      int64
	quiet     int // bytes read since the last frame
}

func (p *pacer) wait(ctx context.Context, stop <-chan struct{}, n int) error {
	p.sent += int64(n)
	var due <-chan time.Time
	if p.perSecond > 0 {
		at := p.began.Add(time.Duration(float64(p.sent) / float64(p.perSecond) * float64(time.Second)))
		if d := at.Sub(p.now()); d > 0 {
			due = time.After(d)
		}
	}
	if due == nil {
		select {
		case <-stop:
			return errDeposed
		default:
			return nil
		}
	}
	select {
	case <-due:
		return nil
	case <-stop:
		return errDeposed
	case <-ctx.Done():
		return ctx.Err()
	}
}
