package raftfsm

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/atolldb/atoll/rpc/atollpb"
)

func restoreCommand() *RestoreCluster {
	k := token("rescue")
	k.Role = atollpb.Role_ROLE_ADMIN
	return &RestoreCluster{
		MetadataHistoryID: "m2", AdminToken: k, MetadataNode: MetadataNode{ID: "meta9", Incarnation: "m9", ClusterAddr: "127.0.0.1:9", HTTPAddr: "127.0.0.1:10"},
	}
}

// A restore keeps what the backup holds, and nothing that was handed out before is handed out again.
func TestRestoreCluster(t *testing.T) {
	m := newCluster(t)
	a := m.do(&CreateNamespace{Name: "a", Tokens: []NewToken{token("t1")}})
	backup := dump(t, m.State())
	b := m.do(&CreateNamespace{Name: "b"}) // is lost

	f, err := Backup(bytes.NewReader(backup))
	if err != nil {
		t.Fatal(err)
	}
	rebuilt := &machine{FSM: f, t: t, index: b.Revision + 1000}
	rebuilt.refused(CodeInvalid, func() Command { c := restoreCommand(); c.MetadataHistoryID = "m1"; return c }())
	rebuilt.refused(CodeInvalid, func() Command { c := restoreCommand(); c.AdminToken.Role = atollpb.Role_ROLE_READ_WRITE; return c }())
	rebuilt.refused(CodeInvalid, func() Command { c := restoreCommand(); c.MetadataNode.ClusterAddr = "nowhere"; return c }())
	r := rebuilt.do(restoreCommand())
	s := rebuilt.State()
	if r.Revision <= b.Revision || s.Revision() != r.Revision {
		t.Errorf("it goes on from %d, after %d", r.Revision, b.Revision)
	}
	c := s.Cluster()
	if c.ClusterId != "c1" || c.MetadataHistoryId != "m2" || len(c.MetadataNodes) != 1 || c.MetadataNodes[0].Id != "meta9" {
		t.Errorf("the cluster is %v", c)
	}
	if n := s.NamespaceByName("a"); n == nil || n.Id != a.NamespaceID || s.Token("t1") == nil || s.NamespaceByName("b") != nil {
		t.Error("it is not what the backup held")
	}
	if s.TokenByHash(token("rescue").Hash).GetRole() != atollpb.Role_ROLE_ADMIN {
		t.Error("the new admin token doesn't work")
	}
	if again := rebuilt.do(&CreateNamespace{Name: "b"}); again.NamespaceID <= b.NamespaceID {
		t.Errorf("id %d was handed out again, or one below it", again.NamespaceID)
	}
}

// TestRestoreTakesInvitationsBack: one that was used after the backup can't be used again.
func TestRestoreTakesInvitationsBack(t *testing.T) {
	m := newAuthority(t)
	m.do(invite("i1", roleData))
	f, err := Backup(bytes.NewReader(dump(t, m.State())))
	if err != nil {
		t.Fatal(err)
	}
	used := m.do(use("i1", "n1", "k1", roleData))
	rebuilt := &machine{FSM: f, t: t, index: used.Revision + 1000}
	rebuilt.do(restoreCommand())
	rebuilt.refused(CodeForbidden, use("i1", "n2", "k2", roleData))
	if rebuilt.State().Authority() == nil {
		t.Error("the authority is lost")
	}
}

func TestBackupIsChecked(t *testing.T) {
	m := newCluster(t)
	good := dump(t, m.State())
	if _, err := Backup(bytes.NewReader(good[:len(good)-1])); !errors.Is(err, ErrSnapshotCorrupt) {
		t.Errorf("cut: %v", err)
	}
	if _, err := Backup(bytes.NewReader(dump(t, newMachine(t).State()))); err == nil || !strings.Contains(err.Error(), "never initialised") {
		t.Errorf("of nothing: %v", err)
	}
}
