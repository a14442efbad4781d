package consensus

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
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
	if err := c.nobodys(); err != nil {
		return Restored{}, err
	}
	fsm, err := raftfsm.Backup(c.Backup)
	if err != nil {
		return Restored{}, fmt.Errorf("read the backup: %w", err)
	}
	backup := fsm.State()
	return c.rebuild(fsm, backup.Cluster().ClusterId, max(backup.Applied(), c.Floor)+1,
		func(node raftfsm.MetadataNode, admin raftfsm.NewToken) raftfsm.Command {
			admin.Label = "admin of the restore"
			return &raftfsm.RestoreCluster{MetadataHistoryID: newID(), MetadataNode: node, AdminToken: admin}
		})
}

// nobodys refuses a directory that is in use.
func (c *Config) nobodys() error {
	if _, err := os.Stat(filepath.Join(c.Dir, identityFile)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("metadata directory %s is somebody's already: a restore takes an empty one", c.Dir)
	}
	return nil
}

// SaveConfig says what the metadata of a new cluster is made of. Every field is required.
type SaveConfig struct {
	Config
	// View is the view in a save of a data node.
	View iter.Seq[*atollpb.ViewFrame]
	// Floor is at or above every revision in the save: ids and revisions go on above it.
	Floor uint64
	// Incarnation is that of the data node of this node's id, which has the save's rows; DataHistoryID is theirs.
	Incarnation, DataHistoryID string
}

// RestoreSave builds the directory of the one metadata node of a new cluster with the namespaces and tokens of a save.
// The cluster that was saved may still run, so the new one has an id of its own: neither takes a node, a record or a
// certificate of the other. Otherwise it is as Restore.
func RestoreSave(c SaveConfig) (Restored, error) {
	if err := c.nobodys(); err != nil {
		return Restored{}, err
	}
	fsm, err := raftfsm.FromView(c.View)
	if err != nil {
		return Restored{}, fmt.Errorf("read the save: %w", err)
	}
	id := newID()
	return c.rebuild(fsm, id, max(fsm.State().Applied(), c.Floor)+1, func(node raftfsm.MetadataNode, admin raftfsm.NewToken) raftfsm.Command {
		return &raftfsm.BeginFromSave{
			ClusterID: id, MetadataHistoryID: newID(), MetadataNode: node, AdminToken: admin,
			NodeID: c.NodeID, Incarnation: c.Incarnation, DataHistoryID: c.DataHistoryID, NewHistoryID: newID(),
		}
	})
}

// begins makes the command that begins the new history.
type begins func(node raftfsm.MetadataNode, admin raftfsm.NewToken) raftfsm.Command

// rebuild makes a directory whose state is fsm's with a command at an index: what its log begins with.
func (c *Config) rebuild(fsm *raftfsm.FSM, clusterID string, index uint64, command begins) (Restored, error) {
	backup := fsm.State()
	id := identity{Format: identityFormat, NodeID: c.NodeID, Incarnation: newID(), ClusterID: clusterID, Voters: 1}
	if err := c.begin(fsm, id, index, command); err != nil {
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

// begin applies the new history to the old state.
func (c *Config) begin(fsm *raftfsm.FSM, id identity, index uint64, command begins) error {
	secret, err := adminSecret(c.AdminTokenFile)
	if err != nil {
		return err
	}
	data, err := fsm.Encode(raftfsm.Proposal{
		Command: command(
			raftfsm.MetadataNode{ID: c.NodeID, Incarnation: id.Incarnation, ClusterAddr: c.ClusterAddr, HTTPAddr: c.HTTPAddr},
			raftfsm.NewToken{ID: newID(), Hash: HashSecret(fsm.State().Cluster().TokenKey, secret), Role: atollpb.Role_ROLE_ADMIN, Label: "admin"}),
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
func (c *Config) storeSnapshot(state *raftfsm.State, index uint64) error {
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
