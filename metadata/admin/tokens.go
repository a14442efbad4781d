package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

func (a *api) registerTokens(h huma.API) {
	const all, one = "/v1/namespaces/{name}/tokens", "/v1/namespaces/{name}/tokens/{id}"
	register(h, http.MethodPost, all, "create-token", "Create a token; its secret is shown only in this answer", a.createToken)
	register(h, http.MethodGet, all, "list-tokens", "List a namespace's tokens by id", a.listTokens)
	register(h, http.MethodDelete, one, "revoke-token", "Revoke a token", a.revokeToken)
}

type createTokenInput struct {
	NamespaceInput
	ChangeParams
	Body adminapi.CreateToken
}

func (a *api) createToken(ctx context.Context, in *createTokenInput) (*reply[adminapi.CreatedTokenReply], error) {
	n, err := namespaceNamed(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	token, secret, refusal := newToken(callerOf(ctx).state.Cluster(), &in.Body)
	if refusal != nil {
		return nil, a.problem(refusal)
	}

	result, err := a.propose(ctx, &raftfsm.CreateToken{NamespaceID: n.Id, Token: token}, in.ChangeParams)
	if err != nil {
		return nil, err
	}
	state, err := a.stateAt(ctx, result.Revision)
	if err != nil {
		return nil, err
	}
	created := createdToken(state, n, result, token.ID, secret)
	if created == nil {
		return nil, newProblem(adminapi.CodePrecondition, "the token was created at revision %d and has been revoked since", result.Revision)
	}

	out := adminapi.CreatedTokenReply{Token: *created}
	out.Change = a.change(ctx, result, in.ChangeParams)
	return &reply[adminapi.CreatedTokenReply]{out}, nil
}

// newToken makes a token from what was asked for, and returns its secret too.
func newToken(cluster *atollpb.ClusterInfo, in *adminapi.CreateToken) (raftfsm.NewToken, string, *raftfsm.Error) {
	role, refusal := roleOf(in.Role)
	if refusal != nil {
		return raftfsm.NewToken{}, "", refusal
	}
	secret := in.Secret
	switch {
	case secret == "":
		secret = consensus.NewSecret()
	case len(secret) < adminapi.SecretBytesMin || len(secret) > adminapi.SecretBytesMax:
		return raftfsm.NewToken{}, "", invalid("secret", "secret is %d bytes long: it takes %d to %d bytes",
			len(secret), adminapi.SecretBytesMin, adminapi.SecretBytesMax)
	case strings.ContainsRune(secret, unicode.ReplacementChar):
		return raftfsm.NewToken{}, "", invalid("secret", "secret contains U+FFFD, which stands for bytes that were not UTF-8")
	case strings.ContainsFunc(secret, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
		return raftfsm.NewToken{}, "", invalid("secret", "secret contains a space or a control character")
	}
	t := raftfsm.NewToken{
		ID: "tok_" + strings.ToLower(rand.Text()), Hash: consensus.HashSecret(cluster.TokenKey, secret),
		Role: role, Label: in.Label,
	}
	if in.ExpiresAt != nil {
		t.ExpiresMs = in.ExpiresAt.UnixMilli()
		if t.ExpiresMs <= 0 {
			return raftfsm.NewToken{}, "", invalid("expires_at", "expires_at is not in the future")
		}
	}
	return t, secret, nil
}

// createdToken describes the token that a result made, or returns nil when it is gone again. The secret
// belongs to this request's token, whose id is given, not to that of an earlier request that it repeats. A
// result that is repeated doesn't tell them apart: consensus itself may have tried twice.
func createdToken(s *raftfsm.State, n *atollpb.Namespace, result raftfsm.Result, id, secret string) *adminapi.CreatedToken {
	t := s.Token(result.TokenIDs[0])
	if t == nil {
		return nil
	}
	if t.Id != id {
		secret = ""
	}
	return &adminapi.CreatedToken{Token: tokenJSON(t, n.Name), Secret: secret}
}

func (a *api) listTokens(ctx context.Context, in *NamespaceInput) (*reply[adminapi.TokenList], error) {
	n, err := namespaceNamed(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	state := callerOf(ctx).state
	out := adminapi.TokenList{Revision: state.Revision(), Tokens: []adminapi.Token{}}
	for t := range state.Tokens(n.Id) {
		out.Tokens = append(out.Tokens, tokenJSON(t, n.Name))
	}
	return &reply[adminapi.TokenList]{out}, nil
}

type revokeTokenInput struct {
	NamespaceInput
	ChangeParams
	ID string `path:"id"`
}

func (a *api) revokeToken(ctx context.Context, in *revokeTokenInput) (*reply[adminapi.Change], error) {
	state := callerOf(ctx).state
	token, n := state.Token(in.ID), state.NamespaceByName(in.Name)
	notFound := newProblem(adminapi.CodeNotFound, "namespace %q has no token %q", in.Name, in.ID)
	// As with namespaces, a retry finds the token gone, and its key is remembered.
	if token == nil && in.IdempotencyKey == "" || token != nil && (n == nil || token.NamespaceId != n.Id) {
		return nil, notFound
	}

	result, err := a.propose(ctx, &raftfsm.RevokeToken{ID: in.ID}, in.ChangeParams)
	if err != nil {
		if isCode(err, adminapi.CodeNotFound) {
			return nil, notFound
		}
		return nil, err
	}
	return &reply[adminapi.Change]{a.change(ctx, result, in.ChangeParams)}, nil
}

func isCode(err error, code string) bool {
	p, ok := errors.AsType[*problem](err)
	return ok && p.Code() == code
}
