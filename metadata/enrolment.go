package metadata

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
)

const (
	// enrolPause is between two attempts at what a metadata node needs to be enrolled.
	enrolPause = 50 * time.Millisecond
	// renewEvery is how often a certificate is looked at.
	renewEvery = time.Hour
)

// resign renews the certificate of a metadata node by the authority that it has kept, if it is due, or of one that this has
// replaced: a cluster that was down until all certificates had ended has no other way to itself. An authority that was
// replaced signs nothing.
func resign(id *mtls.Identity, now time.Time) error {
	own, ok := id.Own()
	if !ok {
		return nil
	}
	a, err := id.KeptAuthority()
	if err != nil || a == nil || !a.Succeeds(id.Authority()) || !id.Due() && bytes.Equal(id.Authority(), a.CA.Raw) {
		return err
	}
	return sign(id, a, own.Name, now)
}

func sign(id *mtls.Identity, a *mtls.Authority, name mtls.Name, now time.Time) error {
	public, _ := id.PublicKey()
	c, err := a.Issue(public, name, now)
	if err != nil {
		return err
	}
	return id.Install(c)
}

// keepEnrolled sees to it that the cluster has an authority, and this process a certificate of it, until the context
// ends.
func (n *Node) keepEnrolled(ctx context.Context) {
	for reason := ""; ; {
		seen := n.consensus.State().Authority()
		err := n.enrolSelf(ctx)
		pause := renewEvery
		if err == nil {
			reason = ""
		} else {
			pause = enrolPause
			if !errors.Is(err, errNotYet) && err.Error() != reason && ctx.Err() == nil {
				reason = err.Error()
				n.config.Log.Warn("the metadata node's certificate is not settled yet: it tries again", "error", err)
			}
		}
		if !n.awaitAuthority(ctx, seen, pause) {
			return
		}
	}
}

// errNotYet says that another node, or this one later, has to do something first.
var errNotYet = errors.New("the cluster has no certificate authority yet")

// enrolSelf goes as far as it can.
func (n *Node) enrolSelf(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := n.config.Identity.Reload(); err != nil {
		return err
	}
	state := n.consensus.State()
	if state.Cluster() == nil {
		return errNotYet
	}
	if state.Authority() == nil {
		return n.makeAuthority(ctx)
	}
	id := n.config.Identity
	state, a, err := n.currentAuthority(ctx, state)
	if err != nil {
		return err
	}
	if err := id.KeepAuthority(a); err != nil {
		return err
	}
	_, sum := id.PublicKey()
	if k := state.NodeKey(n.config.NodeID); !enrolled(k, sum, n.config.Roles) {
		result, err := n.consensus.Propose(ctx, &raftfsm.EnrollNode{NodeID: n.config.NodeID, KeySHA256: sum[:], Roles: n.config.Roles},
			consensus.ProposeOptions{Actor: n.config.NodeID})
		if err == nil {
			err = n.consensus.WaitApplied(ctx, result.Revision)
		}
		if err != nil {
			return fmt.Errorf("enrol this metadata node: %w", err)
		}
	}
	name := mtls.Name{ClusterID: state.Cluster().ClusterId, NodeID: n.config.NodeID, Roles: n.config.Roles}
	own, ok := id.Own()
	if !ok || id.Due() || own.ClusterID != name.ClusterID || !sameRoles(own.Roles, name.Roles) || !bytes.Equal(id.Authority(), a.CA.Raw) {
		if err := sign(id, a, name, time.Now()); err != nil {
			return err
		}
		n.config.Log.Info("signed this metadata node's certificate", "until", id.NotAfter().UTC())
	}
	if err := id.Trust(state.Cluster().GetAuthorities()); err != nil {
		return err
	}
	return n.prove(ctx, mtls.Peer{Name: name, KeySHA256: sum, Authority: sha256.Sum256(a.CA.Raw)})
}

func sameRoles(a, b []mtls.Role) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(r mtls.Role) bool { return !slices.Contains(b, r) })
}

// enrolled reports whether a record is of a key, with all of the roles.
func enrolled(k *atollpb.NodeKey, sum [sha256.Size]byte, roles []mtls.Role) bool {
	return bytes.Equal(k.GetKeySha256(), sum[:]) &&
		!slices.ContainsFunc(roles, func(r mtls.Role) bool { return !slices.Contains(k.GetRoles(), r) })
}

