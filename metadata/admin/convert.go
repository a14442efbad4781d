package admin

import (
	"strings"
	"time"

	"github.com/atolldb/atoll/metadata/control"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

func timeOf(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// word returns the API's word for a protobuf enum: DURABILITY_ASYNC is async.
func word(name, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, prefix)), "_", "-")
}

func durabilityOf(s string) (atollpb.Durability, *raftfsm.Error) {
	switch s {
	case "", "async":
		return atollpb.Durability_DURABILITY_ASYNC, nil
	case "local":
		return atollpb.Durability_DURABILITY_LOCAL, nil
	case "replicated", "durable":
		return 0, invalid("durability", "durability %s is not available in this version: use async or local", s)
	}
	return 0, invalid("durability", "durability %q is unknown: use async or local", s)
}

func roleOf(s string) (atollpb.Role, *raftfsm.Error) {
	switch s {
	case "read-only":
		return atollpb.Role_ROLE_READ_ONLY, nil
	case "", "read-write":
		return atollpb.Role_ROLE_READ_WRITE, nil
	case "viewer":
		return atollpb.Role_ROLE_VIEWER, nil
	case "operator":
		return atollpb.Role_ROLE_OPERATOR, nil
	case "admin":
		return atollpb.Role_ROLE_ADMIN, nil
	}
	return 0, invalid("role", "role %q is unknown: use read-only, read-write, viewer, operator or admin", s)
}

func namespaceJSON(n *atollpb.Namespace) adminapi.Namespace {
	out := adminapi.Namespace{
		ID: n.Id, Name: n.Name, State: stateWord(n), Durability: word(n.Durability.String(), "DURABILITY_"),
		ReadOnly: n.ReadOnly, Limits: limitsJSON(n.Limits),
		CreatedAt: timeOf(n.CreatedMs), ModifiedAt: timeOf(n.CreatedMs), ModifiedRevision: n.ModifiedRevision,
	}
	if n.ModifiedMs != 0 {
		out.ModifiedAt = timeOf(n.ModifiedMs)
	}
	for _, l := range n.Labels {
		if out.Labels == nil {
			out.Labels = map[string]string{}
		}
		out.Labels[l.Key] = l.Value
	}
	return out
}

func tokenJSON(t *atollpb.Token, namespace string) adminapi.Token {
	out := adminapi.Token{
		ID: t.Id, Namespace: namespace, Role: word(t.Role.String(), "ROLE_"), Label: t.Label, CreatedAt: timeOf(t.CreatedMs),
		ReplacedBy: t.ReplacedBy, ModifiedRevision: t.ModifiedRevision,
	}
	if t.ExpiresMs != 0 {
		at := timeOf(t.ExpiresMs)
		out.ExpiresAt = &at
	}
	return out
}

func nodeJSON(n *atollpb.Node) adminapi.Node {
	return adminapi.Node{
		ID: n.Id, Incarnation: n.Incarnation, RESPAddr: n.RespAddr, ClusterAddr: n.ClusterAddr,
		Version: n.Version, RegisteredAt: timeOf(n.RegisteredMs),
	}
}

func reportJSON(r control.Report) *adminapi.NodeReport {
	state := "unknown"
	if r.State != atollpb.NodeState_NODE_STATE_UNSPECIFIED {
		state = word(r.State.String(), "NODE_STATE_")
	}
	return &adminapi.NodeReport{
		AgeMs: r.Age.Milliseconds(), State: state, Note: r.Note, ViewRevision: r.ViewRevision,
		Written: adminapi.Position{
			HistoryID: r.Written.GetHistoryId(), Epoch: r.Written.GetEpoch(), Index: r.Written.GetIndex(),
		},
		SyncedIndex: r.SyncedIndex, CommitIndex: r.CommitIndex, AppliedIndex: r.AppliedIndex,
		Keys: r.Keys, Bytes: r.Bytes,
	}
}

func groupJSON(g *atollpb.Group) adminapi.Group {
	out := adminapi.Group{
		ID: g.Id, Primary: g.Primary, Replicas: append([]string{}, g.Replicas...), InSync: append([]string{}, g.InSync...),
		Epoch: g.Epoch, HistoryID: g.HistoryId, ModifiedRevision: g.ModifiedRevision,
	}
	if p := g.Promotion; p != nil {
		out.Promotion = &adminapi.Promotion{Target: p.Target, Revision: p.Revision, BegunAt: timeOf(p.BegunMs)}
	}
	return out
}
