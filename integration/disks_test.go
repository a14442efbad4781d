package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
