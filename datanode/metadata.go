package datanode

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/tenant"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// metadataClient calls the metadata service: the node that answered last, then the others in turn.
type metadataClient struct {
	conns *connPool
	views *tenant.Views
	seeds []string

	mu   sync.Mutex
	last string
}

var errNoMetadata = errors.New("no metadata node answered")

// callTimeout bounds one attempt on one metadata node.
const callTimeout = 5 * time.Second

func (c *metadataClient) addresses() []string {
	c.mu.Lock()
	list := []string{}
	if c.last != "" {
		list = append(list, c.last)
	}
	c.mu.Unlock()
	if v := c.views.Current(); v != nil {
		for _, n := range v.Cluster().GetMetadataNodes() {
			list = append(list, n.GetClusterAddr())
		}
	}
	list = append(list, c.seeds...)
	seen := make(map[string]bool)
	return slices.DeleteFunc(list, func(a string) bool {
		dup := seen[a] || a == ""
		seen[a] = true
		return dup
	})
}

// refused says that the service has decided, and that nothing happened.
func refused(err error) bool {
	switch status.Code(err) {
	case codes.FailedPrecondition, codes.InvalidArgument, codes.PermissionDenied:
		return true
	}
	return false
}

// noService says that the peer is no metadata node.
func noService(err error) bool { return status.Code(err) == codes.Unimplemented }

// elsewhere says that another metadata node may do what this one could not.
func elsewhere(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return true
	}
	return noService(err)
}

// call runs f on one metadata node after another until one answers. timeout bounds each attempt.
func (c *metadataClient) call(ctx context.Context, timeout time.Duration, f func(context.Context, atollpb.MetadataClient) error) error {
	_, err := c.try(ctx, timeout, f)
	return err
}

// try is call, and says after an error whether f may have had an effect: a node was reached, and didn't
// refuse.
func (c *metadataClient) try(ctx context.Context, timeout time.Duration, f func(context.Context, atollpb.MetadataClient) error) (maybe bool, err error) {
	return c.tryConn(ctx, timeout, func(ctx context.Context, p probe) error { return f(ctx, atollpb.NewMetadataClient(p)) })
}

