package raftfsm

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// CreateNamespace makes a namespace, with first tokens if any are given. Its id is the revision.
type CreateNamespace struct {
	Name       string
	Durability atollpb.Durability // unspecified: async
	Tokens     []NewToken
	Labels     []SetLabel // since version 2
	Limits     []SetLimit
}

func (c *CreateNamespace) fields(f *fields) {
	f.str(&c.Name)
	enum(f, &c.Durability)
	list(f, &c.Tokens, func(t *NewToken) { t.fields(f) })
	if f.version >= 2 {
		list(f, &c.Labels, func(l *SetLabel) { l.fields(f) })
		list(f, &c.Limits, func(l *SetLimit) { l.fields(f) })
	}
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
	if err := t.nameFree(c.Name); err != nil {
		return Result{}, err
	}
	namespace := &atollpb.Namespace{
		Id: t.index, Name: c.Name, CreatedMs: t.timeMs,
		State:      atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE,
		Durability: max(c.Durability, atollpb.Durability_DURABILITY_ASYNC),
	}
	if err := setLabels(namespace, c.Labels); err != nil {
		return Result{}, err
	}
	if err := setLimits(namespace, c.Limits); err != nil {
		return Result{}, err
	}
	t.putNamespace(namespace)
	return t.firstTokens(namespace, c.Tokens)
}

func (t *txn) nameFree(name string) *Error {
	if t.NamespaceByName(name) != nil {
		return refuse(CodeExists, "name", "namespace %q exists", name)
	}
	return nil
}

// firstTokens makes the tokens that come with a namespace, and returns the command's result.
func (t *txn) firstTokens(namespace *atollpb.Namespace, tokens []NewToken) (Result, *Error) {
	result := Result{Revision: t.index, NamespaceID: namespace.Id}
	for _, token := range tokens {
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
	Name             string             // since version 2; empty: unchanged
	Labels           []SetLabel
	Limits           []SetLimit
	Suspended        Switch
	ReadOnly         Switch
}

func (c *UpdateNamespace) fields(f *fields) {
	f.u64(&c.ID)
	enum(f, &c.Durability)
	f.u64(&c.ExpectedRevision)
	if f.version >= 2 {
		f.str(&c.Name)
		list(f, &c.Labels, func(l *SetLabel) { l.fields(f) })
		list(f, &c.Limits, func(l *SetLimit) { l.fields(f) })
		enum(f, &c.Suspended)
		enum(f, &c.ReadOnly)
	}
}

func (c *UpdateNamespace) apply(t *txn) (Result, *Error) {
	old, err := t.activeNamespace(c.ID, c.ExpectedRevision)
	if err != nil {
		return Result{}, err
	}
	if err := c.validate(t, old); err != nil {
		return Result{}, err
	}
	namespace := clone(old)
	if c.Durability != atollpb.Durability_DURABILITY_UNSPECIFIED {
		namespace.Durability = c.Durability
	}
	if c.Name != "" {
		namespace.Name = c.Name
	}
	c.Suspended.apply(&namespace.Suspended)
	c.ReadOnly.apply(&namespace.ReadOnly)
	if err := setLabels(namespace, c.Labels); err != nil {
		return Result{}, err
	}
	if err := setLimits(namespace, c.Limits); err != nil {
		return Result{}, err
	}
	if !proto.Equal(namespace, old) {
		t.putNamespace(namespace)
	}
	result := t.done()
	result.NamespaceID = c.ID
	return result, nil
}

func (c *UpdateNamespace) validate(t *txn, old *atollpb.Namespace) *Error {
	if err := ValidateDurability(c.Durability); err != nil {
		return err
	}
	if err := validateSwitch("suspended", c.Suspended); err != nil {
		return err
	}
	if err := validateSwitch("read_only", c.ReadOnly); err != nil {
		return err
	}
	renamed := c.Name != "" && c.Name != old.Name
	if old.Id == t.Cluster().DefaultNamespaceId && (renamed || c.Suspended == On) {
		return refuse(CodeForbidden, "", "the default namespace can't be renamed or suspended")
	}
	if !renamed {
		return nil
	}
	if err := ValidateName(c.Name); err != nil {
		return err
	}
	return t.nameFree(c.Name)
}

// activeNamespace returns the active namespace of an id, whose record is at the expected revision.
func (t *txn) activeNamespace(id, expectedRevision uint64) (*atollpb.Namespace, *Error) {
	namespace := t.Namespace(id)
	if namespace == nil || !isActive(namespace) {
		return nil, refuse(CodeNotFound, "namespace", "namespace %d was not found", id)
	}
	return namespace, sameRevision(namespace, expectedRevision)
}

// sameRevision refuses a namespace whose record is not at the revision that the caller saw, if it names one.
func sameRevision(namespace *atollpb.Namespace, expected uint64) *Error {
	if expected != 0 && namespace.ModifiedRevision != expected && planted != seedAnyRevision {
		return refuse(CodeConflict, fieldRevision, "namespace %q changed at revision %d: read it again", namespace.Name, namespace.ModifiedRevision)
	}
	return nil
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
		if !isTombstone(namespace) {
			return Result{}, refuse(CodeInvalid, "namespaces", "namespace %d is not deleted for good: node %q can't have purged it", id, c.NodeID)
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
		if !isTombstone(namespace) {
			return Result{}, refuse(CodePrecondition, "namespace", "namespace %q is not deleted for good", namespace.Name)
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
