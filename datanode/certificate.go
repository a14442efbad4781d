package datanode

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
)

const (
	renewEvery = time.Hour              // how often the certificate is looked at
	renewFirst = 250 * time.Millisecond // after a renewal that failed, and twice as long after each other
	renewRetry = time.Minute            // at most
	viewWait   = 2 * time.Second        // for the view to know a node that has just joined
)

// renew looks after the process's certificate: it reads it again when its file has changed, and has it renewed when
// two thirds of its life are over, or the cluster's authority is being replaced. A metadata node in the same process does
// so itself, which leaves nothing to do.
func (n *Node) renew(ctx context.Context) {
	for retry := renewFirst; ; {
		pause, seen := renewEvery, n.authorities()
		if err := n.renewOnce(ctx); err != nil && ctx.Err() == nil {
			pause, retry = retry, min(2*retry, renewRetry)
			n.cfg.Log.Warn("can't renew this node's certificate: it tries again", "until", n.cfg.Identity.NotAfter().UTC(), "err", err)
		} else {
			retry = renewFirst
		}
		if !n.awaitAuthorities(ctx, seen, pause) {
			return
		}
	}
}

// authorities returns those that the view says are trusted, the one that signs last; nil: it doesn't say.
func (n *Node) authorities() [][]byte {
	if v := n.views.Current(); v != nil {
		return v.Cluster().GetAuthorities()
	}
	return nil
}

// awaitAuthorities waits until the view names other authorities, or the time is over; false says that the context has
// ended.
func (n *Node) awaitAuthorities(ctx context.Context, seen [][]byte, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		changed := n.views.Changed()
		if !slices.EqualFunc(seen, n.authorities(), bytes.Equal) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-changed:
		}
	}
}

// replaces returns the authority that takes the place of the one that this node's certificate is of; nil: there is none.
// What the view doesn't know is newer than the view.
func (n *Node) replaces() []byte {
	list, ca := n.authorities(), n.cfg.Identity.Authority()
	i := slices.IndexFunc(list, func(a []byte) bool { return bytes.Equal(a, ca) })
	if i < 0 || i == len(list)-1 || n.cfg.KeepJoining { // else the process's metadata node sees to it
		return nil
	}
	return list[len(list)-1]
}

// errBehind says that another metadata node has to be asked, or the same one later.
var errBehind = errors.New("the metadata node doesn't know yet that the certificate authority is being replaced")

func (n *Node) renewOnce(ctx context.Context) error {
	id := n.cfg.Identity
	changed, err := id.Reload()
	if err != nil {
		return err
	}
	if changed {
		n.cfg.Log.Info("read this node's certificate again", "until", id.NotAfter().UTC())
	}
	if err := id.Trust(n.authorities()); err != nil {
		return err
	}
	next := n.replaces()
	if !id.Due() && next == nil {
		return nil
	}
	var reply *atollpb.RenewResponse
	_, err = n.meta.tryConn(ctx, callTimeout, func(ctx context.Context, c probe) (err error) {
		reply, err = atollpb.NewEnrolmentClient(c).Renew(ctx, &atollpb.RenewRequest{ClusterId: n.clusterID(), NodeId: n.cfg.NodeID})
		return err
	})
	if err != nil {
		return err
	}
	if next != nil && !bytes.Equal(reply.GetCa(), next) {
		return errBehind
	}
	err = id.Install(mtls.Credential{Cert: reply.GetCert(), CA: reply.GetCa(), Endorsement: reply.GetEndorsement(), Trusted: reply.GetTrusted()})
	if err != nil {
		return err
	}
	n.cfg.Log.Info("renewed this node's certificate", "until", id.NotAfter().UTC())
	return nil
}

// Enrolled is mtls.Access's: it returns nil for a node that this node's view knows, with its key. A node that was
// registered before it had one is known by its id.
func (n *Node) Enrolled(ctx context.Context, p mtls.Peer) error {
	ctx, cancel := context.WithTimeout(ctx, viewWait)
	defer cancel()
	for {
		changed := n.views.Changed()
		if v := n.views.Current(); v != nil {
			node := v.Node(p.NodeID)
			key := node.GetKeySha256()
			if node != nil && (len(key) == 0 || bytes.Equal(key, p.KeySHA256[:])) {
				return nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status.Errorf(codes.Unavailable, "this node's view doesn't know node %q with its key: was it removed?", p.NodeID)
		}
	}
}
