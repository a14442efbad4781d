package admin

import (
	"slices"
	"testing"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
)

func TestMetadataNodes(t *testing.T) {
	w := newWorld(t)
	if _, err := w.client.RemoveMetadataNode(t.Context(), "m2"); err != nil {
		t.Error(err)
	}
	if _, err := w.client.TransferLeadership(t.Context(), adminapi.Transfer{Target: "m3"}); err != nil {
		t.Error(err)
	}
	if _, err := w.client.TransferLeadership(t.Context(), adminapi.Transfer{}); err != nil {
		t.Error(err)
	}
	if want := []string{"remove m2", "transfer m3", "transfer "}; !slices.Equal(w.voters, want) {
		t.Errorf("%q, want %q", w.voters, want)
	}
	for _, c := range []struct {
		err  error
		code string
	}{
		{&raftfsm.Error{Code: raftfsm.CodeNotFound, Field: "id", Message: "no"}, adminapi.CodeNotFound},
		{&raftfsm.Error{Code: raftfsm.CodePrecondition, Field: "id", Message: "no"}, adminapi.CodePrecondition},
		{consensus.ErrNoLeader, adminapi.CodeNoLeader},
		{consensus.ErrIndeterminate, adminapi.CodeIndeterminate},
	} {
		w.before = c.err
		if _, err := w.client.RemoveMetadataNode(t.Context(), "m2"); codeOf(err) != c.code {
			t.Errorf("%v: %v", c.err, err)
		}
	}
}
