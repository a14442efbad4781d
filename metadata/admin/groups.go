package admin

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

func (a *api) registerGroups(h huma.API) {
	register(h, http.MethodGet, "/v1/groups", "list-groups", "List the groups", a.listGroups)
	register(h, http.MethodPost, "/v1/groups/{id}/promote", "promote", "Make a replica the primary", a.promote)
}

func (a *api) listGroups(ctx context.Context, in *PageParams) (*reply[adminapi.GroupList], error) {
	after, err := in.number()
	if err != nil {
		return nil, err
	}
	state := callerOf(ctx).state
	out := adminapi.GroupList{Revision: state.Revision()}
	out.Groups, out.Next = fill(state.Groups(), in.Limit,
		func(g *atollpb.Group) (adminapi.Group, bool) { return groupJSON(g), uint64(g.Id) > after },
		func(g adminapi.Group) string { return strconv.FormatUint(uint64(g.ID), 10) })
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
