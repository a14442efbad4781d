package raftfsm

import (
	"github.com/atolldb/atoll/rpc/atollpb"
)

// DeleteNamespace ends a namespace's use at once: its tokens are revoked and its name is free. With a time to
// purge it, it stays in grace until then, and can be undeleted; without one it becomes a tombstone, whose id
// stays until every registered node has purged its rows.
type DeleteNamespace struct {
	ID               uint64
	ExpectedRevision uint64 // of the namespace's record; 0 compares nothing
	PurgeAtMs        int64  // since version 2; Unix milliseconds; 0, or not after the proposer's time: no grace
}

func (c *DeleteNamespace) fields(f *fields) {
	f.u64(&c.ID)
	f.u64(&c.ExpectedRevision)
	if f.version >= 2 {
		f.i64(&c.PurgeAtMs)
	}
}

func (c *DeleteNamespace) apply(t *txn) (Result, *Error) {
	namespace, err := t.activeNamespace(c.ID, c.ExpectedRevision)
	if err != nil {
		return Result{}, err
	}
	if namespace.Id == t.Cluster().DefaultNamespaceId {
		return Result{}, refuse(CodeForbidden, "", "the default namespace can't be deleted")
	}
	if c.PurgeAtMs <= t.timeMs {
		t.bury(namespace)
	} else {
		namespace = clone(namespace)
		namespace.State = atollpb.NamespaceState_NAMESPACE_STATE_IN_GRACE
		namespace.PurgeAtMs = c.PurgeAtMs
		t.putNamespace(namespace)
	}
	t.removeTokens(namespace.Id) // last: the audit omits changes beyond a bound, and the namespace's own mustn't be those
	return Result{Revision: t.index, NamespaceID: c.ID}, nil
}

// bury makes a tombstone of a namespace, which keeps no tokens.
func (t *txn) bury(namespace *atollpb.Namespace) {
	namespace = clone(namespace)
	namespace.State = atollpb.NamespaceState_NAMESPACE_STATE_DELETED
	namespace.DeletedRevision = t.index
	namespace.PurgeAtMs = 0
	t.putNamespace(namespace)
}

// graceNamespace returns the namespace in grace of an id, whose record is at the expected revision.
func (t *txn) graceNamespace(id, expectedRevision uint64) (*atollpb.Namespace, *Error) {
	namespace := t.Namespace(id)
	switch {
	case namespace == nil || isActive(namespace):
		return nil, refuse(CodeNotFound, "namespace", "there is no deleted namespace %d", id)
	case isTombstone(namespace):
		return nil, refuse(CodePrecondition, "namespace", "namespace %d is deleted for good: its data is being purged", id)
	}
	return namespace, sameRevision(namespace, expectedRevision)
}

// UndeleteNamespace makes a namespace in grace active again, with its settings and without the tokens that it
// had.
type UndeleteNamespace struct {
	ID               uint64
	ExpectedRevision uint64 // of the namespace's record; 0 compares nothing
	Name             string // empty: the one that it had
	Tokens           []NewToken
}

func (c *UndeleteNamespace) fields(f *fields) {
	f.u64(&c.ID)
	f.u64(&c.ExpectedRevision)
	f.str(&c.Name)
	list(f, &c.Tokens, func(t *NewToken) { t.fields(f) })
}

func (c *UndeleteNamespace) apply(t *txn) (Result, *Error) {
	namespace, err := t.graceNamespace(c.ID, c.ExpectedRevision)
	if err != nil {
		return Result{}, err
	}
	namespace = clone(namespace)
	if c.Name != "" {
		namespace.Name = c.Name
	}
	if err := ValidateName(namespace.Name); err != nil {
		return Result{}, err
	}
	if err := t.nameFree(namespace.Name); err != nil {
		return Result{}, err
	}
	namespace.State = atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE
	namespace.PurgeAtMs = 0
	t.putNamespace(namespace)
	return t.firstTokens(namespace, c.Tokens)
}

// PurgeNamespace makes a tombstone of a namespace in grace, whether its time has come or not.
type PurgeNamespace struct {
	ID               uint64
	ExpectedRevision uint64 // of the namespace's record; 0 compares nothing
}

func (c *PurgeNamespace) fields(f *fields) {
	f.u64(&c.ID)
	f.u64(&c.ExpectedRevision)
}

func (c *PurgeNamespace) apply(t *txn) (Result, *Error) {
	namespace, err := t.graceNamespace(c.ID, c.ExpectedRevision)
	if err != nil {
		return Result{}, err
	}
	t.bury(namespace)
	return Result{Revision: t.index, NamespaceID: c.ID}, nil
}

// EndGrace makes tombstones of namespaces whose time in grace is over by the proposer's clock. Others are passed
// over: they have been undeleted since.
type EndGrace struct {
	IDs []uint64
}

func (c *EndGrace) fields(f *fields) { list(f, &c.IDs, f.u64) }

func (c *EndGrace) apply(t *txn) (Result, *Error) {
	for _, id := range c.IDs {
		if namespace := t.Namespace(id); namespace != nil && inGrace(namespace) && namespace.PurgeAtMs <= t.timeMs {
			t.bury(namespace)
		}
	}
	return t.done(), nil
}
