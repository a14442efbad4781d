package replication

import (
	"slices"
	"testing"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// TestAcks: those of the group's replicas count, and whoever waits hears of an acknowledgement and of the role's end.
func TestAcks(t *testing.T) {
	c, a, b := pair(t)
	replicas := func(ids ...string) {
		c.change(func() {
			c.group.Replicas = slices.Clone(ids)
		}, a, b)
	}
	replicas("b")
	a.put(100, 110)
	index := a.member.Store().Applied().Index
	for {
		acks := a.member.Acks(index)
		if !acks.Primary {
			t.Fatal("the primary is none")
		}
		if acks.Written == 1 {
			break
		}
		select {
		case <-acks.Changed:
		case <-t.Context().Done():
			t.Fatal("no acknowledgement was heard of")
		}
	}
	if b.member.Acks(index).Primary {
		t.Error("the replica is a primary")
	}
	replicas()
	if n := a.member.Acks(index).Written; n != 0 {
		t.Errorf("%d that are no replicas count", n)
	}
	changed := a.member.Acks(index).Changed
	c.change(func() {
		c.group = &atollpb.Group{
			Id: GroupID, Primary: b.id, PrimaryIncarnation: b.id, Epoch: c.revision, HistoryId: "h2",
			Epochs: []*atollpb.EpochStart{{Epoch: c.revision, StartIndex: 1}},
		}
	}, a)
	eventually(t, "the end of the role", func() bool { return !a.member.Acks(index).Primary })
	<-changed
}
