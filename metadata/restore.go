package metadata

import (
	"io"
	"log/slog"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
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

// CheckBackup reads a backup, and returns the revision that it holds, and why it is worth nothing.
func CheckBackup(r io.Reader) (revision uint64, err error) {
	fsm, err := raftfsm.Backup(r)
	if err != nil {
		return 0, err
	}
	return fsm.State().Revision(), nil
}
