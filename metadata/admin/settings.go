package admin

import (
	"maps"
	"slices"
	"strings"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// stateWord returns the API's word for what a namespace is.
func stateWord(n *atollpb.Namespace) string {
	switch {
	case n.State == atollpb.NamespaceState_NAMESPACE_STATE_IN_GRACE:
		return adminapi.StateInGrace
	case n.State == atollpb.NamespaceState_NAMESPACE_STATE_DELETED:
		return adminapi.StateDeleted
	case n.Suspended:
		return adminapi.StateSuspended
	}
	return adminapi.StateActive
}

// keys returns a map's keys in their order: a command's bytes don't depend on that of a map.
func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func labelsOf(m map[string]string) []raftfsm.SetLabel {
	var labels []raftfsm.SetLabel
	for _, key := range keys(m) {
		labels = append(labels, raftfsm.SetLabel{Key: key, Value: m[key]})
	}
	return labels
}

func labelChanges(m map[string]*string) []raftfsm.SetLabel {
	var labels []raftfsm.SetLabel
	for _, key := range keys(m) {
		if value := m[key]; value == nil {
			labels = append(labels, raftfsm.SetLabel{Key: key, Remove: true})
		} else {
			labels = append(labels, raftfsm.SetLabel{Key: key, Value: *value})
		}
	}
	return labels
}

// limitsOf reads limits by their names.
func limitsOf[V any](m map[string]V, limit func(V) adminapi.SetLimit) ([]raftfsm.SetLimit, *raftfsm.Error) {
	kinds := map[string]raftfsm.LimitKind{}
	names := []string{}
	for _, k := range raftfsm.LimitKinds() {
		kinds[k.String()] = k
		names = append(names, k.String())
	}
	var limits []raftfsm.SetLimit
	for _, name := range keys(m) {
		kind, ok := kinds[name]
		if !ok {
			return nil, invalid("limits."+name, "limits has no %q: use %s", name, strings.Join(names, ", "))
		}
		l := limit(m[name])
		limits = append(limits, raftfsm.SetLimit{Kind: kind, Soft: l.Soft, Hard: l.Hard})
	}
	return limits, nil
}

func limitsJSON(l *atollpb.Limits) map[string]adminapi.Limit {
	if l == nil {
		return nil
	}
	out := map[string]adminapi.Limit{}
	for _, k := range raftfsm.LimitKinds() {
		if limit := *raftfsm.LimitOf(l, k); limit != nil {
			out[k.String()] = adminapi.Limit{Soft: limit.Soft, Hard: limit.Hard}
		}
	}
	return out
}

func switchOf(b *bool) raftfsm.Switch {
	switch {
	case b == nil:
		return raftfsm.Unchanged
	case *b:
		return raftfsm.On
	}
	return raftfsm.Off
}

func deletedJSON(s *raftfsm.State, n *atollpb.Namespace) adminapi.DeletedNamespace {
	out := adminapi.DeletedNamespace{
		ID: n.Id, Name: n.Name, State: stateWord(n), DeletedRevision: n.DeletedRevision, WaitingFor: []string{},
		ModifiedRevision: n.ModifiedRevision,
	}
	if n.State == atollpb.NamespaceState_NAMESPACE_STATE_IN_GRACE {
		at := timeOf(n.PurgeAtMs)
		out.PurgeAt = &at
		return out
	}
	for _, node := range s.Unpurged(n) {
		out.WaitingFor = append(out.WaitingFor, node.Id)
	}
	return out
}
