package raftfsm

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/go-memdb"

	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/audit"
)

// The tables of the state, and the names of their indexes beside memdb's own "id".
const (
	tableCluster    = "cluster"
	tableNamespaces = "namespaces"
	tableTokens     = "tokens"
	tableNodes      = "nodes"
	tableGroups     = "groups"
	tableRequests   = "requests"
	tableAudit      = "audit"
	tableAuthority  = "authority"
	tableInvites    = "invites"
	tableKeys       = "keys" // of nodes

	indexID        = "id"
	indexName      = "name"      // of active namespaces
	indexDeleted   = "deleted"   // tombstones
	indexGrace     = "grace"     // of namespaces in grace, by id
	indexDue       = "due"       // of namespaces in grace, by the time to purge them
	indexHash      = "hash"      // of tokens
	indexNamespace = "namespace" // of tokens
	indexRevision  = "revision"  // of requests
)

// RequestsMax bounds the table of remembered request ids: the oldest goes out.
const RequestsMax = 30_000

// request is what the state remembers of an applied command, for its retries.
type request struct {
	id     string
	digest Digest
	result Result
}

func (r *request) fields(f *fields) {
	f.str(&r.id)
	f.digest(&r.digest)
	r.result.fields(f)
}

// keyIndex is an index over a key that a function takes from the record; ok false leaves it out.
type keyIndex[T any] struct {
	key func(T) (key []byte, ok bool)
}

// FromObject implements memdb.SingleIndexer.
func (x keyIndex[T]) FromObject(obj any) (bool, []byte, error) {
	record, ok := obj.(T)
	if !ok {
		return false, nil, fmt.Errorf("record of type %T", obj)
	}
	key, ok := x.key(record)
	if !ok {
		return false, nil, nil // not the key: memdb would take it for unchanged and keep the old row
	}
	return true, key, nil
}

// FromArgs implements memdb.Indexer.
func (keyIndex[T]) FromArgs(args ...any) ([]byte, error) {
	switch key := args[0].(type) {
	case []byte:
		return key, nil
	case string:
		return []byte(key), nil
	case uint64:
		return idKey(key), nil
	}
	return nil, fmt.Errorf("index argument of type %T", args[0])
}

// idKey encodes a number so that bytes sort as numbers do.
func idKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func table[T any](name string, indexes map[string]func(T) ([]byte, bool)) *memdb.TableSchema {
	t := &memdb.TableSchema{Name: name, Indexes: map[string]*memdb.IndexSchema{}}
	for index, key := range indexes {
		t.Indexes[index] = &memdb.IndexSchema{
			Name:         index,
			Unique:       index != indexNamespace,
			AllowMissing: index != indexID,
			Indexer:      keyIndex[T]{key},
		}
	}
	return t
}

func newDB() (*memdb.MemDB, error) {
	type ns = *atollpb.Namespace
	type token = *atollpb.Token
	return memdb.NewMemDB(&memdb.DBSchema{Tables: map[string]*memdb.TableSchema{
		tableCluster: table(tableCluster, map[string]func(*atollpb.ClusterInfo) ([]byte, bool){
			indexID: func(*atollpb.ClusterInfo) ([]byte, bool) { return []byte{0}, true },
		}),
		tableNamespaces: table(tableNamespaces, map[string]func(ns) ([]byte, bool){
			indexID:      func(n ns) ([]byte, bool) { return idKey(n.Id), true },
			indexName:    func(n ns) ([]byte, bool) { return []byte(n.Name), isActive(n) },
			indexDeleted: func(n ns) ([]byte, bool) { return idKey(n.Id), isTombstone(n) },
			indexGrace:   func(n ns) ([]byte, bool) { return idKey(n.Id), inGrace(n) },
			indexDue: func(n ns) ([]byte, bool) {
				return append(idKey(uint64(n.PurgeAtMs)), idKey(n.Id)...), inGrace(n)
			},
		}),
		tableTokens: table(tableTokens, map[string]func(token) ([]byte, bool){
			indexID:        func(t token) ([]byte, bool) { return []byte(t.Id), true },
			indexHash:      func(t token) ([]byte, bool) { return t.Hash, true },
			indexNamespace: func(t token) ([]byte, bool) { return idKey(t.NamespaceId), true },
		}),
		tableNodes: table(tableNodes, map[string]func(*atollpb.Node) ([]byte, bool){
			indexID: func(n *atollpb.Node) ([]byte, bool) { return []byte(n.Id), true },
		}),
		tableGroups: table(tableGroups, map[string]func(*atollpb.Group) ([]byte, bool){
			indexID: func(g *atollpb.Group) ([]byte, bool) { return idKey(uint64(g.Id)), true },
		}),
		tableRequests: table(tableRequests, map[string]func(*request) ([]byte, bool){
			indexID:       func(r *request) ([]byte, bool) { return []byte(r.id), true },
			indexRevision: func(r *request) ([]byte, bool) { return idKey(r.result.Revision), true },
		}),
		tableAudit: table(tableAudit, map[string]func(*audit.Record) ([]byte, bool){
			indexID: func(r *audit.Record) ([]byte, bool) { return idKey(r.Revision), true },
		}),
		tableAuthority: table(tableAuthority, map[string]func(*atollpb.CertificateAuthority) ([]byte, bool){
			indexID: func(*atollpb.CertificateAuthority) ([]byte, bool) { return []byte{0}, true },
		}),
		tableInvites: table(tableInvites, map[string]func(*atollpb.Invite) ([]byte, bool){
			indexID: func(i *atollpb.Invite) ([]byte, bool) { return []byte(i.Id), true },
		}),
		tableKeys: table(tableKeys, map[string]func(*atollpb.NodeKey) ([]byte, bool){
			indexID: func(k *atollpb.NodeKey) ([]byte, bool) { return []byte(k.NodeId), true },
		}),
	}})
}

func isActive(n *atollpb.Namespace) bool {
	return n.State == atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE
}

func isTombstone(n *atollpb.Namespace) bool {
	return n.State == atollpb.NamespaceState_NAMESPACE_STATE_DELETED
}

func inGrace(n *atollpb.Namespace) bool {
	return n.State == atollpb.NamespaceState_NAMESPACE_STATE_IN_GRACE
}
