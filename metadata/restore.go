package metadata

import (
	"io"
	"iter"
	"log/slog"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// RestoreConfig says what a new metadata directory is rebuilt from. Every field is required.
type RestoreConfig struct {
	Dir            string // exists, and is empty
	NodeID         string
	ClusterAddr    string // advertised host:port; a start with another one corrects it
	HTTPAddr       string
	AdminTokenFile string // gets a new admin token
	Backup         io.Reader
	Floor          uint64 // at or above every revision that was ever handed out
	Log            *slog.Logger
}

// Restored says what was rebuilt.
type Restored = consensus.Restored

// Restore builds the directory of a metadata node from a backup, for a cluster whose metadata service was lost.
func Restore(c RestoreConfig) (Restored, error) {
	return consensus.Restore(consensus.RestoreConfig{
		Config: consensus.Config{
			Dir: c.Dir, NodeID: c.NodeID, ClusterAddr: c.ClusterAddr, HTTPAddr: c.HTTPAddr, AdminTokenFile: c.AdminTokenFile, Log: c.Log,
		},
		Backup: c.Backup, Floor: c.Floor,
	})
}

// SaveConfig says what the metadata of a new cluster is made of. Every field is required.
type SaveConfig struct {
	Dir            string // exists, and is empty
	NodeID         string // also of the data node that has the save's rows
	ClusterAddr    string // advertised host:port
	HTTPAddr       string
	AdminTokenFile string                       // gets a new admin token
	View           iter.Seq[*atollpb.ViewFrame] // in the save
	Floor          uint64                       // at or above every revision in the save
	Incarnation    string                       // of the data node
	DataHistoryID  string                       // of the save's rows
	Log            *slog.Logger
}

// RestoreSave builds the metadata directory of a new cluster with the namespaces and tokens of a data node's save.
func RestoreSave(c SaveConfig) (Restored, error) {
	return consensus.RestoreSave(consensus.SaveConfig{
		Config: consensus.Config{
			Dir: c.Dir, NodeID: c.NodeID, ClusterAddr: c.ClusterAddr, HTTPAddr: c.HTTPAddr, AdminTokenFile: c.AdminTokenFile, Log: c.Log,
		},
		View: c.View, Floor: c.Floor, Incarnation: c.Incarnation, DataHistoryID: c.DataHistoryID,
	})
}

// CheckBackup reads a backup, and returns the revision that it holds, and why it is worth nothing.
func CheckBackup(r io.Reader) (revision uint64, err error) {
	fsm, err := raftfsm.Backup(r)
	if err != nil {
		return 0, err
	}
	return fsm.State().Revision(), nil
}
