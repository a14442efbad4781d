package consensus

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// restoreTerm is the term of the snapshot that a rebuilt node begins with.
const restoreTerm = 1

// RestoreConfig says what a new metadata directory is rebuilt from. Every field is required.
type RestoreConfig struct {
	Config
	// Backup is a snapshot that a metadata node has handed out.
	Backup io.Reader
	// Floor is at or above every revision that was ever handed out, as far as is known: ids and revisions go on above it.
	Floor uint64
}

// Restored says what was rebuilt.
type Restored struct {
	ClusterID      string
	BackupRevision uint64 // that the backup holds: what came after it is lost
	Revision       uint64 // that the cluster goes on from
	Namespaces     int
	Tokens         int
}

// Restore builds the directory of the one metadata node of a cluster whose metadata service was lost. The directory
// must be empty. The cluster keeps its id, gets a new metadata history, and goes on above Floor, so that no id and no
// revision is handed out twice. A new admin token is written to AdminTokenFile. After an error the directory is
// worth nothing.
func Restore(c RestoreConfig) (Restored, error) {
	if _, err := os.Stat(filepath.Join(c.Dir, identityFile)); !errors.Is(err, fs.ErrNotExist) {
		return Restored{}, fmt.Errorf("metadata directory %s is somebody's already: a restore takes an empty one", c.Dir)
	}
	fsm, err := raftfsm.Backup(c.Backup)
	if err != nil {
		return Restored{}, fmt.Errorf("read the backup: %w", err)
	}
	backup := fsm.State()
	id := identity{Format: identityFormat, NodeID: c.NodeID, Incarnation: newID(), ClusterID: backup.Cluster().ClusterId, Voters: 1}
	index := max(backup.Applied(), c.Floor) + 1
	if err := c.begin(fsm, id, index); err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	if err := c.storeSnapshot(fsm.State(), index); err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	id.HistoryID = fsm.State().Cluster().MetadataHistoryId
	// Last: without it the directory is nobody's, and no node starts on half of one.
	if err := id.save(c.Dir); err != nil {
		return Restored{}, err
	}
	r := Restored{ClusterID: id.ClusterID, BackupRevision: backup.Revision(), Revision: fsm.State().Revision()}
	for range backup.Namespaces("") {
		r.Namespaces++
	}
	for range backup.AllTokens() {
		r.Tokens++
	}
	return r, nil
}

// begin applies the new history to the backup's state.
func (c *RestoreConfig) begin(fsm *raftfsm.FSM, id identity, index uint64) error {
	secret, err := adminSecret(c.AdminTokenFile)
	if err != nil {
		return err
	}
	data, err := fsm.Encode(raftfsm.Proposal{
		Command: &raftfsm.RestoreCluster{
			MetadataHistoryID: newID(),
			MetadataNode:      raftfsm.MetadataNode{ID: c.NodeID, Incarnation: id.Incarnation, ClusterAddr: c.ClusterAddr, HTTPAddr: c.HTTPAddr},
			AdminToken: raftfsm.NewToken{
				ID: newID(), Hash: HashSecret(fsm.State().Cluster().TokenKey, secret), Role: atollpb.Role_ROLE_ADMIN, Label: "admin of the restore",
			},
		},
		Actor: "restore", TimeMs: time.Now().UnixMilli(),
	})
	if err != nil {
		return err
	}
	outcome, err := fsm.Apply(index, data)
	if err == nil {
		err = outcome.Err()
	}
	return err
}

// storeSnapshot makes the state what Raft begins with, in a configuration of this node alone.
func (c *RestoreConfig) storeSnapshot(state *raftfsm.State, index uint64) error {
	store, err := openStore(c.Dir)
	if err != nil {
		return err
	}
	// The term of the snapshot counts as one that the node has seen.
	err = checkedStable{store}.SetUint64([]byte("CurrentTerm"), restoreTerm)
	if err = errors.Join(err, store.Close()); err != nil {
		return fmt.Errorf("write raft's term: %w", err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(filepath.Join(c.Dir, snapshotsDir), snapshotsKept, newRaftLogger(c.Log))
	if err != nil {
		return fmt.Errorf("open raft snapshots: %w", err)
	}
	servers := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(c.NodeID), Address: raft.ServerAddress(c.ClusterAddr)}}}
	_, transport := raft.NewInmemTransport(raft.ServerAddress(c.ClusterAddr)) // which only writes the address
	sink, err := snapshots.Create(raft.SnapshotVersionMax, index, restoreTerm, servers, index, transport)
	if err != nil {
		return fmt.Errorf("make raft's snapshot: %w", err)
	}
	return snapshot{state}.Persist(sink)
}