// tryConn is try for any service of metadata nodes.
func (c *metadataClient) tryConn(ctx context.Context, timeout time.Duration, f func(context.Context, probe) error) (maybe bool, err error) {
	errs := errNoMetadata
	for _, addr := range c.addresses() {
		conn, err := c.conns.get(addr)
		if err != nil {
			return maybe, err
		}
		attempt, cancel := context.WithTimeout(ctx, timeout)
		p := probe{conn, new(bool)}
		err = f(attempt, p)
		cancel()
		if err == nil {
			c.mu.Lock()
			c.last = addr
			c.mu.Unlock()
			return false, nil
		}
		maybe = maybe || (*p.reached && !refused(err) && !noService(err))
		if noService(err) {
			err = fmt.Errorf("this is no metadata node: %w", err)
		}
		errs = fmt.Errorf("%w: %s: %w", errNoMetadata, addr, err)
		if !elsewhere(err) {
			return maybe, err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return maybe, errs
}

// probe is a connection that notes whether a call got as far as the peer.
type probe struct {
	grpc.ClientConnInterface
	reached *bool
}

// Invoke is grpc.ClientConnInterface.
func (p probe) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	var at peer.Peer
	err := p.ClientConnInterface.Invoke(ctx, method, args, reply, append(opts, grpc.Peer(&at))...)
	*p.reached = *p.reached || at.Addr != nil
	return err
}

// join registers the node, and remembers what the service told it.
func (n *Node) join(ctx context.Context) (*atollpb.JoinResponse, error) {
	n.idMu.Lock()
	hasData := n.id.HasData
	n.idMu.Unlock()
	r := &atollpb.JoinRequest{
		ClusterId: n.clusterID(), NodeId: n.cfg.NodeID, Incarnation: n.id.Incarnation,
		RespAddr: n.cfg.RESPAddr, ClusterAddr: n.cfg.ClusterAddr, Version: n.cfg.Version, HasData: hasData,
		BeginEmpty: n.cfg.BeginEmpty, WireVersion: rpc.WireVersion,
	}
	if s := n.member.Store(); s != nil {
		r.HasData, r.DataHistoryId = true, cmp.Or(s.Applied().History, s.Log().State().History)
	}
	var reply *atollpb.JoinResponse
	err := n.meta.call(ctx, callTimeout, func(ctx context.Context, m atollpb.MetadataClient) (err error) {
		reply, err = m.Join(ctx, r)
		return err
	})
	return reply, err
}

func (n *Node) beginEpoch(ctx context.Context, r *atollpb.BeginEpochRequest) error {
	r.ClusterId = n.clusterID()
	return n.meta.call(ctx, callTimeout, func(ctx context.Context, m atollpb.MetadataClient) error {
		reply, err := m.BeginEpoch(ctx, r)
		if err == nil {
			n.cfg.Log.Info("got a new epoch", "revision", reply.GetRevision(), "after_index", r.GetLastIndex())
		}
		return err
	})
}

var namespaceOps = map[command.NamespaceOp]atollpb.NamespacesOp{
	command.NamespaceAdd: atollpb.NamespacesOp_NAMESPACES_OP_ADD,
	command.NamespaceSet: atollpb.NamespacesOp_NAMESPACES_OP_SET,
	command.NamespaceDel: atollpb.NamespacesOp_NAMESPACES_OP_DEL,
}

var namespaceStatus = map[atollpb.NamespacesResult]command.NamespaceStatus{
	atollpb.NamespacesResult_NAMESPACES_RESULT_OK:           command.NamespaceOK,
	atollpb.NamespacesResult_NAMESPACES_RESULT_EXISTS:       command.NamespaceExists,
	atollpb.NamespacesResult_NAMESPACES_RESULT_TOKEN_EXISTS: command.NamespaceTokenExists,
	atollpb.NamespacesResult_NAMESPACES_RESULT_NOT_FOUND:    command.NamespaceNotFound,
	atollpb.NamespacesResult_NAMESPACES_RESULT_FORBIDDEN:    command.NamespaceForbidden,
	atollpb.NamespacesResult_NAMESPACES_RESULT_INVALID:      command.NamespaceInvalid,
}

// waitApplied is how long a change of the namespaces waits for the live nodes.
const waitApplied = time.Second

// Namespaces is command.Node. The request id makes a retry on another metadata node have one effect.
func (n *Node) Namespaces(ctx context.Context, call command.NamespaceCall) (command.NamespaceResult, error) {
	r := &atollpb.NamespacesRequest{
		ClusterId: n.clusterID(), NodeId: n.cfg.NodeID, Op: namespaceOps[call.Op], Name: call.Name,
		TokenHash: call.TokenHash, RequestId: rand.Text(), WaitAppliedMs: waitApplied.Milliseconds(),
		TokenId: call.TokenID, ClientAddr: strings.ToValidUTF8(call.Client, "?"),
	}
	var reply *atollpb.NamespacesResponse
	maybe, err := n.meta.try(ctx, callTimeout, func(ctx context.Context, m atollpb.MetadataClient) (err error) {
		reply, err = m.Namespaces(ctx, r)
		return err
	})
	if err != nil && !maybe {
		return command.NamespaceResult{}, fmt.Errorf("%w: %w", command.ErrNotForwarded, err)
	}
	if err != nil {
		return command.NamespaceResult{}, err
	}
	result := command.NamespaceResult{
		Status: namespaceStatus[reply.GetResult()], Message: reply.GetMessage(), Lagging: reply.GetLaggingNodes(),
	}
	if result.Status == command.NamespaceOK {
		if _, err := n.views.Wait(ctx, reply.GetRevision()); err != nil {
			return result, fmt.Errorf("wait for view %d: %w", reply.GetRevision(), err)
		}
	}
	return result, nil
}
