package raftfsm

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// BeginAuthority gives the cluster the authority that takes the present one's place: from here on it signs, and
// both are trusted until FinishAuthority.
type BeginAuthority struct {
	Cert        []byte // DER
	Key         []byte // PKCS #8
	Endorsement []byte // of Cert, by the present authority
	OfSHA256    []byte // of the present authority's certificate, which made the endorsement: compare and set
}

func (c *BeginAuthority) fields(f *fields) {
	f.bytes(&c.Cert)
	f.bytes(&c.Key)
	f.bytes(&c.Endorsement)
	f.bytes(&c.OfSHA256)
}

func (c *BeginAuthority) apply(t *txn) (Result, *Error) {
	a, cluster := t.Authority(), t.Cluster()
	switch {
	case cluster == nil:
		return Result{}, notInitialised()
	case a == nil:
		return Result{}, noAuthority()
	case a.Next != nil:
		return Result{}, refuse(CodePrecondition, "", "the certificate authority is being replaced already: see atoll tls show, and end it with atoll tls finish")
	}
	for _, f := range []namedBytes{{"cert", c.Cert}, {"key", c.Key}, {"endorsement", c.Endorsement}} {
		if err := f.check(); err != nil {
			return Result{}, err
		}
	}
	if !bytes.Equal(c.OfSHA256, sumOf(a)) {
		return Result{}, refuse(CodeConflict, "of_sha256", "the certificate authority has been replaced since: try again")
	}
	if bytes.Equal(c.Cert, a.Cert) {
		return Result{}, refuse(CodeInvalid, "cert", "cert is that of the present authority")
	}
	next := clone(a)
	next.Next = &atollpb.CertificateAuthority{Cert: c.Cert, Key: c.Key, CreatedMs: t.timeMs, Endorsement: c.Endorsement}
	t.putAuthority(next)
	return t.done(), nil
}

// ProveAuthority records that a node has shown a certificate of an authority, with the key that it is enrolled with.
type ProveAuthority struct {
	NodeID          string
	KeySHA256       []byte
	AuthoritySHA256 []byte
}

func (c *ProveAuthority) fields(f *fields) {
	f.str(&c.NodeID)
	f.bytes(&c.KeySHA256)
	f.bytes(&c.AuthoritySHA256)
}

func (c *ProveAuthority) apply(t *txn) (Result, *Error) {
	a, k := t.Authority(), t.NodeKey(c.NodeID)
	switch {
	case a == nil:
		return Result{}, noAuthority()
	case len(k.GetRoles()) == 0 || !bytes.Equal(k.KeySha256, c.KeySHA256):
		return Result{}, refuse(CodePrecondition, "node_id", "node %q is not enrolled with this key", c.NodeID)
	case !bytes.Equal(c.AuthoritySHA256, sumOf(Signer(a))): // an older one is nothing to wait for
		return Result{}, refuse(CodePrecondition, "authority_sha256", "the authority is not the one that signs")
	case bytes.Equal(k.AuthoritySha256, c.AuthoritySHA256):
		return t.done(), nil
	}
	proven := clone(k)
	proven.AuthoritySha256 = c.AuthoritySHA256
	t.note("node_key", c.NodeID, k, proven)
	t.insert(tableKeys, proven)
	return t.done(), nil
}

// FinishAuthority takes the trust from the authority that is being replaced, and from every certificate of it. It is
// refused while nodes haven't shown a certificate of the next one, which it would lock out.
type FinishAuthority struct {
	Force bool // lock them out
}

func (c *FinishAuthority) fields(f *fields) { f.boolean(&c.Force) }

func (c *FinishAuthority) apply(t *txn) (Result, *Error) {
	a := t.Authority()
	switch {
	case a == nil:
		return Result{}, noAuthority()
	case a.Next == nil:
		return Result{}, refuse(CodePrecondition, "", "the certificate authority is not being replaced: begin with atoll tls renew")
	}
	if late := t.Unrenewed(); len(late) > 0 && !c.Force {
		return Result{}, refuse(CodePrecondition, "", "no certificate of the next authority from %s: start what is down, remove what won't come back (atoll node remove, atoll meta remove), or lock it out by force, after which it has to be invited again", listed(late))
	}
	t.putAuthority(a.Next)
	// Join tokens name the authority that a new node is to trust.
	for _, i := range slices.Collect(t.Invites()) {
		t.note("invite", i.Id, i, nil)
		t.delete(tableInvites, i)
	}
	return t.done(), nil
}

// listedMax bounds the nodes that a refusal names.
const listedMax = 10

func listed(ids []string) string {
	if len(ids) <= listedMax {
		return strings.Join(ids, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(ids[:listedMax], ", "), len(ids)-listedMax)
}

// putAuthority changes the authority, and tells data nodes which ones they may trust.
func (t *txn) putAuthority(a *atollpb.CertificateAuthority) {
	cluster := clone(t.Cluster())
	t.note("authority", cluster.ClusterId, t.Authority(), a)
	t.insert(tableAuthority, a)
	cluster.Authorities = [][]byte{a.Cert}
	if a.Next != nil {
		cluster.Authorities = append(cluster.Authorities, a.Next.Cert)
	}
	t.putCluster(cluster)
}

// Signer returns the authority that signs: the next one, while there is one.
func Signer(a *atollpb.CertificateAuthority) *atollpb.CertificateAuthority {
	if a.GetNext() != nil {
		return a.Next
	}
	return a
}

// sumOf returns the SHA-256 of an authority's certificate.
func sumOf(a *atollpb.CertificateAuthority) []byte {
	sum := sha256.Sum256(a.Cert)
	return sum[:]
}

// Unrenewed returns the ids, in order, of the nodes of the cluster that have shown no certificate of the authority
// that signs: its voters, and all data nodes that are registered or enrolled.
func (r reader) Unrenewed() []string {
	a := r.Authority()
	if a == nil || a.Next == nil && len(a.Endorsement) == 0 {
		return nil // there has been one authority
	}
	ids := map[string]bool{}
	for _, m := range r.Cluster().GetMetadataNodes() {
		ids[m.Id] = true
	}
	for n := range r.Nodes() {
		ids[n.Id] = true
	}
	for k := range r.NodeKeys() {
		if slices.Contains(k.Roles, atollpb.NodeRole_NODE_ROLE_DATA) {
			ids[k.NodeId] = true
		}
	}
	want, late := sumOf(Signer(a)), []string{}
	for id := range ids {
		if !bytes.Equal(r.NodeKey(id).GetAuthoritySha256(), want) {
			late = append(late, id)
		}
	}
	slices.Sort(late)
	return late
}

// namedBytes is a field of a certificate or a key.
type namedBytes struct {
	name string
	b    []byte
}

func (f namedBytes) check() *Error {
	if len(f.b) == 0 || len(f.b) > authorityBytesMax {
		return refuse(CodeInvalid, f.name, "%s takes 1 to %d bytes", f.name, authorityBytesMax)
	}
	return nil
}

func noAuthority() *Error {
	return refuse(CodePrecondition, "", "the cluster has no certificate authority: its nodes don't use certificates, or it has just begun")
}
