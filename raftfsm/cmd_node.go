package raftfsm

import (
	"bytes"
	"slices"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// pastHistoriesMax and epochsMax bound what a group remembers; the newest stay.
const (
	pastHistoriesMax = 64
	epochsMax        = 128
)

// RegisterNode admits a data node, or refreshes its addresses. The first node becomes the group's
// primary, later ones become replicas. Rows that the group's histories don't know are refused, and so
// is an emptied disk in the primary's name: what it has lost may be on a replica, or on a disk that is
// only not mounted.
type RegisterNode struct {
	NodeID        string
	Incarnation   string
	RESPAddr      string
	ClusterAddr   string
	Version       string
	DataHistoryID string // of the rows that the node holds
	HasData       bool
	NewHistoryID  string // made by the proposer, used if the node becomes the primary of a new history
	BeginEmpty    bool   // a primary whose disk is empty begins a new history, if no replica has the old one
}

func (c *RegisterNode) fields(f *fields) {
	f.str(&c.NodeID)
	f.str(&c.Incarnation)
	f.str(&c.RESPAddr)
	f.str(&c.ClusterAddr)
	f.str(&c.Version)
	f.str(&c.DataHistoryID)
	f.boolean(&c.HasData)
	f.str(&c.NewHistoryID)
	f.boolean(&c.BeginEmpty)
}

func (c *RegisterNode) validate() *Error {
	if err := validateID("node_id", c.NodeID); err != nil {
		return err
	}
	if err := validateID("incarnation", c.Incarnation); err != nil {
		return err
	}
	if err := validateAddr("resp_addr", c.RESPAddr); err != nil {
		return err
	}
	if err := validateAddr("cluster_addr", c.ClusterAddr); err != nil {
		return err
	}
	if err := validateText("version", c.Version, LabelBytesMax); err != nil {
		return err
	}
	return validateID("new_history_id", c.NewHistoryID)
}

func (c *RegisterNode) apply(t *txn) (Result, *Error) {
	if t.Cluster() == nil {
		return Result{}, notInitialised()
	}
	if err := c.validate(); err != nil {
		return Result{}, err
	}
	group, node := t.Group(GroupID), t.Node(c.NodeID)
	if c.HasData && !knowsHistory(group, c.DataHistoryID) {
		return Result{}, refuse(CodePrecondition, "data_history_id",
			"node %q holds data of another history (%q): start it with --discard-data to throw that data away", c.NodeID, c.DataHistoryID)
	}
	if err := c.validatePrimary(group, node); err != nil {
		return Result{}, err
	}
	t.putMembership(group, node, c)
	key := t.NodeKey(c.NodeID).GetKeySha256()
	if node == nil {
		node = &atollpb.Node{Id: c.NodeID, RegisteredRevision: t.index, RegisteredMs: t.timeMs}
	} else if bytes.Equal(node.KeySha256, key) && node.Incarnation == c.Incarnation && node.RespAddr == c.RESPAddr &&
		node.ClusterAddr == c.ClusterAddr && node.Version == c.Version {
		return t.done(), nil
	}
	node = clone(node)
	node.Incarnation, node.RespAddr, node.ClusterAddr, node.Version = c.Incarnation, c.RESPAddr, c.ClusterAddr, c.Version
	node.KeySha256 = key
	t.putNode(node)
	return t.done(), nil
}

// validatePrimary refuses another disk in the primary's name.
func (c *RegisterNode) validatePrimary(group *atollpb.Group, node *atollpb.Node) *Error {
	switch {
	case node == nil || node.Incarnation == c.Incarnation || group.Primary != c.NodeID:
		return nil
	case len(group.Replicas) > 0 || c.HasData:
		return refuse(CodePrecondition, "incarnation",
			"node %q is the primary, and has another disk than the one it was registered with: promote another node with --accept-loss first", c.NodeID)
	case !c.BeginEmpty:
		return refuse(CodePrecondition, "incarnation",
			"node %q is the primary, and its disk is empty: bring its data directory back, or start it with --begin-empty to go on without what it held", c.NodeID)
	}
	return nil
}

// knowsHistory reports whether rows of a history may follow the group: those of its present history
// from the log or a snapshot, those of an ended one from a snapshot.
func knowsHistory(group *atollpb.Group, history string) bool {
	return history != "" && (history == group.HistoryId || slices.Contains(group.PastHistories, history))
}

// putMembership gives the registering node its place in the group. node is its record before, or nil.
func (t *txn) putMembership(group *atollpb.Group, node *atollpb.Node, c *RegisterNode) {
	wiped := node != nil && node.Incarnation != c.Incarnation
	switch {
	case group.Primary == "", group.Primary == c.NodeID && wiped:
		group = clone(group)
		endHistory(group)
		group.Primary, group.PrimaryIncarnation = c.NodeID, c.Incarnation
		group.InSync = []string{c.NodeID}
		group.HistoryId, group.Epoch = c.NewHistoryID, t.index
		group.Epochs = []*atollpb.EpochStart{{Epoch: t.index, StartIndex: 1}}
		group.Promotion = nil
		t.putGroup(group)
	case group.Primary != c.NodeID && !slices.Contains(group.Replicas, c.NodeID):
		group = clone(group)
		group.Replicas = append(group.Replicas, c.NodeID)
		slices.Sort(group.Replicas)
		t.putGroup(group)
	case wiped && group.Promotion != nil && group.Promotion.Target == c.NodeID:
		group = clone(group)
		group.Promotion = nil
		t.putGroup(group)
	}
}

// endHistory moves the group's history to the past ones.
func endHistory(group *atollpb.Group) {
	if group.HistoryId == "" {
		return
	}
	group.PastHistories = newest(append(group.PastHistories, group.HistoryId), pastHistoriesMax)
}

func newest[T any](list []T, n int) []T {
	return slices.Delete(list, 0, max(0, len(list)-n))
}

// RemoveNode forgets a data node and its key, also of one that has only enrolled. The primary and the target of a promotion can't be removed.
type RemoveNode struct {
	ID string
}

func (c *RemoveNode) fields(f *fields) { f.str(&c.ID) }

func (c *RemoveNode) apply(t *txn) (Result, *Error) {
	node := t.Node(c.ID)
	if enrolled := t.expel(c.ID); enrolled && node == nil {
		return t.done(), nil
	}
	if node == nil {
		return Result{}, refuse(CodeNotFound, "node", "node %q was not found", c.ID)
	}
	for group := range t.Groups() {
		if group.Primary == c.ID {
			return Result{}, refuse(CodePrecondition, "node", "node %q is the primary of group %d: promote another node first", c.ID, group.Id)
		}
		if group.Promotion != nil && group.Promotion.Target == c.ID {
			return Result{}, refuse(CodePrecondition, "node", "node %q is being promoted", c.ID)
		}
		i, found := slices.BinarySearch(group.Replicas, c.ID)
		if !found {
			continue
		}
		group = clone(group)
		group.Replicas = slices.Delete(group.Replicas, i, i+1)
		t.putGroup(group)
	}
	t.removeNode(node)
	return t.done(), nil
}