// makeAuthority gives the cluster its authority, on the leader.
func (n *Node) makeAuthority(ctx context.Context) error {
	term, leads := n.consensus.Leading()
	if !leads {
		return errNotYet
	}
	cert, key, err := mtls.NewAuthority(n.consensus.ClusterID(), time.Now())
	if err != nil {
		return err
	}
	_, err = n.consensus.ProposeInTerm(ctx, term, &raftfsm.SetAuthority{Cert: cert, Key: key})
	if err != nil && !errors.Is(err, &raftfsm.Error{Code: raftfsm.CodePrecondition}) {
		return fmt.Errorf("give the cluster a certificate authority: %w", err)
	}
	return errNotYet // it is in the state as soon as it is applied
}

// enrolmentService is what processes call for their certificates.
type enrolmentService struct {
	atollpb.UnimplementedEnrolmentServer
	node    *Node
	lookups chan struct{} // held while an unknown token is looked up beyond this node
	told    atomic.Int64  // when a refusal was last logged, in Unix milliseconds
}

// tell counts a refusal for the audit, and logs it, one a second at most: strangers must not fill the log.
func (s *enrolmentService) tell(ctx context.Context, r *atollpb.EnrollRequest, reason string, refusal error) {
	from := addrOf(ctx)
	s.node.refusals.add(reason, r.GetNodeId(), r.GetRoles(), from)
	now, last := time.Now().UnixMilli(), s.told.Load()
	if now-last >= 1000 && s.told.CompareAndSwap(last, now) {
		s.node.config.Log.Warn("a node may not enrol", "node", claimed(r.GetNodeId()), "invite", shown(r.GetInviteId()), "remote", from, "error", refusal)
	}
}

// lookupsMax bounds enrolmentService.lookups.
const lookupsMax = 16

