package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/atolldb/atoll/metadata"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/mtls"
)

// inviteHint ends the errors of a node that has to be invited.
const inviteHint = "an admin of the cluster makes a join token with `atoll node invite`, and this node takes it as --join-token (ATOLL_JOIN_TOKEN) or --join-token-file"

// identify opens the process's certificate, and finds out whether it has to enrol. Metadata nodes that begin a
// cluster, or know its authority, sign their own.
func (n *node) identify(meta, data bool) error {
	dir, err := n.dir.sub("tls")
	if err != nil {
		return err
	}
	if n.identity, err = mtls.OpenIdentity(dir); err != nil {
		return err
	}
	if meta {
		n.roles = append(n.roles, mtls.Meta)
	}
	if data {
		n.roles = append(n.roles, mtls.Data)
	}
	if meta && len(n.config.list("join")) == 0 {
		return nil
	}
	token, given, err := n.joinToken()
	if err != nil {
		return err
	}
	stale := given && n.identity.Replaced(token.CA)
	given = given && !stale // it has served its purpose
	lack := n.lack(token, given)
	if authority, err := n.identity.KeptAuthority(); err != nil || meta && authority != nil && !(given && n.foreign(token)) {
		return err
	}
	switch {
	case lack == "":
		return nil
	case stale:
		return fmt.Errorf("--join-token: %s, and the cluster's certificate authority was replaced after the token was made: %s", lack, inviteHint)
	case !given:
		return fmt.Errorf("--join: %s: %s", lack, inviteHint)
	}
	n.invitation = &mtls.Invitation{Token: token, Addrs: n.config.list("join"), NodeID: n.dir.nodeID, Roles: n.roles}
	if own, ok := n.identity.Own(); ok && (meta || !n.config.flag("discard-data")) {
		n.invitation.ClusterID = own.ClusterID
	}
	return nil
}

// joinToken returns the token of the configuration, if there is one.
func (n *node) joinToken() (t mtls.JoinToken, given bool, err error) {
	text, from := strings.TrimSpace(n.config.text("join-token")), "join-token"
	if file := n.config.text("join-token-file"); text == "" && file != "" {
		from = "join-token-file"
		data, err := os.ReadFile(file)
		if _, joined := n.identity.Own(); err != nil && !joined {
			return t, false, fmt.Errorf("--%s (%s): %w", from, envName(from), err)
		}
		text = strings.TrimSpace(string(data)) // the file may be gone once it has served its purpose
	}
	if text == "" {
		return t, false, nil
	}
	if t, err = mtls.ParseJoinToken(text); err != nil {
		return t, false, fmt.Errorf("--%s (%s): %w", from, envName(from), err)
	}
	return t, true, nil
}

// foreign reports whether a token is of another authority than the process's certificate: another cluster's, or one that
// has taken its place while the process was away, which the enrolment tells.
func (n *node) foreign(t mtls.JoinToken) bool {
	authority := n.identity.Authority()
	return authority != nil && sha256.Sum256(authority) != t.CA
}

// lack says why the process has to enrol; empty: it hasn't.
func (n *node) lack(t mtls.JoinToken, given bool) string {
	own, ok := n.identity.Own()
	switch {
	case !ok:
		return "this node has no certificate of the cluster yet"
	case given && n.foreign(t):
		return "this node's certificate is of another certificate authority than the join token"
	case n.identity.NotAfter().Before(time.Now()):
		return fmt.Sprintf("this node's certificate ended at %s", n.identity.NotAfter().UTC().Format(time.RFC3339))
	case slices.ContainsFunc(n.roles, func(r mtls.Role) bool { return !own.Has(r) }):
		return "this node's certificate is for another role"
	}
	return ""
}

// enroll gets the certificate, if there is a need; it may be called again.
func (n *node) enroll(ctx context.Context) error {
	if n.invitation == nil {
		return nil
	}
	err := n.identity.Enroll(ctx, *n.invitation, n.log)
	if errors.Is(err, mtls.ErrOtherCluster) {
		hint := "start it with --discard-data to throw its data away"
		if slices.Contains(n.roles, mtls.Meta) {
			hint = "take an empty one"
		}
		return fmt.Errorf("--join-token: the data directory belongs to another cluster than the token: %s (%w)", hint, err)
	}
	if err != nil {
		return err
	}
	n.invitation = nil
	return nil
}

// secure puts TLS on the cluster port, and decides there who may call what.
func (n *node) secure(data bool) {
	n.refusals = &refusals{log: n.log}
	n.mux = rpc.SplitBy(n.lis.cluster, n.identity.Accept(n.refusals.connection))
	access := mtls.Access{Refused: n.refusals.call, Enrolled: func(ctx context.Context, p mtls.Peer) error {
		if n.meta != nil {
			return n.meta.Enrolled(ctx, p)
		}
		return n.data.Enrolled(ctx, p)
	}}
	access.Shown = func(p mtls.Peer) {
		if n.meta != nil {
			n.meta.Shown(p)
		}
	}
	options := append(serverOptions(data), grpc.Creds(n.identity.ServerCredentials()))
	n.grpc = grpc.NewServer(append(options, access.Options()...)...)
}

// refusals logs who was turned away at the cluster port, at most one line a second: strangers must not fill the log. A
// metadata node has them in the audit, too.
type refusals struct {
	log  *slog.Logger
	meta atomic.Pointer[metadata.Node] // nil: there is none, or not yet

	mu      sync.Mutex
	last    time.Time
	dropped int
}

// refusalsEvery is the least time between two lines.
const refusalsEvery = time.Second

// connection hears of handshakes. What only isn't TLS is of no interest.
func (r *refusals) connection(remote net.Addr, err error) {
	if m := r.meta.Load(); m != nil {
		m.RefusedConnection(remote, err)
	}
	if !errors.Is(err, mtls.ErrForeign) {
		r.log.Debug("a connection to the cluster port failed", "remote", remote.String(), "error", err)
		return
	}
	r.warn("refused a connection to the cluster port", "remote", remote.String(), "error", err)
}

func (r *refusals) call(ctx context.Context, p mtls.Peer, method string, err error) {
	if m := r.meta.Load(); m != nil {
		m.RefusedCall(ctx, p, err)
	}
	r.warn("refused a call", "node", p.NodeID, "method", method, "error", err)
}

func (r *refusals) warn(message string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Sub(r.last) < refusalsEvery {
		r.dropped++
		return
	}
	r.log.Warn(message, append(args, "not_logged", r.dropped)...)
	r.last, r.dropped = now, 0
}
