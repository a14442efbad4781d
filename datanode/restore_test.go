package datanode

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/replication"
)

// saved makes a save of a node that leads, and returns its directory.
func saved(t *testing.T) string {
	t.Helper()
	dir := kept(t)
	t.Run("save", func(t *testing.T) {
		n := open(t, config(t, dir))
		n.lead(t)
		if err := n.Save(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if s := n.Saves(); s.Busy || s.Failed || s.Last.IsZero() {
			t.Errorf("the node says %+v of its saves", s)
		}
		if err := n.Save(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		for n.Saves().Busy {
			if err := n.Save(t.Context(), false); err != nil && !errors.Is(err, command.ErrSaving) {
				t.Fatal(err)
			}
		}
	})
	list, err := filepath.Glob(filepath.Join(dir, "saves", "*"))
	if err != nil || len(list) == 0 {
		t.Fatalf("there is no save: %v, %v", list, err)
	}
	return list[len(list)-1]
}

// A save's directory becomes that of a node, which passes the check of directories, and the save stays what it was.
func TestRestore(t *testing.T) {
	from := saved(t)
	s, err := OpenSave(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	var namespaces []string
	for f := range s.View() {
		for _, n := range f.GetNamespaces() {
			namespaces = append(namespaces, n.GetName())
		}
		if f.GetRevision() > s.Floor() {
			t.Errorf("the floor %d is below the view %d", s.Floor(), f.GetRevision())
		}
	}
	if !slices.Contains(namespaces, "a") || !slices.Contains(namespaces, "b") {
		t.Errorf("the view has %v", namespaces)
	}
	dir := t.TempDir()
	if err := s.Restore(t.Context(), dir, "n1", "another"); err != nil {
		t.Fatal(err)
	}
	sum, found := verifyDir(t, dir)
	if len(found) > 0 || sum.Rows < 4 {
		t.Errorf("it holds %+v, and there is found %+v", sum, found)
	}
	id, err := loadIdentity(dir, "n1")
	if err != nil || !id.HasData || id.ClusterID != "another" || id.Incarnation != s.Incarnation() {
		t.Errorf("its identity is %+v, %v", id, err)
	}
	again, err := OpenSave(t.Context(), from)
	if err != nil || again.Incarnation() == s.Incarnation() {
		t.Errorf("a second time: %v", err)
	}
	if err := s.Restore(t.Context(), dir, "n1", "another"); err == nil {
		t.Error("it is made over what is there")
	}
	if _, err := OpenSave(t.Context(), from); err != nil {
		t.Errorf("the save was changed: %v", err)
	}
}

func TestOpenSaveChecksRows(t *testing.T) {
	from := saved(t)
	tables, err := filepath.Glob(filepath.Join(from, "pebble", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	b, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := errors.Join(os.Remove(tables[0]), os.WriteFile(tables[0], b, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSave(t.Context(), from); !errors.Is(err, replication.ErrSaveDamage) || !strings.Contains(err.Error(), tables[0]) {
		t.Errorf("a flipped bit: %v", err)
	}
}

// Saves outlive the rows that are thrown away.
func TestDiscardKeepsSaves(t *testing.T) {
	from := saved(t)
	dir := filepath.Dir(filepath.Dir(from))
	if err := discardData(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, identityFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the node is still there: %v", err)
	}
	if _, err := OpenSave(t.Context(), from); err != nil {
		t.Error(err)
	}
}
