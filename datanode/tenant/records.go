package tenant

import (
	"bytes"
	"cmp"
	"strings"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// Namespace is a tenant, as the view keeps it. It is immutable.
type Namespace struct {
	ID               uint64
	Name             string
	State            atollpb.NamespaceState
	Durability       atollpb.Durability
	ModifiedRevision uint64
	CreatedMS        int64 // Unix milliseconds
	ModifiedMS       int64
	DeletedRevision  uint64   // 0 unless deleted
	PurgedBy         []string // node id '/' incarnation
	Limits           *Limits  // nil: none
	Suspended        bool     // no session gets in, and none stays
	ReadOnly         bool     // writes are refused

	kept *kept // nil: nothing
}

// kept is what few namespaces have and a data node only passes on.
type kept struct {
	labels    []*atollpb.Label
	purgeAtMS int64
}

// Active reports whether the namespace may be used, unless it is suspended.
func (n *Namespace) Active() bool { return n.State == atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE }

// Open reports whether sessions may be in the namespace.
func (n *Namespace) Open() bool { return n.Active() && !n.Suspended }

// InGrace reports whether the namespace was deleted, but may come back: its name is free, its rows stay.
func (n *Namespace) InGrace() bool { return n.State == atollpb.NamespaceState_NAMESPACE_STATE_IN_GRACE }

// named reports whether the name is the namespace's.
func (n *Namespace) named() bool { return !n.Deleted() && !n.InGrace() }

// Deleted reports whether the namespace is a tombstone.
func (n *Namespace) Deleted() bool { return n.State == atollpb.NamespaceState_NAMESPACE_STATE_DELETED }

// Token is a credential of a namespace, as the view keeps it. It is immutable.
type Token struct {
	ID               string
	NamespaceID      uint64
	Role             atollpb.Role
	Label            string
	ExpiresMS        int64 // Unix milliseconds; 0 is never
	CreatedMS        int64
	ModifiedRevision uint64
	hash             [hashBytes]byte
	replacedBy       string // token id
}

// compareID orders namespaces by id.
func compareID(a, b *Namespace) int { return cmp.Compare(a.ID, b.ID) }

// compareName orders namespaces by name.
func compareName(a, b *Namespace) int { return strings.Compare(a.Name, b.Name) }

// compareToken orders tokens by id.
func compareToken(a, b *Token) int { return strings.Compare(a.ID, b.ID) }

// compareHash orders tokens by the hash of their secret.
func compareHash(a, b *Token) int { return bytes.Compare(a.hash[:], b.hash[:]) }

// compareOwner orders tokens by namespace, then as they were made.
func compareOwner(a, b *Token) int {
	return cmp.Or(cmp.Compare(a.NamespaceID, b.NamespaceID), cmp.Compare(a.CreatedMS, b.CreatedMS),
		strings.Compare(a.ID, b.ID))
}

// fromNamespace copies a record out of a message, so that nothing of the message stays in memory.
func fromNamespace(m *atollpb.Namespace) *Namespace {
	n := &Namespace{
		ID: m.GetId(), Name: m.GetName(), State: m.GetState(), Durability: m.GetDurability(),
		ModifiedRevision: m.GetModifiedRevision(), CreatedMS: m.GetCreatedMs(), ModifiedMS: m.GetModifiedMs(),
		DeletedRevision: m.GetDeletedRevision(), PurgedBy: m.GetPurgedBy(),
		Limits: fromLimits(m.GetLimits()), Suspended: m.GetSuspended(), ReadOnly: m.GetReadOnly(),
	}
	if len(m.GetLabels()) > 0 || m.GetPurgeAtMs() != 0 {
		n.kept = &kept{labels: m.GetLabels(), purgeAtMS: m.GetPurgeAtMs()}
	}
	return n
}

// proto returns the record's wire form.
func (n *Namespace) proto() *atollpb.Namespace {
	m := &atollpb.Namespace{
		Id: n.ID, Name: n.Name, State: n.State, Durability: n.Durability,
		ModifiedRevision: n.ModifiedRevision, CreatedMs: n.CreatedMS, ModifiedMs: n.ModifiedMS,
		DeletedRevision: n.DeletedRevision, PurgedBy: n.PurgedBy,
		Limits: n.Limits.proto(), Suspended: n.Suspended, ReadOnly: n.ReadOnly,
	}
	if n.kept != nil {
		m.Labels, m.PurgeAtMs = n.kept.labels, n.kept.purgeAtMS
	}
	return m
}

// fromToken copies a record out of a message. A hash of another length never matches a secret.
func fromToken(m *atollpb.Token) *Token {
	t := &Token{
		ID: m.GetId(), NamespaceID: m.GetNamespaceId(), Role: m.GetRole(),
		Label: m.GetLabel(), ExpiresMS: m.GetExpiresMs(), CreatedMS: m.GetCreatedMs(),
		ModifiedRevision: m.GetModifiedRevision(), replacedBy: m.GetReplacedBy(),
	}
	copy(t.hash[:], m.GetHash())
	return t
}

// proto returns the record's wire form.
func (t *Token) proto() *atollpb.Token {
	return &atollpb.Token{
		Id: t.ID, NamespaceId: t.NamespaceID, Hash: t.hash[:], Role: t.Role, Label: t.Label,
		ExpiresMs: t.ExpiresMS, CreatedMs: t.CreatedMS, ModifiedRevision: t.ModifiedRevision,
		ReplacedBy: t.replacedBy,
	}
}
