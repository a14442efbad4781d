package admin

import (
	"bytes"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/mtls"
)

func TestInvites(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if _, err := w.client.CreateInvite(ctx, adminapi.CreateInvite{}); codeOf(err) != adminapi.CodePrecondition {
		t.Errorf("without an authority: %v", err)
	}
	w.must(&raftfsm.SetAuthority{Cert: []byte("cert"), Key: []byte("key")})

	key := adminapi.WithIdempotencyKey("a-key-of-16-bytes")
	made, err := w.client.CreateInvite(ctx, adminapi.CreateInvite{Role: adminapi.InviteServer, TTLMs: time.Minute.Milliseconds(), Uses: 3}, key)
	if err != nil {
		t.Fatal(err)
	}
	i := made.Invite
	if left := time.Until(i.ExpiresAt); i.Role != adminapi.InviteServer || i.UsesMax != 3 || i.Uses != 0 || left > time.Minute || left < 0 {
		t.Errorf("made %+v", made)
	}
	token, err := mtls.ParseJoinToken(made.JoinToken)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(token.Secret[:])
	use := &raftfsm.UseInvite{ID: token.InviteID, Hash: hash[:], NodeID: "n9", KeySHA256: hash[:], Roles: []mtls.Role{mtls.Meta}}
	if refusal := use.Check(w.fsm.State(), time.Now().UnixMilli()); refusal != nil || token.InviteID != i.ID || token.CA != sha256.Sum256([]byte("cert")) {
		t.Errorf("the token %+v: %v", token, refusal)
	}

	// What a data node knows doesn't tell the secret of an invitation, even with the Idempotency-Key.
	for known := range w.fsm.State().AllTokens() {
		sum := sha256.Sum256([]byte(consensus.DeriveSecret(w.fsm.State().Cluster().TokenKey, "invite "+known.Id, "a-key-of-16-bytes")))
		if bytes.Equal(sum[:mtls.InviteSecretBytes], token.Secret[:]) {
			t.Error("the secret follows from the token key, which data nodes have")
		}
	}

	again, err := w.client.CreateInvite(ctx, adminapi.CreateInvite{Role: adminapi.InviteServer, TTLMs: time.Minute.Milliseconds(), Uses: 3}, key)
	if err != nil || !again.Repeated || again.JoinToken != made.JoinToken || again.Invite != made.Invite {
		t.Errorf("a retry: %+v, %v", again, err)
	}
	plain, err := w.client.CreateInvite(ctx, adminapi.CreateInvite{NodeID: "n7"})
	if err != nil || plain.Invite.Role != adminapi.InviteData || plain.Invite.UsesMax != 1 || plain.Invite.NodeID != "n7" || plain.JoinToken == made.JoinToken {
		t.Errorf("by default: %+v, %v", plain, err)
	}
	for _, bad := range []adminapi.CreateInvite{
		{Role: "king"}, {Uses: 101}, {TTLMs: -1}, {TTLMs: 2 * adminapi.InviteTTLMax.Milliseconds()}, {NodeID: "a b"}, {NodeID: "n7", Uses: 2},
	} {
		if _, err := w.client.CreateInvite(ctx, bad); codeOf(err) != adminapi.CodeInvalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}

	list, err := w.client.Invites(ctx)
	if err != nil || len(list) != 2 {
		t.Errorf("listed %+v, %v", list, err)
	}
	if _, err := w.client.DeleteInvite(ctx, i.ID); err != nil {
		t.Error(err)
	}
	if _, err := w.client.DeleteInvite(ctx, i.ID); codeOf(err) != adminapi.CodeNotFound {
		t.Errorf("deleted again: %v", err)
	}
	if refusal := use.Check(w.fsm.State(), time.Now().UnixMilli()); refusal == nil {
		t.Error("a deleted invitation is good")
	}
}
