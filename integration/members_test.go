package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// TestMembers is an operator who moves what leads, and takes nodes out of the cluster for good.
func TestMembers(t *testing.T) {
	first := newProcess(t, "meta", "--node-id", "m1")
	first.start()
	first.waitReady()
	voters := map[string]*process{"m1": first}
	for _, id := range []string{"m2", "m3"} {
		p := newProcess(t, "meta", "--node-id", id, "--join", first.cluster)
		p.tokenDir = first.dir
		p.start()
		p.waitReady()
		voters[id] = p
	}
	var nodes []*process
	for _, id := range []string{"d1", "d2"} {
		d := newProcess(t, "data", "--node-id", id, "--join", first.cluster)
		d.tokenDir, d.httpAddr = first.dir, first.httpAddr
		d.start()
		d.waitReady()
		nodes = append(nodes, d)
	}
	token := first.createNamespace("acme")
	if _, err := nodes[0].do(t.Context(), token, "SET", "k", "v"); err != nil {
		t.Fatal(err)
	}

	first.until("m2 leads", func(context.Context) error {
		_, stderr, err := first.cli("meta", "transfer", "m2")
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		return leads(t, first, "m2")
	})
	refused(t, first, `"nobody" was not found`, "meta", "transfer", "nobody")
	refused(t, first, "leads: stop it first", "meta", "remove", "m2")
	refused(t, first, "is live", "meta", "remove", "m3")
	refused(t, first, `"nobody" was not found`, "meta", "remove", "nobody")
	voters["m3"].kill()
	first.until("removing m3", func(context.Context) error { // a loaded machine may be changing the leader
		_, stderr, err := first.cli("meta", "remove", "m3")
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		return nil
	})
	if out := first.mustCLI("meta", "list"); strings.Contains(out, "m3") || !strings.Contains(out, "m1") {
		t.Errorf("meta list:\n%s", out)
	}
	if out := first.mustCLI("audit", "list"); !strings.Contains(out, "metadata_nodes") {
		t.Errorf("the audit says nothing of it:\n%s", out)
	}

	// A drained primary is a replica; then it can be stopped and forgotten.
	refused(t, first, "promote another node first", "node", "remove", "d1")
	if out := first.mustCLI("node", "drain", "d1"); !strings.Contains(out, "d2") {
		t.Errorf("node drain:\n%s", out)
	}
	if got, err := nodes[1].do(t.Context(), token, "GET", "k"); err != nil || got != "v" {
		t.Errorf("on the new primary: %v, %v", got, err)
	}
	refused(t, first, "is live", "node", "remove", "d1")
	nodes[0].stop()
	first.until("removing d1", func(context.Context) error { // once it has been silent
		_, stderr, err := first.cli("node", "remove", "d1", "--wait", "0s")
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		return nil
	})
	refused(t, first, "has no live replica", "node", "drain", "d2")
}

func leads(t *testing.T, p *process, id string) error {
	t.Helper()
	c, err := p.admin().Cluster(t.Context())
	if err == nil && c.LeaderID != id {
		err = fmt.Errorf("%q leads", c.LeaderID)
	}
	return err
}

// refused runs a command that has to fail with one line.
func refused(t *testing.T, p *process, want string, args ...string) {
	t.Helper()
	if _, stderr, err := p.cli(args...); err == nil || !strings.Contains(stderr, want) {
		t.Errorf("atoll %s: %v, %q, want %q", strings.Join(args, " "), err, stderr, want)
	}
}
