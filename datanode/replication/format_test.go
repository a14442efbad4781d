package replication

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestCurrentFormat: no flipped bit and no cut makes CURRENT name another generation, and another format is
// refused by number.
func TestCurrentFormat(t *testing.T) {
	good := appendCurrent(nil, 1234567)
	if n, err := parseCurrent(good); err != nil || n != 1234567 {
		t.Fatalf("%q is read as %d, %v", good, n, err)
	}
	for i := range 8 * len(good) {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if n, err := parseCurrent(bad); !errors.Is(err, store.ErrDamage) && !errors.Is(err, store.ErrFormat) {
			t.Errorf("bit %d flipped: %q is read as %d, %v", i, bad, n, err)
		}
	}
	for i := range good {
		if n, err := parseCurrent(good[:i]); !errors.Is(err, store.ErrDamage) && !errors.Is(err, store.ErrFormat) {
			t.Errorf("%q is read as %d, %v", good[:i], n, err)
		}
	}
	_, err := parseCurrent([]byte("atoll-current 2 7 and what a later format says"))
	if !errors.Is(err, store.ErrFormat) || !strings.Contains(err.Error(), "format 2, this program reads format 1") {
		t.Errorf("another format: %v", err)
	}
}

// TestPrimaryNoteFormat: another format ends the process; a broken note is none, and a new epoch is asked for.
func TestPrimaryNoteFormat(t *testing.T) {
	_, err := parseNote([]byte(`{"format":2,"epoch":7}`))
	if !errors.Is(err, store.ErrFormat) || !fatal(err) || !strings.Contains(err.Error(), "format 2, this program reads format 1") {
		t.Errorf("another format: %v", err)
	}
	if n, err := parseNote([]byte(`{"format":1,"epoch":`)); err != nil || n != (primaryNote{}) {
		t.Errorf("a broken note: %+v, %v", n, err)
	}
	note := primaryNote{Format: 1, Epoch: 1234567, BootID: "0f3c-77", Incarnation: "i9"}
	good, err := note.seal()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := parseNote(good); err != nil || n != note {
		t.Fatalf("%s is read as %+v, %v", good, n, err)
	}
	for i := range 8 * len(good) {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if n, err := parseNote(bad); err != nil || n != (primaryNote{}) {
			t.Errorf("bit %d flipped: %s is read as %+v, %v", i, bad, n, err)
		}
	}
}

// TestSnapshotManifest: a broken manifest of a sync begins the sync anew, and doesn't pass for a complete one.
func TestSnapshotManifest(t *testing.T) {
	c := newCluster(t)
	n := c.add("a")
	n.start()
	f := &follower{m: n.member, staged: &staging{number: 9, header: &atollpb.SnapshotHeader{SnapshotId: "s", ToIndex: 77}}}
	if err := n.member.cfg.FS.MkdirAll(f.stagedDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.writeManifest(); err != nil {
		t.Fatal(err)
	}
	path := n.member.cfg.FS.PathJoin(f.stagedDir(), manifestFile)
	good, err := readFile(n.member.cfg.FS, path)
	if err != nil {
		t.Fatal(err)
	}
	if h, complete, err := parseManifest(good); err != nil || complete || h.GetToIndex() != 77 {
		t.Fatalf("%s is read as %v, %v, %v", good, h, complete, err)
	}
	for i := range 8 * len(good) {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if h, complete, err := parseManifest(bad); err == nil && (complete || h.GetToIndex() != 77) {
			t.Errorf("bit %d flipped: %s is read as %v, %v", i, bad, h, complete)
		}
	}
	other := bytes.Replace(good, []byte(`"format":1`), []byte(`"format":2`), 1)
	if _, _, err := parseManifest(other); err == nil || !strings.Contains(err.Error(), "format 2, this program reads format 1") {
		t.Errorf("another format: %v", err)
	}
}

// TestSnapshotFormat: a checkpoint of another format is refused before a file of it is written.
func TestSnapshotFormat(t *testing.T) {
	c := newCluster(t)
	n := c.add("a")
	n.start()
	f := &follower{m: n.member, staged: &staging{number: 9}}
	err := (&taking{f: f}).begin(&atollpb.SnapshotHeader{Format: snapshotFormat + 1})
	if err == nil || !strings.Contains(err.Error(), "the snapshot has format 2, this program reads format 1") {
		t.Errorf("refused with %v", err)
	}
	if f.staged.header != nil {
		t.Error("the header was taken")
	}
}

// TestWireVersion: a sink of another version is refused before anything else is looked at.
func TestWireVersion(t *testing.T) {
	c := newCluster(t)
	n := c.add("a")
	n.start()
	conn, err := n.conn("a")
	if err != nil {
		t.Fatal(err)
	}
	client := atollpb.NewReplicationClient(conn)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	refused := func(what string, err error) {
		t.Helper()
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "speaks version 2, this program speaks version 1") {
			t.Errorf("%s of another version: %v", what, err)
		}
	}
	follow, err := client.Follow(ctx)
	if err != nil {
		t.Fatal(err)
	}
	hello := &atollpb.SinkHello{WireVersion: rpc.WireVersion + 1}
	if err := follow.Send(&atollpb.SinkMessage{Kind: &atollpb.SinkMessage_Hello{Hello: hello}}); err != nil {
		t.Fatal(err)
	}
	_, err = follow.Recv()
	refused("a sink", err)
	snapshot, err := client.Snapshot(ctx, &atollpb.SnapshotRequest{WireVersion: rpc.WireVersion + 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = snapshot.Recv()
	refused("a snapshot's sink", err)
}
