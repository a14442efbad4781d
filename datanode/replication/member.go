package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc"
)

// GroupID is the one group of this version.
const GroupID = 1

// Config is what a Member is made of; every field must be set.
type Config struct {
	FS          vfs.FS
	Dir         string // holds generations/, checkpoints/, saves/, CURRENT
	NodeID      string
	Incarnation string
	ClusterID   func() string // empty before the node has joined
	BootID      string        // of the machine; with the same one, what a process left in the kernel is whole
	HadData     bool          // NoteData has been called: a missing store is damage, not a first start
	Views       *tenant.Views
	Options     func(dir string) store.Options
	// Peers is the placement that the node was told when it joined; it serves until there is a view.
	Peers func() Placement
	// NoteData is called when the node has a store, before it serves that; it must be durable on return.
	NoteData func() error
	// BeginEpoch asks the metadata service for a new epoch.
	BeginEpoch func(ctx context.Context, r *atollpb.BeginEpochRequest) error
	// Conn returns a shared connection to a cluster address; the callee keeps it open.
	Conn func(address string) (grpc.ClientConnInterface, error)
	// BytesPerSecond bounds what one snapshot sends; 0 is no bound.
	BytesPerSecond int64
	// SnapshotIdle is how long a checkpoint waits for its sink to come back.
	SnapshotIdle time.Duration
	// SavesKept is how many saves stay: the oldest goes once a new one is whole.
	SavesKept int
	Now       func() time.Time
	Logger    *slog.Logger
}

// Placement is a group with the nodes in it.
type Placement struct {
	Group *atollpb.Group
	Nodes []*atollpb.Node
	// Revision is that of the node's last registration: a view at or above it contains the node.
	Revision uint64
}

// Member is this node's part in its group.
type Member struct {
	cfg  Config
	disk disk

	current atomic.Pointer[store.Store]
	number  uint64 // of the current generation; only Run's goroutine and the follower use it
	blocked atomic.Pointer[string]
	// starting is why a node serves nothing until its source, or the view, has said what it is.
	starting string
	noted    primaryNote // what primaryFile is known to hold; only Run's goroutine uses it
	source   *source
	follow   *follower
	closers  sync.WaitGroup // generations being closed behind
	syncs    syncCounts
	saver    *saver

	mu     sync.Mutex
	status Status
}

// Status is what INFO and the reports say about a member.
type Status struct {
	State    atollpb.NodeState
	Note     string
	Syncing  bool
	SourceUp bool
	Heard    time.Time // when the source was last heard
	Commit   uint64    // commit index
	Quiesced uint64    // revision of the promotion that the node has quiesced for
}

// NewMember returns a member; Open and Run start it.
func NewMember(c Config) *Member {
	m := &Member{cfg: c, disk: disk{c.FS, c.Dir}, starting: "its place in the group is not known yet"}
	m.status = Status{State: atollpb.NodeState_NODE_STATE_LOADING, Note: "starting"}
	m.source, m.saver = newSource(m), newSaver(m)
	return m
}

// Store returns the generation being served, nil before there is one. It may be closed already: Enter
// tells.
func (m *Member) Store() *store.Store { return m.current.Load() }

// Blocked returns why the node must not serve what it holds, or nil.
func (m *Member) Blocked() *string { return m.blocked.Load() }

// Status returns the member's state.
func (m *Member) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

func (m *Member) update(f func(s *Status)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.status)
}

func (m *Member) say(state atollpb.NodeState, note string) {
	m.update(func(s *Status) { s.State, s.Note = state, note })
}

// Open opens the generation that the node was serving, if it has one.
func (m *Member) Open() error {
	if err := m.disk.prepare(); err != nil {
		return fmt.Errorf("prepare %s: %w", m.cfg.Dir, err)
	}
	last, err := m.disk.openSaves()
	if err != nil {
		return fmt.Errorf("look at the saves: %w", err)
	}
	m.saver.status.Last = last
	n, err := m.disk.current()
	if err != nil {
		return err
	}
	if n == 0 {
		if m.cfg.HadData {
			return fmt.Errorf("%w: %s is missing, though this node has held data", store.ErrDamage, m.disk.path(currentFile))
		}
		return nil
	}
	if !m.cfg.HadData { // the last process ended between the two
		if err := m.cfg.NoteData(); err != nil {
			return err
		}
	}
	s, err := store.Open(m.cfg.Options(m.disk.generation(n)))
	if err != nil {
		return err
	}
	m.number = n
	m.blocked.Store(&m.starting)
	m.current.Store(s)
	return m.sweepGenerations()
}

// sweepGenerations removes what is neither current nor a sync that can go on.
func (m *Member) sweepGenerations() error {
	list, err := m.disk.list()
	for _, n := range list {
		if n < m.number {
			err = errors.Join(err, m.disk.remove(n))
		}
	}
	return err
}

// makeCurrent points CURRENT at a generation, and then notes that the node has data: in this order, so
// that a process killed between the two finds its store.
func (m *Member) makeCurrent(n uint64) error {
	if err := m.disk.makeCurrent(n); err != nil {
		return spaceOrLocal(err)
	}
	if err := m.cfg.NoteData(); err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	return nil
}

