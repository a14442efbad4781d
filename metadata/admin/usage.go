package admin

import (
	"context"
	"slices"

	"github.com/atolldb/atoll/metadata/control"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// usageJSON puts together what the live nodes told of one namespace, or returns nil where none has. Every node of
// the group has the rows, so their number is the primary's.
func usageJSON(primary string, reports []control.Report) *adminapi.NamespaceUsage {
	var out *adminapi.NamespaceUsage
	for _, r := range reports {
		if !r.Live || len(r.NamespaceUses) == 0 {
			continue
		}
		if out == nil {
			out = &adminapi.NamespaceUsage{}
		}
		use := r.NamespaceUses[0]
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
