package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/rpc/adminapi"
)

func (a *api) registerCluster(h huma.API) {
	register(h, http.MethodGet, "/v1/cluster", "get-cluster", "Show the metadata service", a.getCluster)
}

func (a *api) getCluster(ctx context.Context, _ *struct{}) (*reply[adminapi.Cluster], error) {
	state, status := callerOf(ctx).state, a.Consensus.Status()
	out := adminapi.Cluster{
		ClusterID:          state.Cluster().GetClusterId(),
		DefaultNamespaceID: state.Cluster().GetDefaultNamespaceId(),
		Revision:           state.Revision(),
		NodeID:             status.NodeID,
		Role:               status.Role,
		Term:               status.Term,
		LeaderID:           status.LeaderID,
		LeaderAddr:         status.LeaderAddr,
		CommitIndex:        status.CommitIndex,
		Voters:             []adminapi.Voter{},
	}
	for _, v := range status.Voters {
		out.Voters = append(out.Voters, adminapi.Voter{ID: v.ID, ClusterAddr: v.ClusterAddr, HTTPAddr: v.HTTPAddr})
	}
	return &reply[adminapi.Cluster]{out}, nil
}

func (a *api) registerHealth(h huma.API) {
	register(h, http.MethodGet, "/healthz", "healthz", "The process is alive and its Raft has not stopped", a.healthz)
	register(h, http.MethodGet, "/readyz", "readyz", "The metadata service is initialised and has a leader", a.readyz)
}

func (a *api) healthz(context.Context, *struct{}) (*reply[adminapi.Health], error) {
	if err := a.Consensus.Status().Err; err != nil {
		return nil, newProblem(adminapi.CodeUnavailable, "this metadata node has stopped: %v", err)
	}
	return &reply[adminapi.Health]{adminapi.Health{Status: "ok"}}, nil
}

func (a *api) readyz(context.Context, *struct{}) (*reply[adminapi.Health], error) {
	if err := a.Consensus.Status().Ready(); err != nil {
		return nil, newProblem(adminapi.CodeUnavailable, "not ready: %v", err)
	}
	return &reply[adminapi.Health]{adminapi.Health{Status: "ok"}}, nil
}
