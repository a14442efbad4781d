package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/rpc/adminapi"
)

func (a *api) registerBackup(h huma.API) {
	op := operation(http.MethodGet, adminapi.BackupPath, "get-backup", "Hand out a snapshot of the metadata, for a restore: it holds the cluster's keys")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "a snapshot of the state machine, with its own checksum at the end",
		Content:     map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
		Headers:     map[string]*huma.Param{adminapi.RevisionHeader: {Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "that the snapshot holds"}},
	}}
	huma.Register(h, op, a.getBackup)
}

func (a *api) getBackup(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	state := callerOf(ctx).state
	return &huma.StreamResponse{Body: func(h huma.Context) {
		h.SetHeader("Content-Type", "application/octet-stream")
		h.SetHeader(adminapi.RevisionHeader, fmt.Sprint(state.Revision()))
		if err := state.WriteSnapshot(h.BodyWriter()); err != nil {
			a.Log.Warn("a backup was not sent whole", "error", err) // which its end tells the reader
		}
	}}, nil
}
