package datanode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/replication"
	"github.com/atolldb/atoll/datanode/replog"
	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Finding is one thing that a check of a data directory has found wrong.
type Finding struct {
	File       string
	Offset     int64 // in the file, in bytes; -1: not known
	What       string
	Namespaces []string // whose rows it hits: names of the stored view, else ids; "*" is all
}

// Verified sums up what was checked.
type Verified struct {
	Revision   uint64 `json:"view_revision"` // of the stored view; 0: there is none
	Index      uint64 `json:"last_index"`    // of the last entry
	Entries    uint64 `json:"entries"`
	Tables     uint64 `json:"sstables"`
	Rows       uint64 `json:"rows"`
	Namespaces int    `json:"namespaces"` // that have rows
}

// The sizes of a check: it reads everything once, so caches are small.
const (
	verifyCacheBytes    = 64 << 20
	verifyMemTableBytes = 16 << 20
)

// Verify checks the directory of a stopped data node, and changes nothing. What is wrong is handed to say. An error
// is one of the check itself.
func Verify(ctx context.Context, dir, nodeID string, say func(Finding)) (Verified, error) {
	v := &verifier{dir: dir, say: say}
	if _, err := os.Stat(filepath.Join(dir, discardFile)); err == nil {
		v.find(discardFile, "a discarding was cut short: the next start removes everything here", true)
		return v.sum, nil
	}
	if err := v.strangers(); err != nil {
		return v.sum, err
	}
	hadData := v.identity(nodeID)
	view, err := tenant.ReadView(vfs.Default, dir)
	if err != nil {
		v.find("", err.Error(), true)
	}
	if v.view = view; view != nil {
		v.sum.Revision = view.Revision()
	}
	cache := pebble.NewCache(verifyCacheBytes + store.MemTables*verifyMemTableBytes)
	defer cache.Unref()
	got, err := replication.Verify(ctx, replication.VerifyConfig{
		FS: vfs.Default, Dir: dir, HadData: hadData,
		Options: checkOptions(cache),
		Check:   store.Check{Namespaces: v.known(), Row: datatype.CheckRow, Say: v.take},
	})
	v.sum.Index, v.sum.Entries, v.sum.Tables, v.sum.Rows, v.sum.Namespaces = got.Applied.Index, got.Entries, got.Tables, got.Rows, len(got.Namespaces)
	v.unknown(got)
	return v.sum, err
}

type verifier struct {
	dir  string
	say  func(Finding)
	view *tenant.View
	sum  Verified
}

// find says something about one of the node's own files.
func (v *verifier) find(name, what string, all bool) {
	f := Finding{File: filepath.Join(v.dir, name), Offset: -1, What: what}
	if all {
		f.Namespaces = []string{"*"}
	}
	v.say(f)
}

// take takes what the parts below find.
func (v *verifier) take(f replog.Finding) {
	out := Finding{File: f.File, Offset: f.Offset, What: f.What}
	for _, id := range f.Namespaces {
		out.Namespaces = append(out.Namespaces, v.nameOf(id))
	}
	if f.All {
		out.Namespaces = []string{"*"}
	}
	v.say(out)
}

func (v *verifier) nameOf(id uint64) string {
	if v.view != nil {
		if ns := v.view.Namespace(id); ns != nil {
			return ns.Name
		}
	}
	return fmt.Sprintf("id %d", id)
}

func (v *verifier) known() (ids []uint64) {
	if v.view == nil {
		return nil
	}
	for ns := range v.view.AllNamespaces() {
		ids = append(ids, ns.ID)
	}
	return ids
}

// identity checks identity.json, and returns whether the node has noted that it has data.
func (v *verifier) identity(nodeID string) (hadData bool) {
	b, err := os.ReadFile(filepath.Join(v.dir, identityFile))
	if errors.Is(err, os.ErrNotExist) {
		v.find(identityFile, "it is missing", false)
		return false
	}
	id := identity{}
	if err == nil {
		id, err = parseIdentity(b)
	}
	switch {
	case err != nil:
		v.find(identityFile, err.Error(), false)
	case id.NodeID != nodeID:
		v.find(identityFile, fmt.Sprintf("it belongs to node %s, the directory to %s", id.NodeID, nodeID), false)
	}
	return id.HasData
}

// strangers finds files that belong to nothing.
func (v *verifier) strangers() error {
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return fmt.Errorf("read data directory: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.TrimSuffix(name, ".tmp") != identityFile && !tenant.Owns(name) && !replication.Owns(name) {
			v.find(name, "it belongs to nothing", false)
		}
	}
	return nil
}

// unknown finds rows of namespaces that the stored view doesn't know, if it is one that the rows may be shown
// with: entries may be in a replica's log before the view that they need.
func (v *verifier) unknown(got store.Verified) {
	if v.view == nil || v.view.Revision() < got.Applied.MinRevision {
		return
	}
	for _, id := range got.Namespaces {
		if v.view.Namespace(id) == nil {
			v.say(Finding{File: v.dir, Offset: -1, Namespaces: []string{v.nameOf(id)},
				What: fmt.Sprintf("there are rows of namespace %d, which the stored view of revision %d doesn't know", id, v.view.Revision())})
		}
	}
}
