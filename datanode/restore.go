package datanode

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"time"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/replication"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Save is a save of a data node that was read as a whole, and found to be what was saved. A new cluster begins from it:
// its metadata from View, above Floor, and its one data node from Restore.
type Save struct {
	saved       *replication.Saved
	incarnation string
}

// OpenSave checks a save: every file, block, entry and row. It changes nothing. An error names the file that is wrong.
func OpenSave(ctx context.Context, dir string) (*Save, error) {
	saved, err := replication.OpenSave(vfs.Default, dir)
	if err != nil {
		return nil, err
	}
	cache := pebble.NewCache(verifyCacheBytes + store.MemTables*verifyMemTableBytes)
	defer cache.Unref()
	if err := saved.Verify(ctx, checkOptions(cache), datatype.CheckRow); err != nil {
		return nil, err
	}
	return &Save{saved, newIncarnation()}, nil
}

// View returns what the save holds of the metadata.
func (s *Save) View() iter.Seq[*atollpb.ViewFrame] { return s.saved.View().Full().Frames() }

// Floor is at or above every revision in the save.
func (s *Save) Floor() uint64 { return s.saved.Floor() }

// History is that of the rows.
func (s *Save) History() string { return s.saved.History() }

// Incarnation is that of the node that Restore makes.
func (s *Save) Incarnation() string { return s.incarnation }

// Restore makes the directory of a data node that holds the save's rows, and belongs to a cluster. dir exists, and is
// empty; after an error it is worth nothing.
func (s *Save) Restore(ctx context.Context, dir, nodeID, clusterID string) error {
	if err := prepareDir(dir); err != nil {
		return err
	}
	id := identity{Format: identityFormat, NodeID: nodeID, Incarnation: s.incarnation, ClusterID: clusterID, HasData: true}
	err := s.saved.Install(ctx, dir)
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	return id.save(dir) // last: it says that there is data
}

func newIncarnation() string { return strings.ToLower(rand.Text()[:16]) }

// checkOptions are those of a store that is only looked at.
func checkOptions(cache *pebble.Cache) func(dir string) store.Options {
	return func(dir string) store.Options {
		return store.Options{
			FS: vfs.Default, Dir: dir, BlockCache: cache, RowCacheBytes: 1 << 20, MemTableBytes: verifyMemTableBytes,
			SegmentBytes: Defaults.SegmentBytes, RetainBytes: Defaults.RetainBytes, RetainAge: Defaults.RetainAge,
			SyncEvery: syncEvery, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		}
	}
}
