package datanode

import (
	"bytes"
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
)

const (
	renewEvery = time.Hour       // how often the certificate is looked at
	renewRetry = time.Minute     // after a renewal that failed
	viewWait   = 2 * time.Second // for the view to know a node that has just joined
)

// renew looks after the process's certificate: it reads it again when its file has changed, and has it renewed when
// two thirds of its life are over. A metadata node in the same process does so itself, which leaves nothing to do.
func (n *Node) renew(ctx context.Context) {
	for {
		pause := renewEvery
		if err := n.renewOnce(ctx); err != nil && ctx.Err() == nil {
			pause = renewRetry
			n.cfg.Log.Warn("can't renew this node's certificate: it tries again", "until", n.cfg.Identity.NotAfter().UTC(), "err", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (n *Node) renewOnce(ctx context.Context) error {
	id := n.cfg.Identity
	changed, err := id.Reload()
	if err != nil {
		return err
	}
	if changed {
		n.cfg.Log.Info("read this node's certificate again", "until", id.NotAfter().UTC())
	}
	if !id.Due() {
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
	if err := id.Install(reply.GetCert(), reply.GetCa()); err != nil {
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
