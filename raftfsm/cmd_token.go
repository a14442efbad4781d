package raftfsm

import (
	"slices"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// NewToken is a token as its proposer made it: the secret stays with the proposer.
type NewToken struct {
	ID        string
	Hash      []byte // HMAC-SHA-256 of the secret under the cluster's token key
	Role      atollpb.Role
	Label     string
	ExpiresMs int64 // Unix milliseconds; 0 is never
}

func (n *NewToken) fields(f *fields) {
	f.str(&n.ID)
	f.bytes(&n.Hash)
	enum(f, &n.Role)
	f.str(&n.Label)
	f.i64(&n.ExpiresMs)
}

// createToken adds a token to an active namespace. An expired token of the same secret gives way: it is
// worth nothing any more.
func (t *txn) createToken(namespace *atollpb.Namespace, n NewToken) *Error {
	if err := validateID("token_id", n.ID); err != nil {
		return err
	}
	if len(n.Hash) != HashBytes {
		return refuse(CodeInvalid, "token_hash", "token_hash is %d bytes long: it takes %d bytes", len(n.Hash), HashBytes)
	}
	if err := validateText("label", n.Label, LabelBytesMax); err != nil {
		return err
	}
	switch n.Role {
	case atollpb.Role_ROLE_READ_ONLY, atollpb.Role_ROLE_READ_WRITE:
	case atollpb.Role_ROLE_ADMIN, atollpb.Role_ROLE_VIEWER, atollpb.Role_ROLE_OPERATOR:
		if namespace.Id != t.Cluster().DefaultNamespaceId {
			return refuse(CodeInvalid, "role", "roles admin, operator and viewer are for tokens of the default namespace only")
		}
	default:
		return unknownRole(n.Role)
	}
	if n.ExpiresMs != 0 && n.ExpiresMs <= t.timeMs {
		return refuse(CodeInvalid, "expires_at", "expires_at is not in the future")
	}
	old := t.TokenByHash(n.Hash)
	if old != nil && old.ExpiresMs != 0 && old.ExpiresMs <= t.timeMs {
		t.removeToken(old)
		old = nil
	}
	if t.Token(n.ID) != nil || old != nil || slices.Contains(t.delta.RemovedTokens, n.ID) {
		return refuse(CodeTokenExists, "secret", "the token already exists")
	}
	t.putToken(&atollpb.Token{
		Id: n.ID, NamespaceId: namespace.Id, Hash: n.Hash, Role: n.Role, Label: n.Label,
		ExpiresMs: n.ExpiresMs, CreatedMs: t.timeMs,
	})
	return nil
}

func unknownRole(r atollpb.Role) *Error {
	return refuse(CodeInvalid, "role", "role %d is unknown: use read-only, read-write, viewer, operator or admin", r)
}

// removeTokens revokes all tokens of a namespace.
func (t *txn) removeTokens(namespaceID uint64) {
	for _, token := range slices.Collect(t.Tokens(namespaceID)) {
		t.removeToken(token)
	}
}

// CreateToken adds a token to a namespace.
type CreateToken struct {
	NamespaceID uint64
	Token       NewToken
	first       bool // version 1, which knew no role above admin
}

func (c *CreateToken) fields(f *fields) {
	f.u64(&c.NamespaceID)
	c.Token.fields(f)
	if f.reading { // else others may be reading the command, too
		c.first = f.version < 2
	}
}

func (c *CreateToken) apply(t *txn) (Result, *Error) {
	namespace, err := t.activeNamespace(c.NamespaceID, 0)
	if err != nil {
		return Result{}, err
	}
	if c.first && c.Token.Role > atollpb.Role_ROLE_ADMIN {
		return Result{}, unknownRole(c.Token.Role)
	}
	if err := t.createToken(namespace, c.Token); err != nil {
		return Result{}, err
	}
	return Result{Revision: t.index, NamespaceID: c.NamespaceID, TokenIDs: []string{c.Token.ID}}, nil
}

// TokenRef names a token, of a namespace and at a revision of its record if they are given.
type TokenRef struct {
	ID               string
	NamespaceID      uint64 // 0: any
	ExpectedRevision uint64 // 0 compares nothing
}

func (r *TokenRef) fields(f *fields) {
	f.str(&r.ID)
	f.u64(&r.NamespaceID)
	f.u64(&r.ExpectedRevision)
}

func (r *TokenRef) find(t *txn) (*atollpb.Token, *Error) {
	token := t.Token(r.ID)
	if token == nil || r.NamespaceID != 0 && token.NamespaceId != r.NamespaceID {
		return nil, refuse(CodeNotFound, "token", "token %q was not found", r.ID)
	}
	if r.ExpectedRevision != 0 && token.ModifiedRevision != r.ExpectedRevision {
		return nil, refuse(CodeConflict, fieldRevision, "token %q changed at revision %d: read it again", r.ID, token.ModifiedRevision)
	}
	return token, nil
}

// RevokeToken removes a token. The last admin token stays: without one nobody could make another.
type RevokeToken struct {
	TokenRef // only the id before version 2
}

func (c *RevokeToken) fields(f *fields) {
	if f.version < 2 {
		f.str(&c.ID)
		return
	}
	c.TokenRef.fields(f)
}

func (c *RevokeToken) apply(t *txn) (Result, *Error) {
	token, err := c.find(t)
	if err != nil {
		return Result{}, err
	}
	if err := t.notLastAdmin(token); err != nil {
		return Result{}, err
	}
	t.removeToken(token)
	return Result{Revision: t.index, NamespaceID: token.NamespaceId}, nil
}

// notLastAdmin refuses to end the last admin token that lasts.
func (t *txn) notLastAdmin(token *atollpb.Token) *Error {
	if token.Role == atollpb.Role_ROLE_ADMIN && !t.otherAdmin(token) {
		return refuse(CodePrecondition, "token", "token %q is the last admin token that doesn't expire: create another first", token.Id)
	}
	return nil
}

// otherAdmin reports whether an admin token beside the given one lasts.
func (t *txn) otherAdmin(token *atollpb.Token) bool {
	for other := range t.Tokens(token.NamespaceId) {
		if other.Id != token.Id && other.Role == atollpb.Role_ROLE_ADMIN && other.ExpiresMs == 0 {
			return true
		}
	}
	return false
}

// ReplaceTokens makes one token the only one of a namespace, as NAMESPACE SET does. A secret that is a
// token of this namespace already, and the same in all else, keeps that token and its sessions; one of another
// namespace is refused.
type ReplaceTokens struct {
	NamespaceID uint64
	Token       NewToken
}

func (c *ReplaceTokens) fields(f *fields) {
	f.u64(&c.NamespaceID)
	c.Token.fields(f)
}

func (c *ReplaceTokens) apply(t *txn) (Result, *Error) {
	namespace, err := t.activeNamespace(c.NamespaceID, 0)
	if err != nil {
		return Result{}, err
	}
	if namespace.Id == t.Cluster().DefaultNamespaceId {
		return Result{}, refuse(CodeForbidden, "", "the default namespace's tokens can't be replaced")
	}
	result := Result{NamespaceID: namespace.Id}
	kept := t.TokenByHash(c.Token.Hash)
	if kept != nil && kept.NamespaceId == namespace.Id && t.isToken(kept, c.Token) {
		result.TokenIDs = []string{kept.Id}
	} else {
		kept = nil
	}
	for _, token := range slices.Collect(t.Tokens(namespace.Id)) {
		if kept == nil || token.Id != kept.Id {
			t.removeToken(token)
		}
	}
	if kept == nil {
		if err := t.createToken(namespace, c.Token); err != nil {
			return Result{}, err
		}
		result.TokenIDs = []string{c.Token.ID}
	}
	result.Revision = t.done().Revision
	return result, nil
}

// isToken reports whether a token is what the new one would be. One that has expired is not: it would be refused.
func (t *txn) isToken(token *atollpb.Token, n NewToken) bool {
	expired := token.ExpiresMs != 0 && token.ExpiresMs <= t.timeMs
	return !expired && token.ExpiresMs == n.ExpiresMs && token.Role == n.Role && token.Label == n.Label
}
