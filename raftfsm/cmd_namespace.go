package raftfsm

import (
	"slices"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// CreateNamespace makes a namespace, with first tokens if any are given. Its id is the revision.
type CreateNamespace struct {
	Name       string
	Durability atollpb.Durability // unspecified: async
	Tokens     []NewToken
}

func (c *CreateNamespace) fields(f *fields) {
	f.str(&c.Name)
	enum(f, &c.Durability)
	list(f, &c.Tokens, func(t *NewToken) { t.fields(f) })
}

func (c *CreateNamespace) apply(t *txn) (Result, *Error) {
	if t.Cluster() == nil {
		return Result{}, notInitialised()
	}
	if err := ValidateName(c.Name); err != nil {
		return Result{}, err
	}
	if err := ValidateDurability(c.Durability); err != nil {
		return Result{}, err
	}
	if t.NamespaceByName(c.Name) != nil {
		return Result{}, refuse(CodeExists, "name", "namespace %q exists", c.Name)
	}
	namespace := &atollpb.Namespace{
		Id: t.index, Name: c.Name, CreatedMs: t.timeMs,
		State:      atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE,
		Durability: max(c.Durability, atollpb.Durability_DURABILITY_ASYNC),
	}
	t.putNamespace(namespace)
	result := Result{Revision: t.index, NamespaceID: t.index}
	for _, token := range c.Tokens {
		if err := t.createToken(namespace, token); err != nil {
			err.Field = "token." + err.Field
			return Result{}, err
		}
		result.TokenIDs = append(result.TokenIDs, token.ID)
	}
	return result, nil
}

// UpdateNamespace changes a namespace's settings.
type UpdateNamespace struct {
	ID               uint64
	Durability       atollpb.Durability // unspecified: unchanged
	ExpectedRevision uint64             // of the namespace's record; 0 compares nothing
}

func (c *UpdateNamespace) fields(f *fields) {
	f.u64(&c.ID)
	enum(f, &c.Durability)
	f.u64(&c.ExpectedRevision)
}

func (c *UpdateNamespace) apply(t *txn) (Result, *Error) {
	namespace, err := t.activeNamespace(c.ID, c.ExpectedRevision)
	if err != nil {
		return Result{}, err
	}
	if err := ValidateDurability(c.Durability); err != nil {
		return Result{}, err
	}
	if c.Durability != atollpb.Durability_DURABILITY_UNSPECIFIED && c.Durability != namespace.Durability {
		namespace = clone(namespace)
		namespace.Durability = c.Durability
		t.putNamespace(namespace)
	}
	result := t.done()
	result.NamespaceID = c.ID
	return result, nil
}

// DeleteNamespace turns a namespace into a tombstone and revokes its tokens. Its name is free at once;
// its id stays until every registered node has purged its rows.
type DeleteNamespace struct {
	ID               uint64
	ExpectedRevision uint64 // of the namespace's record; 0 compares nothing
}

func (c *DeleteNamespace) fields(f *fields) {
	f.u64(&c.ID)
	f.u64(&c.ExpectedRevision)
}

func (c *DeleteNamespace) apply(t *txn) (Result, *Error) {
	namespace, err := t.activeNamespace(c.ID, c.ExpectedRevision)
	if err != nil {
		return Result{}, err
	}
	if namespace.Id == t.Cluster().DefaultNamespaceId {
		return Result{}, refuse(CodeForbidden, "", "the default namespace can't be deleted")
	}
	t.removeTokens(namespace.Id)
	namespace = clone(namespace)
	namespace.State = atollpb.NamespaceState_NAMESPACE_STATE_DELETED
	namespace.DeletedRevision = t.index
	t.putNamespace(namespace)
	return Result{Revision: t.index, NamespaceID: c.ID}, nil
}

// activeNamespace returns the active namespace of an id, whose record is at the expected revision.
func (t *txn) activeNamespace(id, expectedRevision uint64) (*atollpb.Namespace, *Error) {
	namespace := t.Namespace(id)
	if namespace == nil || !isActive(namespace) {
		return nil, refuse(CodeNotFound, "namespace", "namespace %d was not found", id)
	}
	if expectedRevision != 0 && namespace.ModifiedRevision != expectedRevision {
		return nil, refuse(CodeConflict, "expected_revision", "namespace %q changed at revision %d", namespace.Name, namespace.ModifiedRevision)
	}
	return namespace, nil
}

// ReportPurged notes that a node has deleted the rows of namespaces and flushed. Ids that have no
// tombstone any more are passed over.
type ReportPurged struct {
	NodeID      string
	Incarnation string
	Namespaces  []uint64
}

func (c *ReportPurged) fields(f *fields) {
	f.str(&c.NodeID)
	f.str(&c.Incarnation)
	list(f, &c.Namespaces, f.u64)
}

func (c *ReportPurged) apply(t *txn) (Result, *Error) {
	node := t.Node(c.NodeID)
	if node == nil {
		return Result{}, refuse(CodeNotFound, "node", "node %q was not found", c.NodeID)
	}
	if node.Incarnation != c.Incarnation {
		return Result{}, refuse(CodeConflict, "incarnation", "node %q is registered with another incarnation", c.NodeID)
	}
	for _, id := range c.Namespaces {
		namespace := t.Namespace(id)
		if namespace == nil || slices.Contains(namespace.PurgedBy, purgedBy(node)) {
			continue
		}
		if isActive(namespace) {
			return Result{}, refuse(CodeInvalid, "namespaces", "namespace %d is active: node %q can't have purged it", id, c.NodeID)
		}
		namespace = clone(namespace)
		namespace.PurgedBy = append(namespace.PurgedBy, purgedBy(node))
		slices.Sort(namespace.PurgedBy)
		t.putNamespace(namespace)
	}
	return t.done(), nil
}

// purgedBy returns how a tombstone names a node: a wiped disk has to purge again.
func purgedBy(n *atollpb.Node) string { return n.Id + "/" + n.Incarnation }

// DropTombstones forgets deleted namespaces. Every registered node must have reported its purge of each.
// Ids that have no tombstone any more are passed over.
type DropTombstones struct {
	IDs []uint64
}

func (c *DropTombstones) fields(f *fields) { list(f, &c.IDs, f.u64) }

func (c *DropTombstones) apply(t *txn) (Result, *Error) {
	for _, id := range c.IDs {
		namespace := t.Namespace(id)
		if namespace == nil {
			continue
		}
		if isActive(namespace) {
			return Result{}, refuse(CodePrecondition, "namespace", "namespace %q is active", namespace.Name)
		}
		for _, node := range t.Unpurged(namespace) {
			return Result{}, refuse(CodePrecondition, "namespace", "node %q has not purged namespace %d", node.Id, id)
		}
		t.removeNamespace(namespace)
	}
	return t.done(), nil
}

// Unpurged returns the registered nodes that have not reported the purge of a tombstone.
func (r reader) Unpurged(tombstone *atollpb.Namespace) []*atollpb.Node {
	var nodes []*atollpb.Node
	for node := range r.Nodes() {
		if !slices.Contains(tombstone.PurgedBy, purgedBy(node)) {
			nodes = append(nodes, node)
		}
	}
	return nodes
}
