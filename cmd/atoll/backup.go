package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/metadata"
)

func (p *program) metaBackup() *cobra.Command {
	c := p.adminCommand("backup FILE", "Write a snapshot of the metadata into a new file", cobra.ExactArgs(1), nil,
		func(ctx context.Context, a *adminCall, args []string) (err error) {
			f, err := os.OpenFile(args[0], os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return fmt.Errorf("backup %s: %w", args[0], plain(err))
			}
			defer func() {
				if err = errors.Join(err, f.Close()); err != nil {
					err = errors.Join(err, os.Remove(args[0]))
				}
			}()
			if _, err := a.client.Backup(ctx, f); err != nil {
				return err
			}
			if err := f.Sync(); err != nil {
				return fmt.Errorf("backup %s: %w", args[0], plain(err))
			}
			if _, err := f.Seek(0, 0); err != nil {
				return fmt.Errorf("backup %s: %w", args[0], plain(err))
			}
			revision, err := metadata.CheckBackup(f)
			if err != nil {
				return fmt.Errorf("backup %s: %w", args[0], err)
			}
			t := &table{head: []string{"FILE", "REVISION"}}
			t.add(args[0], revision)
			return a.print(map[string]any{"file": args[0], "revision": revision}, t)
		})
	c.Long = c.Short + ", and read it back.\nIt holds the cluster's keys and the hashes of its tokens: keep it as you would keep them."
	return c
}

func (p *program) metaRestore() *cobra.Command {
	var floor uint64
	c := p.command("restore FILE", "Rebuild a lost metadata service from a backup, as one node with a new data directory", cobra.ExactArgs(1),
		[]string{configKey, "data-dir", "node-id", "cluster-addr", "http-addr", "log-level", "log-format", "output"},
		func(_ context.Context, c *config, args []string) (err error) {
			if floor == 0 {
				return errors.New("--floor: give the highest view revision of any data node (INFO node: view_revision), or a number above it")
			}
			backup, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("backup %s: %w", args[0], plain(err))
			}
			defer backup.Close()
			d, err := openDataDir(c.text("data-dir"), c.text("node-id"))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, d.Close()) }()
			if err := d.whole(); err != nil {
				return err
			}
			dir, err := d.sub("meta")
			if err != nil {
				return err
			}
			token := filepath.Join(d.path, adminTokenFile)
			r, err := metadata.Restore(metadata.RestoreConfig{
				Dir: dir, NodeID: d.nodeID, ClusterAddr: c.text("cluster-addr"), HTTPAddr: c.text("http-addr"),
				AdminTokenFile: token, Backup: backup, Floor: floor, Log: newLog(c, p.stderr),
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(p.stderr, "atoll: what was changed after revision %d is lost: tokens that were revoked and data nodes that were removed since are let in again, and namespaces made since are unknown. Look through ns list, token list and node list first.\n", r.BackupRevision)
			t := &table{head: []string{"CLUSTER", "BACKUP", "GOES ON ABOVE", "NAMESPACES", "TOKENS", "ADMIN TOKEN"}}
			t.add(r.ClusterID, r.BackupRevision, r.Revision, r.Namespaces, r.Tokens, token)
			return p.print(c, r, t)
		})
	c.Long = c.Short + `.

Only for a metadata service that can't be had back: of one node that is left the cluster is had back by starting it. All
metadata nodes are gone for good, else two services would hand out the same ids: one that comes back is refused by the rebuilt
ones, but still serves who calls it, and its certificate is good, so wipe its directory. Invitations of the backup are gone. Start atoll meta (or server) on the new directory
afterwards, data nodes with its address in --join, and other metadata nodes with --join as for a new cluster.

--floor is at or above every revision that a data node has seen: view_revision in INFO node of each. Ids and revisions go on above it,
so none is handed out twice. A new admin token is in the new data directory; those of the backup work, too.`
	c.Flags().Uint64Var(&floor, "floor", 0, "the highest revision that was handed out before, or a number above it")
	return c
}
