package datanode

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// kept makes a directory of a node that was a primary, with rows of namespaces 2 ("a") and 3 ("b").
func kept(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Run("keep", func(t *testing.T) {
		n := open(t, config(t, dir))
		n.lead(t)
		var a tenant.Assembler
		change, err := a.Add(&atollpb.ViewFrame{Last: true, FromRevision: 3, Revision: 4, Namespaces: []*atollpb.Namespace{
			{Id: 2, Name: "a", State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE},
			{Id: 3, Name: "b", State: atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE},
		}})
		if err == nil {
			_, err = n.views.Install(change)
		}
		if err != nil {
			t.Fatal(err)
		}
		s := n.member.Store()
		for ns := uint64(2); ns <= 3; ns++ {
			var tx store.Tx
			s.Namespace(ns).Begin(&tx, store.Run{Exclusive: true})
			tx.Put(tx.DB(0), []byte("k"), store.Row{Type: store.TypeString, Data: []byte("the value of this key")})
			tx.Put(tx.DB(0), []byte("h"), store.Row{Type: store.TypeHash, Data: []byte{1, 0, 1, 'f', 1, 'v'}})
			err := tx.Commit(store.Async)
			tx.End()
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	return dir
}

func verifyDir(t *testing.T, dir string) (Verified, []Finding) {
	t.Helper()
	var found []Finding
	sum, err := Verify(t.Context(), dir, "n1", func(f Finding) { found = append(found, f) })
	if err != nil {
		t.Fatal(err)
	}
	return sum, found
}

// TestVerifyDirectory: a clean directory is clean, and each thing that is wrong is found, by file and namespace.
func TestVerifyDirectory(t *testing.T) {
	file := func(name string, change func(b []byte) []byte) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			b, err := os.ReadFile(path)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, change(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 4; return b }
	}
	remove := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name       string
		change     func(t *testing.T, dir string)
		file, what string // empty: clean
		namespaces []string
	}{
		{"nothing", func(*testing.T, string) {}, "", "", nil},
		{"identity", file("identity.json", flip(40)), "identity.json", "", nil},
		{"no identity", remove("identity.json"), "identity.json", "missing", nil},
		{"view", file("view.base", flip(-5)), "", "view.base", []string{"*"}},
		{"CURRENT", file("CURRENT", flip(16)), "CURRENT", "damaged", []string{"*"}},
		{"no CURRENT", remove("CURRENT"), "CURRENT", "missing", []string{"*"}},
		{"primary.json", file("primary.json", func([]byte) []byte { return []byte(`{"format":9}`) }), "primary.json", "format 9", nil},
		{"a stranger", file("notes.txt", func([]byte) []byte { return []byte("x") }), "notes.txt", "belongs to nothing", nil},
		{"a half discarding", file(discardFile, func([]byte) []byte { return nil }), discardFile, "cut short", []string{"*"}},
		{"a header of the log", file("generations/1/log/0000000000000001.log", flip(22)), "0000000000000001.log", "header is broken", []string{"*"}},
		{"an entry of the log", file("generations/1/log/0000000000000002.log", flip(150)), "0000000000000002.log", "broken at offset 0", []string{"*"}},
		{"an older view", func(t *testing.T, dir string) {
			views, err := tenant.ReadView(vfs.Default, dir)
			if err != nil || views == nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, "view.log")); err != nil {
				t.Fatal(err)
			}
		}, "", "which the stored view of revision 3 doesn't know", []string{"id 2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := kept(t)
			c.change(t, dir)
			sum, found := verifyDir(t, dir)
			if c.what == "" && c.file == "" {
				if len(found) > 0 || sum.Rows == 0 || sum.Entries == 0 || sum.Namespaces != 2 || sum.Revision != 4 {
					t.Errorf("%+v, found %+v", sum, found)
				}
				return
			}
			if !slices.ContainsFunc(found, func(f Finding) bool {
				return strings.HasSuffix(f.File, c.file) && strings.Contains(f.What, c.what) && slices.Equal(f.Namespaces, c.namespaces)
			}) {
				t.Errorf("found %+v", found)
			}
		})
	}
}
