package raftfsm

import (
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// txn is what one command sees and changes: the state as it was, and the delta that its writes build.
// A refused command's txn is aborted, so a command may refuse after it has written.
type txn struct {
	reader
	index  uint64 // of the command in the log: the revision of its effects
	timeMs int64
	before uint64 // the revision before
	delta  *atollpb.ViewFrame
	// touched are the records that were changed, for the audit.
	touched []touched
}

// changed reports whether the command has written anything. Some records are noted alone: data nodes don't see them.
func (t *txn) changed() bool {
	d := t.delta
	return len(t.touched) > 0 || d.Cluster != nil || len(d.Namespaces)+len(d.RemovedNamespaces)+len(d.Tokens)+
		len(d.RemovedTokens)+len(d.Nodes)+len(d.RemovedNodes)+len(d.Groups) > 0
}

// done returns the usual result: the revision of the state with the command's effect.
func (t *txn) done() Result {
	if t.changed() {
		return Result{Revision: t.index}
	}
	return Result{Revision: t.before}
}

func (t *txn) insert(table string, record any) {
	if err := t.txn.Insert(table, record); err != nil {
		panic(err) // a record without an id, or a table that the schema lacks
	}
}

func (t *txn) delete(table string, record any) {
	if err := t.txn.Delete(table, record); err != nil {
		panic(err) // the record was read in this very transaction
	}
}

// put appends a record to the delta's list in place of an earlier one with the same id.
func put[T any, K comparable](list []T, record T, id func(T) K) []T {
	if i := slices.IndexFunc(list, func(r T) bool { return id(r) == id(record) }); i >= 0 {
		list[i] = record
		return list
	}
	return append(list, record)
}

func (t *txn) putCluster(c *atollpb.ClusterInfo) {
	c.ModifiedRevision = t.index
	t.note("cluster", c.ClusterId, t.Cluster(), c)
	t.insert(tableCluster, c)
	t.delta.Cluster = c
}

func (t *txn) putNamespace(n *atollpb.Namespace) {
	n.ModifiedRevision, n.ModifiedMs = t.index, t.timeMs
	t.note("namespace", number(n.Id), t.Namespace(n.Id), n)
	t.insert(tableNamespaces, n)
	t.delta.Namespaces = put(t.delta.Namespaces, n, (*atollpb.Namespace).GetId)
}

func (t *txn) removeNamespace(n *atollpb.Namespace) {
	t.note("namespace", number(n.Id), n, nil)
	t.delete(tableNamespaces, n)
	t.delta.RemovedNamespaces = append(t.delta.RemovedNamespaces, n.Id)
}

func (t *txn) putToken(token *atollpb.Token) {
	token.ModifiedRevision = t.index
	t.note("token", token.Id, t.Token(token.Id), token)
	t.insert(tableTokens, token)
	t.delta.Tokens = append(t.delta.Tokens, token)
}

func (t *txn) removeToken(token *atollpb.Token) {
	t.note("token", token.Id, token, nil)
	t.delete(tableTokens, token)
	t.delta.RemovedTokens = append(t.delta.RemovedTokens, token.Id)
}

func (t *txn) putNode(n *atollpb.Node) {
	n.ModifiedRevision = t.index
	t.note("node", n.Id, t.Node(n.Id), n)
	t.insert(tableNodes, n)
	t.delta.Nodes = put(t.delta.Nodes, n, (*atollpb.Node).GetId)
}

func (t *txn) removeNode(n *atollpb.Node) {
	t.note("node", n.Id, n, nil)
	t.delete(tableNodes, n)
	t.delta.RemovedNodes = append(t.delta.RemovedNodes, n.Id)
}

func (t *txn) putGroup(g *atollpb.Group) {
	g.ModifiedRevision = t.index
	t.note("group", number(uint64(g.Id)), t.Group(g.Id), g)
	t.insert(tableGroups, g)
	t.delta.Groups = put(t.delta.Groups, g, (*atollpb.Group).GetId)
}

func number(id uint64) string { return strconv.FormatUint(id, 10) }

// clone returns a copy of a record that the command may change.
func clone[M proto.Message](m M) M { return proto.CloneOf(m) }
