package raftfsm

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"iter"
	"slices"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// The bounds of invitations.
const (
	InvitesMax      = 1000 // at once
	InviteUsesMax   = 100
	inviteLifeMsMax = 365 * 24 * 3600 * 1000 // how long one may be good

	authorityBytesMax = 16 << 10 // of the certificate, and of the key

	// removedMs is how long the key of a removed node is remembered: longer than a certificate is good.
	removedMs = 92 * 24 * 3600 * 1000
)

// SetAuthority gives the cluster the authority that signs its nodes' certificates. It is refused once there is one.
type SetAuthority struct {
	Cert []byte // DER
	Key  []byte // PKCS #8
}

func (c *SetAuthority) fields(f *fields) {
	f.bytes(&c.Cert)
	f.bytes(&c.Key)
}

func (c *SetAuthority) apply(t *txn) (Result, *Error) {
	cluster := t.Cluster()
	switch {
	case cluster == nil:
		return Result{}, notInitialised()
	case t.Authority() != nil:
		return Result{}, refuse(CodePrecondition, "", "the cluster has a certificate authority already")
	}
	for _, f := range []namedBytes{{"cert", c.Cert}, {"key", c.Key}} {
		if err := f.check(); err != nil {
			return Result{}, err
		}
	}
	a := &atollpb.CertificateAuthority{Cert: c.Cert, Key: c.Key, CreatedMs: t.timeMs}
	t.note("authority", cluster.ClusterId, nil, a)
	t.insert(tableAuthority, a)
	return t.done(), nil
}

// CreateInvite makes an invitation; those that have expired make room for it.
type CreateInvite struct {
	ID        string
	Hash      []byte // SHA-256 of its secret
	Roles     []atollpb.NodeRole
	ExpiresMs int64
	UsesMax   uint64
	NodeID    string // of the one node that may use it, perhaps in the place of one of that id; empty: any new one
}

func (c *CreateInvite) fields(f *fields) {
	f.str(&c.ID)
	f.bytes(&c.Hash)
	list(f, &c.Roles, func(r *atollpb.NodeRole) { enum(f, r) })
	f.i64(&c.ExpiresMs)
	f.u64(&c.UsesMax)
	f.str(&c.NodeID)
}

func (c *CreateInvite) validate(t *txn) *Error {
	if err := validateID("id", c.ID); err != nil {
		return err
	}
	if len(c.Hash) != sha256.Size {
		return refuse(CodeInvalid, "hash", "hash takes %d bytes", sha256.Size)
	}
	if err := validateRoles(c.Roles); err != nil {
		return err
	}
	if c.NodeID != "" {
		if err := validateID("node_id", c.NodeID); err != nil {
			return err
		}
	}
	switch {
	case c.UsesMax < 1 || c.UsesMax > InviteUsesMax:
		return refuse(CodeInvalid, "uses", "uses is %d: it takes 1 to %d", c.UsesMax, InviteUsesMax)
	case c.NodeID != "" && c.UsesMax != 1:
		return refuse(CodeInvalid, "uses", "uses is %d: an invitation of one node takes 1", c.UsesMax)
	case c.ExpiresMs <= t.timeMs:
		return refuse(CodeInvalid, "expires_at", "expires_at is not in the future")
	case c.ExpiresMs > t.timeMs+inviteLifeMsMax:
		return refuse(CodeInvalid, "expires_at", "expires_at is more than a year from now")
	}
	return nil
}

func (c *CreateInvite) apply(t *txn) (Result, *Error) {
	if t.Authority() == nil {
		return Result{}, refuse(CodePrecondition, "", "the cluster has no certificate authority yet: try again")
	}
	if err := c.validate(t); err != nil {
		return Result{}, err
	}
	if t.Invite(c.ID) != nil {
		return Result{}, refuse(CodeTokenExists, "id", "invite %q exists", c.ID)
	}
	open := 0
	for _, i := range slices.Collect(t.Invites()) {
		if i.ExpiresMs > t.timeMs {
			open++
			continue
		}
		t.note("invite", i.Id, i, nil)
		t.delete(tableInvites, i)
	}
	if open >= InvitesMax {
		return Result{}, refuse(CodePrecondition, "", "there are %d invitations already: delete some (atoll node uninvite)", open)
	}
	t.putInvite(&atollpb.Invite{
		Id: c.ID, Hash: c.Hash, Roles: c.Roles, CreatedMs: t.timeMs, ExpiresMs: c.ExpiresMs, UsesMax: uint32(c.UsesMax), NodeId: c.NodeID,
	})
	result := t.done()
	result.TokenIDs = []string{c.ID}
	return result, nil
}

// DeleteInvite takes an invitation back. Nodes that have used it stay.
type DeleteInvite struct {
	ID string
}

func (c *DeleteInvite) fields(f *fields) { f.str(&c.ID) }

