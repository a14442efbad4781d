package datanode

import (
	"math"
	"net"
	"syscall"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/resp"
	"github.com/atolldb/atoll/rpc/tlsfiles"
)

// ownFiles is how many file descriptors clients leave to the store, the log and the other nodes; the
// store's tables are most of them.
const ownFiles = 4096 + 512

// buildEdge builds what serves clients.
func (n *Node) buildEdge() error {
	listeners, err := n.respListeners()
	if err != nil {
		return err
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	edge := n.cfg.Edge.WithDefaults()
	edge.ClientsMost = clientsWithin(files.Cur)
	if most := edge.ClientsMost; edge.MaxClients > most {
		n.cfg.Log.Warn("fewer clients than asked for: the process may open too few files", "max_clients", most, "asked", edge.MaxClients, "files", files.Cur)
		edge.MaxClients = most
	}
	began := time.Now()
	env := &command.Env{Clock: time.Now, Elapsed: func() time.Duration { return time.Since(began) }, Families: command.FamilyEnv{Limits: n.cfg.Packed}}
	sessions := command.NewRegistry()
	limits := n.cfg.Run
	limits.BulkBytes = edge.Reader.BulkBytes
	ex := command.NewExecutor(command.Config{
		Node: n, Sessions: sessions, Specs: command.All(), Env: env, Limits: limits, Version: n.cfg.Version, Shutdown: n.cfg.Shutdown,
		Log: n.cfg.Log,
	})
	n.executor = ex
	n.expired.Store(ex)
	n.forwarder = command.NewForwarder(ex)
	n.edge = resp.NewServer(resp.Config{
		Listeners: listeners, Executor: ex, Sessions: sessions, Views: n.views, Limits: edge, Log: n.cfg.Log,
	})
	return nil
}

// clientsWithin returns how many clients fit into a limit of open files: a client too many must not take the
// descriptor that the store needs, which would end the process.
func clientsWithin(files uint64) int {
	files = min(files, math.MaxInt32) // which is no limit
	return int(max(1, files-min(ownFiles, files/2)))
}

func (n *Node) respListeners() ([]resp.Listener, error) {
	var list []resp.Listener
	for _, l := range []net.Listener{n.cfg.RESPListener, n.cfg.RESPSocket} {
		if l != nil {
			list = append(list, resp.Listener{Listener: l})
		}
	}
	if n.cfg.RESPTLSListener == nil {
		return list, nil
	}
	certificates, err := tlsfiles.Open(n.cfg.RESPTLS)
	if err != nil {
		return nil, err
	}
	return append(list, resp.Listener{Listener: n.cfg.RESPTLSListener, Certificates: certificates}), nil
}