// Enroll implements atollpb.EnrolmentServer. FailedPrecondition and InvalidArgument are refusals.
func (s *enrolmentService) Enroll(ctx context.Context, r *atollpb.EnrollRequest) (*atollpb.EnrollResponse, error) {
	if err := rpc.CheckWire(r.GetWireVersion()); err != nil {
		s.tell(ctx, r, raftfsm.RefusedMalformed, err)
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	public, sum, err := mtls.ReadRequest(r.GetRequest())
	if err != nil {
		s.tell(ctx, r, raftfsm.RefusedMalformed, err)
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	raft, hash := s.node.consensus, sha256.Sum256(r.GetSecret())
	use := &raftfsm.UseInvite{ID: r.GetInviteId(), Hash: hash[:], NodeID: r.GetNodeId(), KeySHA256: sum[:], Roles: r.GetRoles()}
	if err := s.checkInvite(ctx, r, use); err != nil {
		return nil, err
	}
	if err := mtls.CheckClock(r.GetTimeMs(), time.Now()); err != nil { // its certificate would be refused, sooner or later
		s.tell(ctx, r, raftfsm.RefusedClock, err)
		return nil, status.Error(codes.OutOfRange, err.Error())
	}
	if err := s.keyFree(ctx, r.GetNodeId(), sum); err != nil {
		return nil, err
	}
	result, err := raft.Propose(ctx, use, consensus.ProposeOptions{Actor: "invite:" + use.ID})
	if err == nil {
		err = raft.WaitApplied(ctx, result.Revision)
	}
	if err != nil {
		return nil, statusError(err)
	}
	c, err := s.node.certify(public, mtls.Name{ClusterID: raft.ClusterID(), NodeID: r.GetNodeId(), Roles: r.GetRoles()})
	if err != nil {
		return nil, err
	}
	s.node.config.Log.Info("a node enrolled", "node", r.GetNodeId(), "invite", r.GetInviteId())
	return &atollpb.EnrollResponse{Cert: c.Cert, Ca: c.CA, Endorsement: c.Endorsement, Trusted: c.Trusted}, nil
}

// checkInvite refuses what the state machine would refuse, so that strangers don't fill the log. A node that is
// behind asks the leader, for a few at once.
func (s *enrolmentService) checkInvite(ctx context.Context, r *atollpb.EnrollRequest, c *raftfsm.UseInvite) error {
	if c.Check(s.node.consensus.State(), time.Now().UnixMilli()) == nil {
		return nil
	}
	select {
	case s.lookups <- struct{}{}:
		defer func() { <-s.lookups }()
	default:
		return status.Error(codes.Unavailable, consensus.ErrTooMuch.Error())
	}
	state, err := s.node.consensus.Read(ctx)
	if err != nil {
		return statusError(err)
	}
	if refusal := c.Check(state, time.Now().UnixMilli()); refusal != nil {
		s.tell(ctx, r, refusal.Reason, refusal)
		return statusError(refusal)
	}
	return nil
}

// shown cuts what a stranger has sent for the log.
func shown(s string) string { return s[:min(len(s), 64)] }

// keyFree answers Unavailable while a data node lives that has the id with another key. What the state says besides is
// left to the state machine.
func (s *enrolmentService) keyFree(ctx context.Context, nodeID string, sum [sha256.Size]byte) error {
	k := s.node.consensus.State().NodeKey(nodeID)
	if k == nil || bytes.Equal(k.KeySha256, sum[:]) {
		return nil
	}
	reports, err := s.node.control.Reports(ctx)
	if err != nil {
		return statusError(err)
	}
	for _, report := range reports {
		if report.NodeId == nodeID && report.Live {
			return status.Errorf(codes.Unavailable, "node id %q is in use by a live node with another key: stop that one, or take another --node-id", nodeID)
		}
	}
	return nil
}

// Renew implements atollpb.EnrolmentServer: a certificate for the key of the caller's, with the roles that it is
// enrolled for.
func (s *enrolmentService) Renew(ctx context.Context, r *atollpb.RenewRequest) (*atollpb.RenewResponse, error) {
	p := mtls.PeerOf(ctx)
	raft := s.node.consensus
	if r.GetClusterId() != raft.ClusterID() {
		return nil, status.Errorf(codes.FailedPrecondition, "node %q %v", p.NodeID, consensus.ErrForeign)
	}
	k := raft.State().NodeKey(p.NodeID)
	if !bytes.Equal(k.GetKeySha256(), p.KeySHA256[:]) {
		return nil, status.Errorf(codes.Unavailable, "node %q is not enrolled with this key", p.NodeID)
	}
	c, err := s.node.certify(p.PublicKey, mtls.Name{ClusterID: raft.ClusterID(), NodeID: p.NodeID, Roles: k.GetRoles()})
	if err != nil {
		return nil, err
	}
	return &atollpb.RenewResponse{Cert: c.Cert, Ca: c.CA, Endorsement: c.Endorsement, Trusted: c.Trusted}, nil
}

// certify signs a certificate by the authority of this node's state.
func (n *Node) certify(public any, name mtls.Name) (c mtls.Credential, err error) {
	record := n.consensus.State().Authority()
	if record == nil {
		return c, status.Error(codes.Unavailable, errNotYet.Error())
	}
	a, err := signer(record)
	if err == nil {
		c, err = a.Issue(public, name, time.Now())
	}
	if err != nil {
		return c, status.Error(codes.Internal, err.Error())
	}
	return c, nil
}

// Enrolled is mtls.Access's: it returns nil for a data node whose id has no other key, and wasn't removed. PermissionDenied is the
// cluster's word, Unavailable that this node can't tell.
func (n *Node) Enrolled(ctx context.Context, p mtls.Peer) error {
	if enrolled(n.consensus.State().NodeKey(p.NodeID), p.KeySHA256, []mtls.Role{mtls.Data}) {
		return nil
	}
	return n.enrolledNow(ctx, p) // this node may be behind
}

// admit is for a node that registers: it refuses one that has just been removed, which a node that is behind doesn't
// know yet, and enrols one that has come with a certificate and no invitation.
func (n *Node) admit(ctx context.Context) error {
	p := mtls.PeerOf(ctx)
	if !p.Known() || p.Has(mtls.Meta) {
		return nil
	}
	if err := n.enrolledNow(ctx, p); err != nil || n.consensus.State().NodeKey(p.NodeID) != nil {
		return err
	}
	_, err := n.consensus.Propose(ctx, &raftfsm.EnrollNode{NodeID: p.NodeID, KeySHA256: p.KeySHA256[:], Roles: p.Roles}, consensus.ProposeOptions{Actor: p.NodeID})
	if err != nil {
		return statusError(err)
	}
	return nil
}

func (n *Node) enrolledNow(ctx context.Context, p mtls.Peer) error {
	state, err := n.consensus.Read(ctx)
	switch {
	case err != nil:
		return status.Error(codes.Unavailable, err.Error())
	case state.NodeKey(p.NodeID) == nil: // never invited, never removed: somebody with the authority's key has signed it
		return nil
	case !enrolled(state.NodeKey(p.NodeID), p.KeySHA256, []mtls.Role{mtls.Data}):
		return status.Errorf(codes.PermissionDenied, "node %q was removed, or another has its place: it has to be invited again (atoll node invite)", p.NodeID)
	}
	return nil
}