func (c *DeleteInvite) apply(t *txn) (Result, *Error) {
	i := t.Invite(c.ID)
	if i == nil {
		return Result{}, refuse(CodeNotFound, "id", "invite %q was not found", c.ID)
	}
	t.note("invite", i.Id, i, nil)
	t.delete(tableInvites, i)
	return t.done(), nil
}

// UseInvite enrols a node by an invitation. The same key may use it again for the same node, as long as that is
// enrolled: its answer may have been lost.
type UseInvite struct {
	ID        string
	Hash      []byte // SHA-256 of the secret that the node knows
	NodeID    string
	KeySHA256 []byte
	Roles     []atollpb.NodeRole // that the node wants
}

func (c *UseInvite) fields(f *fields) {
	f.str(&c.ID)
	f.bytes(&c.Hash)
	f.str(&c.NodeID)
	f.bytes(&c.KeySHA256)
	list(f, &c.Roles, func(r *atollpb.NodeRole) { enum(f, r) })
}

// Check returns the refusal that the command would get in a state, or nil: what strangers send needn't come into
// the log.
func (c *UseInvite) Check(s *State, timeMs int64) *Error {
	_, _, err := c.check(s.reader, timeMs)
	return err
}

// check returns the invitation, and whether this key has used it before.
func (c *UseInvite) check(r reader, timeMs int64) (i *atollpb.Invite, used bool, err *Error) {
	if err := validateKey(c.NodeID, c.KeySHA256, c.Roles); err != nil {
		return nil, false, err.because(RefusedMalformed)
	}
	i = r.Invite(c.ID)
	switch {
	case i == nil || subtle.ConstantTimeCompare(i.Hash, c.Hash) != 1: // one answer, so that ids can't be guessed
		return nil, false, refuse(CodeForbidden, "join_token", "the join token is unknown: it was deleted, or has expired, or is wrong").because(RefusedUnknown)
	case i.ExpiresMs <= timeMs:
		return nil, false, refuse(CodeForbidden, "join_token", "the join token has expired: make another (atoll node invite)").because(RefusedExpired)
	case i.NodeId != "" && i.NodeId != c.NodeID:
		return nil, false, refuse(CodeForbidden, "node_id", "the join token is for node %q, not for %q", i.NodeId, c.NodeID).because(RefusedOtherNode)
	}
	for _, r := range c.Roles {
		if !slices.Contains(i.Roles, r) {
			return nil, false, refuse(CodeForbidden, "roles", "the join token is not for a node with the role %s: make another (atoll node invite --role)", roleName(r)).because(RefusedOtherRole)
		}
	}
	old := r.NodeKey(c.NodeID)
	used = slices.ContainsFunc(i.UsedBy, func(k []byte) bool { return bytes.Equal(k, c.KeySHA256) })
	// A key's second use is a retry of its first: it makes no second node, gets no further role, and brings no node back
	// that was removed since.
	again := used && len(old.GetRoles()) > 0 && bytes.Equal(old.KeySha256, c.KeySHA256) && enrolledFor(old, c.Roles)
	if used && !again || !used && i.Uses >= i.UsesMax {
		return nil, false, refuse(CodeForbidden, "join_token", "the join token has been used: make another (atoll node invite)").because(RefusedUsed)
	}
	if len(old.GetRoles()) > 0 && i.NodeId == "" && !bytes.Equal(old.KeySha256, c.KeySHA256) {
		return nil, false, refuse(CodeForbidden, "node_id",
			"node id %q belongs to another key: choose another --node-id, or take its place by an invitation of its own (atoll node invite --for %s)", c.NodeID, c.NodeID).because(RefusedIDTaken)
	}
	return i, used, nil
}

// enrolledFor reports whether a node's key has all of the roles.
func enrolledFor(k *atollpb.NodeKey, roles []atollpb.NodeRole) bool {
	return !slices.ContainsFunc(roles, func(r atollpb.NodeRole) bool { return !slices.Contains(k.GetRoles(), r) })
}

func (c *UseInvite) apply(t *txn) (Result, *Error) {
	i, used, err := c.check(t.reader, t.timeMs)
	if err != nil {
		return Result{}, err
	}
	if !used {
		i = clone(i)
		i.Uses++
		i.UsedBy = append(i.UsedBy, c.KeySHA256)
		t.putInvite(i)
	}
	t.enrol(c.NodeID, c.KeySHA256, c.Roles, c.ID)
	return t.done(), nil
}

// EnrollNode enrols a node by the word of a metadata node, which has the authority's key: itself, or one that came with
// a certificate of the cluster.
type EnrollNode struct {
	NodeID    string
	KeySHA256 []byte
	Roles     []atollpb.NodeRole
}

func (c *EnrollNode) fields(f *fields) {
	f.str(&c.NodeID)
	f.bytes(&c.KeySHA256)
	list(f, &c.Roles, func(r *atollpb.NodeRole) { enum(f, r) })
}

