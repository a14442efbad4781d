package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// holds fails the test unless the default namespace's key precious has a value.
func (p *process) holds(want string) {
	p.t.Helper()
	got, err := p.do(p.t.Context(), "", "GET", "precious")
	if err != nil || fmt.Sprint(got) != want {
		p.t.Errorf("precious is %v, %v, want %s", got, err, want)
	}
}

func (p *process) loading() {
	p.t.Helper()
	if got, err := p.do(p.t.Context(), "", "GET", "precious"); err == nil || !strings.HasPrefix(err.Error(), "LOADING") {
		p.t.Errorf("GET answered %v, %v, want LOADING", got, err)
	}
}

// TestLiveNodeKeepsItsID: another disk under the id of a living node, the primary or a replica, changes
// nothing.
func TestLiveNodeKeepsItsID(t *testing.T) {
	server := startServer(t, "--node-id", "alpha")
	if _, err := server.do(t.Context(), "", "SET", "precious", "1"); err != nil {
		t.Fatal(err)
	}
	beta := server.joinData("--node-id", "beta")
	server.idOf(beta)
	for _, id := range []string{"alpha", "beta"} {
		double := server.joinData("--node-id", id)
		double.waitLog("is in use by a live node")
		double.loading()
		double.kill()
	}
	server.holds("1")
	beta.holds("1")
	if _, err := server.do(t.Context(), "", "SET", "precious", "2"); err != nil {
		t.Error(err)
	}
	group, nodes, err := server.groupOf(t.Context())
	if err != nil || group.Primary != "alpha" || nodes["beta"].ClusterAddr != beta.cluster {
		t.Errorf("group %+v, nodes %+v, %v", group, nodes, err)
	}
}

// TestLostDataDirectory: a server whose data is not mounted begins nothing anew by itself, so that the data
// can come back. Its metadata node goes on meanwhile.
func TestLostDataDirectory(t *testing.T) {
	server := startServer(t)
	if _, err := server.do(t.Context(), "", "SET", "precious", "1"); err != nil {
		t.Fatal(err)
	}
	server.stop()
	data := filepath.Join(server.dir, "data")
	away := filepath.Join(t.TempDir(), "away")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(data, away)
	server.start()
	server.waitLog("its disk is empty")
	server.loading()
	if _, err := server.admin().CreateNamespace(t.Context(), adminapi.CreateNamespace{Name: "meanwhile"}); err != nil {
		t.Error(err)
	}
	server.stop()
	move(data, filepath.Join(t.TempDir(), "empty"))
	move(away, data)
	server.restart()
	server.holds("1")
	server.stop()

	move(data, away)
	server.args = append(server.args, "--begin-empty")
	server.restart()
	server.until("taking writes", func(ctx context.Context) error {
		_, err := server.do(ctx, "", "SET", "precious", "2")
		return err
	})
	server.holds("2")
}

// TestDiskOfAnotherCluster: a node that belongs to one cluster is refused by another, with its rows untouched,
// until it is told to throw them away.
func TestDiskOfAnotherCluster(t *testing.T) {
	first, second := startServer(t), startServer(t)
	if _, err := second.do(t.Context(), "", "SET", "precious", "2"); err != nil {
		t.Fatal(err)
	}
	node := first.joinData("--node-id", "wanderer")
	first.idOf(node)
	node.stop()
	first.stop() // it would be asked first
	args := node.args
	node.args = []string{"--node-id", "wanderer", "--join", second.cluster}
	node.joinToken = second.invite(adminapi.CreateInvite{})
	node.start()
	select {
	case <-node.exit:
	case <-time.After(readyWait):
		t.Fatalf("it runs: %s", tail(node.log()))
	}
	if node.err == nil || !strings.Contains(node.log(), "belongs to another cluster") || !strings.Contains(node.log(), "--discard-data") {
		t.Errorf("it ended with %v and said %s", node.err, tail(node.log()))
	}
	node.args, node.joinToken = args, ""
	first.restart()
	node.restart() // at home it is as it was
	first.idOf(node)
	node.stop()
	first.stop()
	node.args = []string{"--node-id", "wanderer", "--join", second.cluster, "--discard-data"}
	node.joinToken = second.invite(adminapi.CreateInvite{})
	node.restart()
	node.until("a replica of the other", func(ctx context.Context) error {
		if got, err := node.do(ctx, "", "GET", "precious"); err != nil || fmt.Sprint(got) != "2" {
			return fmt.Errorf("precious is %v, %w", got, err)
		}
		return nil
	})
}

// TestReplicaOf: the command confirms what the metadata service says, and refuses the rest with the reason.
func TestReplicaOf(t *testing.T) {
	server := startServer(t, "--node-id", "alpha")
	replica := server.joinData("--node-id", "beta")
	server.idOf(replica)
	admin := server.adminToken()
	split := func(addr string) []any {
		host, port, _ := strings.Cut(addr, ":")
		return []any{host, port}
	}
	for _, c := range []struct {
		on   *process
		args []any
		want string
	}{
		{replica, split(server.respAddr), "OK Already connected to specified master"},
		{replica, split(replica.respAddr), "ERR this node can't be its own replica"},
		{replica, []any{"127.0.0.1", "1"}, "ERR 127.0.0.1:1 is not the client address of a registered node"},
		{replica, []any{"NO", "ONE"}, "ERR REPLICAOF NO ONE is refused: move the primary with `atoll group promote`"},
		{server, split(replica.respAddr), "ERR node beta is not a primary: move the primary with `atoll group promote`"},
	} {
		for _, name := range []any{"REPLICAOF", "SLAVEOF"} {
			got, err := c.on.do(t.Context(), admin, append([]any{name}, c.args...)...)
			if err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("%v %v answered %v, want %s", name, c.args, got, c.want)
			}
			if _, err := c.on.do(t.Context(), "", append([]any{name}, c.args...)...); err == nil {
				t.Errorf("%v %v without the admin's token was allowed", name, c.args)
			}
		}
	}
}
