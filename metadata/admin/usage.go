package admin

import (
	"context"
	"slices"

	"github.com/atolldb/atoll/metadata/control"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// usageJSON puts together what the live nodes told of a namespace, or returns nil where none has. Every node of
// the group has the rows, so their number is the primary's.
func usageJSON(primary string, reports []control.Report, id uint64) *adminapi.NamespaceUsage {
	var out *adminapi.NamespaceUsage
	for _, r := range reports {
		i := slices.IndexFunc(r.GetNamespaceUses(), func(u *atollpb.NamespaceUse) bool { return u.NamespaceId == id })
		if !r.Live || i < 0 {
			continue
		}
		if out == nil {
			out = &adminapi.NamespaceUsage{}
		}
		use := r.NamespaceUses[i]
		if r.NodeId == primary {
			out.Keys, out.Bytes = &use.Keys, &use.Bytes
		}
		out.Connections += uint64(use.Connections)
		out.CommandsPerSecond += use.CommandsPerSecond
		out.InBytesPerSecond += use.InBytesPerSecond
		out.OutBytesPerSecond += use.OutBytesPerSecond
		out.Limited += use.Limited
		out.OverSoft = append(out.OverSoft, use.OverSoft...)
	}
	if out != nil {
		slices.Sort(out.OverSoft)
		out.OverSoft = slices.Compact(out.OverSoft)
	}
	return out
}

// addUsage puts what the live nodes told into a page of namespaces.
func (a *api) addUsage(ctx context.Context, page []adminapi.Namespace) error {
	var ids []uint64
	for _, n := range page {
		ids = append(ids, n.ID)
	}
	reports, err := a.Control.UsesOf(ctx, ids)
	if err != nil {
		return a.problem(err)
	}
	uses := map[uint64][]control.Report{} // by namespace: a page may be long
	for _, r := range reports {
		for _, use := range r.GetNamespaceUses() {
			one := r
			one.NodeReport = &atollpb.NodeReport{NodeId: r.NodeId, NamespaceUses: []*atollpb.NamespaceUse{use}}
			uses[use.NamespaceId] = append(uses[use.NamespaceId], one)
		}
	}
	primary := callerOf(ctx).state.Group(raftfsm.GroupID).GetPrimary()
	for i := range page {
		page[i].Usage = usageJSON(primary, uses[page[i].ID], page[i].ID)
	}
	return nil
}

// tokenUses is what the live nodes told of tokens, by id.
type tokenUses map[string]*atollpb.TokenUse

func (a *api) tokenUses(ctx context.Context, namespaceID uint64) (tokenUses, error) {
	reports, err := a.Control.Uses(ctx, namespaceID)
	if err != nil {
		return nil, a.problem(err)
	}
	uses := tokenUses{}
	for _, r := range reports {
		if !r.Live {
			continue
		}
		for _, use := range r.TokenUses {
			sum := uses[use.TokenId]
			if sum == nil {
				sum = &atollpb.TokenUse{TokenId: use.TokenId}
				uses[use.TokenId] = sum
			}
			sum.LastUsedMs = max(sum.LastUsedMs, use.LastUsedMs)
			sum.Connections += use.Connections
		}
	}
	return uses, nil
}

func (u tokenUses) describe(t *atollpb.Token, namespace string) adminapi.Token {
	out := tokenJSON(t, namespace)
	if use := u[t.Id]; use != nil {
		out.Connections = uint64(use.Connections)
		if use.LastUsedMs > 0 {
			at := timeOf(use.LastUsedMs)
			out.LastUsedAt = &at
		}
	}
	return out
}
