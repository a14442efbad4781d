package control

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// Run lets the controllers act while this node leads, until the context ends.
func (c *Controller) Run(ctx context.Context) {
	for ctx.Err() == nil {
		c.mu.Lock()
		reported := c.reported
		c.mu.Unlock()
		changed, leader := c.node.Feed().Changed(), c.node.LeaderChanged()
		if term, ok := c.lead(); ok {
			c.step(ctx, term)
		}
		timer := time.NewTimer(tick)
		select {
		case <-ctx.Done():
		case <-reported:
		case <-changed:
		case <-leader:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// step does what the state and the reports of one term call for.
func (c *Controller) step(ctx context.Context, term uint64) {
	state := c.node.State()
	reports := c.here(&atollpb.ReportsRequest{})
	c.promote(ctx, term, state, reports)
	c.endGraces(ctx, term, state)
	c.purge(ctx, term, state, reports)
}

// endGraces makes tombstones of the namespaces whose time in grace is over.
func (c *Controller) endGraces(ctx context.Context, term uint64, state *raftfsm.State) {
	now := time.Now().UnixMilli()
	var ids []uint64
	for namespace := range state.Due() {
		if namespace.PurgeAtMs > now || len(ids) == purgeMax {
			break
		}
		ids = append(ids, namespace.Id)
	}
	if len(ids) > 0 && c.propose(ctx, term, &raftfsm.EndGrace{IDs: ids}) {
		c.log.Info("deleted namespaces whose grace is over", "count", len(ids))
	}
}

// propose hands a decision to the log. A refusal means that the state has moved on since.
func (c *Controller) propose(ctx context.Context, term uint64, command raftfsm.Command) bool {
	_, err := c.node.ProposeInTerm(ctx, term, command)
	var refusal *raftfsm.Error
	switch {
	case err == nil:
		return true
	case errors.As(err, &refusal), errors.Is(err, consensus.ErrNoLeader), ctx.Err() != nil:
		c.log.Debug("controller's command had no effect", "command", command, "error", err)
	default:
		c.log.Warn("controller's command", "error", err)
	}
	return false
}

// promote completes the planned promotion under way once the target has all that the quiesced primary
// wrote, and ends it when that takes too long.
func (c *Controller) promote(ctx context.Context, term uint64, state *raftfsm.State, reports []Report) {
	group := state.Group(raftfsm.GroupID)
	p := group.GetPromotion()
	if p == nil {
		c.promotion = 0
		return
	}
	if c.promotion != p.Revision {
		c.promotion, c.promotionSince = p.Revision, time.Now()
	}
	primary, target := find(reports, group.Primary), find(reports, p.Target)
	if final, ok := caughtUp(group, primary, target); ok {
		done := c.propose(ctx, term, &raftfsm.CompletePromotion{
			PromotionRevision: p.Revision, TargetIncarnation: target.Incarnation, FinalIndex: final,
		})
		if done {
			c.log.Info("promotion completed", "group", group.Id, "primary", p.Target, "was", group.Primary, "final_index", final)
		}
		return
	}
	if time.Since(c.promotionSince) < c.config.PromotionMax {
		return
	}
	if c.propose(ctx, term, &raftfsm.AbortPromotion{PromotionRevision: p.Revision}) {
		c.log.Warn("promotion aborted: the target did not catch up in time", "group", group.Id, "target", p.Target, "after", c.config.PromotionMax)
	}
}

func find(reports []Report, id string) *atollpb.NodeReport {
	i := slices.IndexFunc(reports, func(r Report) bool { return r.NodeId == id })
	if i < 0 {
		return &atollpb.NodeReport{}
	}
	return reports[i].NodeReport
}

// caughtUp reports whether the primary has quiesced for the group's promotion and the target has applied and
// fsynced its log to the end, with the end's index. What was fsynced before an acknowledgement must outlive a
// power cut of the new primary too. A quiesced primary stays so while the promotion lasts, so an
// old report of it is as good as a new one.
func caughtUp(group *atollpb.Group, primary, target *atollpb.NodeReport) (uint64, bool) {
	final := primary.GetWritten()
	switch {
	case primary.QuiescedRevision != group.Promotion.Revision,
		primary.Incarnation != group.PrimaryIncarnation,
		final.GetHistoryId() != group.HistoryId,
		target.GetWritten().GetHistoryId() != group.HistoryId,
		target.GetWritten().GetIndex() != final.GetIndex(),
		target.GetWritten().GetEpoch() != final.GetEpoch(),
		target.AppliedIndex != final.GetIndex(),
		target.SyncedIndex < final.GetIndex():
		return 0, false
	}
	return final.GetIndex(), true
}

// purge writes reported purges into tombstones, and drops those that every registered node has purged. One
// step proposes a bounded part of what there is: a promotion must not wait behind a thousand deletions.
func (c *Controller) purge(ctx context.Context, term uint64, state *raftfsm.State, reports []Report) {
	for _, r := range reports {
		if ids := purged(state, r); len(ids) > 0 {
			c.propose(ctx, term, &raftfsm.ReportPurged{NodeID: r.NodeId, Incarnation: r.Incarnation, Namespaces: ids})
		}
	}
	if state.Revision() == c.purgeRevision {
		return
	}
	ids := droppable(state)
	if len(ids) == 0 {
		c.purgeRevision = state.Revision() // only another state can have more
		return
	}
	if c.propose(ctx, term, &raftfsm.DropTombstones{IDs: ids}) {
		c.log.Debug("forgot deleted namespaces that every node has purged", "count", len(ids))
	}
}

// purged returns the tombstones that a node has purged and that don't say so yet. A node reports a purge
// until its view has it, so these are few.
func purged(state *raftfsm.State, r Report) []uint64 {
	var ids []uint64
	for _, id := range r.PurgedNamespaces {
		namespace := state.Namespace(id)
		if namespace == nil || namespace.State != atollpb.NamespaceState_NAMESPACE_STATE_DELETED {
			continue
		}
		waits := slices.ContainsFunc(state.Unpurged(namespace), func(n *atollpb.Node) bool { return n.Id == r.NodeId })
		if waits {
			ids = append(ids, id)
		}
		if len(ids) == purgeMax {
			break
		}
	}
	return ids
}

// droppable returns tombstones that no registered node has yet to purge.
func droppable(state *raftfsm.State) []uint64 {
	nodes := 0
	for range state.Nodes() {
		nodes++
	}
	var ids []uint64
	for tombstone := range state.Tombstones() {
		if len(tombstone.PurgedBy) < nodes || len(state.Unpurged(tombstone)) > 0 {
			continue
		}
		ids = append(ids, tombstone.Id)
		if len(ids) == purgeMax {
			break
		}
	}
	return ids
}
