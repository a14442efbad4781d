package replication

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// primaryFile says in which epoch, and on which boot, the node was last a primary.
const (
	primaryFile   = "primary.json"
	primaryFormat = 1
)

type primaryNote struct {
	Format      int    `json:"format"`
	Epoch       uint64 `json:"epoch"`
	BootID      string `json:"boot_id"`
	Incarnation string `json:"incarnation"`
}

// sealedNote is what the file holds: the checksum tells a note of another format from one in which a bit has flipped.
type sealedNote struct {
	primaryNote
	Checksum string `json:"checksum"` // CRC-32C in hex of the fields before
}

func (n primaryNote) sum() string {
	return fmt.Sprintf("%08x", replog.Checksum(fmt.Appendf(nil, "%d %d %q %q", n.Format, n.Epoch, n.BootID, n.Incarnation)))
}

func (n primaryNote) seal() ([]byte, error) { return json.Marshal(sealedNote{n, n.sum()}) }

// lead makes this node the primary of the epoch that the group is in, or takes one step towards it.
func (m *Member) lead(ctx context.Context, g *atollpb.Group, v *tenant.View) error {
	if g.GetPrimaryIncarnation() != m.cfg.Incarnation {
		m.stepDown() // another disk has this node's place
		m.say(atollpb.NodeState_NODE_STATE_LOADING, "the group's primary is another incarnation of this node")
		return nil
	}
	s := m.current.Load()
	if s == nil {
		created, err := m.createFirst(g)
		if err != nil {
			return err
		}
		s = created
	}
	applied := s.Applied()
	switch {
	case applied.Epoch == g.GetEpoch() && applied.History == g.GetHistoryId():
		return m.hold(ctx, s, g, v)
	case applied.Epoch > g.GetEpoch():
		m.say(atollpb.NodeState_NODE_STATE_LOADING, "the view is older than the data")
		return nil
	}
	if s.Role() != store.Replica {
		s.Stop(store.Replica)
	}
	if err := m.showRest(ctx, s); err != nil {
		return err
	}
	applied = s.Applied()
	// Where the history goes on, the epoch was given for one place in the log. Another end means that
	// the end has moved since, so the epoch is asked for again.
	if start := epochStart(g); applied.History == g.GetHistoryId() && start != applied.Index+1 {
		return m.askEpoch(ctx, s, g)
	}
	if err := s.BeginEpoch(g.GetEpoch(), g.GetHistoryId(), v.Revision()); err != nil {
		return err
	}
	if err := m.dropStaged(); err != nil {
		return err
	}
	m.cfg.Logger.Info("became the primary", "epoch", g.GetEpoch(), "history", g.GetHistoryId(), "index", s.Applied().Index)
	return m.hold(ctx, s, g, v)
}

