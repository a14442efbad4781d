package raftfsm

import (
	"iter"

	"github.com/hashicorp/go-memdb"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// State is the metadata at one revision. It is immutable, as are the records that it hands out: a
// caller that wants to change one clones it. Its methods may be called from any goroutine.
type State struct {
	reader
	revision uint64
	applied  uint64
	requests int // remembered
	audits   int // kept
}

// Revision returns the log index of the last change that the state contains; 0 for an empty one.
func (s *State) Revision() uint64 { return s.revision }

// Applied returns the log index of the last command that was applied, refused ones and ones without
// effect included. It is at or above Revision, and the log has no later command for this state.
func (s *State) Applied() uint64 { return s.applied }

// reader holds the queries that a state and a command's transaction share.
type reader struct {
	txn *memdb.Txn
}

// first returns the record under a key of a unique index, or the zero T.
func first[T any](r reader, table, index string, key any) T {
	obj, err := r.txn.First(table, index, key)
	if err != nil {
		panic(err) // a table or index that the schema lacks
	}
	record, _ := obj.(T)
	return record
}

// all iterates over the records of an index in its order; without a key over all of them.
func all[T any](r reader, table, index string, key ...any) iter.Seq[T] {
	return func(yield func(T) bool) {
		rows, err := r.txn.Get(table, index, key...)
		if err != nil {
			panic(err)
		}
		for obj := rows.Next(); obj != nil; obj = rows.Next() {
			if record, ok := obj.(T); ok && !yield(record) {
				return
			}
		}
	}
}

// Cluster returns the cluster's record, or nil before it is initialised.
func (r reader) Cluster() *atollpb.ClusterInfo {
	return first[*atollpb.ClusterInfo](r, tableCluster, indexID, []byte{0})
}

// Namespace returns the namespace of an id, a tombstone too, or nil.
func (r reader) Namespace(id uint64) *atollpb.Namespace {
	return first[*atollpb.Namespace](r, tableNamespaces, indexID, id)
}

// NamespaceByName returns the active namespace of a name, or nil.
func (r reader) NamespaceByName(name string) *atollpb.Namespace {
	return first[*atollpb.Namespace](r, tableNamespaces, indexName, name)
}

// Namespaces iterates over the active namespaces with names above after, in the byte order of their
// names; an empty after begins at the first.
func (r reader) Namespaces(after string) iter.Seq[*atollpb.Namespace] {
	return func(yield func(*atollpb.Namespace) bool) {
		rows, err := r.txn.LowerBound(tableNamespaces, indexName, after)
		if err != nil {
			panic(err)
		}
		for obj := rows.Next(); obj != nil; obj = rows.Next() {
			n, ok := obj.(*atollpb.Namespace)
			if ok && n.Name != after && !yield(n) {
				return
			}
		}
	}
}

// AllNamespaces iterates over every namespace, tombstones included, by id.
func (r reader) AllNamespaces() iter.Seq[*atollpb.Namespace] {
	return all[*atollpb.Namespace](r, tableNamespaces, indexID)
}

// InGrace iterates over the namespaces in grace with ids above after, by id.
func (r reader) InGrace(after uint64) iter.Seq[*atollpb.Namespace] {
	return above(r, indexGrace, after)
}

// Due iterates over the namespaces in grace, the one to purge first before the others.
func (r reader) Due() iter.Seq[*atollpb.Namespace] {
	return all[*atollpb.Namespace](r, tableNamespaces, indexDue)
}

// Deleted iterates over the namespaces in grace and the tombstones with ids above after, by id.
func (r reader) Deleted(after uint64) iter.Seq[*atollpb.Namespace] {
	return func(yield func(*atollpb.Namespace) bool) {
		grace, stopGrace := iter.Pull(above(r, indexGrace, after))
		defer stopGrace()
		dead, stopDead := iter.Pull(above(r, indexDeleted, after))
		defer stopDead()
		g, inGrace := grace()
		d, isDead := dead()
		for inGrace || isDead {
			if inGrace && (!isDead || g.Id < d.Id) {
				if !yield(g) {
					return
				}
				g, inGrace = grace()
				continue
			}
			if !yield(d) {
				return
			}
			d, isDead = dead()
		}
	}
}

// above iterates over the namespaces of an index by id that have one above after.
func above(r reader, index string, after uint64) iter.Seq[*atollpb.Namespace] {
	return func(yield func(*atollpb.Namespace) bool) {
		rows, err := r.txn.LowerBound(tableNamespaces, index, after)
		if err != nil {
			panic(err)
		}
		for obj := rows.Next(); obj != nil; obj = rows.Next() {
			if n, ok := obj.(*atollpb.Namespace); ok && n.Id != after && !yield(n) {
				return
			}
		}
	}
}

// Tombstones iterates over the deleted namespaces whose purge some node has yet to report, by id.
func (r reader) Tombstones() iter.Seq[*atollpb.Namespace] {
	return all[*atollpb.Namespace](r, tableNamespaces, indexDeleted)
}

// Token returns the token of a public id, or nil.
func (r reader) Token(id string) *atollpb.Token {
	return first[*atollpb.Token](r, tableTokens, indexID, id)
}

// TokenByHash returns the token whose secret has this hash, or nil. It doesn't look at expiry.
func (r reader) TokenByHash(hash []byte) *atollpb.Token {
	return first[*atollpb.Token](r, tableTokens, indexHash, hash)
}

// Tokens iterates over a namespace's tokens by id.
func (r reader) Tokens(namespaceID uint64) iter.Seq[*atollpb.Token] {
	return all[*atollpb.Token](r, tableTokens, indexNamespace, namespaceID)
}

// AllTokens iterates over every token by id.
func (r reader) AllTokens() iter.Seq[*atollpb.Token] {
	return all[*atollpb.Token](r, tableTokens, indexID)
}

// Node returns the data node of an id, or nil.
func (r reader) Node(id string) *atollpb.Node {
	return first[*atollpb.Node](r, tableNodes, indexID, id)
}

// Nodes iterates over the registered data nodes by id.
func (r reader) Nodes() iter.Seq[*atollpb.Node] {
	return all[*atollpb.Node](r, tableNodes, indexID)
}

// Group returns the group of an id, or nil.
func (r reader) Group(id uint32) *atollpb.Group {
	return first[*atollpb.Group](r, tableGroups, indexID, uint64(id))
}

// Groups iterates over the groups by id.
func (r reader) Groups() iter.Seq[*atollpb.Group] {
	return all[*atollpb.Group](r, tableGroups, indexID)
}

// Recall answers a request whose id had its effect already, if the state still remembers it: with that
// effect's result, or with a refusal where the id was another request's.
func (s *State) Recall(requestID string, digest Digest) (Outcome, bool) {
	if requestID == "" {
		return Outcome{}, false
	}
	r := first[*request](s.reader, tableRequests, indexID, requestID)
	if r == nil {
		return Outcome{}, false
	}
	if r.digest != digest {
		return Outcome{Refusal: refuse(CodeRequestReused, "request_id", "request_id was used for another request")}, true
	}
	result := r.result
	result.Repeated = true
	return Outcome{Result: result}, true
}
