package metadata

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOneNode(t *testing.T) {
	p := newProcess(t, "meta1")
	cluster := p.ready()

	secret, err := os.ReadFile(filepath.Join(p.dir, "admin-token"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(p.dir, "admin-token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("admin token file: %v %v", info.Mode(), err)
	}
	state := p.node.consensus.State()
	hash := consensus.HashSecret(state.Cluster().TokenKey, strings.TrimSpace(string(secret)))
	if state.TokenByHash(hash).GetRole() != atollpb.Role_ROLE_ADMIN {
		t.Fatal("the file's secret is not the admin token")
	}

	d := newDataNode(t, "n1")
	joined := d.joins(p)
	if joined.ClusterId != cluster || joined.Group.Primary != "n1" || len(joined.Nodes) != 1 || len(joined.MetadataNodes) != 1 {
		t.Fatalf("join: %v", joined)
	}
	v := newView(t)
	v.watch(t.Context(), p)
	v.reach(joined.Revision)
	if v.fulls != 1 || v.nodes["n1"] == nil || v.groups[1].Primary != "n1" || v.cluster.ClusterId != cluster {
		t.Fatalf("view: %+v", v)
	}
	added := p.namespaces(atollpb.NamespacesOp_NAMESPACES_OP_ADD, "a", "secret")
	if added.Result != 0 || len(added.LaggingNodes) != 0 {
		t.Fatalf("add: %v", added)
	}
	v.reach(added.Revision)
	if v.fulls != 1 || v.namespaces[added.Revision].GetName() != "a" || len(v.tokens) != 2 {
		t.Fatalf("view after add: %+v", v)
	}
	d.report.ViewRevision = v.revision
	d.reports(p)
	if lag := p.node.control.WaitApplied(t.Context(), v.revision, 0); len(lag.Nodes) != 0 {
		t.Fatalf("lag %v", lag)
	}
	if lag := p.node.control.WaitApplied(t.Context(), v.revision+1, 0); len(lag.Nodes) != 1 || len(lag.Unreachable) != 0 {
		t.Fatalf("lag %v", lag)
	}

	p.restart()
	p.ready()
	if p.node.consensus.State().NamespaceByName("a") == nil {
		t.Fatal("the namespace is gone after a restart")
	}
	again := d.joins(p)
	if again.Revision < joined.Revision {
		t.Fatalf("join after restart: %v", again)
	}
	// From where it was, the view needs no full one: the log is replayed into the feed.
	v.watch(t.Context(), p)
	del := p.namespaces(atollpb.NamespacesOp_NAMESPACES_OP_DEL, "a", "")
	v.reach(del.Revision)
	if v.fulls != 1 || v.namespaces[added.Revision].State != atollpb.NamespaceState_NAMESPACE_STATE_DELETED || len(v.tokens) != 1 {
		t.Fatalf("view after del: %+v", v)
	}
}

// namespaces sends a NAMESPACE operation through a node, without waiting for data nodes.
func (p *process) namespaces(op atollpb.NamespacesOp, name, secret string) *atollpb.NamespacesResponse {
	p.t.Helper()
	state := p.node.consensus.State()
	r := &atollpb.NamespacesRequest{ClusterId: p.node.Status().ClusterID, NodeId: "n1", Op: op, Name: name}
	if secret != "" {
		r.TokenHash = consensus.HashSecret(state.Cluster().TokenKey, secret)
	}
	response, err := p.metadata().Namespaces(p.t.Context(), r)
	if err != nil {
		p.t.Fatal(err)
	}
	return response
}

func TestNamespacesCommand(t *testing.T) {
	p := newProcess(t, "meta1")
	p.ready()
	const add, set, del = atollpb.NamespacesOp_NAMESPACES_OP_ADD, atollpb.NamespacesOp_NAMESPACES_OP_SET, atollpb.NamespacesOp_NAMESPACES_OP_DEL
	const okay, exists, tokenExists, notFound, forbidden, invalid = atollpb.NamespacesResult_NAMESPACES_RESULT_OK,
		atollpb.NamespacesResult_NAMESPACES_RESULT_EXISTS, atollpb.NamespacesResult_NAMESPACES_RESULT_TOKEN_EXISTS,
		atollpb.NamespacesResult_NAMESPACES_RESULT_NOT_FOUND, atollpb.NamespacesResult_NAMESPACES_RESULT_FORBIDDEN,
		atollpb.NamespacesResult_NAMESPACES_RESULT_INVALID
	for i, tt := range []struct {
		op           atollpb.NamespacesOp
		name, secret string
		want         atollpb.NamespacesResult
	}{
		{add, "a", "s1", okay},
		{add, "a", "s2", exists},
		{add, "b", "s1", tokenExists},
		{add, "b c", "s2", invalid},
		{add, raftfsm.DefaultNamespace, "s2", forbidden},
		{add, "b", "s2", okay},
		{set, "a", "s2", tokenExists},
		{set, "a", "s1", okay},
		{set, "a", "s3", okay},
		{set, "nobody", "s4", notFound},
		{set, raftfsm.DefaultNamespace, "s4", forbidden},
		{del, "nobody", "", notFound},
		{del, raftfsm.DefaultNamespace, "", forbidden},
		{del, "a", "", okay},
		{del, "a", "", notFound},
		{0, "b", "", invalid},
	} {
		if got := p.namespaces(tt.op, tt.name, tt.secret); got.Result != tt.want {
			t.Errorf("%d: %v %s: %v (%s), want %v", i, tt.op, tt.name, got.Result, got.Message, tt.want)
		}
	}
}

// TestNamespacesCommandIsAudited: the record names the session's token beside the node whose word that is.
func TestNamespacesCommandIsAudited(t *testing.T) {
	p := newProcess(t, "meta1")
	cluster := p.ready()
	long := strings.Repeat("n", 60)
	for i, tt := range []struct {
		node, token   string
		client        string
		actor, source string
	}{
		{"n1", "tok_x", "10.0.0.1:5", "tok_x@n1", "10.0.0.1:5"},
		{"n1", "tok_x", "/run/a socket:0", "tok_x@n1", "/run/a socket:0"},
		{"n1", "", "", "n1", ""}, // an older node
		{long, "tok_" + long, "10.0.0.1:5", "tok_" + long + "@" + long, "10"},
		{"n1", "tok x@y", "10.0.0.1:5", "", ""},
	} {
		r, err := p.metadata().Namespaces(t.Context(), &atollpb.NamespacesRequest{
			ClusterId: cluster, NodeId: tt.node, Op: atollpb.NamespacesOp_NAMESPACES_OP_ADD, Name: fmt.Sprint("a", i), TokenHash: []byte(strings.Repeat(string(rune('a'+i)), 32)),
			TokenId: tt.token, ClientAddr: tt.client,
		})
		if err != nil {
			t.Fatal(err)
		}
		if tt.actor == "" {
			if r.Result != atollpb.NamespacesResult_NAMESPACES_RESULT_INVALID {
				t.Errorf("%d: %v", i, r)
			}
			continue
		}
		var last *audit.Record
		for last = range p.node.consensus.State().Audit(0) {
		}
		if last.Actor != tt.actor || last.Source != tt.source || last.Action != "create-namespace" {
			t.Errorf("%d: %q from %q did %s, want %q from %q", i, last.Actor, last.Source, last.Action, tt.actor, tt.source)
		}
	}
}

// A retry of a deletion finds the name gone, and still answers what the first one would have.
func TestNamespacesRetryHasOneEffect(t *testing.T) {
	p := newProcess(t, "meta1")
	cluster := p.ready()
	p.namespaces(atollpb.NamespacesOp_NAMESPACES_OP_ADD, "a", "s1")
	del := &atollpb.NamespacesRequest{ClusterId: cluster, NodeId: "n1", Op: atollpb.NamespacesOp_NAMESPACES_OP_DEL, Name: "a", RequestId: "r1"}
	one, err := p.metadata().Namespaces(t.Context(), del)
	if err != nil || one.Result != 0 {
		t.Fatalf("del: %v %v", one, err)
	}
	p.namespaces(atollpb.NamespacesOp_NAMESPACES_OP_ADD, "a", "s1")
	two, err := p.metadata().Namespaces(t.Context(), del)
	if err != nil || two.Result != 0 || two.Revision != one.Revision {
		t.Fatalf("del again: %v %v", two, err)
	}
	if p.node.consensus.State().NamespaceByName("a") == nil {
		t.Fatal("the retry deleted the new namespace of that name")
	}
	p.namespaces(atollpb.NamespacesOp_NAMESPACES_OP_ADD, "b", "s2")
	del.Name = "b"
	if r, err := p.metadata().Namespaces(t.Context(), del); status.Code(err) != codes.InvalidArgument {
		t.Fatalf("another request under the same id: %v %v", r, err)
	}
}

func TestForeignersAreRefused(t *testing.T) {
	p := newProcess(t, "meta1")
	p.ready()
	d := newDataNode(t, "n1")
	d.joins(p)
	client := p.metadata()
	ctx := t.Context()
	wantCode := func(what string, err error, want codes.Code) {
		t.Helper()
		if status.Code(err) != want {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	_, err := client.Join(ctx, &atollpb.JoinRequest{WireVersion: rpc.WireVersion, ClusterId: "other", NodeId: "n1"})
	wantCode("join of another cluster's node", err, codes.FailedPrecondition)
	_, err = client.Join(ctx, &atollpb.JoinRequest{WireVersion: rpc.WireVersion, NodeId: "n 1"})
	wantCode("join with a bad id", err, codes.InvalidArgument)
	other := newDataNode(t, "n2")
	other.join.HasData, other.join.DataHistoryId = true, "other"
	_, err = client.Join(ctx, other.join)
	wantCode("join with other data", err, codes.FailedPrecondition)
	if !strings.Contains(err.Error(), "--discard-data") {
		t.Errorf("join with other data: %v", err)
	}
	_, err = client.Report(ctx, &atollpb.ReportRequest{ClusterId: "other", Report: d.report})
	wantCode("report to another cluster", err, codes.FailedPrecondition)
	_, err = client.Report(ctx, &atollpb.ReportRequest{ClusterId: d.cluster})
	wantCode("empty report", err, codes.FailedPrecondition)
	_, err = client.Report(ctx, &atollpb.ReportRequest{ClusterId: d.cluster, Report: other.report})
	wantCode("report of an unregistered node", err, codes.FailedPrecondition)
	_, err = client.BeginEpoch(ctx, &atollpb.BeginEpochRequest{ClusterId: d.cluster, NodeId: "n1"})
	wantCode("epoch of nothing", err, codes.FailedPrecondition)
	_, err = client.Namespaces(ctx, &atollpb.NamespacesRequest{ClusterId: "other"})
	wantCode("namespaces of another cluster", err, codes.FailedPrecondition)
	stream, err := client.Watch(ctx, &atollpb.WatchRequest{WireVersion: rpc.WireVersion, ClusterId: "other"})
	if err == nil {
		_, err = stream.Recv()
	}
	wantCode("watch of another cluster", err, codes.FailedPrecondition)
}

// TestOtherVersionsAreRefused: the first message of everybody who calls names the version that it speaks.
func TestOtherVersionsAreRefused(t *testing.T) {
	p := newProcess(t, "meta1")
	p.ready()
	client := p.metadata()
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "speaks version 2, this program speaks version 1") {
			t.Errorf("%s of another version: %v", what, err)
		}
	}
	_, err := client.Join(t.Context(), &atollpb.JoinRequest{WireVersion: rpc.WireVersion + 1, NodeId: "n1"})
	refused("join", err)
	stream, err := client.Watch(t.Context(), &atollpb.WatchRequest{WireVersion: rpc.WireVersion + 1})
	if err == nil {
		_, err = stream.Recv()
	}
	refused("watch", err)
	_, err = p.node.consensus.HandleAddVoter(t.Context(), &atollpb.AddVoterRequest{WireVersion: rpc.WireVersion + 1})
	refused("voter", err)
}

func TestWatchEndsAtStop(t *testing.T) {
	p := newProcess(t, "meta1")
	p.ready()
	v := newView(t)
	v.watch(context.Background(), p)
	v.reach(1)
	p.cancel()
	for {
		_, err := v.stream.Recv()
		if err == nil {
			continue
		}
		if status.Code(err) != codes.Unavailable {
			t.Fatalf("watch after stop: %v", err)
		}
		return
	}
}
