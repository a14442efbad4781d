package raftfsm

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/atolldb/atoll/rpc/atollpb"
)

const (
	roleMeta = atollpb.NodeRole_NODE_ROLE_META
	roleData = atollpb.NodeRole_NODE_ROLE_DATA
)

func sum(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

func invite(id string, roles ...atollpb.NodeRole) *CreateInvite {
	return &CreateInvite{ID: id, Hash: sum("secret of " + id), Roles: roles, ExpiresMs: 1_000_000, UsesMax: 1}
}

func use(id, node, key string, roles ...atollpb.NodeRole) *UseInvite {
	return &UseInvite{ID: id, Hash: sum("secret of " + id), NodeID: node, KeySHA256: sum(key), Roles: roles}
}

func newAuthority(t testing.TB) *machine {
	m := newCluster(t)
	m.do(&SetAuthority{Cert: []byte("cert"), Key: []byte("the authority's key")})
	return m
}

func TestAuthorityIsSetOnce(t *testing.T) {
	m := newMachine(t)
	m.refused(CodePrecondition, &SetAuthority{Cert: []byte("cert"), Key: []byte("key")})
	m.refused(CodePrecondition, invite("i1", roleData))
	m.refused(CodePrecondition, &EnrollNode{NodeID: "meta1", KeySHA256: sum("k"), Roles: []atollpb.NodeRole{roleMeta}})
	m.do(initCluster())
	m.refused(CodePrecondition, invite("i1", roleData))
	m.refused(CodeInvalid, &SetAuthority{Cert: []byte("cert")})
	m.refused(CodeInvalid, &SetAuthority{Key: []byte("key"), Cert: make([]byte, authorityBytesMax+1)})
	revision := m.do(&SetAuthority{Cert: []byte("cert"), Key: []byte("key")}).Revision
	if revision != m.index || m.State().Revision() != m.index {
		t.Errorf("revision %d at index %d", revision, m.index)
	}
	m.refused(CodePrecondition, &SetAuthority{Cert: []byte("other"), Key: []byte("key")})
	if string(m.State().Authority().Cert) != "cert" {
		t.Errorf("authority %v", m.State().Authority())
	}
}

func TestInvites(t *testing.T) {
	m := newAuthority(t)
	m.do(invite("i1", roleData))
	m.refused(CodeTokenExists, invite("i1", roleData))
	wrong := use("i1", "n1", "k1", roleData)
	wrong.Hash = sum("another secret")
	unknown := m.refused(CodeForbidden, use("i9", "n1", "k1", roleData))
	if got := m.refused(CodeForbidden, wrong); got.Message != unknown.Message {
		t.Errorf("a wrong secret is told from an unknown invitation: %q, %q", got.Message, unknown.Message)
	}
	m.refused(CodeForbidden, use("i1", "n1", "k1", roleMeta))
	m.refused(CodeForbidden, use("i1", "n1", "k1", roleMeta, roleData))
	m.do(use("i1", "n1", "k1", roleData))
	if k := m.State().NodeKey("n1"); !bytes.Equal(k.GetKeySha256(), sum("k1")) || !slices.Equal(k.Roles, []atollpb.NodeRole{roleData}) || k.InviteId != "i1" {
		t.Errorf("enrolled %v", k)
	}

	// A retry has its effect once; another key has none.
	before := m.State().Revision()
	if again := m.do(use("i1", "n1", "k1", roleData)); again.Revision != before || m.State().Invite("i1").Uses != 1 {
		t.Errorf("used again: %+v, %v", again, m.State().Invite("i1"))
	}
	if got := m.refused(CodeForbidden, use("i1", "n2", "k2", roleData)); !strings.Contains(got.Message, "has been used") {
		t.Error(got)
	}

	m.refused(CodeForbidden, use("i1", "n2", "k1", roleData)) // the same key under another id

	// A key that was invited doesn't take another's id, unless the invitation is for that.
	m.do(invite("i2", roleData))
	if got := m.refused(CodeForbidden, use("i2", "n1", "k2", roleData)); !strings.Contains(got.Message, "--for n1") {
		t.Error(got)
	}
	bound := invite("i3", roleData)
	bound.NodeID = "n1"
	m.do(bound)
	m.refused(CodeForbidden, use("i3", "n2", "k2", roleData))
	m.do(register("n1"))
	if got := m.State().Node("n1"); !bytes.Equal(got.KeySha256, sum("k1")) {
		t.Errorf("registered with the key %x", got.KeySha256)
	}
	m.do(use("i3", "n1", "k2", roleData))
	if got := m.State().Node("n1"); !bytes.Equal(got.KeySha256, sum("k2")) || got.ModifiedRevision != m.index {
		t.Errorf("the node's record has the key %x", got.KeySha256)
	}

	spare := invite("spare", roleData)
	spare.NodeID = "n1"
	m.do(spare)
	m.do(use("spare", "n1", "k3", roleData))
	m.refused(CodeForbidden, use("i3", "n1", "k2", roleData)) // the one whose place was taken

	several := invite("i4", roleMeta, roleData)
	several.UsesMax = 3
	m.do(several)
	for i := range 3 {
		m.do(use("i4", fmt.Sprintf("m%d", i), fmt.Sprintf("mk%d", i), roleMeta))
	}
	m.refused(CodeForbidden, use("i4", "m9", "mk9", roleMeta))
	m.do(&DeleteInvite{ID: "i4"})
	m.refused(CodeNotFound, &DeleteInvite{ID: "i4"})
	m.refused(CodeForbidden, use("i4", "m0", "mk0", roleMeta))
	if m.State().NodeKey("m0") == nil {
		t.Error("a deleted invitation took a node with it")
	}
}

// TestInviteIsUsedOnce: a key that has used an invitation gets nothing more by it, whatever it asks for.
func TestInviteIsUsedOnce(t *testing.T) {
	m := newAuthority(t)
	m.do(invite("i1", roleData, roleMeta))
	m.do(use("i1", "n1", "k1", roleData))
	if got := m.refused(CodeForbidden, use("i1", "n2", "k1", roleData)); !strings.Contains(got.Message, "has been used") {
		t.Errorf("a second node: %v", got)
	}
	m.refused(CodeForbidden, use("i1", "n1", "k1", roleData, roleMeta))
	m.do(use("i1", "n1", "k1", roleData))
	m.do(register("n0"))
	m.do(register("n1"))
	m.do(&RemoveNode{ID: "n1"})
	if got := m.refused(CodeForbidden, use("i1", "n1", "k1", roleData)); !strings.Contains(got.Message, "has been used") {
		t.Errorf("after its removal: %v", got)
	}
	if k := m.State().NodeKey("n1"); len(k.GetRoles()) > 0 {
		t.Errorf("a removed node is back: %v", k)
	}
	m.do(invite("i2", roleData))
	m.do(use("i2", "n1", "k1", roleData))
}

func TestInvitesExpire(t *testing.T) {
	m := newAuthority(t)
	at := func(c Command, ms int64) Outcome { return m.propose(Proposal{Command: c, TimeMs: ms}) }
	short := invite("short", roleData)
	short.ExpiresMs = 50_000
	if out := at(short, 1000); out.Refusal != nil {
		t.Fatal(out.Refusal)
	}
	command := use("short", "n1", "k1", roleData)
	if err := command.Check(m.State(), 49_999); err != nil {
		t.Error(err)
	}
	if err := command.Check(m.State(), 50_000); err == nil || !strings.Contains(err.Message, "has expired") {
		t.Errorf("at its end: %v", err)
	}
	if out := at(command, 50_000); out.Refusal == nil || out.Refusal.Code != CodeForbidden {
		t.Errorf("used at its end: %+v", out)
	}
	if out := at(invite("next", roleData), 60_000); out.Refusal != nil || m.State().Invite("short") != nil {
		t.Errorf("%v: the expired one is %v", out.Refusal, m.State().Invite("short"))
	}
}

func TestInvitesAreBounded(t *testing.T) {
	m := newAuthority(t)
	for _, change := range []func(*CreateInvite){
		func(c *CreateInvite) { c.ID = "a b" },
		func(c *CreateInvite) { c.Hash = c.Hash[1:] },
		func(c *CreateInvite) { c.Roles = nil },
		func(c *CreateInvite) { c.Roles = []atollpb.NodeRole{roleData, roleData} },
		func(c *CreateInvite) { c.Roles = []atollpb.NodeRole{7} },
		func(c *CreateInvite) { c.UsesMax = 0 },
		func(c *CreateInvite) { c.UsesMax = InviteUsesMax + 1 },
		func(c *CreateInvite) { c.NodeID = "a b" },
		func(c *CreateInvite) { c.NodeID, c.UsesMax = "n1", 2 },
		func(c *CreateInvite) { c.ExpiresMs = 0 },
		func(c *CreateInvite) { c.ExpiresMs = 2 * inviteLifeMsMax },
	} {
		c := invite("i", roleData)
		change(c)
		m.refused(CodeInvalid, c)
	}
	for _, c := range []*UseInvite{
		{ID: "i", NodeID: "a b", KeySHA256: sum("k"), Roles: []atollpb.NodeRole{roleData}},
		{ID: "i", NodeID: "n", KeySHA256: []byte("short"), Roles: []atollpb.NodeRole{roleData}},
		{ID: "i", NodeID: "n", KeySHA256: sum("k")},
	} {
		m.refused(CodeInvalid, c)
	}
	for i := range InvitesMax {
		c := invite(fmt.Sprintf("i%d", i), roleData)
		c.ExpiresMs = 1 << 33
		m.do(c)
	}
	one := invite("one-more", roleData)
	one.ExpiresMs = 1 << 33
	m.refused(CodePrecondition, one)
	m.do(&DeleteInvite{ID: "i7"})
	m.do(one)
}

func TestKeysOfNodes(t *testing.T) {
	m := newAuthority(t)
	both := []atollpb.NodeRole{roleMeta, roleData}
	m.do(&EnrollNode{NodeID: "n1", KeySHA256: sum("k1"), Roles: both})
	before := m.State().Revision()
	if again := m.do(&EnrollNode{NodeID: "n1", KeySHA256: sum("k1"), Roles: both[:1]}); again.Revision != before {
		t.Errorf("enrolled again at revision %d", again.Revision)
	}
	m.do(register("n1"))
	m.do(invite("i1", roleData))
	m.do(use("i1", "n2", "k2", roleData))

	// n2 has never registered; its key goes nevertheless, and so does its way back.
	m.do(&RemoveNode{ID: "n2"})
	if k := m.State().NodeKey("n2"); len(k.GetRoles()) != 0 || !bytes.Equal(k.GetKeySha256(), sum("k2")) {
		t.Errorf("a removed node's key is %v", k)
	}
	m.refused(CodeNotFound, &RemoveNode{ID: "n2"})
	m.refused(CodeForbidden, use("i1", "n2", "k2", roleData))
	m.do(invite("i2", roleData))
	m.do(use("i2", "n3", "k3", roleData))
	m.do(register("n3"))
	m.do(&RemoveNode{ID: "n3"})
	if len(m.State().NodeKey("n3").GetRoles()) != 0 || m.State().Node("n3") != nil {
		t.Error("a removed node stays")
	}
	m.do(invite("i3", roleData))
	m.do(use("i3", "n3", "k4", roleData)) // the id is free again
	if k := m.State().NodeKey("n3"); !bytes.Equal(k.GetKeySha256(), sum("k4")) {
		t.Errorf("the new key is %v", k)
	}
	if out := m.propose(Proposal{Command: &RemoveNode{ID: "n3"}, TimeMs: 2 * removedMs}); out.Refusal != nil {
		t.Error(out.Refusal)
	}
	if m.State().NodeKey("n2") != nil || m.State().NodeKey("n3") == nil {
		t.Error("removed keys are remembered for ever, or not at all")
	}
	m.refused(CodePrecondition, &RemoveNode{ID: "n1"}) // the primary
	if k := m.State().NodeKey("n1"); !slices.Equal(k.Roles, both) {
		t.Errorf("a refused removal left %v", k)
	}
	m.do(&EnrollNode{NodeID: "m1", KeySHA256: sum("m"), Roles: both})
	m.do(&RemoveNode{ID: "m1"})
	if k := m.State().NodeKey("m1"); !slices.Equal(k.GetRoles(), both[:1]) {
		t.Errorf("a metadata node without its data node is %v", k)
	}
}

// TestSecretsOfEnrolment: what would let somebody in is neither in what data nodes are sent nor in the audit, and all of
// it survives a snapshot.
func TestSecretsOfEnrolment(t *testing.T) {
	m := newAuthority(t)
	m.do(invite("i1", roleData))
	m.do(use("i1", "n1", "k1", roleData))
	m.do(register("n1"))
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
	for _, secret := range []string{"the authority's key", string(sum("secret of i1"))} {
		if bytes.Contains(shown.Bytes(), []byte(secret)) {
			t.Errorf("%q is shown", secret)
		}
	}
	actions := []string{}
	for _, r := range records(m.State()) {
		actions = append(actions, r.Action)
	}
	if want := []string{"init-cluster", "set-authority", "create-invite", "use-invite", "register-node"}; !slices.Equal(actions, want) {
		t.Errorf("the audit has %v, want %v", actions, want)
	}

	before := dump(t, m.State())
	if err := m.Restore(bytes.NewReader(before)); err != nil {
		t.Fatal(err)
	}
	s := m.State()
	if !bytes.Equal(dump(t, s), before) || string(s.Authority().GetKey()) != "the authority's key" || s.Invite("i1").GetUses() != 1 || s.NodeKey("n1") == nil {
		t.Error("a restore loses something")
	}
	m.refused(CodeForbidden, use("i1", "n2", "k2", roleData))
}

// drawEnrolment draws a command about who may be part of the cluster in a fifth of the cases, and nil otherwise.
func drawEnrolment(t *rapid.T) Command {
	id, node := rapid.SampledFrom([]string{"i1", "i2", "i3"}), rapid.SampledFrom([]string{"n1", "n2", "n3", "meta1"})
	key := rapid.SampledFrom([]string{"k1", "k2", "k3"})
	roles := rapid.SampledFrom([][]atollpb.NodeRole{{roleData}, {roleMeta}, {roleMeta, roleData}, nil})
	switch rapid.IntRange(1, 45).Draw(t, "enrolment") {
	case 1:
		return &SetAuthority{Cert: []byte("cert"), Key: []byte("key")}
	case 2:
		c := invite(id.Draw(t, "invite"), roles.Draw(t, "roles")...)
		c.ExpiresMs, c.UsesMax = rapid.Int64Range(0, 200).Draw(t, "expires"), rapid.Uint64Range(0, 3).Draw(t, "uses")
		c.NodeID = rapid.SampledFrom([]string{"", "", "n1"}).Draw(t, "for")
		return c
	case 3:
		return use(id.Draw(t, "invite"), node.Draw(t, "node"), key.Draw(t, "key"), roles.Draw(t, "roles")...)
	case 4:
		return &DeleteInvite{ID: id.Draw(t, "invite")}
	case 5:
		return &EnrollNode{NodeID: node.Draw(t, "node"), KeySHA256: sum(key.Draw(t, "key")), Roles: roles.Draw(t, "roles")}
	case 7:
		next := rapid.SampledFrom([]string{"cert", "cert2", "cert3"})
		return &BeginAuthority{Cert: []byte(next.Draw(t, "cert")), Key: []byte("key"), Endorsement: []byte("endorsed"), OfSHA256: sum(next.Draw(t, "of"))}
	case 8:
		by := rapid.SampledFrom([]string{"cert", "cert2", "cert3"})
		return &ProveAuthority{NodeID: node.Draw(t, "node"), KeySHA256: sum(key.Draw(t, "key")), AuthoritySHA256: sum(by.Draw(t, "by"))}
	case 9:
		return &FinishAuthority{Force: rapid.Bool().Draw(t, "force")}
	case 6:
		return &RecordRefusals{Refusals: []Refusal{{Reason: RefusedUnknown, Count: rapid.Uint64().Draw(t, "count"), NodeID: node.Draw(t, "node")}}}
	}
	return nil
}
