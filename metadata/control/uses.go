package control

import (
	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// sweepMin is how many uses a node may tell of before those of what is gone are looked for.
const sweepMin = 1024

// uses is what a node has told of its uses, report by report. What the state doesn't know isn't kept, so it is
// bounded by the state.
type uses struct {
	tokens     map[string]*atollpb.TokenUse
	namespaces map[uint64]*atollpb.NamespaceUse
	sweepAt    int // size at which what is gone is looked for
}

// takeUses moves the uses out of a report into what is known of its node, and returns that. The caller holds mu.
func (c *Controller) takeUses(state *raftfsm.State, r *atollpb.NodeReport) *uses {
	last := c.reports[r.NodeId]
	u := last.uses
	if u == nil || r.UsesBegin || last.report.Incarnation != r.Incarnation {
		u = &uses{tokens: map[string]*atollpb.TokenUse{}, namespaces: map[uint64]*atollpb.NamespaceUse{}, sweepAt: sweepMin}
	}
	for _, use := range r.TokenUses {
		if state.Token(use.TokenId) != nil {
			u.tokens[use.TokenId] = use
		}
	}
	for _, use := range r.NamespaceUses {
		if state.Namespace(use.NamespaceId) != nil {
			u.namespaces[use.NamespaceId] = use
		}
	}
	r.TokenUses, r.NamespaceUses, r.UsesBegin = nil, nil, false
	if len(u.tokens)+len(u.namespaces) >= u.sweepAt {
		u.sweep(state)
	}
	return u
}

// sweep forgets what the state has no more.
func (u *uses) sweep(state *raftfsm.State) {
	for id := range u.tokens {
		if state.Token(id) == nil {
			delete(u.tokens, id)
		}
	}
	for id := range u.namespaces {
		if state.Namespace(id) == nil {
			delete(u.namespaces, id)
		}
	}
	u.sweepAt = max(sweepMin, 2*(len(u.tokens)+len(u.namespaces)))
}

// with returns the report with the uses that r asks for.
func (u *uses) with(report *atollpb.NodeReport, state *raftfsm.State, r *atollpb.ReportsRequest) *atollpb.NodeReport {
	ids := r.NamespaceIds
	if r.NamespaceId != 0 {
		ids = []uint64{r.NamespaceId}
	}
	if len(ids) == 0 {
		return report
	}
	report = proto.CloneOf(report)
	for _, id := range ids {
		if use := u.namespaces[id]; use != nil {
			report.NamespaceUses = append(report.NamespaceUses, use)
		}
	}
	if r.NamespaceId == 0 {
		return report
	}
	for token := range state.Tokens(r.NamespaceId) {
		if use := u.tokens[token.Id]; use != nil {
			report.TokenUses = append(report.TokenUses, use)
		}
	}
	return report
}
