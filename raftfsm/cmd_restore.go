package raftfsm

import (
	"fmt"
	"io"
	"slices"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// RestoreCluster begins a new metadata history after a disaster: the state is that of a backup, and one metadata node,
// which was rebuilt from it, is all there is. It is applied at an index above every revision that was handed out before.
type RestoreCluster struct {
	MetadataHistoryID string
	MetadataNode      MetadataNode // the rebuilt one
	AdminToken        NewToken     // made by the restore
}

func (c *RestoreCluster) fields(f *fields) {
	f.str(&c.MetadataHistoryID)
	c.MetadataNode.fields(f)
	c.AdminToken.fields(f)
}

func (c *RestoreCluster) apply(t *txn) (Result, *Error) {
	cluster := t.Cluster()
	if cluster == nil {
		return Result{}, notInitialised()
	}
	if err := validateID("metadata_history_id", c.MetadataHistoryID); err != nil {
		return Result{}, err
	}
	if c.MetadataHistoryID == cluster.MetadataHistoryId {
		return Result{}, refuse(CodeInvalid, "metadata_history_id", "metadata_history_id is that of the cluster already")
	}
	if err := c.MetadataNode.validate(); err != nil {
		return Result{}, err
	}
	if c.AdminToken.Role != atollpb.Role_ROLE_ADMIN {
		return Result{}, refuse(CodeInvalid, "role", "the token of a restore takes the role admin")
	}
	if err := t.createToken(t.Namespace(cluster.DefaultNamespaceId), c.AdminToken); err != nil {
		return Result{}, err
	}
	// Since the backup was made, invitations may have been used, or taken back.
	for _, i := range slices.Collect(t.Invites()) {
		t.note("invite", i.Id, i, nil)
		t.delete(tableInvites, i)
	}
	cluster = clone(cluster)
	cluster.MetadataHistoryId = c.MetadataHistoryID
	cluster.MetadataNodes = []*atollpb.MetadataNode{c.MetadataNode.record()}
	t.putCluster(cluster)
	return t.done(), nil
}

// Backup reads a snapshot that was taken of a state, such as the admin API hands out.
func Backup(r io.Reader) (*FSM, error) {
	f, err := New()
	if err != nil {
		return nil, err
	}
	if err := f.Restore(r); err != nil {
		return nil, err
	}
	if f.State().Cluster() == nil {
		return nil, fmt.Errorf("%w: it is of a cluster that was never initialised", ErrSnapshotCorrupt)
	}
	return f, nil
}
