package admin

import (
	"context"
	"errors"
	"math"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

func (a *api) registerTokens(h huma.API) {
	const all, one = "/v1/namespaces/{name}/tokens", "/v1/namespaces/{name}/tokens/{id}"
	register(h, http.MethodPost, all, "create-token", "Create a token; its secret is shown only in this answer, and to a retry", a.createToken)
	register(h, http.MethodGet, all, "list-tokens", "List a namespace's tokens by id, with their use", a.listTokens)
	register(h, http.MethodGet, one, "get-token", "Show a token", a.getToken)
	register(h, http.MethodPatch, one, "update-token", "Change a token's label or expiry", a.updateToken)
	register(h, http.MethodPost, one+"/rotate", "rotate-token", "Put a new token in another's place, with an overlap", a.rotateToken)
	register(h, http.MethodDelete, one, "revoke-token", "Revoke a token", a.revokeToken)
}

type createTokenInput struct {
	NamespaceInput
	ChangeParams
	Body adminapi.CreateToken
}

func (a *api) createToken(ctx context.Context, in *createTokenInput) (*reply[adminapi.CreatedTokenReply], error) {
	// A retry may find the namespace renamed: the state machine, which remembers the key, answers it. Id 0 is no
	// namespace's.
	n, notFound := namespaceNamed(ctx, in.Name)
	if notFound != nil && in.IdempotencyKey == "" {
		return nil, notFound
	}
	made, refusal := a.newToken(ctx, &in.Body, in.ChangeParams)
	if refusal != nil {
		return nil, a.problem(refusal)
	}

	result, err := a.propose(ctx, &raftfsm.CreateToken{NamespaceID: n.GetId(), Token: made.NewToken}, in.ChangeParams)
	if err != nil {
		if notFound != nil && isCode(err, adminapi.CodeNotFound) {
			return nil, notFound
		}
		return nil, err
	}
	return a.createdReply(ctx, result, made, in.ChangeParams)
}

// createdReply answers a change that has made a token.
func (a *api) createdReply(ctx context.Context, result raftfsm.Result, made madeToken, p ChangeParams) (*reply[adminapi.CreatedTokenReply], error) {
	state, err := a.stateAt(ctx, result.Revision)
	if err != nil {
		return nil, err
	}
	created := createdToken(state, state.Namespace(result.NamespaceID), result, made)
	if created == nil {
		return nil, newProblem(adminapi.CodePrecondition, "the token was created at revision %d and has been revoked since", result.Revision)
	}

	out := adminapi.CreatedTokenReply{Token: *created}
	out.Change = a.change(ctx, result, p)
	return &reply[adminapi.CreatedTokenReply]{out}, nil
}

type listTokensInput struct {
	NamespaceInput
	PageParams
}

func (a *api) listTokens(ctx context.Context, in *listTokensInput) (*reply[adminapi.TokenList], error) {
	n, err := namespaceNamed(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	uses, err := a.tokenUses(ctx, n.Id)
	if err != nil {
		return nil, err
	}
	state := callerOf(ctx).state
	out := adminapi.TokenList{Revision: state.Revision()}
	out.Tokens, out.Next = fill(state.Tokens(n.Id), in.Limit, func(t *atollpb.Token) (adminapi.Token, bool) {
		return uses.describe(t, n.Name), t.Id > in.After
	}, func(t adminapi.Token) string { return t.ID })
	return &reply[adminapi.TokenList]{out}, nil
}

// TokenInput names a token of a namespace.
type TokenInput struct {
	NamespaceInput
	ID string `path:"id" example:"tok_2f6n4c5dbu7t3qkzq6m3h4a5wi"`
}

// find returns the token and its namespace in the caller's state.
func (in *TokenInput) find(ctx context.Context) (*atollpb.Namespace, *atollpb.Token, error) {
	state := callerOf(ctx).state
	n, token := state.NamespaceByName(in.Name), state.Token(in.ID)
	if n == nil || token == nil || token.NamespaceId != n.Id {
		return n, nil, newProblem(adminapi.CodeNotFound, "namespace %q has no token %q", in.Name, in.ID)
	}
	return n, token, nil
}

func (a *api) getToken(ctx context.Context, in *TokenInput) (*tagged[adminapi.Token], error) {
	n, token, err := in.find(ctx)
	if err != nil {
		return nil, err
	}
	uses, err := a.tokenUses(ctx, n.Id)
	if err != nil {
		return nil, err
	}
	return &tagged[adminapi.Token]{adminapi.ETag(token.ModifiedRevision), uses.describe(token, n.Name)}, nil
}

type revokeTokenInput struct {
	TokenInput
	ChangeParams
	MatchParams
}

func (a *api) revokeToken(ctx context.Context, in *revokeTokenInput) (*reply[adminapi.Change], error) {
	ref, err := in.ref(ctx, in.ChangeParams, in.MatchParams)
	if err != nil {
		return nil, err
	}

	result, err := a.proposeFor(ctx, &in.TokenInput, &raftfsm.RevokeToken{TokenRef: ref}, in.ChangeParams)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.Change]{a.change(ctx, result, in.ChangeParams)}, nil
}

// ref names the token in a command. A retry may find the token or its namespace gone: with a key it is left to the
// state machine, which remembers it. No token is of namespace math.MaxUint64.
func (in *TokenInput) ref(ctx context.Context, p ChangeParams, m MatchParams) (raftfsm.TokenRef, error) {
	n, _, err := in.find(ctx)
	if err != nil && p.IdempotencyKey == "" {
		return raftfsm.TokenRef{}, err
	}
	ref := raftfsm.TokenRef{ID: in.ID, NamespaceID: math.MaxUint64}
	if n != nil {
		ref.NamespaceID = n.Id
	}
	ref.ExpectedRevision, err = m.revision()
	return ref, err
}

// proposeFor makes a change of a token, and names the token as the caller did where there is none.
func (a *api) proposeFor(ctx context.Context, in *TokenInput, c raftfsm.Command, p ChangeParams) (raftfsm.Result, error) {
	result, err := a.propose(ctx, c, p)
	if isCode(err, adminapi.CodeNotFound) {
		err = newProblem(adminapi.CodeNotFound, "namespace %q has no token %q", in.Name, in.ID)
	}
	return result, err
}

func isCode(err error, code string) bool {
	p, ok := errors.AsType[*problem](err)
	return ok && p.Code() == code
}
