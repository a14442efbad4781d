package raftfsm

import (
	"slices"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// BeginEpoch gives a restarted primary a new epoch that starts after its log's end, which a power cut
// may have moved back. It ends a promotion under way: the primary that had stopped for it is gone.
type BeginEpoch struct {
	NodeID      string
	Incarnation string
	HistoryID   string
	Epoch       uint64 // that the caller's view shows: compare and set
	LastIndex   uint64 // of its log
}

func (c *BeginEpoch) fields(f *fields) {
	f.str(&c.NodeID)
	f.str(&c.Incarnation)
	f.str(&c.HistoryID)
	f.u64(&c.Epoch)
	f.u64(&c.LastIndex)
}

func (c *BeginEpoch) apply(t *txn) (Result, *Error) {
	group := t.Group(GroupID)
	if group == nil {
		return Result{}, notInitialised()
	}
	switch {
	case group.Primary != c.NodeID:
		return Result{}, refuse(CodeConflict, "node_id", "node %q is not the primary: %q is", c.NodeID, group.Primary)
	case group.PrimaryIncarnation != c.Incarnation:
		return Result{}, refuse(CodeConflict, "incarnation", "node %q became primary with another disk", c.NodeID)
	case group.HistoryId != c.HistoryID:
		return Result{}, refuse(CodeConflict, "history_id", "the group's history is %q", group.HistoryId)
	case group.Epoch != c.Epoch:
		return Result{}, refuse(CodeConflict, "epoch", "the group's epoch is %d", group.Epoch)
	}
	group = clone(group)
	group.Promotion = nil
	startEpoch(group, t.index, c.LastIndex+1)
	t.putGroup(group)
	return t.done(), nil
}

// startEpoch makes an epoch begin at a log index. Epochs that began at or after it wrote nothing that
// stays, so the table holds ascending epochs with ascending starts.
func startEpoch(group *atollpb.Group, epoch, start uint64) {
	group.Epoch = epoch
	kept := slices.DeleteFunc(group.Epochs, func(e *atollpb.EpochStart) bool { return e.StartIndex >= start })
	group.Epochs = newest(append(kept, &atollpb.EpochStart{Epoch: epoch, StartIndex: start}), epochsMax)
}

// BeginPromotion starts a planned promotion: the primary stops acknowledging writes once its view shows
// it, and CompletePromotion follows when the target has applied everything.
type BeginPromotion struct {
	Target string // node id of a replica
}

func (c *BeginPromotion) fields(f *fields) { f.str(&c.Target) }

func (c *BeginPromotion) apply(t *txn) (Result, *Error) {
	group, err := t.promotable(c.Target)
	if err != nil {
		return Result{}, err
	}
	if group.Promotion != nil {
		return Result{}, refuse(CodePrecondition, "", "a promotion of node %q is under way", group.Promotion.Target)
	}
	group = clone(group)
	group.Promotion = &atollpb.Promotion{Target: c.Target, Revision: t.index, BegunMs: t.timeMs}
	t.putGroup(group)
	return t.done(), nil
}

// promotable returns the group of a node that may become its primary.
func (t *txn) promotable(target string) (*atollpb.Group, *Error) {
	group := t.Group(GroupID)
	if group == nil {
		return nil, notInitialised()
	}
	if t.Node(target) == nil {
		return nil, refuse(CodeNotFound, "node", "node %q was not found", target)
	}
	if group.Primary == target {
		return nil, refuse(CodePrecondition, "node", "node %q is the primary already", target)
	}
	if !slices.Contains(group.Replicas, target) {
		return nil, refuse(CodePrecondition, "node", "node %q is not a replica of group %d", target, group.Id)
	}
	return group, nil
}

// CompletePromotion makes the target of the promotion under way the primary.
type CompletePromotion struct {
	PromotionRevision uint64 // compare and set
	TargetIncarnation string // that reported to have applied FinalIndex
	FinalIndex        uint64 // the last index of the old primary's log
}

func (c *CompletePromotion) fields(f *fields) {
	f.u64(&c.PromotionRevision)
	f.str(&c.TargetIncarnation)
	f.u64(&c.FinalIndex)
}

func (c *CompletePromotion) apply(t *txn) (Result, *Error) {
	group, err := t.promotion(c.PromotionRevision)
	if err != nil {
		return Result{}, err
	}
	target := t.Node(group.Promotion.Target)
	if target == nil || target.Incarnation != c.TargetIncarnation {
		return Result{}, refuse(CodeConflict, "incarnation", "node %q is registered with another incarnation", group.Promotion.Target)
	}
	group = clone(group)
	group.Promotion = nil
	setPrimary(group, target)
	startEpoch(group, t.index, c.FinalIndex+1)
	t.putGroup(group)
	return t.done(), nil
}

// promotion returns the group whose promotion was begun at a revision.
func (t *txn) promotion(revision uint64) (*atollpb.Group, *Error) {
	group := t.Group(GroupID)
	if group == nil {
		return nil, notInitialised()
	}
	if group.Promotion == nil || group.Promotion.Revision != revision {
		return nil, refuse(CodeConflict, "promotion_revision", "no promotion of revision %d is under way", revision)
	}
	return group, nil
}

// setPrimary makes a replica the primary and the old primary a replica.
func setPrimary(group *atollpb.Group, target *atollpb.Node) {
	group.Replicas = slices.DeleteFunc(group.Replicas, func(id string) bool { return id == target.Id })
	group.Replicas = append(group.Replicas, group.Primary)
	slices.Sort(group.Replicas)
	group.Primary, group.PrimaryIncarnation = target.Id, target.Incarnation
	group.InSync = []string{target.Id}
}

// AbortPromotion ends the promotion under way without effect.
type AbortPromotion struct {
	PromotionRevision uint64 // compare and set
}

func (c *AbortPromotion) fields(f *fields) { f.u64(&c.PromotionRevision) }

func (c *AbortPromotion) apply(t *txn) (Result, *Error) {
	group, err := t.promotion(c.PromotionRevision)
	if err != nil {
		return Result{}, err
	}
	group = clone(group)
	group.Promotion = nil
	t.putGroup(group)
	return t.done(), nil
}

// ForcePromotion makes a replica the primary although the old primary can't say what it wrote: what the
// target has not applied is lost. A new history begins, so that no node takes its entries for the old
// one's; every index of it belongs to the new epoch.
type ForcePromotion struct {
	Target       string
	NewHistoryID string // made by the proposer
}

func (c *ForcePromotion) fields(f *fields) {
	f.str(&c.Target)
	f.str(&c.NewHistoryID)
}

func (c *ForcePromotion) apply(t *txn) (Result, *Error) {
	if err := validateID("new_history_id", c.NewHistoryID); err != nil {
		return Result{}, err
	}
	group, err := t.promotable(c.Target)
	if err != nil {
		return Result{}, err
	}
	group = clone(group)
	group.Promotion = nil
	endHistory(group)
	setPrimary(group, t.Node(c.Target))
	group.HistoryId, group.Epoch = c.NewHistoryID, t.index
	group.Epochs = []*atollpb.EpochStart{{Epoch: t.index, StartIndex: 1}}
	t.putGroup(group)
	return t.done(), nil
}