func (c *EnrollNode) apply(t *txn) (Result, *Error) {
	if err := validateKey(c.NodeID, c.KeySHA256, c.Roles); err != nil {
		return Result{}, err
	}
	if t.Cluster() == nil {
		return Result{}, notInitialised()
	}
	t.enrol(c.NodeID, c.KeySHA256, c.Roles, "")
	return t.done(), nil
}

// enrol makes a key a node's. The roles of a key that is the node's already stay.
func (t *txn) enrol(nodeID string, key []byte, roles []atollpb.NodeRole, invite string) {
	old := t.NodeKey(nodeID)
	if old != nil && bytes.Equal(old.KeySha256, key) {
		roles = append(slices.Clone(roles), old.Roles...)
	}
	slices.Sort(roles)
	roles = slices.Compact(roles)
	if old != nil && bytes.Equal(old.KeySha256, key) && slices.Equal(old.Roles, roles) {
		return
	}
	k := &atollpb.NodeKey{NodeId: nodeID, KeySha256: key, Roles: roles, EnrolledMs: t.timeMs, InviteId: invite}
	if old != nil && bytes.Equal(old.KeySha256, key) {
		k.AuthoritySha256 = old.AuthoritySha256
	}
	t.note("node_key", nodeID, old, k)
	t.insert(tableKeys, k)
	if node := t.Node(nodeID); node != nil && !bytes.Equal(node.KeySha256, key) {
		node = clone(node)
		node.KeySha256 = key
		t.putNode(node)
	}
}

// expel takes the role of a data node from a key; false when it hasn't got it. A key without any role is remembered
// for as long as there may be certificates for it, and those that are older go.
func (t *txn) expel(nodeID string) bool {
	old := t.NodeKey(nodeID)
	if old == nil || !slices.Contains(old.Roles, atollpb.NodeRole_NODE_ROLE_DATA) {
		return false
	}
	left := clone(old)
	left.Roles = slices.DeleteFunc(left.Roles, func(r atollpb.NodeRole) bool { return r == atollpb.NodeRole_NODE_ROLE_DATA })
	if len(left.Roles) == 0 {
		left.EnrolledMs = t.timeMs
	}
	t.note("node_key", nodeID, old, left)
	t.insert(tableKeys, left)
	for _, k := range slices.Collect(t.NodeKeys()) {
		if len(k.Roles) == 0 && k.EnrolledMs+removedMs < t.timeMs {
			t.note("node_key", k.NodeId, k, nil)
			t.delete(tableKeys, k)
		}
	}
	return true
}

func (t *txn) putInvite(i *atollpb.Invite) {
	t.note("invite", i.Id, t.Invite(i.Id), i)
	t.insert(tableInvites, i)
}

func validateKey(nodeID string, key []byte, roles []atollpb.NodeRole) *Error {
	if err := validateID("node_id", nodeID); err != nil {
		return err
	}
	if len(key) != sha256.Size {
		return refuse(CodeInvalid, "key_sha256", "key_sha256 takes %d bytes", sha256.Size)
	}
	return validateRoles(roles)
}

func validateRoles(roles []atollpb.NodeRole) *Error {
	bad := len(roles) == 0 || len(roles) > 2 || len(roles) == 2 && roles[0] == roles[1]
	for _, r := range roles {
		bad = bad || r != atollpb.NodeRole_NODE_ROLE_META && r != atollpb.NodeRole_NODE_ROLE_DATA
	}
	if bad {
		return refuse(CodeInvalid, "roles", "roles takes meta, data or both")
	}
	return nil
}

func roleName(r atollpb.NodeRole) string {
	if r == atollpb.NodeRole_NODE_ROLE_META {
		return "meta"
	}
	return "data"
}

// Authority returns the cluster's certificate authority with its key, or nil.
func (r reader) Authority() *atollpb.CertificateAuthority {
	return first[*atollpb.CertificateAuthority](r, tableAuthority, indexID, []byte{0})
}

// Invite returns the invitation of an id, or nil. It may have expired.
func (r reader) Invite(id string) *atollpb.Invite {
	return first[*atollpb.Invite](r, tableInvites, indexID, id)
}

// Invites iterates over the invitations by id, expired ones included.
func (r reader) Invites() iter.Seq[*atollpb.Invite] {
	return all[*atollpb.Invite](r, tableInvites, indexID)
}

// NodeKey returns the enrolment of a node, or nil.
func (r reader) NodeKey(nodeID string) *atollpb.NodeKey {
	return first[*atollpb.NodeKey](r, tableKeys, indexID, nodeID)
}

// NodeKeys iterates over the enrolments by node id.
func (r reader) NodeKeys() iter.Seq[*atollpb.NodeKey] {
	return all[*atollpb.NodeKey](r, tableKeys, indexID)
}
