// Package mtls is how the processes of a cluster know each other: certificates of the cluster's own authority, the
// tokens that let new nodes get one, TLS 1.3 with both sides authenticated, and who may call what.
//
// A certificate names a node, its cluster and its roles as URIs: atoll://<cluster id>/<role>/<node id>. Host
// names count for nothing, since a node may move.
package mtls

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/ident"
)

// The errors of this package.
var (
	// ErrNoIdentity means that the process has no certificate yet.
	ErrNoIdentity = errors.New("this process has no certificate of the cluster yet")
	// ErrForeign means that the peer's certificate is not of this cluster.
	ErrForeign = errors.New("the peer is not of this cluster")
	// ErrToken means that a text is no join token.
	ErrToken = errors.New("not a join token")
	// ErrDamage means that a file of the identity can't be used.
	ErrDamage = errors.New("the node's certificate is damaged")
)

// Role is what a node may be.
type Role = atollpb.NodeRole

// The roles.
const (
	Meta = atollpb.NodeRole_NODE_ROLE_META
	Data = atollpb.NodeRole_NODE_ROLE_DATA
)

// RoleWord returns a role's word, as in certificates and messages.
func RoleWord(r Role) string {
	switch r {
	case Meta:
		return "meta"
	case Data:
		return "data"
	}
	return "unknown"
}

// Name is what a certificate says of its node.
type Name struct {
	ClusterID string
	NodeID    string
	Roles     []Role
}

// Has reports whether the node has a role.
func (n Name) Has(r Role) bool { return slices.Contains(n.Roles, r) }

// uris returns the name as a certificate has it.
func (n Name) uris() []*url.URL {
	var list []*url.URL
	for _, r := range n.Roles {
		list = append(list, &url.URL{Scheme: "atoll", Host: n.ClusterID, Path: "/" + RoleWord(r) + "/" + n.NodeID})
	}
	return list
}

// NameOf reads a certificate's name; it is an error if there is none, or more than one.
func NameOf(cert *x509.Certificate) (Name, error) {
	var n Name
	for _, u := range cert.URIs {
		word, node, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		if u.Scheme != "atoll" || !ok || ident.Check(node) != nil || ident.Check(u.Host) != nil {
			return Name{}, fmt.Errorf("%w: its certificate has the name %q", ErrForeign, u)
		}
		var role Role
		for _, r := range []Role{Meta, Data} {
			if RoleWord(r) == word {
				role = r
			}
		}
		switch {
		case role == 0:
			return Name{}, fmt.Errorf("%w: its certificate has the unknown role %q", ErrForeign, word)
		case n.NodeID != "" && (n.NodeID != node || n.ClusterID != u.Host):
			return Name{}, fmt.Errorf("%w: its certificate has two names", ErrForeign)
		}
		n.ClusterID, n.NodeID, n.Roles = u.Host, node, append(n.Roles, role)
	}
	if n.NodeID == "" {
		return Name{}, fmt.Errorf("%w: its certificate names no node", ErrForeign)
	}
	return n, nil
}

// Peer is who is at the other end of a connection. The zero one has shown no certificate.
type Peer struct {
	Name
	KeySHA256 [sha256.Size]byte // of the public key's PKIX form
	PublicKey any
	NotAfter  time.Time         // when its certificate ends
	Authority [sha256.Size]byte // SHA-256 of the authority's certificate, in DER, that has signed it
}

// Known reports whether the peer has shown a certificate.
func (p Peer) Known() bool { return p.NodeID != "" }

func peerOf(cert *x509.Certificate) (Peer, error) {
	n, err := NameOf(cert)
	if err != nil {
		return Peer{}, err
	}
	return Peer{Name: n, KeySHA256: sha256.Sum256(cert.RawSubjectPublicKeyInfo), PublicKey: cert.PublicKey, NotAfter: cert.NotAfter}, nil
}
