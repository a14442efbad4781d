package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/atolldb/atoll/datanode"
	"github.com/atolldb/atoll/metadata"
	"github.com/atolldb/atoll/rpc/atomicfile"
)

// What a data directory has of the save that it was made from.
const (
	// restoringFile is written first and removed last: what a directory holds beside it means nothing.
	restoringFile = "RESTORING"
	fromFile      = "from.json"
	fromFormat    = 1
)

// origin is what fromFile says.
type origin struct {
	Format    int       `json:"format"`
	From      string    `json:"from"` // absolute path of the save
	ClusterID string    `json:"cluster_id"`
	At        time.Time `json:"at"`
}

// openSave checks the save that this process is to begin from, before anything is made; nil: there is none, or the data
// directory was made from it already.
func (n *node) openSave(ctx context.Context) (*datanode.Save, error) {
	if n.config.text("from") == "" {
		return nil, nil
	}
	wrap := func(err error) error { return fmt.Errorf("--from (%s): %w", envName("from"), err) }
	if len(n.config.list("join")) > 0 {
		return nil, wrap(errors.New("it begins a new cluster, and --join joins one: give one of them"))
	}
	from, begins, err := n.from()
	if err != nil {
		return nil, wrap(err)
	}
	if !begins {
		n.log.Info("the data directory was made from this save before, and goes on with its own data", "from", from)
		return nil, nil
	}
	n.log.Info("checking the save: all of it is read", "from", from)
	save, err := datanode.OpenSave(ctx, from)
	if err != nil {
		return nil, wrap(err)
	}
	return save, nil
}

// from returns the save's path, and whether the data directory is to be made from it. A directory that holds anything else
// is refused: nobody who asks for a save is to be served other data.
func (n *node) from() (path string, begins bool, err error) {
	if path, err = filepath.Abs(n.config.text("from")); err != nil {
		return "", false, err
	}
	dir, err := filepath.Abs(n.config.text("data-dir"))
	if err != nil {
		return "", false, err
	}
	if _, err := os.Lstat(filepath.Join(dir, restoringFile)); err == nil {
		return path, true, outside(path, dir) // cut short: it starts over
	}
	data, err := os.ReadFile(filepath.Join(dir, fromFile))
	if err == nil {
		var o origin
		switch err := json.Unmarshal(data, &o); {
		case err != nil, o.Format != fromFormat:
			return "", false, fmt.Errorf("data directory %s: its %s can't be read: start without --from, which takes an empty directory", dir, fromFile)
		case o.From != path:
			return "", false, fmt.Errorf("data directory %s was made from another save, %s: give an empty or a new one", dir, o.From)
		}
		return path, false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	for _, part := range partsOfANode() {
		if entries, err := os.ReadDir(filepath.Join(dir, part)); len(entries) > 0 {
			return "", false, fmt.Errorf("data directory %s holds a node already: give an empty or a new one", dir)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", false, err
		}
	}
	return path, true, outside(path, dir)
}

// partsOfANode are the directories that a restore makes.
func partsOfANode() []string { return []string{"meta", "data"} }

// outside refuses a save in what may be removed.
func outside(path, dir string) error {
	if rel, err := filepath.Rel(dir, path); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("the save is in the data directory %s: give an empty or a new one", dir)
	}
	return nil
}

// whole refuses a directory that a restore has left half made.
func (d *dataDir) whole() error {
	if _, err := os.Lstat(filepath.Join(d.path, restoringFile)); err == nil {
		return fmt.Errorf("data directory %s: a start with --from was cut short: start it with --from again, or empty the directory", d.path)
	}
	return nil
}

// restore makes the node's directories from a save: all of it, or, after an error, nothing. A crash in between leaves
// RESTORING.
func (n *node) restore(ctx context.Context, save *datanode.Save) (err error) {
	from, begins, err := n.from() // again, now that the directory is this process's alone
	if err == nil && !begins {
		err = errors.New("another process has made the data directory meanwhile: start again")
	}
	if err != nil {
		return err
	}
	mark := filepath.Join(n.dir.path, restoringFile)
	if err := atomicfile.Write(mark, []byte(from+"\n")); err != nil {
		return err
	}
	if err := n.dir.empty(); err != nil {
		return err
	}
	r, err := n.restoreParts(ctx, save)
	if err != nil {
		if emptied := n.dir.empty(); emptied != nil {
			return errors.Join(err, emptied) // and the mark stays: what is left is half a node
		}
		return errors.Join(err, os.Remove(mark), syncDir(n.dir.path))
	}
	note, err := json.Marshal(origin{Format: fromFormat, From: from, ClusterID: r.ClusterID, At: time.Now().UTC()})
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(n.dir.path, fromFile), append(note, '\n')); err != nil {
		return err
	}
	if err := errors.Join(os.Remove(mark), syncDir(n.dir.path)); err != nil {
		return err
	}
	n.log.Info("began a new cluster from a save", "from", from, "cluster", r.ClusterID, "view", r.BackupRevision, "goes_on_above", r.Revision,
		"namespaces", r.Namespaces, "tokens", r.Tokens, "admin_token_file", filepath.Join(n.dir.path, adminTokenFile))
	n.log.Warn("what was changed after the save isn't in it: tokens that were revoked since then work here; look through ns list and token list")
	return nil
}

func (n *node) restoreParts(ctx context.Context, save *datanode.Save) (r metadata.Restored, err error) {
	meta, err := n.dir.sub("meta")
	if err != nil {
		return r, err
	}
	data, err := n.dir.sub("data")
	if err != nil {
		return r, err
	}
	r, err = metadata.RestoreSave(metadata.SaveConfig{
		Dir: meta, NodeID: n.dir.nodeID, ClusterAddr: n.lis.advertised.cluster, HTTPAddr: n.lis.advertised.http,
		AdminTokenFile: filepath.Join(n.dir.path, adminTokenFile), View: save.View(), Floor: save.Floor(),
		Incarnation: save.Incarnation(), DataHistoryID: save.History(), Log: n.log.With("part", "metadata"),
	})
	if err != nil {
		return r, err
	}
	return r, save.Restore(ctx, data, n.dir.nodeID, r.ClusterID)
}

// empty removes the parts of a node.
func (d *dataDir) empty() error {
	var err error
	for _, part := range partsOfANode() {
		err = errors.Join(err, os.RemoveAll(filepath.Join(d.path, part)))
	}
	return errors.Join(err, syncDir(d.path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
