package tenant

import "github.com/atolldb/atoll/rpc/atollpb"

// Grant is what a session may do: one namespace, as one role, by one token. A Grant is only as good as
// the view it came from; View.Renew says what is left of it in a newer one. The zero Grant is nobody's.
type Grant struct {
	NamespaceID uint64
	// TokenID is the token's public id; empty for the open default namespace.
	TokenID string
	Role    atollpb.Role
	// ExpiresMS is when the token ends, in Unix milliseconds; 0 is never.
	ExpiresMS int64
	// hash tells a token whose secret was replaced under the same id.
	hash [hashBytes]byte
}

// hashBytes is the length of a token's hash, an HMAC-SHA-256.
const hashBytes = 32

// Valid reports whether g was granted at all. It says nothing about a view.
func (g *Grant) Valid() bool { return g.NamespaceID != 0 }

// Open reports whether g is that of an unauthenticated session of the default namespace.
func (g *Grant) Open() bool { return g.NamespaceID != 0 && g.TokenID == "" }

// Expired reports whether the token has ended at nowMS, in Unix milliseconds.
func (g *Grant) Expired(nowMS int64) bool { return g.ExpiresMS != 0 && nowMS >= g.ExpiresMS }

// Admin reports whether the role is that of the cluster's operators.
func (g *Grant) Admin() bool { return g.Role == atollpb.Role_ROLE_ADMIN }

// AtLeast reports whether the role may everything that another's may.
func (g *Grant) AtLeast(other *Grant) bool {
	return (g.Admin() || !other.Admin()) && (g.MayWrite() || !other.MayWrite())
}

// MayWrite reports whether the role changes data.
func (g *Grant) MayWrite() bool {
	return g.Role == atollpb.Role_ROLE_READ_WRITE || g.Role == atollpb.Role_ROLE_ADMIN
}

// dataRole reports whether the role is one of RESP clients: those of the admin API alone get no session.
func (g *Grant) dataRole() bool {
	return g.Role != atollpb.Role_ROLE_VIEWER && g.Role != atollpb.Role_ROLE_OPERATOR
}
