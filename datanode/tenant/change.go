package tenant

import (
	"errors"
	"fmt"
	"iter"
	"maps"

	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/protobuf/proto"
)

var (
	// ErrGap refuses a delta for a view that the node doesn't have.
	ErrGap = errors.New("the change does not follow the view")
	// ErrOtherCluster refuses the view of another cluster.
	ErrOtherCluster = errors.New("the view belongs to another cluster")
	// ErrIncomplete refuses a full view that lacks the record about the cluster.
	ErrIncomplete = errors.New("the view is incomplete")
	// ErrFrames refuses frames that don't make one change.
	ErrFrames = errors.New("the frames do not make one change")
)

const (
	// frameBytes is about how large the frames of Change.Frames get; the protocol's bound is 1 MiB.
	frameBytes = 256 << 10
	// changeItemsMax bounds the records of one change.
	changeItemsMax = 32 << 20
)

// Change takes a view to a later revision: a delta, or a whole view. It is immutable once complete.
type Change struct {
	Full     bool
	From     uint64 // a delta applies to a view at or above it, and below Revision
	Revision uint64

	cluster           *atollpb.ClusterInfo // nil: unchanged
	namespaces        []*Namespace
	removedNamespaces []uint64
	tokens            []*Token
	removedTokens     []string
	nodes             []*atollpb.Node
	removedNodes      []string
	groups            []*atollpb.Group
}

// items is the number of records in the change.
func (c *Change) items() int {
	return len(c.namespaces) + len(c.removedNamespaces) + len(c.tokens) + len(c.removedTokens) +
		len(c.nodes) + len(c.removedNodes) + len(c.groups)
}

// Assembler puts the frames of one stream together. The zero value is ready.
type Assembler struct{ change *Change }

// Add takes the next frame, and returns the change that it completes, or nil. Heartbeats are passed
// over. After an error the assembler starts anew.
func (a *Assembler) Add(f *atollpb.ViewFrame) (*Change, error) {
	if f.GetHeartbeat() {
		return nil, nil
	}
	if a.change == nil || f.GetFull() {
		if a.change != nil && a.change.items() > 0 {
			a.change = nil
			return nil, fmt.Errorf("%w: a full view begins inside another change", ErrFrames)
		}
		a.change = &Change{Full: f.GetFull(), From: f.GetFromRevision(), Revision: f.GetRevision()}
	}
	c := a.change
	if f.GetRevision() != c.Revision || f.GetFromRevision() != c.From {
		a.change = nil
		return nil, fmt.Errorf("%w: revision %d follows %d", ErrFrames, f.GetRevision(), c.Revision)
	}
	c.add(f)
	if c.items() > changeItemsMax {
		a.change = nil
		return nil, fmt.Errorf("%w: more than %d records", ErrFrames, changeItemsMax)
	}
	if !f.GetLast() {
		return nil, nil
	}
	a.change = nil
	return c, nil
}

// add copies the records of a frame.
func (c *Change) add(f *atollpb.ViewFrame) {
	if f.GetCluster() != nil {
		c.cluster = f.GetCluster()
	}
	for _, n := range f.GetNamespaces() {
		c.namespaces = append(c.namespaces, fromNamespace(n))
	}
	for _, t := range f.GetTokens() {
		c.tokens = append(c.tokens, fromToken(t))
	}
	c.removedNamespaces = append(c.removedNamespaces, f.GetRemovedNamespaces()...)
	c.removedTokens = append(c.removedTokens, f.GetRemovedTokens()...)
	c.nodes = append(c.nodes, f.GetNodes()...)
	c.removedNodes = append(c.removedNodes, f.GetRemovedNodes()...)
	c.groups = append(c.groups, f.GetGroups()...)
}

// Full returns the change that makes this view out of any.
func (v *View) Full() *Change {
	c := &Change{Full: true, Revision: v.revision, cluster: v.cluster}
	c.namespaces = make([]*Namespace, 0, v.byID.len)
	for n := range v.byID.all() {
		c.namespaces = append(c.namespaces, n)
	}
	c.tokens = make([]*Token, 0, v.tokens.len)
	for t := range v.tokens.all() {
		c.tokens = append(c.tokens, t)
	}
	for n := range maps.Values(v.nodes) {
		c.nodes = append(c.nodes, n)
	}
	for g := range maps.Values(v.groups) {
		c.groups = append(c.groups, g)
	}
	return c
}

// Frames yields the change in bounded frames, the last with last set. Frames are not used again by the
// sequence.
func (c *Change) Frames() iter.Seq[*atollpb.ViewFrame] {
	return func(yield func(*atollpb.ViewFrame) bool) {
		w := frameWriter{change: c, yield: yield}
		w.next()
		w.frame.Full = c.Full
		w.frame.Cluster = c.cluster
		for _, g := range c.groups {
			w.add(proto.Size(g), func(f *atollpb.ViewFrame) { f.Groups = append(f.Groups, g) })
		}
		for _, n := range c.nodes {
			w.add(proto.Size(n), func(f *atollpb.ViewFrame) { f.Nodes = append(f.Nodes, n) })
		}
		for _, id := range c.removedNodes {
			w.add(len(id), func(f *atollpb.ViewFrame) { f.RemovedNodes = append(f.RemovedNodes, id) })
		}
		for _, id := range c.removedTokens {
			w.add(len(id), func(f *atollpb.ViewFrame) { f.RemovedTokens = append(f.RemovedTokens, id) })
		}
		for _, id := range c.removedNamespaces {
			w.add(10, func(f *atollpb.ViewFrame) { f.RemovedNamespaces = append(f.RemovedNamespaces, id) })
		}
		for _, n := range c.namespaces {
			m := n.proto()
			w.add(proto.Size(m), func(f *atollpb.ViewFrame) { f.Namespaces = append(f.Namespaces, m) })
		}
		for _, t := range c.tokens {
			m := t.proto()
			w.add(proto.Size(m), func(f *atollpb.ViewFrame) { f.Tokens = append(f.Tokens, m) })
		}
		w.frame.Last = true
		w.flush()
	}
}

