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

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/datanode"
	"github.com/atolldb/atoll/metadata"
	"github.com/atolldb/atoll/rpc/mtls"
)

func (p *program) debugCommand() *cobra.Command {
	pebble := group("pebble", "Look into the files of a stopped node's store with Pebble's own tools: DATA-DIR/data/generations/N/pebble", datanode.InspectCommands()...)
	pebble.Long = pebble.Short + ".\nThey print what they find wrong, and end with 0 all the same: debug verify is the check of a data directory."
	return group("debug", "Look into a node: its files while it is stopped, or what it is busy with", p.debugVerify(), p.debugBundle(), pebble)
}

// finding is one line of debug verify.
type finding struct {
	File       string   `json:"file"`
	Offset     *int64   `json:"offset,omitempty"` // bytes
	What       string   `json:"what"`
	Namespaces []string `json:"namespaces,omitempty"` // whose rows it hits; "*" is all
}

// report is what debug verify prints as JSON.
type report struct {
	NodeID   string             `json:"node_id"`
	Findings []finding          `json:"findings"`
	Data     *datanode.Verified `json:"data,omitempty"`
	Metadata *metadata.Verified `json:"metadata,omitempty"`
}

func (p *program) debugVerify() *cobra.Command {
	c := p.command("verify", "Check a data directory that no process uses", cobra.NoArgs, []string{configKey, "data-dir", "output"},
		func(ctx context.Context, c *config, _ []string) error {
			r, err := verifyDir(ctx, c.text("data-dir"))
			if err != nil {
				return err
			}
			if err := p.printReport(c, r); err != nil {
				return err
			}
			if n := len(r.Findings); n > 0 {
				return fmt.Errorf("%s: %d findings", c.text("data-dir"), n)
			}
			return nil
		})
	c.Long = `Check a data directory that no process uses.

Every file is read: checksums of the log, of sstables, views and Raft's store; the log's chain; each row;
counters, expiry index and sizes, recounted after a replay of the log in memory; whether the node's key and
certificate fit each other; what belongs to nothing.
Nothing on disk is changed. There is one line for each finding, with the file, the offset in it where that
is known, and the namespaces whose rows it hits. The exit code is 0 if there are none.`
	return c
}

func (p *program) printReport(c *config, r report) error {
	if c.text("output") == "json" {
		e := json.NewEncoder(p.stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	for _, f := range r.Findings {
		at, hit := "", ""
		if f.Offset != nil {
			at = fmt.Sprintf(":%d", *f.Offset)
		}
		switch {
		case len(f.Namespaces) == 1 && f.Namespaces[0] == "*":
			hit = " [hits all namespaces]"
		case len(f.Namespaces) > 0:
			hit = " [hits " + strings.Join(f.Namespaces, ", ") + "]"
		}
		fmt.Fprintf(p.stdout, "%s%s: %s%s\n", f.File, at, strings.ReplaceAll(f.What, "\n", "; "), hit)
	}
	if d := r.Data; d != nil {
		fmt.Fprintf(p.stdout, "data: %d entries up to %d, %d sstables, %d rows in %d namespaces, view %d\n",
			d.Entries, d.Index, d.Tables, d.Rows, d.Namespaces, d.Revision)
	}
	if m := r.Metadata; m != nil {
		fmt.Fprintf(p.stdout, "metadata: %d entries, %d snapshots\n", m.Entries, m.Snapshots)
	}
	return nil
}

// verifyDir checks the parts of a data directory that there are.
func verifyDir(ctx context.Context, path string) (r report, err error) {
	r.Findings = []finding{}
	d, err := lookAtDataDir(path)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	r.NodeID = d.nodeID
	entries, err := os.ReadDir(path)
	if err != nil {
		return r, err
	}
	for _, e := range entries {
		part, err := filepath.Join(path, e.Name()), error(nil)
		switch strings.TrimSuffix(e.Name(), ".tmp") {
		case "data":
			r.Data = new(datanode.Verified)
			*r.Data, err = datanode.Verify(ctx, part, d.nodeID, func(f datanode.Finding) { r.add(f.File, f.Offset, f.What, f.Namespaces) })
		case "meta":
			r.Metadata = new(metadata.Verified)
			*r.Metadata, err = metadata.Verify(ctx, part, d.nodeID, func(f metadata.Finding) { r.add(f.File, f.Offset, f.What, nil) })
		case "tls":
			err = mtls.Verify(part, d.nodeID, func(file, what string) { r.add(file, -1, what, nil) })
		case restoringFile:
			r.add(part, -1, "a start with --from was cut short: what is here means nothing", []string{"*"})
		case markerFile, lockFile, adminTokenFile, fromFile, "lost+found":
		default:
			r.add(part, -1, "it belongs to nothing", nil)
		}
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		if err != nil { // on a broken disk the other parts are worth as much
			r.add(part, -1, "it can't be checked: "+plain(err).Error(), []string{"*"})
		}
	}
	return r, nil
}

func (r *report) add(file string, offset int64, what string, namespaces []string) {
	f := finding{File: file, What: what, Namespaces: namespaces}
	if offset >= 0 {
		f.Offset = &offset
	}
	r.Findings = append(r.Findings, f)
}

// lookAtDataDir takes a data directory that must exist into possession without a change of it, and refuses one that
// a running process uses. A copy may lack the lock's file: nobody runs on it then.
func lookAtDataDir(path string) (_ *dataDir, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("data directory %s: %w", path, plain(err))
		}
	}()
	data, err := os.ReadFile(filepath.Join(path, markerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("it is not Atoll's: it holds no %s", markerFile)
	}
	if err != nil {
		return nil, err
	}
	m, err := parseMarker(data)
	if err != nil {
		return nil, err
	}
	d := &dataDir{path: path, nodeID: m.NodeID}
	d.lock, err = os.Open(filepath.Join(path, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err == nil {
		err = flock(d.lock)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}
