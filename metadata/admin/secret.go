package admin

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"unicode"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// madeToken is a token as it is proposed, with its secret; the zero one is none.
type madeToken struct {
	raftfsm.NewToken
	secret string
}

// list returns the token as a command takes it.
func (m madeToken) list() []raftfsm.NewToken {
	if m.ID == "" {
		return nil
	}
	return []raftfsm.NewToken{m.NewToken}
}

// newToken makes a token from what was asked for. With an Idempotency-Key the secret follows from it, so that a
// retry, at any metadata node, shows the same one; the log and the state have neither.
func (a *api) newToken(ctx context.Context, in *adminapi.CreateToken, p ChangeParams) (madeToken, *raftfsm.Error) {
	role, refusal := roleOf(in.Role)
	if refusal != nil {
		return madeToken{}, refusal
	}
	c := callerOf(ctx)
	tokenKey, secret := c.state.Cluster().TokenKey, in.Secret
	switch {
	case secret != "":
		if refusal := a.checkSecret(secret); refusal != nil {
			return madeToken{}, refusal
		}
	case p.IdempotencyKey != "":
		secret = consensus.DeriveSecret(tokenKey, c.tokenID, p.IdempotencyKey)
	default:
		secret = consensus.NewSecret()
	}
	t := raftfsm.NewToken{
		ID: "tok_" + strings.ToLower(rand.Text()), Hash: consensus.HashSecret(tokenKey, secret), Role: role, Label: in.Label,
	}
	if in.ExpiresAt != nil {
		t.ExpiresMs = in.ExpiresAt.UnixMilli()
		if t.ExpiresMs <= 0 {
			return madeToken{}, invalid("expires_at", "expires_at is not in the future")
		}
	}
	return madeToken{t, secret}, nil
}

// checkSecret refuses a secret that a caller should not choose.
func (a *api) checkSecret(secret string) *raftfsm.Error {
	switch {
	case len(secret) < a.SecretBytesMin || len(secret) > adminapi.SecretBytesMax:
		return invalid("secret", "secret is %d bytes long: it takes %d to %d bytes", len(secret), a.SecretBytesMin, adminapi.SecretBytesMax)
	case strings.ContainsRune(secret, unicode.ReplacementChar):
		return invalid("secret", "secret contains U+FFFD, which stands for bytes that were not UTF-8")
	case strings.ContainsFunc(secret, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }):
		return invalid("secret", "secret contains a space or a control character")
	}
	return nil
}

// createdToken describes the token that a result made, or returns nil when it is gone again. In a repeated result
// it is that of the first request, whose secret is shown where this request has the same.
func createdToken(s *raftfsm.State, n *atollpb.Namespace, result raftfsm.Result, made madeToken) *adminapi.CreatedToken {
	t := s.Token(result.TokenIDs[0])
	if t == nil {
		return nil
	}
	out := &adminapi.CreatedToken{Token: tokenJSON(t, n.Name)}
	if bytes.Equal(t.Hash, made.Hash) {
		out.Secret = made.secret
	}
	return out
}