// The pause after a step towards a role that failed; it doubles.
const (
	retryMin = 50 * time.Millisecond
	retryMax = 2 * time.Second
)

// Run makes the node what the view says it is, until ctx ends. It returns an error when the node's
// data can't be used.
func (m *Member) Run(ctx context.Context) error {
	defer m.shutdown()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before shutdown, which waits for what lives as long as ctx
	m.closers.Go(func() { m.source.janitor(ctx) })
	pause := retryMin
	for {
		changed := m.cfg.Views.Changed()
		var retry <-chan time.Time
		if err := m.assume(ctx); err != nil {
			if fatal(err) {
				return err
			}
			m.cfg.Logger.Warn("can't take up the role yet", "err", err, "retry_in", pause)
			retry = time.After(pause)
			pause = min(2*pause, retryMax)
		} else {
			pause = retryMin
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-retry:
		case err := <-m.followerDone():
			m.follow = nil
			if fatal(err) {
				return err
			}
		}
	}
}

// fatal says that the node's own disk is the trouble: going on would make it worse.
func fatal(err error) bool {
	return errors.Is(err, store.ErrDamage) || errors.Is(err, store.ErrFormat) || errors.Is(err, errLocal)
}

// errLocal marks errors of the node's own files.
var errLocal = errors.New("this node's data directory can't be used")

// spaceOrLocal marks an error of the node's own files, unless the disk is only full: a sync goes on when
// there is room again, and the node serves what it has meanwhile.
func spaceOrLocal(err error) error {
	if noSpace(err) {
		return err
	}
	return fmt.Errorf("%w: %w", errLocal, err)
}

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// placement returns the newest that the node knows of its group: the view's, unless the metadata service
// has told it of a later change when it joined.
func (m *Member) placement() Placement {
	v, p := m.cfg.Views.Current(), m.cfg.Peers()
	if v == nil || p.Group.GetModifiedRevision() > v.Revision() {
		return p
	}
	p = Placement{Group: v.Group(GroupID), Revision: p.Revision}
	for n := range v.Nodes() {
		p.Nodes = append(p.Nodes, n)
	}
	return p
}

func (p Placement) address(id string) string {
	for _, n := range p.Nodes {
		if n.GetId() == id {
			return n.GetClusterAddr()
		}
	}
	return ""
}

// assume takes one step towards the role that the view gives this node.
func (m *Member) assume(ctx context.Context) error {
	p := m.placement()
	v := m.cfg.Views.Current()
	why := m.expelled(p, v)
	switch {
	case why != "":
		m.leave(why)
		return nil
	case p.Group == nil || p.Group.GetPrimary() == "":
		m.say(atollpb.NodeState_NODE_STATE_LOADING, "the group has no primary yet")
		return nil
	case p.Group.GetPrimary() == m.cfg.NodeID && (v == nil || v.Revision() < p.Group.GetModifiedRevision()):
		m.say(atollpb.NodeState_NODE_STATE_LOADING, "waiting for the view")
		return nil
	case p.Group.GetPrimary() == m.cfg.NodeID:
		m.stopFollowing()
		return m.lead(ctx, p.Group, v)
	}
	if m.stepDown() {
		m.cfg.Logger.Info("stopped being the primary", "primary", p.Group.GetPrimary(), "epoch", p.Group.GetEpoch())
	}
	m.update(func(s *Status) { s.Quiesced = 0 })
	m.startFollowing(ctx, p.Group.GetPrimary())
	return nil
}

// expelled says why the cluster no longer counts on this node, empty if it does: it was removed, or its
// place was given to another disk. Changes of the namespaces don't wait for it any more, so it must not
// serve (P3).
func (m *Member) expelled(p Placement, v *tenant.View) string {
	if p.Revision == 0 || v == nil || v.Revision() < p.Revision {
		return ""
	}
	switch n := v.Node(m.cfg.NodeID); {
	case n == nil:
		return "this node was removed from the cluster: restart it to join again"
	case n.GetIncarnation() != m.cfg.Incarnation:
		return "another disk has joined as this node: stop one of the two"
	}
	return ""
}

// leave ends serving and following.
func (m *Member) leave(why string) {
	if had := m.blocked.Swap(&why); had == nil || *had != why {
		m.cfg.Logger.Error("serving nothing any more", "reason", why)
	}
	m.stopFollowing()
	m.stepDown()
	m.blocked.Store(&why) // the follower may have cleared it
	m.update(func(s *Status) { s.State, s.Note, s.Quiesced = atollpb.NodeState_NODE_STATE_LOADING, why, 0 })
}

func (m *Member) shutdown() {
	m.saver.close()
	m.stopFollowing()
	m.source.close()
	m.closers.Wait()
}

// Close closes the generation. Run has returned before.
func (m *Member) Close() error {
	m.saver.close() // Run may never have been called
	if s := m.current.Load(); s != nil {
		return s.Close()
	}
	return nil
}
