package replication

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// VerifyConfig is what Verify needs; every field must be set.
type VerifyConfig struct {
	FS      vfs.FS
	Dir     string
	HadData bool // the node has noted that it has a store
	Options func(dir string) store.Options
	Check   store.Check
}

// Verify checks what a stopped node's Member would open, and changes nothing: CURRENT, primary.json and the
// store that is current. Later generations are syncs under way, whose damage ends with them. An error is one of
// the check itself.
func Verify(ctx context.Context, c VerifyConfig) (store.Verified, error) {
	d := disk{c.FS, c.Dir}
	say := func(path, what string, all bool) {
		c.Check.Say(replog.Finding{File: path, Offset: -1, What: what, All: all})
	}
	if b, err := readFile(c.FS, d.path(primaryFile)); err == nil {
		if note, err := parseNote(b); err != nil {
			say(d.path(primaryFile), err.Error(), false)
		} else if note == (primaryNote{}) {
			say(d.path(primaryFile), "it can't be read: this node will ask for a new epoch if it is the primary", false)
		}
	} else if !isNotExist(err) {
		say(d.path(primaryFile), err.Error(), false)
	}
	names, err := c.FS.List(d.path(generationsDir))
	if err != nil && !isNotExist(err) {
		return store.Verified{}, fmt.Errorf("list generations: %w", err)
	}
	for _, name := range names {
		if _, err := strconv.ParseUint(name, 10, 64); err != nil {
			say(d.path(generationsDir, name), "it belongs to nothing", false)
		}
	}
	n, err := d.current()
	switch {
	case err != nil:
		say(d.path(currentFile), err.Error(), true)
		return store.Verified{}, nil
	case n == 0 && c.HadData:
		say(d.path(currentFile), "it is missing, though this node has held data", true)
		return store.Verified{}, nil
	case n == 0:
		return store.Verified{}, nil
	}
	dir := d.generation(n)
	inside, err := c.FS.List(dir)
	if err != nil {
		say(dir, fmt.Sprintf("%s names it, and it can't be read: %v", currentFile, err), true)
		return store.Verified{}, nil
	}
	for _, name := range inside {
		if !store.Owns(name) && strings.TrimSuffix(name, ".tmp") != manifestFile {
			say(c.FS.PathJoin(dir, name), "it belongs to nothing", false)
		}
	}
	return store.Verify(ctx, c.Options(dir), c.Check)
}

// Owns says whether a name in a data node's directory is this package's.
func Owns(name string) bool {
	switch strings.TrimSuffix(name, ".tmp") {
	case generationsDir, checkpointsDir, savesDir, currentFile, primaryFile:
		return true
	}
	return false
}

// IsSaves says whether a name in a data node's directory is that of its saves.
func IsSaves(name string) bool { return name == savesDir }
