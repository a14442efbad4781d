package admin

import (
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/metadata/control"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

func (a *api) registerNodes(h huma.API) {
	const all, one = "/v1/nodes", "/v1/nodes/{id}"
	register(h, http.MethodGet, all, "list-nodes", "List the data nodes with what they last reported", a.listNodes)
	register(h, http.MethodGet, one, "get-node", "Show a data node", a.getNode)
	register(h, http.MethodDelete, one, "remove-node", "Forget a data node that is not a primary", a.removeNode)
}

func (a *api) listNodes(ctx context.Context, in *PageParams) (*reply[adminapi.NodeList], error) {
	reports, err := a.reports(ctx)
	if err != nil {
		return nil, err
	}
	state := callerOf(ctx).state
	out := adminapi.NodeList{Revision: state.Revision()}
	out.Nodes, out.Next = fill(state.Nodes(), in.Limit, func(n *atollpb.Node) (adminapi.Node, bool) {
		return describeNode(state, n, reports), n.Id > in.After
	}, func(n adminapi.Node) string { return n.ID })
	return &reply[adminapi.NodeList]{out}, nil
}

// NodeInput names a data node.
type NodeInput struct {
	ID string `path:"id"`
}

func (a *api) getNode(ctx context.Context, in *NodeInput) (*reply[adminapi.Node], error) {
	state := callerOf(ctx).state
	n := state.Node(in.ID)
	if n == nil {
		return nil, newProblem(adminapi.CodeNotFound, "node %q was not found", in.ID)
	}
	reports, err := a.reports(ctx)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.Node]{describeNode(state, n, reports)}, nil
}

// reports returns what the leader has heard, by node id.
func (a *api) reports(ctx context.Context) (map[string]control.Report, error) {
	list, err := a.Control.Reports(ctx)
	if err != nil {
		return nil, a.problem(err)
	}
	reports := make(map[string]control.Report, len(list))
	for _, r := range list {
		reports[r.NodeId] = r
	}
	return reports, nil
}

func describeNode(s *raftfsm.State, n *atollpb.Node, reports map[string]control.Report) adminapi.Node {
	out := nodeJSON(n)
	for g := range s.Groups() {
		switch {
		case g.Primary == n.Id:
			out.Group, out.Role = g.Id, "primary"
		case slices.Contains(g.Replicas, n.Id):
			out.Group, out.Role = g.Id, "replica"
		}
	}
	// A report of another incarnation is about a disk that is gone.
	if r, ok := reports[n.Id]; ok && r.Incarnation == n.Incarnation {
		out.Live, out.Report = r.Live, reportJSON(r)
	}
	return out
}

// checkSilent refuses a node that runs: it would go on serving clients, and nobody would wait for it or
// ask it to purge. What the state machine refuses in any case is left to it.
func (a *api) checkSilent(ctx context.Context, id string) error {
	reports, err := a.reports(ctx)
	if err != nil {
		return err
	}
	state := callerOf(ctx).state
	n := state.Node(id)
	if n == nil {
		return nil
	}
	if d := describeNode(state, n, reports); d.Live && d.Role != "primary" {
		return newProblem(adminapi.CodePrecondition, "node %q is live: stop it first, and remove it once it has been silent for %v", id, control.LiveMax)
	}
	return nil
}

type removeNodeInput struct {
	NodeInput
	ChangeParams
}

func (a *api) removeNode(ctx context.Context, in *removeNodeInput) (*reply[adminapi.Change], error) {
	if err := a.checkSilent(ctx, in.ID); err != nil {
		return nil, err
	}

	result, err := a.propose(ctx, &raftfsm.RemoveNode{ID: in.ID}, in.ChangeParams)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.Change]{a.change(ctx, result, in.ChangeParams)}, nil
}
