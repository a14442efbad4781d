package metadata

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/ident"
	"github.com/atolldb/atoll/rpc/mtls"
)

// Who is turned away comes into the audit, and anybody who reaches the port can be. So a metadata node counts them by
// reason, and proposes one record for all of them when a window is over: a minute at first, and twice as long each time
// while they go on. Some thirty records a day are all that a flood makes of one node, so it doesn't push what else the
// audit holds out of it. In memory are at most one count of each reason and one record on its way: 28 times 400 bytes.
// What a node has counted since its last record is lost with it; its log has it.
const (
	refusalWindow    = time.Minute
	refusalWindowMax = time.Hour
	sourceBytesMax   = 64
)

// refusals counts those that were turned away since the last record.
type refusals struct {
	mu     sync.Mutex
	counts map[string]*raftfsm.Refusal // by reason, which are the constants of raftfsm
	some   chan struct{}               // holds one once there are some
}

func newRefusals() *refusals {
	return &refusals{counts: map[string]*raftfsm.Refusal{}, some: make(chan struct{}, 1)}
}

// add counts one, who calls itself node and wants the roles.
func (r *refusals) add(reason, node string, roles []mtls.Role, source net.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counts[reason]
	if c == nil {
		c = &raftfsm.Refusal{Reason: reason, SinceMs: time.Now().UnixMilli()}
		r.counts[reason] = c
	}
	c.Count++
	c.NodeID, c.Role, c.Source = claimed(node), rolesText(roles), ""
	if source != nil {
		c.Source = strings.ToValidUTF8(source.String(), "")
		c.Source = c.Source[:min(len(c.Source), sourceBytesMax)]
	}
	select {
	case r.some <- struct{}{}:
	default:
	}
}

// claimed returns what somebody calls itself, if that may be a node's id: what else it has sent may be a secret that
// has come into the wrong place.
func claimed(node string) string {
	if node != "" && (ident.Check(node) != nil || strings.HasPrefix(node, "atoll")) {
		return "(no id)"
	}
	return node
}

func rolesText(roles []mtls.Role) string {
	meta, data := false, false
	for _, r := range roles {
		meta, data = meta || r == mtls.Meta, data || r == mtls.Data
	}
	switch {
	case meta && data:
		return "server"
	case meta:
		return mtls.RoleWord(mtls.Meta)
	case data:
		return mtls.RoleWord(mtls.Data)
	}
	return ""
}

// take returns what was counted, in the order of the reasons.
func (r *refusals) take() *raftfsm.RecordRefusals {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &raftfsm.RecordRefusals{}
	for _, refusal := range r.counts {
		c.Refusals = append(c.Refusals, *refusal)
	}
	slices.SortFunc(c.Refusals, func(a, b raftfsm.Refusal) int { return strings.Compare(a.Reason, b.Reason) })
	clear(r.counts)
	select {
	case <-r.some:
	default:
	}
	return c
}

// auditRefusals brings what is counted into the audit, until the context ends.
func (n *Node) auditRefusals(ctx context.Context) {
	first := n.config.refusalWindow
	if first == 0 {
		first = refusalWindow
	}
	for window := first; ; window = min(2*window, refusalWindowMax) {
		quiet := time.NewTimer(window)
		select {
		case <-ctx.Done():
			quiet.Stop()
			return
		case <-n.refusals.some:
			quiet.Stop()
		case <-quiet.C:
			window = first / 2 // the next one is the first again
			continue
		}
		if !pause(ctx, window) {
			return
		}
		c, o := n.refusals.take(), consensus.ProposeOptions{RequestID: "refusals:" + newID(), Actor: n.config.NodeID}
		for { // under one id, so that each is counted once
			_, err := n.consensus.Propose(ctx, c, o)
			if _, refused := errors.AsType[*raftfsm.Error](err); err == nil || refused {
				break
			}
			if !pause(ctx, first) {
				return
			}
		}
	}
}

// pause waits; false says that the context has ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// RefusedConnection counts a connection to the cluster port that was turned away. What isn't TLS, or breaks, is
// nobody.
func (n *Node) RefusedConnection(remote net.Addr, err error) {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case ok && invalid.Reason == x509.Expired:
		n.refusals.add(raftfsm.RefusedEnded, "", nil, remote)
	case errors.Is(err, mtls.ErrForeign):
		n.refusals.add(raftfsm.RefusedForeign, "", nil, remote)
	case mtls.Declined(err):
		n.refusals.add(raftfsm.RefusedByPeer, "", nil, remote)
	}
}

// RefusedCall counts a call that mtls.Access has turned away.
func (n *Node) RefusedCall(ctx context.Context, p mtls.Peer, err error) {
	if code := status.Code(err); code != codes.PermissionDenied && code != codes.Unauthenticated {
		return // it can't tell, or doesn't know the call
	}
	reason := raftfsm.RefusedCall
	if k := n.consensus.State().NodeKey(p.NodeID); p.Known() && !p.Has(mtls.Meta) && k != nil &&
		(len(k.Roles) == 0 || !bytes.Equal(k.KeySha256, p.KeySHA256[:])) {
		reason = raftfsm.RefusedNode
	}
	n.refusals.add(reason, p.NodeID, p.Roles, addrOf(ctx))
}

func addrOf(ctx context.Context) net.Addr {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr
	}
	return nil
}
