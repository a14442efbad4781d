package admin

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
)

// inviteTTL is how long an invitation is good when nobody says.
const inviteTTL = time.Hour

func (a *api) registerInvites(h huma.API) {
	const all, one = "/v1/invites", "/v1/invites/{id}"
	register(h, http.MethodPost, all, "create-invite", "Invite nodes to the cluster; the join token is shown only in this answer, and to a retry", a.createInvite)
	register(h, http.MethodGet, all, "list-invites", "List the invitations by id", a.listInvites)
	register(h, http.MethodDelete, one, "delete-invite", "Take an invitation back; nodes that have used it stay", a.deleteInvite)
}

type createInviteInput struct {
	ChangeParams
	Body adminapi.CreateInvite
}

func (a *api) createInvite(ctx context.Context, in *createInviteInput) (*reply[adminapi.CreatedInvite], error) {
	authority := callerOf(ctx).state.Authority()
	if authority == nil {
		return nil, noAuthority()
	}
	token := a.newJoinToken(ctx, authority, in.ChangeParams)
	hash := sha256.Sum256(token.Secret[:])
	ttl := time.Duration(in.Body.TTLMs) * time.Millisecond
	if ttl == 0 {
		ttl = inviteTTL
	}
	command := &raftfsm.CreateInvite{
		ID: token.InviteID, Hash: hash[:], Roles: inviteRoles(in.Body.Role), NodeID: in.Body.NodeID,
		UsesMax: uint64(max(in.Body.Uses, 1)), ExpiresMs: a.Now().Add(ttl).UnixMilli(),
	}

	result, err := a.propose(ctx, command, in.ChangeParams)
	if err != nil {
		return nil, err
	}
	state, err := a.stateAt(ctx, result.Revision)
	if err != nil {
		return nil, err
	}
	made := state.Invite(result.TokenIDs[0])
	if made == nil {
		return nil, newProblem(adminapi.CodePrecondition, "the invitation was made at revision %d and has been deleted since", result.Revision)
	}

	out := adminapi.CreatedInvite{Invite: inviteJSON(made)}
	if bytes.Equal(made.Hash, hash[:]) {
		out.JoinToken = token.String()
	}
	out.Change = a.change(ctx, result, in.ChangeParams)
	return &reply[adminapi.CreatedInvite]{out}, nil
}

// newJoinToken makes a token. With an Idempotency-Key it follows from it, as secrets of tokens do, so that a retry shows
// the same one; from the authority's key, since data nodes have the cluster's token key, and might guess the other.
func (a *api) newJoinToken(ctx context.Context, authority *atollpb.CertificateAuthority, p ChangeParams) mtls.JoinToken {
	token := mtls.JoinToken{CA: sha256.Sum256(raftfsm.Signer(authority).Cert)}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	_, _ = rand.Read(token.Secret[:])
	if p.IdempotencyKey != "" {
		c := callerOf(ctx)
		sum := sha256.Sum256([]byte(consensus.DeriveSecret(authority.Key, "invite "+c.tokenID, p.IdempotencyKey)))
		copy(id[:], sum[mtls.InviteSecretBytes:])
		copy(token.Secret[:], sum[:])
	}
	token.InviteID = mtls.InviteID(id)
	return token
}

// inviteRoles returns what a node that is invited in a role may become.
func inviteRoles(word string) []atollpb.NodeRole {
	switch word {
	case adminapi.InviteMeta:
		return []atollpb.NodeRole{mtls.Meta}
	case adminapi.InviteServer:
		return []atollpb.NodeRole{mtls.Meta, mtls.Data}
	}
	return []atollpb.NodeRole{mtls.Data}
}

func inviteJSON(i *atollpb.Invite) adminapi.Invite {
	role := adminapi.InviteServer
	if len(i.Roles) == 1 {
		role = mtls.RoleWord(i.Roles[0])
	}
	return adminapi.Invite{
		ID: i.Id, Role: role, NodeID: i.NodeId, CreatedAt: time.UnixMilli(i.CreatedMs).UTC(), ExpiresAt: time.UnixMilli(i.ExpiresMs).UTC(),
		Uses: i.Uses, UsesMax: i.UsesMax,
	}
}

func (a *api) listInvites(ctx context.Context, in *PageParams) (*reply[adminapi.InviteList], error) {
	state := callerOf(ctx).state
	out := adminapi.InviteList{Revision: state.Revision()}
	out.Invites, out.Next = fill(state.Invites(), in.Limit, func(i *atollpb.Invite) (adminapi.Invite, bool) {
		return inviteJSON(i), i.Id > in.After
	}, func(i adminapi.Invite) string { return i.ID })
	return &reply[adminapi.InviteList]{out}, nil
}

type deleteInviteInput struct {
	ID string `path:"id"`
	ChangeParams
}

func (a *api) deleteInvite(ctx context.Context, in *deleteInviteInput) (*reply[adminapi.Change], error) {
	result, err := a.propose(ctx, &raftfsm.DeleteInvite{ID: in.ID}, in.ChangeParams)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.Change]{a.change(ctx, result, in.ChangeParams)}, nil
}
