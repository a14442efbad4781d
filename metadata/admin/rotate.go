package admin

import (
	"context"
	"time"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
)

type rotateTokenInput struct {
	TokenInput
	ChangeParams
	MatchParams
	Body adminapi.RotateToken
}

func (a *api) rotateToken(ctx context.Context, in *rotateTokenInput) (*reply[adminapi.CreatedTokenReply], error) {
	ref, err := in.ref(ctx, in.ChangeParams, in.MatchParams)
	if err != nil {
		return nil, err
	}
	made, refusal := a.newToken(ctx, &adminapi.CreateToken{Secret: in.Body.Secret, Label: in.Body.Label}, in.ChangeParams)
	if refusal != nil {
		return nil, a.problem(refusal)
	}

	command := &raftfsm.RotateToken{TokenRef: ref, Token: made.NewToken, OverlapMs: uint64(in.Body.OverlapMs)}
	result, err := a.proposeFor(ctx, &in.TokenInput, command, in.ChangeParams)
	if err != nil {
		return nil, err
	}
	return a.createdReply(ctx, result, made, in.ChangeParams)
}

type updateTokenInput struct {
	TokenInput
	ChangeParams
	MatchParams
	Body adminapi.UpdateToken
}

func (a *api) updateToken(ctx context.Context, in *updateTokenInput) (*tagged[adminapi.UpdatedToken], error) {
	ref, err := in.ref(ctx, in.ChangeParams, in.MatchParams)
	if err != nil {
		return nil, err
	}
	command := &raftfsm.UpdateToken{TokenRef: ref}
	if in.Body.Label != nil {
		command.SetLabel, command.Label = true, *in.Body.Label
	}
	switch at, err := time.Parse(time.RFC3339, in.Body.ExpiresAt); {
	case in.Body.ExpiresAt == "":
	case in.Body.ExpiresAt == "never":
		command.SetExpiry = true
	case err != nil:
		return nil, a.problem(invalid("expires_at", "expires_at takes a time (RFC 3339) or never"))
	case at.UnixMilli() <= 0:
		return nil, a.problem(invalid("expires_at", "expires_at is not in the future"))
	default:
		command.SetExpiry, command.ExpiresMs = true, at.UnixMilli()
	}

	result, err := a.proposeFor(ctx, &in.TokenInput, command, in.ChangeParams)
	if err != nil {
		return nil, err
	}
	state, err := a.stateAt(ctx, result.Revision)
	if err != nil {
		return nil, err
	}
	token := state.Token(in.ID)
	if token == nil {
		return nil, newProblem(adminapi.CodePrecondition, "the token was changed at revision %d and has been revoked since", result.Revision)
	}

	out := adminapi.UpdatedToken{Token: tokenJSON(token, in.Name)}
	out.Change = a.change(ctx, result, in.ChangeParams)
	return &tagged[adminapi.UpdatedToken]{adminapi.ETag(token.ModifiedRevision), out}, nil
}
