package raftfsm

import (
	"errors"
	"fmt"
	"iter"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// ErrView means that frames don't make a whole view.
var ErrView = errors.New("not a whole view of the metadata")

// FromView returns a state of what data nodes are shown, and can hand on: the namespaces, their tokens and the
// cluster's record, at the view's revision. Nodes and groups are left out, since they are those of the cluster that the
// view was of: BeginFromSave, which has to follow, makes the group of another one.
func FromView(frames iter.Seq[*atollpb.ViewFrame]) (*FSM, error) {
	f, err := New()
	if err != nil {
		return nil, err
	}
	t := &txn{reader: reader{f.db.Txn(true)}}
	defer t.txn.Abort() // without effect after Commit
	state, last := &State{}, false
	for frame := range frames {
		if last || state.revision != 0 && frame.Revision != state.revision {
			return nil, fmt.Errorf("%w: it has parts of revision %d and %d", ErrView, state.revision, frame.Revision)
		}
		state.revision, state.applied, last = frame.Revision, frame.Revision, frame.Last
		if frame.Cluster != nil {
			t.insert(tableCluster, frame.Cluster)
		}
		for _, n := range frame.Namespaces {
			t.insert(tableNamespaces, n)
		}
		for _, k := range frame.Tokens {
			t.insert(tableTokens, k)
		}
	}
	c := t.Cluster()
	if !last || state.revision == 0 || c == nil || len(c.TokenKey) != HashBytes || t.Namespace(c.DefaultNamespaceId) == nil {
		return nil, ErrView
	}
	t.txn.Commit()
	state.reader = reader{f.db.Txn(false)}
	f.state.Store(state)
	f.feed.reset(state.revision)
	return f, nil
}

// BeginFromSave makes a cluster of its own out of FromView's state: with another id, a metadata history and a history of
// the group that begin here, and one node. Namespaces and tokens stay what they were, and so does the key of the tokens'
// hashes. It is applied at an index above every revision in the save.
type BeginFromSave struct {
	ClusterID         string
	MetadataHistoryID string
	MetadataNode      MetadataNode
	AdminToken        NewToken
	NodeID            string // of the data node that holds the save's rows: the primary
	Incarnation       string
	DataHistoryID     string // of those rows
	NewHistoryID      string // that goes on from them
}

func (c *BeginFromSave) fields(f *fields) {
	f.str(&c.ClusterID)
	f.str(&c.MetadataHistoryID)
	c.MetadataNode.fields(f)
	c.AdminToken.fields(f)
	f.str(&c.NodeID)
	f.str(&c.Incarnation)
	f.str(&c.DataHistoryID)
	f.str(&c.NewHistoryID)
}

func (c *BeginFromSave) validate() *Error {
	for _, id := range [...]struct{ field, value string }{
		{"cluster_id", c.ClusterID}, {"metadata_history_id", c.MetadataHistoryID}, {"node_id", c.NodeID},
		{"incarnation", c.Incarnation}, {"data_history_id", c.DataHistoryID}, {"new_history_id", c.NewHistoryID},
	} {
		if err := validateID(id.field, id.value); err != nil {
			return err
		}
	}
	if c.NewHistoryID == c.DataHistoryID {
		return refuse(CodeInvalid, "new_history_id", "new_history_id is that of the rows already")
	}
	if c.AdminToken.Role != atollpb.Role_ROLE_ADMIN {
		return refuse(CodeInvalid, "role", "the token of a restore takes the role admin")
	}
	return c.MetadataNode.validate()
}

func (c *BeginFromSave) apply(t *txn) (Result, *Error) {
	cluster := t.Cluster()
	switch {
	case cluster == nil:
		return Result{}, notInitialised()
	case t.Group(GroupID) != nil: // every cluster has it
		return Result{}, refuse(CodePrecondition, "", "the state is a cluster's, not that of a save")
	}
	if err := c.validate(); err != nil {
		return Result{}, err
	}
	if c.ClusterID == cluster.ClusterId || c.MetadataHistoryID == cluster.MetadataHistoryId {
		return Result{}, refuse(CodeInvalid, "cluster_id", "cluster_id or metadata_history_id is that of the cluster that was saved")
	}
	if old := t.TokenByHash(c.AdminToken.Hash); old.GetRole() != atollpb.Role_ROLE_ADMIN || old.GetExpiresMs() != 0 { // else it was brought along
		if err := t.createToken(t.Namespace(cluster.DefaultNamespaceId), c.AdminToken); err != nil {
			return Result{}, err
		}
	}
	cluster = clone(cluster)
	cluster.ClusterId, cluster.MetadataHistoryId, cluster.CreatedMs = c.ClusterID, c.MetadataHistoryID, t.timeMs
	cluster.MetadataNodes = []*atollpb.MetadataNode{c.MetadataNode.record()}
	cluster.Authorities = nil // they are the saved cluster's: this one makes its own
	t.putCluster(cluster)
	// As after a forced promotion: the primary goes on from its rows in a history of its own. It is named here, so
	// that no other node can become one first.
	t.putGroup(&atollpb.Group{
		Id: GroupID, Primary: c.NodeID, PrimaryIncarnation: c.Incarnation, InSync: []string{c.NodeID},
		HistoryId: c.NewHistoryID, Epoch: t.index, Epochs: []*atollpb.EpochStart{{Epoch: t.index, StartIndex: 1}},
		PastHistories: []string{c.DataHistoryID},
	})
	return t.done(), nil
}
