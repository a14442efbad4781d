package raftfsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/atolldb/atoll/rpc/atollpb"
)

func begin(cert, of string) *BeginAuthority {
	return &BeginAuthority{Cert: []byte(cert), Key: []byte("the key of " + cert), Endorsement: []byte(cert + " by " + of), OfSHA256: sum(of)}
}

func proves(node, key, cert string) *ProveAuthority {
	return &ProveAuthority{NodeID: node, KeySHA256: sum(key), AuthoritySHA256: sum(cert)}
}

func (m *machine) authorities(want ...string) {
	m.t.Helper()
	var got []string
	for _, a := range m.State().Cluster().Authorities {
		got = append(got, string(a))
	}
	if !slices.Equal(got, want) {
		m.t.Errorf("data nodes may trust %q, want %q", got, want)
	}
}

func (m *machine) unrenewed(want ...string) {
	m.t.Helper()
	if got := m.State().Unrenewed(); !slices.Equal(got, want) {
		m.t.Errorf("not renewed %q, want %q", got, want)
	}
}

// TestReplaceAuthority goes through a change: it ends when every voter and data node has proved itself, and a restore of
// a snapshot in its middle changes nothing.
func TestReplaceAuthority(t *testing.T) {
	m := newMachine(t)
	m.refused(CodePrecondition, begin("cert2", "cert"))
	m.do(initCluster())
	for _, c := range []Command{begin("cert2", "cert"), proves("n1", "k1", "cert"), &FinishAuthority{}} {
		m.refused(CodePrecondition, c)
	}
	m.do(&SetAuthority{Cert: []byte("cert"), Key: []byte("the authority's key")})
	m.authorities()
	m.do(&EnrollNode{NodeID: "meta1", KeySHA256: sum("km"), Roles: []atollpb.NodeRole{roleMeta}})
	m.do(invite("i1", roleData))
	m.do(use("i1", "n1", "k1", roleData))
	m.do(register("n1"))
	m.do(invite("i2", roleData))
	m.do(use("i2", "n2", "k2", roleData)) // which has never registered
	m.do(&EnrollNode{NodeID: "gone", KeySHA256: sum("kg"), Roles: []atollpb.NodeRole{roleMeta}})
	m.do(invite("i3", roleData))
	m.do(proves("n1", "k1", "cert")) // nobody asks for it
	m.unrenewed()

	m.refused(CodePrecondition, &FinishAuthority{Force: true})
	m.refused(CodeConflict, begin("cert2", "another"))
	m.refused(CodeInvalid, begin("cert", "cert"))
	for _, spoil := range []func(*BeginAuthority){
		func(c *BeginAuthority) { c.Cert = nil }, func(c *BeginAuthority) { c.Key = make([]byte, authorityBytesMax+1) },
		func(c *BeginAuthority) { c.Endorsement = nil },
	} {
		c := begin("cert2", "cert")
		spoil(c)
		m.refused(CodeInvalid, c)
	}
	m.do(begin("cert2", "cert"))
	m.refused(CodePrecondition, begin("cert3", "cert"))
	m.authorities("cert", "cert2")
	m.unrenewed("meta1", "n1", "n2")
	if err := m.Restore(bytes.NewReader(dump(t, m.State()))); err != nil {
		t.Fatal(err)
	}
	if got := m.refused(CodePrecondition, &FinishAuthority{}); !strings.Contains(got.Message, "from meta1, n1, n2:") {
		t.Error(got)
	}

	m.refused(CodePrecondition, proves("n1", "another key", "cert2"))
	m.refused(CodePrecondition, proves("n9", "k9", "cert2"))
	m.refused(CodePrecondition, proves("n1", "k1", "cert")) // an old connection
	m.refused(CodePrecondition, proves("n1", "k1", "cert3"))
	m.do(proves("n1", "k1", "cert2"))
	before := m.State().Revision()
	if again := m.do(proves("n1", "k1", "cert2")); again.Revision != before {
		t.Errorf("proved again at revision %d", again.Revision)
	}
	m.do(&EnrollNode{NodeID: "n1", KeySHA256: sum("k1"), Roles: []atollpb.NodeRole{roleMeta}}) // another role of the same key
	m.do(proves("meta1", "km", "cert2"))
	m.unrenewed("n2")
	m.do(&RemoveNode{ID: "n2"})
	m.unrenewed()
	m.do(&FinishAuthority{})
	m.authorities("cert2")
	a := m.State().Authority()
	if string(a.Cert) != "cert2" || string(a.Key) != "the key of cert2" || string(a.Endorsement) != "cert2 by cert" || a.Next != nil {
		t.Errorf("the authority is %v", a)
	}
	if m.State().Invite("i3") != nil {
		t.Error("an invitation by the old authority is good")
	}
	m.refused(CodePrecondition, &FinishAuthority{})
	m.unrenewed()
}