// frameWriter fills frames and hands them on as they get full.
type frameWriter struct {
	change *Change
	yield  func(*atollpb.ViewFrame) bool
	frame  *atollpb.ViewFrame
	bytes  int
	done   bool
}

func (w *frameWriter) next() {
	w.frame = &atollpb.ViewFrame{FromRevision: w.change.From, Revision: w.change.Revision}
	w.bytes = 0
}

func (w *frameWriter) flush() {
	if !w.done && !w.yield(w.frame) {
		w.done = true
	}
}

func (w *frameWriter) add(bytes int, put func(*atollpb.ViewFrame)) {
	if w.done {
		return
	}
	if w.bytes > 0 && w.bytes+bytes > frameBytes {
		w.flush()
		w.next()
	}
	put(w.frame)
	w.bytes += bytes + 4 // tag and length
}

// apply returns the view that c makes of v, which may be nil. A change that brings nothing newer
// returns v itself. Errors are ErrGap, ErrOtherCluster and ErrIncomplete.
func (v *View) apply(c *Change) (*View, error) {
	if v != nil && c.Revision <= v.revision {
		return v, nil
	}
	if v != nil && c.cluster != nil && c.cluster.GetClusterId() != v.cluster.GetClusterId() {
		return nil, fmt.Errorf("%w: %s, not %s", ErrOtherCluster, c.cluster.GetClusterId(), v.cluster.GetClusterId())
	}
	if c.Full {
		if c.cluster.GetClusterId() == "" {
			return nil, ErrIncomplete
		}
		return new(View).with(c), nil
	}
	if v == nil || v.revision < c.From {
		have := uint64(0)
		if v != nil {
			have = v.revision
		}
		return nil, fmt.Errorf("%w: it starts at revision %d, the view is at %d", ErrGap, c.From, have)
	}
	return v.with(c), nil
}

// with returns v changed by c.
func (v *View) with(c *Change) *View {
	out := *v
	out.revision = c.Revision
	if c.cluster != nil {
		out.cluster = c.cluster
	}
	out.changeNamespaces(c)
	out.changeTokens(c)
	if len(c.nodes)+len(c.removedNodes) > 0 || out.nodes == nil {
		out.nodes = make(map[string]*atollpb.Node, len(v.nodes)+len(c.nodes))
		maps.Copy(out.nodes, v.nodes)
		for _, id := range c.removedNodes {
			delete(out.nodes, id)
		}
		for _, n := range c.nodes {
			out.nodes[n.GetId()] = n
		}
	}
	if len(c.groups) > 0 || out.groups == nil {
		out.groups = make(map[uint32]*atollpb.Group, len(v.groups)+len(c.groups))
		maps.Copy(out.groups, v.groups)
		for _, g := range c.groups {
			out.groups[g.GetId()] = g
		}
	}
	return &out
}

// changeNamespaces applies the namespaces of c to a view that nobody else sees yet. A removal makes
// room before an addition, so that a name that was deleted and made again in one change is there.
func (v *View) changeNamespaces(c *Change) {
	var gone, unnamed, named, deleted, undeleted []*Namespace
	for _, id := range c.removedNamespaces {
		if old := v.Namespace(id); old != nil {
			gone = append(gone, old)
			if old.Deleted() {
				undeleted = append(undeleted, old)
			} else if old.named() {
				unnamed = append(unnamed, old)
			}
		}
	}
	for _, n := range c.namespaces {
		if old := v.Namespace(n.ID); old != nil && old.named() && (!n.named() || n.Name != old.Name) {
			unnamed = append(unnamed, old)
		}
		switch {
		case n.Deleted():
			deleted = append(deleted, n)
		case n.named():
			named = append(named, n)
		}
	}
	v.byID = v.byID.update(c.namespaces, gone, compareID)
	v.byName = v.byName.update(named, unnamed, compareName)
	v.deleted = v.deleted.update(deleted, undeleted, compareID)
}

// changeTokens does the same for the tokens.
func (v *View) changeTokens(c *Change) {
	var gone []*Token
	for _, id := range c.removedTokens {
		if old := v.Token(id); old != nil {
			gone = append(gone, old)
		}
	}
	stale := gone[:len(gone):len(gone)]
	for _, t := range c.tokens {
		if old := v.Token(t.ID); old != nil {
			stale = append(stale, old)
		}
	}
	v.tokens = v.tokens.update(c.tokens, gone, compareToken)
	v.byHash = v.byHash.update(c.tokens, stale, compareHash)
	v.byOwner = v.byOwner.update(c.tokens, stale, compareOwner)
}

// View returns the view that a full change makes, nil for any other.
func (c *Change) View() *View {
	if !c.Full {
		return nil
	}
	return new(View).with(c)
}
