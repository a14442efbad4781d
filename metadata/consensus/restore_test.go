package consensus

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

func backupOf(t *testing.T) ([]byte, uint64) {
	t.Helper()
	f, err := raftfsm.New()
	if err != nil {
		t.Fatal(err)
	}
	index := uint64(40)
	for _, c := range []raftfsm.Command{
		&raftfsm.InitCluster{
			ClusterID: "c1", MetadataHistoryID: "h1", TokenKey: make([]byte, raftfsm.HashBytes),
			AdminToken:   raftfsm.NewToken{ID: "old", Hash: HashSecret(make([]byte, raftfsm.HashBytes), "old-secret"), Role: atollpb.Role_ROLE_ADMIN},
			MetadataNode: raftfsm.MetadataNode{ID: "lost", Incarnation: "i1", ClusterAddr: "127.0.0.1:1"},
		},
		&raftfsm.CreateNamespace{Name: "acme"},
	} {
		index++
		data, err := f.Encode(raftfsm.Proposal{Command: c})
		if err != nil {
			t.Fatal(err)
		}
		if out, err := f.Apply(index, data); err != nil || out.Err() != nil {
			t.Fatal(err, out.Err())
		}
	}
	var b bytes.Buffer
	if err := f.State().WriteSnapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), index
}

func restoreConfig(t *testing.T, backup []byte, floor uint64) RestoreConfig {
	dir := t.TempDir()
	return RestoreConfig{
		Config: Config{
			Dir: filepath.Join(dir), NodeID: "m1", ClusterAddr: "127.0.0.1:7379", HTTPAddr: "127.0.0.1:8379",
			AdminTokenFile: filepath.Join(t.TempDir(), "admin-token"), Log: slog.New(slog.DiscardHandler),
		},
		Backup: bytes.NewReader(backup), Floor: floor,
	}
}

// A directory that was rebuilt passes the check of directories, and goes on above the floor and above the backup.
func TestRestore(t *testing.T) {
	backup, applied := backupOf(t)
	for _, floor := range []uint64{1, 5000} {
		c := restoreConfig(t, backup, floor)
		r, err := Restore(c)
		if err != nil {
			t.Fatal(err)
		}
		if r.ClusterID != "c1" || r.BackupRevision != applied || r.Revision != max(applied, floor)+1 || r.Namespaces != 2 || r.Tokens != 1 {
			t.Errorf("floor %d: %+v", floor, r)
		}
		identity, err := openIdentity(&c.Config)
		if err != nil || identity.HistoryID == "" || identity.HistoryID == "h1" {
			t.Errorf("its history is %q, %v", identity.HistoryID, err)
		}
		found := 0
		v, err := Verify(t.Context(), c.Dir, "m1", func(f Finding) { found++; t.Errorf("finding: %+v", f) })
		if err != nil || v.Snapshots != 1 {
			t.Errorf("verify: %+v, %v, %d findings", v, err, found)
		}
		secret, err := os.ReadFile(c.AdminTokenFile)
		if err != nil || !strings.HasPrefix(string(secret), secretPrefix) {
			t.Errorf("the admin token is %q, %v", secret, err)
		}
		again := c
		again.Backup = bytes.NewReader(backup)
		if _, err := Restore(again); err == nil || !strings.Contains(err.Error(), "an empty one") {
			t.Errorf("a second restore: %v", err)
		}
	}
}

func TestRestoreRefusesABrokenBackup(t *testing.T) {
	backup, _ := backupOf(t)
	for _, b := range [][]byte{nil, backup[:len(backup)/2], append(bytes.Clone(backup), 0)} {
		c := restoreConfig(t, b, 1)
		if _, err := Restore(c); err == nil || !strings.Contains(err.Error(), "read the backup") {
			t.Errorf("%d bytes: %v", len(b), err)
		}
		if _, err := os.Stat(filepath.Join(c.Dir, identityFile)); err == nil {
			t.Error("the directory is somebody's")
		}
	}
}

// A directory that was made of a save is that of another cluster, goes on above the floor, and passes the check.
func TestRestoreSave(t *testing.T) {
	backup, applied := backupOf(t)
	f, err := raftfsm.Backup(bytes.NewReader(backup))
	if err != nil {
		t.Fatal(err)
	}
	view := func(last bool) []*atollpb.ViewFrame {
		s := f.State()
		return []*atollpb.ViewFrame{{
			Full: true, Last: last, Revision: s.Revision(), Cluster: s.Cluster(),
			Namespaces: slices.Collect(s.AllNamespaces()), Tokens: slices.Collect(s.AllTokens()),
		}}
	}
	for _, floor := range []uint64{1, 5000} {
		c := SaveConfig{Config: restoreConfig(t, nil, 0).Config, View: slices.Values(view(true)), Floor: floor, Incarnation: "i9", DataHistoryID: "rows"}
		r, err := RestoreSave(c)
		if err != nil {
			t.Fatal(err)
		}
		if r.ClusterID == "c1" || r.BackupRevision != applied || r.Revision != max(applied, floor)+1 || r.Namespaces != 2 || r.Tokens != 1 {
			t.Errorf("floor %d: %+v", floor, r)
		}
		identity, err := openIdentity(&c.Config)
		if err != nil || identity.ClusterID != r.ClusterID || identity.HistoryID == "" || identity.HistoryID == "h1" {
			t.Errorf("its identity is %+v, %v", identity, err)
		}
		v, err := Verify(t.Context(), c.Dir, "m1", func(f Finding) { t.Errorf("finding: %+v", f) })
		if err != nil || v.Snapshots != 1 {
			t.Errorf("verify: %+v, %v", v, err)
		}
		if secret, err := os.ReadFile(c.AdminTokenFile); err != nil || !strings.HasPrefix(string(secret), secretPrefix) {
			t.Errorf("the admin token is %q, %v", secret, err)
		}
		if _, err := RestoreSave(c); err == nil || !strings.Contains(err.Error(), "an empty one") {
			t.Errorf("a second time: %v", err)
		}
	}
	c := SaveConfig{Config: restoreConfig(t, nil, 0).Config, View: slices.Values(view(false)), Floor: 1, Incarnation: "i9", DataHistoryID: "rows"}
	if _, err := RestoreSave(c); !errors.Is(err, raftfsm.ErrView) {
		t.Errorf("half of a view: %v", err)
	}
}
