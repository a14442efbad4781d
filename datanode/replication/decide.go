package replication

import (
	"fmt"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// sourceState is what a source's decision rests on.
type sourceState struct {
	history string
	epoch   uint64
	epochs  []*atollpb.EpochStart // of the history, ascending
	first   uint64                // oldest entry that the log holds
	last    uint64
}

// decide answers a sink's position: the log continues it, or continues what remains after a cut, or it
// takes a snapshot. A sink is diverged if it has shown entries that this history doesn't contain.
func decide(s sourceState, h *atollpb.SinkHello) *atollpb.FollowDecision {
	d := &atollpb.FollowDecision{Epoch: s.epoch, LastIndex: s.last, Action: atollpb.FollowAction_FOLLOW_ACTION_SNAPSHOT}
	at := h.GetWritten()
	if h.GetEpoch() > s.epoch {
		d.Action = atollpb.FollowAction_FOLLOW_ACTION_REFUSE
		d.Reason = fmt.Sprintf("the sink has seen epoch %d, this node holds %d", h.GetEpoch(), s.epoch)
		return d
	}
	switch {
	case at.GetHistoryId() == "":
		d.Reason = "the sink is empty"
		return d
	case at.GetHistoryId() != s.history:
		d.Diverged = true
		d.Reason = fmt.Sprintf("the sink's history %s is not %s", at.GetHistoryId(), s.history)
		return d
	}
	end, known := epochEnd(s, at.GetEpoch())
	if !known {
		d.Diverged = true
		d.Reason = fmt.Sprintf("the sink's epoch %d is not known here", at.GetEpoch())
		return d
	}
	next := at.GetIndex() + 1
	if at.GetIndex() > end {
		if h.GetAppliedIndex() > end || h.GetWasPrimaryBeyond() {
			d.Diverged = true
			d.Reason = fmt.Sprintf("the sink shows entries beyond %d, where its epoch %d ended", end, at.GetEpoch())
			return d
		}
		d.CutIndex, next = end, end+1
	}
	if next < s.first {
		d.Reason = fmt.Sprintf("the log begins at %d, the sink needs %d", s.first, next)
		return d
	}
	d.Action = atollpb.FollowAction_FOLLOW_ACTION_CONTINUE
	if d.CutIndex != 0 {
		d.Action = atollpb.FollowAction_FOLLOW_ACTION_CUT
		d.Reason = fmt.Sprintf("epoch %d ended at %d", at.GetEpoch(), end)
	}
	return d
}

// epochEnd returns the last index of an epoch in the source's history.
func epochEnd(s sourceState, epoch uint64) (uint64, bool) {
	if epoch == s.epoch {
		return s.last, true
	}
	for i, e := range s.epochs {
		if e.GetEpoch() == epoch && i+1 < len(s.epochs) {
			return s.epochs[i+1].GetStartIndex() - 1, true
		}
	}
	return 0, false
}