// showRest shows what this node's log holds beyond the last entry shown: a stream that ends may leave
// such entries. They were shipped, so they are committed.
func (m *Member) showRest(ctx context.Context, s *store.Store) error {
	last := s.Log().State().Last
	if s.Applied().Index >= last {
		return nil
	}
	r, err := s.Log().NewReader(s.Applied().Index + 1)
	if err == nil {
		err = s.ApplyTo(ctx, r, last)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	return nil
}

// dropStaged removes snapshots that the node was taking as a replica.
func (m *Member) dropStaged() error {
	list, err := m.disk.list()
	for _, n := range list {
		if n > m.number {
			err = errors.Join(err, m.disk.remove(n))
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	return nil
}

// stepDown ends acknowledging writes and serving sinks. It says whether the node did that.
func (m *Member) stepDown() bool {
	s := m.current.Load()
	if s == nil || s.Role() == store.Replica {
		return false
	}
	s.Stop(store.Replica)
	m.source.demote()
	return true
}

// createFirst makes the store of a group's first primary.
func (m *Member) createFirst(g *atollpb.Group) (*store.Store, error) {
	start := epochStart(g)
	if start == 0 {
		return nil, fmt.Errorf("%w: the group's epoch %d has no start", errLocal, g.GetEpoch())
	}
	n := m.number + 1
	if err := m.disk.remove(n); err != nil {
		return nil, fmt.Errorf("%w: %w", errLocal, err)
	}
	s, err := store.Create(m.cfg.Options(m.disk.generation(n)), replog.Start{History: g.GetHistoryId(), Index: start - 1})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLocal, err)
	}
	if err := syncDir(m.cfg.FS, m.disk.path(generationsDir)); err != nil {
		return nil, fmt.Errorf("%w: %w", errLocal, err)
	}
	if err := m.makeCurrent(n); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	m.number = n
	m.current.Store(s)
	return s, nil
}

func epochStart(g *atollpb.Group) uint64 {
	for _, e := range g.GetEpochs() {
		if e.GetEpoch() == g.GetEpoch() {
			return e.GetStartIndex()
		}
	}
	return 0
}

// hold is the steady state of a primary: serving, or quiesced for a promotion.
func (m *Member) hold(ctx context.Context, s *store.Store, g *atollpb.Group, v *tenant.View) error {
	m.blocked.Store(nil)
	p := g.GetPromotion()
	if s.Role() == store.Replica {
		// The process has restarted.
		had, err := m.readNote()
		if err != nil {
			return err
		}
		if had != m.noteOf(g.GetEpoch()) || m.cfg.BootID == "" {
			return m.askEpoch(ctx, s, g)
		}
		if err := m.dropStaged(); err != nil { // the last process may not have come to it
			return err
		}
		if p == nil { // else its log's end may have been reported as final
			s.Resume()
		}
		m.cfg.Logger.Info("goes on as the primary", "epoch", g.GetEpoch(), "index", s.Applied().Index)
	}
	if err := m.writeNote(g.GetEpoch()); err != nil {
		return err
	}
	m.source.promote(s)
	if p != nil {
		s.Stop(store.Quiesced)
		m.update(func(st *Status) {
			st.State, st.Note, st.Quiesced = atollpb.NodeState_NODE_STATE_SERVING, "quiesced for the promotion of "+p.GetTarget(), p.GetRevision()
		})
		return nil
	}
	if s.Role() == store.Quiesced {
		m.cfg.Logger.Info("the promotion was given up; taking writes again", "epoch", g.GetEpoch())
		s.Resume()
	}
	m.update(func(st *Status) {
		st.State, st.Note, st.Quiesced = atollpb.NodeState_NODE_STATE_SERVING, "", 0
	})
	return m.purge(s, v)
}

// askEpoch asks the metadata service for an epoch that starts at this log's end: a power cut may have
// taken entries that a replica holds, so the old one can't go on.
func (m *Member) askEpoch(ctx context.Context, s *store.Store, g *atollpb.Group) error {
	st := s.Log().State()
	if err := s.Log().Sync(); err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	m.say(atollpb.NodeState_NODE_STATE_LOADING, "asking for a new epoch")
	err := m.cfg.BeginEpoch(ctx, &atollpb.BeginEpochRequest{
		ClusterId: m.cfg.ClusterID(), NodeId: m.cfg.NodeID, Incarnation: m.cfg.Incarnation,
		HistoryId: g.GetHistoryId(), Epoch: g.GetEpoch(), LastIndex: st.Last,
	})
	if err != nil {
		return fmt.Errorf("ask for an epoch after entry %d: %w", st.Last, err)
	}
	return nil // the view brings it
}

func (m *Member) noteOf(epoch uint64) primaryNote {
	return primaryNote{Format: primaryFormat, Epoch: epoch, BootID: m.cfg.BootID, Incarnation: m.cfg.Incarnation}
}

// readNote returns no note where there is none, or a broken one: then a new epoch is asked for, which is
// always right.
func (m *Member) readNote() (primaryNote, error) {
	b, err := readFile(m.cfg.FS, m.disk.path(primaryFile))
	if err != nil {
		return primaryNote{}, nil
	}
	return parseNote(b)
}

func parseNote(b []byte) (primaryNote, error) {
	var n sealedNote
	if json.Unmarshal(b, &n) != nil {
		return primaryNote{}, nil
	}
	format := n.Format
	n.Format = primaryFormat
	want, err := n.seal()
	if err != nil {
		return primaryNote{}, err
	}
	// Another format may keep its checksum elsewhere. One that matches but for the format is of this format.
	if format > primaryFormat && n.sum() != n.Checksum {
		return primaryNote{}, fmt.Errorf("%w: %s has format %d, this program reads format %d", store.ErrFormat, primaryFile, format, primaryFormat)
	}
	if !bytes.Equal(b, want) {
		return primaryNote{}, nil
	}
	return n.primaryNote, nil
}

func (m *Member) writeNote(epoch uint64) error {
	n := m.noteOf(epoch)
	if m.noted == n {
		return nil
	}
	had, err := m.readNote()
	if err != nil {
		return err
	}
	if had == n {
		m.noted = n
		return nil
	}
	b, err := n.seal()
	if err != nil {
		return err
	}
	if err := writeFile(m.cfg.FS, m.cfg.Dir, primaryFile, b); err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	m.noted = n
	return nil
}

// purge writes a purge entry for every namespace that the view shows as deleted. A damaged store takes none.
func (m *Member) purge(s *store.Store, v *tenant.View) error {
	if s.Damaged() != nil {
		return nil
	}
	for n := range v.Tombstones() {
		if s.WasPurged(n.ID) {
			continue
		}
		if err := s.PurgeNamespace(n.ID, n.DeletedRevision); err != nil {
			return fmt.Errorf("purge namespace %d: %w", n.ID, err)
		}
		m.cfg.Logger.Info("purged a deleted namespace", "namespace_id", n.ID, "revision", n.DeletedRevision)
	}
	return nil
}
