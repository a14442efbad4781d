package raftfsm

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// GroupID is the id of the one group of this version.
const GroupID = 1

// InitCluster makes the cluster's record, the default namespace with the admin's token, and the group.
// It is refused once that is done.
type InitCluster struct {
	ClusterID         string
	MetadataHistoryID string
	TokenKey          []byte // 32 bytes
	AdminToken        NewToken
	MetadataNode      MetadataNode // the proposer
}

// MetadataNode is a metadata node as commands carry it.
type MetadataNode struct {
	ID          string
	Incarnation string // of its directory
	ClusterAddr string
	HTTPAddr    string
}

func (n *MetadataNode) record() *atollpb.MetadataNode {
	return &atollpb.MetadataNode{Id: n.ID, Incarnation: n.Incarnation, ClusterAddr: n.ClusterAddr, HttpAddr: n.HTTPAddr}
}

func (n *MetadataNode) fields(f *fields) {
	f.str(&n.ID)
	f.str(&n.Incarnation)
	f.str(&n.ClusterAddr)
	f.str(&n.HTTPAddr)
}

func (n *MetadataNode) validate() *Error {
	if err := validateID("node_id", n.ID); err != nil {
		return err
	}
	if err := validateID("incarnation", n.Incarnation); err != nil {
		return err
	}
	if err := validateAddr("cluster_addr", n.ClusterAddr); err != nil {
		return err
	}
	return validateText("http_addr", n.HTTPAddr, AddrBytesMax)
}

func (c *InitCluster) fields(f *fields) {
	f.str(&c.ClusterID)
	f.str(&c.MetadataHistoryID)
	f.bytes(&c.TokenKey)
	c.AdminToken.fields(f)
	c.MetadataNode.fields(f)
}

func (c *InitCluster) apply(t *txn) (Result, *Error) {
	if t.Cluster() != nil {
		return Result{}, refuse(CodePrecondition, "", "the cluster is initialised already")
	}
	if err := validateID("cluster_id", c.ClusterID); err != nil {
		return Result{}, err
	}
	if err := validateID("metadata_history_id", c.MetadataHistoryID); err != nil {
		return Result{}, err
	}
	if len(c.TokenKey) != HashBytes {
		return Result{}, refuse(CodeInvalid, "token_key", "token_key takes %d bytes", HashBytes)
	}
	if err := c.MetadataNode.validate(); err != nil {
		return Result{}, err
	}
	namespace := &atollpb.Namespace{
		Id: t.index, Name: DefaultNamespace, CreatedMs: t.timeMs,
		State:      atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE,
		Durability: atollpb.Durability_DURABILITY_ASYNC,
	}
	t.putNamespace(namespace)
	t.putCluster(&atollpb.ClusterInfo{
		ClusterId: c.ClusterID, MetadataHistoryId: c.MetadataHistoryID, TokenKey: c.TokenKey,
		DefaultNamespaceId: t.index, CreatedMs: t.timeMs,
		MetadataNodes: []*atollpb.MetadataNode{c.MetadataNode.record()},
	})
	if err := t.createToken(namespace, c.AdminToken); err != nil {
		return Result{}, err
	}
	t.putGroup(&atollpb.Group{Id: GroupID})
	result := t.done()
	result.NamespaceID, result.TokenIDs = t.index, []string{c.AdminToken.ID}
	return result, nil
}

// SetMetadataNodes replaces the list of metadata nodes that data nodes may dial. A known id keeps its
// incarnation: a voter with an emptied disk has forgotten what it voted for and acknowledged, so in the old
// one's place it could bring two leaders about, and lose what a majority had. So an address has one id too.
type SetMetadataNodes struct {
	Nodes            []MetadataNode
	ExpectedRevision uint64 // of the cluster's record: compare and set
}

func (c *SetMetadataNodes) fields(f *fields) {
	list(f, &c.Nodes, func(n *MetadataNode) { n.fields(f) })
	f.u64(&c.ExpectedRevision)
}

func (c *SetMetadataNodes) apply(t *txn) (Result, *Error) {
	cluster := t.Cluster()
	if cluster == nil {
		return Result{}, notInitialised()
	}
	if cluster.ModifiedRevision != c.ExpectedRevision {
		return Result{}, refuse(CodeConflict, fieldRevision, "the cluster's record changed at revision %d", cluster.ModifiedRevision)
	}
	if len(c.Nodes) == 0 {
		return Result{}, refuse(CodeInvalid, "nodes", "nodes is empty")
	}
	var nodes []*atollpb.MetadataNode
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if err := n.validate(); err != nil {
			return Result{}, err
		}
		if err := CheckMetadataNode(cluster, n); err != nil {
			return Result{}, err
		}
		nodes = append(nodes, n.record())
	}
	slices.SortFunc(nodes, func(a, b *atollpb.MetadataNode) int { return strings.Compare(a.Id, b.Id) })
	same := slices.EqualFunc(nodes, cluster.MetadataNodes, func(a, b *atollpb.MetadataNode) bool {
		return proto.Equal(a, b)
	})
	if same {
		return t.done(), nil
	}
	cluster = clone(cluster)
	cluster.MetadataNodes = nodes
	t.putCluster(cluster)
	return t.done(), nil
}

// CheckMetadataNode refuses a metadata node whose id is another one's, of another directory, or whose cluster
// address is: the votes that the cluster asks for there are those of the id that it knows.
func CheckMetadataNode(cluster *atollpb.ClusterInfo, n *MetadataNode) *Error {
	for _, m := range cluster.GetMetadataNodes() {
		switch {
		case m.Id == n.ID && m.Incarnation != n.Incarnation:
			return refuse(CodePrecondition, "incarnation",
				"metadata node %q is in the cluster already, with another data directory: start it with that one, or choose another node id", n.ID)
		case m.Id != n.ID && m.ClusterAddr == n.ClusterAddr:
			return AddressTaken(n.ClusterAddr, m.Id)
		}
	}
	return nil
}

// AddressTaken is the refusal of a cluster address that is another metadata node's.
func AddressTaken(addr, id string) *Error {
	return refuse(CodePrecondition, "cluster_addr",
		"cluster_addr %s is that of metadata node %q: start that one with its data directory, or choose another address", addr, id)
}

func notInitialised() *Error {
	return refuse(CodePrecondition, "", "the cluster is not initialised")
}
