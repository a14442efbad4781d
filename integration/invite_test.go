package integration

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// hosts are the processes with a metadata node by their cluster address: who joins one is invited by it.
var hosts sync.Map

// invite makes a join token of this process's cluster, once it can.
func (p *process) invite(in adminapi.CreateInvite) string {
	p.t.Helper()
	token := ""
	p.until("inviting", func(ctx context.Context) error {
		out, err := p.admin().CreateInvite(ctx, in)
		token = out.JoinToken
		return err
	})
	return token
}

// beInvited gets a join token for a process that joins a cluster and has no certificate. An operator who gives it a
// node id invites that node, so that it may come back with an empty disk.
func (p *process) beInvited() {
	p.t.Helper()
	if _, err := os.Stat(filepath.Join(p.dir, "tls", "node.crt")); err == nil || p.joinToken != "" {
		return
	}
	joins, id := argument(p.args, "--join"), argument(p.args, "--node-id")
	host, ok := hosts.Load(strings.Split(joins, ",")[0])
	if !ok {
		return
	}
	p.joinToken = host.(*process).invite(adminapi.CreateInvite{Role: p.kind, NodeID: id})
}

// argument returns the value of a flag, or an empty string.
func argument(args []string, flag string) string {
	if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}