// TestForceAuthority locks nodes out, which prove themselves when they are back.
func TestForceAuthority(t *testing.T) {
	m := newAuthority(t)
	m.do(&EnrollNode{NodeID: "meta1", KeySHA256: sum("km"), Roles: []atollpb.NodeRole{roleMeta}})
	for i := range 12 {
		m.do(invite(fmt.Sprint("i", i), roleData))
		m.do(use(fmt.Sprint("i", i), fmt.Sprint("n", i), fmt.Sprint("k", i), roleData))
	}
	m.do(begin("cert2", "cert"))
	m.do(proves("meta1", "km", "cert2"))
	if got := m.refused(CodePrecondition, &FinishAuthority{}); !strings.Contains(got.Message, "n7 and 2 more:") {
		t.Error(got)
	}
	m.do(&FinishAuthority{Force: true})
	if got := m.State().Unrenewed(); len(got) != 12 {
		t.Errorf("locked out %q", got)
	}
	m.do(proves("n3", "k3", "cert2"))
	if got := m.State().Unrenewed(); len(got) != 11 || slices.Contains(got, "n3") {
		t.Errorf("locked out %q", got)
	}
	// The next change begins where this one has ended.
	m.refused(CodeConflict, begin("cert3", "cert"))
	m.do(begin("cert3", "cert2"))
	m.unrenewed("meta1", "n0", "n1", "n10", "n11", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9")
}

// TestAuthorityOfAnotherCluster: what begins with a save trusts none of the authorities of the saved cluster, and a
// restored cluster goes on with the change that it was in.
func TestAuthorityOfAnotherCluster(t *testing.T) {
	m := newAuthority(t)
	m.do(begin("cert2", "cert"))
	f, err := FromView(slices.Values(viewOf(m.State())))
	if err != nil {
		t.Fatal(err)
	}
	copied := &machine{FSM: f, t: t, index: m.index + 100}
	copied.authorities("cert", "cert2")
	copied.do(saveCommand())
	copied.authorities()

	backup, err := Backup(bytes.NewReader(dump(t, m.State())))
	if err != nil {
		t.Fatal(err)
	}
	rebuilt := &machine{FSM: backup, t: t, index: m.index + 1000}
	rebuilt.do(restoreCommand())
	rebuilt.authorities("cert", "cert2")
	if rebuilt.State().Authority().GetNext() == nil {
		t.Error("the next authority is lost, and with it every node that has renewed")
	}
}

// TestSecretsOfTheNextAuthority: its key is neither in what data nodes are sent nor in the audit.
func TestSecretsOfTheNextAuthority(t *testing.T) {
	m := newAuthority(t)
	m.do(begin("cert2", "cert"))
	m.do(&FinishAuthority{Force: true})
	deltas, _ := m.Feed().Since(0)
	var shown bytes.Buffer
	for _, d := range deltas {
		b, err := proto.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		shown.Write(b)
	}
	fmt.Fprintf(&shown, "%+v", records(m.State()))
	for _, secret := range []string{"the authority's key", "the key of cert2"} {
		if bytes.Contains(shown.Bytes(), []byte(secret)) {
			t.Errorf("%q is shown", secret)
		}
	}
	if !bytes.Contains(shown.Bytes(), []byte("begin-authority")) || !bytes.Contains(shown.Bytes(), []byte("next.created_ms")) {
		t.Error("the audit doesn't tell of the change")
	}
}
