package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/rpc/adminapi"
)

func (a *api) registerMetadataNodes(h huma.API) {
	register(h, http.MethodDelete, "/v1/metadata-nodes/{id}", "remove-metadata-node", "Take a stopped metadata node out of the cluster", a.removeMetadataNode)
	register(h, http.MethodPost, "/v1/metadata-nodes/transfer", "transfer-leadership", "Have another metadata node lead", a.transferLeadership)
}

type removeMetadataNodeInput struct {
	ID string `path:"id"`
}

func (a *api) removeMetadataNode(ctx context.Context, in *removeMetadataNodeInput) (*reply[adminapi.Change], error) {
	if err := a.Consensus.RemoveVoter(ctx, in.ID, a.options(ctx, ChangeParams{})); err != nil {
		return nil, a.changeProblem(err)
	}
	state, err := a.Consensus.Read(ctx)
	if err != nil {
		return nil, a.changeProblem(errors.Join(consensus.ErrIndeterminate, err))
	}
	return &reply[adminapi.Change]{adminapi.Change{Revision: state.Revision()}}, nil
}

type transferInput struct {
	Body adminapi.Transfer
}

func (a *api) transferLeadership(ctx context.Context, in *transferInput) (*reply[adminapi.Change], error) {
	if err := a.Consensus.Transfer(ctx, in.Body.Target); err != nil {
		return nil, a.changeProblem(err)
	}
	return &reply[adminapi.Change]{adminapi.Change{Revision: callerOf(ctx).state.Revision()}}, nil
}
