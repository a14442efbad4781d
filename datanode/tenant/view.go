package tenant

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"iter"
	"strings"

	"github.com/atolldb/atoll/rpc/atollpb"
)

var (
	// ErrWrongPass says that a name and a secret don't go together. It never says which of them is wrong.
	ErrWrongPass = errors.New("invalid name, token or both")
	// ErrSuspended says that the token is right, and its namespace suspended.
	ErrSuspended = errors.New("the namespace is suspended")
)

// View is the metadata at one revision. It is immutable: every method may be called at any time, and
// what they return must not be changed.
type View struct {
	revision uint64
	cluster  *atollpb.ClusterInfo
	byID     index[Namespace] // tombstones among them
	byName   index[Namespace] // those that have their name
	deleted  index[Namespace] // the tombstones alone, by id
	tokens   index[Token]
	byHash   index[Token]
	byOwner  index[Token]
	nodes    map[string]*atollpb.Node
	groups   map[uint32]*atollpb.Group
}

// Revision is that of the last change that the view contains.
func (v *View) Revision() uint64 { return v.revision }

// Cluster is the record about the whole cluster.
func (v *View) Cluster() *atollpb.ClusterInfo { return v.cluster }

// Node returns the node of that id, or nil.
func (v *View) Node(id string) *atollpb.Node { return v.nodes[id] }

// Nodes yields every registered node, in no order.
func (v *View) Nodes() iter.Seq[*atollpb.Node] {
	return func(yield func(*atollpb.Node) bool) {
		for _, n := range v.nodes {
			if !yield(n) {
				return
			}
		}
	}
}

// Group returns the group of that id, or nil.
func (v *View) Group(id uint32) *atollpb.Group { return v.groups[id] }

// Namespace returns the namespace of that id, a tombstone too, or nil: the id is then unknown, which
// is not deleted.
func (v *View) Namespace(id uint64) *Namespace {
	return v.byID.find(func(n *Namespace) int { return compareUint(n.ID, id) })
}

// NamespaceByName returns the living namespace of that name, or nil.
func (v *View) NamespaceByName(name string) *Namespace {
	return v.byName.find(func(n *Namespace) int { return strings.Compare(n.Name, name) })
}

// Default returns the default namespace, or nil.
func (v *View) Default() *Namespace { return v.Namespace(v.cluster.GetDefaultNamespaceId()) }

// Namespaces yields the living namespaces in the order of their names.
func (v *View) Namespaces() iter.Seq[*Namespace] { return v.byName.all() }

// AllNamespaces yields every namespace, tombstones too, in the order of their ids.
func (v *View) AllNamespaces() iter.Seq[*Namespace] { return v.byID.all() }

// NamespacesAfter yields the namespaces with ids above one, but for tombstones, in the order of their ids.
func (v *View) NamespacesAfter(id uint64) iter.Seq[*Namespace] {
	return func(yield func(*Namespace) bool) {
		for n := range v.byID.from(func(n *Namespace) int { return compareUint(n.ID, id+1) }) {
			if !n.Deleted() && !yield(n) {
				return
			}
		}
	}
}

// Tombstones yields the deleted namespaces in the order of their ids.
func (v *View) Tombstones() iter.Seq[*Namespace] { return v.deleted.all() }

// Len returns the number of living namespaces.
func (v *View) Len() int { return v.byName.len }

// Token returns the token of that id, or nil.
func (v *View) Token(id string) *Token {
	return v.tokens.find(func(t *Token) int { return strings.Compare(t.ID, id) })
}

// Tokens yields a namespace's tokens as they were made.
func (v *View) Tokens(namespaceID uint64) iter.Seq[*Token] {
	return func(yield func(*Token) bool) {
		for t := range v.byOwner.from(func(t *Token) int {
			if t.NamespaceID >= namespaceID {
				return 1
			}
			return -1
		}) {
			if t.NamespaceID != namespaceID || !yield(t) {
				return
			}
		}
	}
}

// HashSecret returns the look-up index of a secret: its HMAC-SHA-256 under the cluster's token key.
func (v *View) HashSecret(secret []byte) []byte {
	mac := hmac.New(sha256.New, v.cluster.GetTokenKey())
	mac.Write(secret)
	return mac.Sum(nil)
}

// Authenticate grants what the token of that secret grants at nowMS, Unix milliseconds. A name that is
// empty or "default" stands for the token's own namespace; another one must be that namespace's. Every
// refusal is ErrWrongPass, but ErrSuspended for who has a right token of a suspended namespace.
func (v *View) Authenticate(name string, secret []byte, nowMS int64) (Grant, error) {
	var want [hashBytes]byte
	copy(want[:], v.HashSecret(secret))
	t := v.byHash.find(func(t *Token) int { return bytes.Compare(t.hash[:], want[:]) })
	if t == nil {
		return Grant{}, ErrWrongPass
	}
	ns := v.Namespace(t.NamespaceID)
	if ns == nil || !ns.Active() || (name != "" && name != "default" && name != ns.Name) {
		return Grant{}, ErrWrongPass
	}
	g := v.grant(t)
	if g.Expired(nowMS) || !g.dataRole() {
		return Grant{}, ErrWrongPass
	}
	if ns.Suspended {
		return Grant{}, ErrSuspended
	}
	return g, nil
}

// OpenGrant is what a peer gets without a token where the default namespace is open: reading and
// writing there. ok is false without a default namespace.
func (v *View) OpenGrant() (g Grant, ok bool) {
	ns := v.Default()
	if ns == nil || !ns.Open() {
		return Grant{}, false
	}
	return Grant{NamespaceID: ns.ID, Role: atollpb.Role_ROLE_READ_WRITE}, true
}

// TokenGrant is what the token of that id grants to a command that another node passed on. ok is false
// when this view doesn't hold the token, or it has expired.
func (v *View) TokenGrant(id string, nowMS int64) (g Grant, ok bool) {
	t := v.Token(id)
	if t == nil {
		return Grant{}, false
	}
	if ns := v.Namespace(t.NamespaceID); ns == nil || !ns.Open() {
		return Grant{}, false
	}
	g = v.grant(t)
	return g, !g.Expired(nowMS) && g.dataRole()
}

// Renew says what an earlier grant is worth in this view at nowMS. ok is false when its token or its
// namespace is gone or suspended, its secret was replaced, or it has expired: the session must end.
func (v *View) Renew(g Grant, nowMS int64) (renewed Grant, ok bool) {
	if planted == seedKeepRevoked {
		return g, true
	}
	if g.Open() {
		n, open := v.OpenGrant()
		return n, open && n.NamespaceID == g.NamespaceID
	}
	n, ok := v.TokenGrant(g.TokenID, nowMS)
	if !ok || n.NamespaceID != g.NamespaceID || n.hash != g.hash {
		return Grant{}, false
	}
	return n, true
}

func (v *View) grant(t *Token) Grant {
	g := Grant{NamespaceID: t.NamespaceID, TokenID: t.ID, Role: t.Role, ExpiresMS: t.ExpiresMS, hash: t.hash}
	if g.Role == atollpb.Role_ROLE_ADMIN && t.NamespaceID != v.cluster.GetDefaultNamespaceId() {
		g.Role = atollpb.Role_ROLE_READ_ONLY // admin tokens exist in the default namespace only
	}
	return g
}

func compareUint(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
