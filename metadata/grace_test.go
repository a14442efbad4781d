package metadata

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/metadata/control"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

const (
	inGrace = atollpb.NamespaceState_NAMESPACE_STATE_IN_GRACE
	deleted = atollpb.NamespaceState_NAMESPACE_STATE_DELETED
)

// NAMESPACE DEL leaves a namespace in grace, whose data no node may purge; the leader ends the grace when its time
// has come, and no sooner.
func TestGraceOfNamespaceDel(t *testing.T) {
	p := newProcessWith(t, "meta1", func(c *Config) { c.DeleteGrace = time.Hour })
	p.ready()
	id := p.namespaces(atollpb.NamespacesOp_NAMESPACES_OP_ADD, "a", "s").Revision
	v := newView(t)
	v.watch(t.Context(), p)
	del := p.namespaces(atollpb.NamespacesOp_NAMESPACES_OP_DEL, "a", "")
	v.reach(del.Revision)
	n := v.namespaces[id]
	if n.GetState() != inGrace || time.Until(time.UnixMilli(n.PurgeAtMs)) < 50*time.Minute || len(v.tokens) != 1 {
		t.Fatalf("the view has %v and %d tokens", n, len(v.tokens))
	}
	raft := p.node.consensus
	propose := func(c raftfsm.Command) raftfsm.Result {
		t.Helper()
		r, err := raft.Propose(t.Context(), c, consensus.ProposeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	propose(&raftfsm.UndeleteNamespace{ID: id})
	propose(&raftfsm.DeleteNamespace{ID: id, PurgeAtMs: time.Now().Add(time.Hour).UnixMilli()})
	soon := propose(&raftfsm.CreateNamespace{Name: "b"}).NamespaceID
	propose(&raftfsm.DeleteNamespace{ID: soon, PurgeAtMs: time.Now().Add(50 * time.Millisecond).UnixMilli()})
	p.until("the end of the grace", func() bool {
		n := raft.State().Namespace(soon)
		return n == nil || n.State == deleted // with no node to wait for, the tombstone is dropped at once
	})
	if n := raft.State().Namespace(id); n.GetState() != inGrace {
		t.Fatalf("the other one is %v", n)
	}
}

// What nodes tell of uses adds up report by report, with the leader alone, and at every metadata node.
func TestUsesAreKept(t *testing.T) {
	ps := newCluster(t)
	d := newDataNode(t, "n1")
	d.joins(ps[0])
	id := ps[0].namespaces(atollpb.NamespacesOp_NAMESPACES_OP_ADD, "a", "s").Revision
	other := ps[0].namespaces(atollpb.NamespacesOp_NAMESPACES_OP_ADD, "b", "s2").Revision
	state, err := ps[0].node.consensus.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var token string
	for k := range state.Tokens(id) {
		token = k.Id
	}
	report := func(begin bool, tokens []*atollpb.TokenUse, namespaces ...*atollpb.NamespaceUse) {
		t.Helper()
		d.report.UsesBegin, d.report.TokenUses, d.report.NamespaceUses = begin, tokens, namespaces
		d.reports(ps[0])
	}
	uses := func(p *process, of uint64) *atollpb.NodeReport {
		t.Helper()
		var got *atollpb.NodeReport
		p.until("the uses", func() bool {
			reports, err := p.node.control.Uses(t.Context(), of)
			i := slices.IndexFunc(reports, func(r control.Report) bool { return r.NodeId == "n1" })
			if err == nil && i >= 0 {
				got = reports[i].NodeReport
			}
			return got != nil
		})
		return got
	}
	report(false, nil, &atollpb.NamespaceUse{NamespaceId: id, Keys: 1})
	report(true, []*atollpb.TokenUse{{TokenId: token, Connections: 2}, {TokenId: strings.Repeat("x", 20)}},
		&atollpb.NamespaceUse{NamespaceId: id, Keys: 2}, &atollpb.NamespaceUse{NamespaceId: other, Keys: 9}, &atollpb.NamespaceUse{NamespaceId: 1 << 40})
	report(false, nil, &atollpb.NamespaceUse{NamespaceId: id, Keys: 3})
	for _, p := range ps {
		got := uses(p, id)
		if len(got.NamespaceUses) != 1 || got.NamespaceUses[0].Keys != 3 || len(got.TokenUses) != 1 || got.TokenUses[0].Connections != 2 {
			t.Errorf("%s: uses %v", p.id, got)
		}
		if got := uses(p, other); len(got.NamespaceUses) != 1 || got.NamespaceUses[0].Keys != 9 || len(got.TokenUses) != 0 {
			t.Errorf("%s: uses of another %v", p.id, got)
		}
		if got := uses(p, 1<<40); len(got.NamespaceUses) != 0 {
			t.Errorf("%s: uses of what isn't there %v", p.id, got)
		}
	}
	reports, err := ps[0].node.control.Reports(t.Context())
	if err != nil || len(reports[0].NamespaceUses)+len(reports[0].TokenUses) != 0 {
		t.Errorf("plain reports carry uses: %v, %v", reports, err)
	}
	report(true, nil) // the node has started again
	if got := uses(ps[0], id); len(got.NamespaceUses)+len(got.TokenUses) != 0 {
		t.Errorf("uses from before the start: %v", got)
	}
}
