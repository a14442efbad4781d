package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/rpc/adminapi"
)

func (a *api) registerGroups(h huma.API) {
	register(h, http.MethodGet, "/v1/groups", "list-groups", "List the groups", a.listGroups)
	register(h, http.MethodPost, "/v1/groups/{id}/promote", "promote", "Make a replica the primary", a.promote)
}

func (a *api) listGroups(ctx context.Context, _ *struct{}) (*reply[adminapi.GroupList], error) {
	state := callerOf(ctx).state
	out := adminapi.GroupList{Revision: state.Revision(), Groups: []adminapi.Group{}}
	for g := range state.Groups() {
		out.Groups = append(out.Groups, groupJSON(g))
	}
	return &reply[adminapi.GroupList]{out}, nil
}

type promoteInput struct {
	ChangeParams
	ID   uint32 `path:"id"`
	Body adminapi.Promote
}

func (a *api) promote(ctx context.Context, in *promoteInput) (*reply[adminapi.PromoteReply], error) {
	if callerOf(ctx).state.Group(in.ID) == nil {
		return nil, newProblem(adminapi.CodeNotFound, "group %d was not found", in.ID)
	}

	result, err := a.Control.Promote(ctx, in.Body.Target, in.Body.AcceptLoss, a.options(ctx, in.ChangeParams))
	if err != nil {
		return nil, a.changeProblem(err)
	}
	state, err := a.stateAt(ctx, result.Revision)
	if err != nil {
		return nil, err
	}

	out := adminapi.PromoteReply{Group: groupJSON(state.Group(in.ID))}
	out.Change = a.change(ctx, result, in.ChangeParams)
	return &reply[adminapi.PromoteReply]{out}, nil
}
