package mtls

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// The errors of Enroll that no retry mends.
var (
	// ErrRefused means that the cluster has refused the join token or the node.
	ErrRefused = errors.New("the cluster refuses this node")
	// ErrClock means that this machine's clock and the cluster's differ by more than an hour.
	ErrClock = errors.New("this machine's clock differs from the cluster's")
	// ErrOtherCluster means that the join token is not of the cluster that the process belongs to.
	ErrOtherCluster = errors.New("another cluster")
)

const (
	enrollWait  = 5 * time.Second // of one attempt
	enrollPause = time.Second     // between two, at most
)

// Invitation is what a process knows of the cluster that it is invited to.
type Invitation struct {
	Token  JoinToken
	Addrs  []string // cluster addresses of metadata nodes
	NodeID string
	Roles  []Role
	// ClusterID is that of the cluster which the process belongs to already; empty: any.
	ClusterID string
}

// checkPinned takes a metadata node of the authority that the token names, or of one that this has endorsed.
func (in Invitation) checkPinned(certs []*x509.Certificate, now time.Time) (Peer, error) {
	certs = certs[:min(len(certs), shownMax)]
	at := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return sha256.Sum256(c.Raw) == in.Token.CA })
	switch {
	case at < 0 && slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return slices.Contains(formerOf(c), in.Token.CA) }):
		return Peer{}, fmt.Errorf("%w: its certificate authority was replaced after the join token was made: make another (atoll node invite)", ErrRefused)
	case at < 0:
		return Peer{}, fmt.Errorf("%w: the join token is another cluster's", ErrForeign)
	}
	pinned, pool := certs[at], x509.NewCertPool()
	pool.AddCert(pinned)
	if name, err := NameOf(certs[0]); err == nil {
		if next, _ := endorsedAmong(certs, []*x509.Certificate{pinned}, name.ClusterID, now); next != nil {
			pool.AddCert(next)
		}
	}
	p, err := verify(certs, pool, now)
	switch {
	case err != nil:
	case !p.Has(Meta):
		err = fmt.Errorf("%w: node %q is no metadata node", ErrForeign, p.NodeID)
	case in.ClusterID != "" && in.ClusterID != p.ClusterID:
		err = fmt.Errorf("%w: the join token is of cluster %s, and this node's directory of cluster %s", ErrOtherCluster, p.ClusterID, in.ClusterID)
	}
	return p, err
}

// pins reports whether an answer's authority is that of the token, or one that it has endorsed.
func (in Invitation) pins(r *atollpb.EnrollResponse, clusterID string, now time.Time) bool {
	if sha256.Sum256(r.GetCa()) == in.Token.CA {
		return true
	}
	of, err := x509.ParseCertificate(r.GetCa())
	if err != nil {
		return false
	}
	endorsement, err := x509.ParseCertificate(r.GetEndorsement())
	if err != nil {
		return false
	}
	for _, der := range r.GetTrusted() {
		by, err := x509.ParseCertificate(der)
		if err == nil && sha256.Sum256(der) == in.Token.CA && endorses(endorsement, by, of, clusterID, now) {
			return true
		}
	}
	return false
}

// Enroll gets the process's first certificate by an invitation, and installs it. It tries again until a metadata node
// answers or the context ends. ErrRefused, ErrForeign, ErrClock and ErrOtherCluster are final.
func (i *Identity) Enroll(ctx context.Context, in Invitation, log *slog.Logger) error {
	request, err := i.Request()
	if err != nil {
		return err
	}
	r := &atollpb.EnrollRequest{
		NodeId: in.NodeID, Roles: in.Roles, Request: request, InviteId: in.Token.InviteID, Secret: in.Token.Secret[:],
		WireVersion: rpc.WireVersion,
	}
	warned := ""
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, enrollPause) {
		err := i.enrollOnce(ctx, in, r)
		switch {
		case err == nil:
			log.Info("enrolled by the join token", "node", in.NodeID, "certificate_until", i.NotAfter().UTC())
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("enroll: %w", ctx.Err())
		case errors.Is(err, ErrRefused), errors.Is(err, ErrForeign), errors.Is(err, ErrClock), errors.Is(err, ErrOtherCluster):
			return fmt.Errorf("enroll: %w", err)
		}
		if pause == enrollPause && err.Error() != warned {
			warned = err.Error()
			log.Warn("can't enroll yet", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// enrollOnce asks one metadata node after another.
func (i *Identity) enrollOnce(ctx context.Context, in Invitation, r *atollpb.EnrollRequest) error {
	var errs []error
	for _, addr := range in.Addrs {
		response, err := i.ask(ctx, addr, in, r)
		if err == nil {
			return i.accept(in, response)
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
		if errors.Is(err, ErrRefused) || errors.Is(err, ErrClock) {
			break
		}
	}
	return errors.Join(errs...)
}

// accept installs the certificate of an answer.
func (i *Identity) accept(in Invitation, response *atollpb.EnrollResponse) error {
	cert, err := x509.ParseCertificate(response.GetCert())
	if err != nil {
		return fmt.Errorf("read the certificate of the answer: %w", err)
	}
	signed := cert.NotBefore.Add(clockSlop)
	if off := i.now().Sub(signed); off > clockSlop || off < -clockSlop {
		return fmt.Errorf("%w by %v: set the one that is wrong", ErrClock, off.Round(time.Second))
	}
	name, err := NameOf(cert)
	if err != nil {
		return fmt.Errorf("read the certificate of the answer: %w", err)
	}
	if !in.pins(response, name.ClusterID, i.now()) {
		return fmt.Errorf("%w: the answer has another authority than the join token", ErrForeign)
	}
	return i.Install(Credential{response.GetCert(), response.GetCa(), response.GetEndorsement(), response.GetTrusted()})
}

func (i *Identity) ask(ctx context.Context, addr string, in Invitation, r *atollpb.EnrollRequest) (*atollpb.EnrollResponse, error) {
	var foreign atomic.Pointer[error]
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(
		i.pinnedCredentials(in, func(err error) { foreign.Store(&err) })))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, enrollWait)
	defer cancel()
	r.TimeMs = i.now().UnixMilli()
	response, err := atollpb.NewEnrolmentClient(conn).Enroll(ctx, r)
	if why := foreign.Load(); err != nil && why != nil {
		return nil, *why
	}
	switch status.Code(err) {
	case codes.OK:
		return response, nil
	case codes.OutOfRange:
		return nil, fmt.Errorf("%w: %s", ErrClock, status.Convert(err).Message())
	case codes.FailedPrecondition, codes.InvalidArgument, codes.PermissionDenied:
		return nil, fmt.Errorf("%w: %s", ErrRefused, status.Convert(err).Message())
	}
	return nil, errors.New(strings.TrimSpace(status.Convert(err).Message()))
}

// CheckClock says, for a metadata node, that the clock of a process that enrols is more than an hour off. A time of 0 is
// one that the process hasn't told.
func CheckClock(timeMs int64, now time.Time) error {
	off := time.UnixMilli(timeMs).Sub(now)
	switch {
	case timeMs == 0 || off.Abs() <= clockSlop:
		return nil
	case off > 0:
		return fmt.Errorf("it is %v ahead: set the one that is wrong", off.Round(time.Second))
	}
	return fmt.Errorf("it is %v behind: set the one that is wrong", off.Abs().Round(time.Second))
}
