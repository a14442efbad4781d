package metadata

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// TestLostNodesComeBack: metadata nodes that were given up for lost, and start again after the restore, at the addresses
// that the rebuilt node knows, neither join it nor make it follow them, though it has the id and the address of one of
// theirs and they are a majority.
func TestLostNodesComeBack(t *testing.T) {
	old := newCluster(t)
	var backup bytes.Buffer
	if err := old[0].node.consensus.State().WriteSnapshot(&backup); err != nil {
		t.Fatal(err)
	}
	for _, p := range old {
		p.until("its history noted", func() bool {
			identity, err := os.ReadFile(filepath.Join(p.dir, "identity.json"))
			return err == nil && bytes.Contains(identity, []byte("metadata_history_id"))
		})
		p.stop()
	}

	rebuilt := &process{t: t, id: old[0].id, dir: t.TempDir(), addr: old[0].addr, config: fast}
	r, err := Restore(RestoreConfig{
		Dir: rebuilt.dir, NodeID: rebuilt.id, ClusterAddr: rebuilt.addr, HTTPAddr: "127.0.0.1:1",
		AdminTokenFile: filepath.Join(rebuilt.dir, "admin-token"), Backup: &backup, Floor: 100_000, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	rebuilt.start()
	t.Cleanup(rebuilt.stop)
	rebuilt.ready()
	history := rebuilt.node.consensus.State().Cluster().MetadataHistoryId

	lost := old[1:]
	for _, p := range lost {
		p.start()
	}
	lost[0].until("a leader among the lost", func() bool { return lost[0].node.Status().Ready() == nil && lost[1].node.Status().Ready() == nil })
	for _, p := range lost {
		_, err := rebuilt.node.consensus.HandleAddVoter(t.Context(), &atollpb.AddVoterRequest{
			ClusterId: r.ClusterID, NodeId: p.id, Incarnation: "lost", ClusterAddr: p.addr, HttpAddr: "127.0.0.1:1", WireVersion: rpc.WireVersion,
		})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "before a restore") {
			t.Errorf("%s joins: %v", p.id, err)
		}
	}
	rebuilt.ready()
	s := rebuilt.node.Status()
	if state := rebuilt.node.consensus.State(); len(s.Voters) != 1 || state.Cluster().MetadataHistoryId != history || state.Revision() < 100_000 {
		t.Errorf("it has the voters %v, the history %s and revision %d", s.Voters, state.Cluster().MetadataHistoryId, state.Revision())
	}
}
