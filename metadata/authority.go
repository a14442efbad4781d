package metadata

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
)

// signer returns the authority that signs, with what came before it.
func signer(record *atollpb.CertificateAuthority) (*mtls.Authority, error) {
	signs := raftfsm.Signer(record)
	a, err := mtls.ReadAuthority(signs.Cert, signs.Key)
	if err != nil {
		return nil, err
	}
	if signs == record {
		return a, a.Follow(record.Endorsement)
	}
	return a, a.Follow(signs.Endorsement, record.Cert)
}

// currentAuthority returns the authority that signs, and the state that says so. This node's own state may be behind, and
// would take it back to an authority that was replaced: one that isn't its certificate's is looked up at the leader.
func (n *Node) currentAuthority(ctx context.Context, state *raftfsm.State) (*raftfsm.State, *mtls.Authority, error) {
	had := n.config.Identity.Authority()
	if had != nil && !bytes.Equal(had, raftfsm.Signer(state.Authority()).Cert) {
		var err error
		if state, err = n.consensus.Read(ctx); err != nil {
			return nil, nil, fmt.Errorf("look up the cluster's certificate authority: %w", err)
		}
	}
	a, err := signer(state.Authority())
	return state, a, err
}

// awaitAuthority waits until the state's authority is another record, or the time is over; false says that the context
// has ended.
func (n *Node) awaitAuthority(ctx context.Context, seen *atollpb.CertificateAuthority, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		changed := n.consensus.Feed().Changed()
		if n.consensus.State().Authority() != seen { // records are immutable: another one is another pointer
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

// unproven reports whether a peer has shown a certificate of the authority that signs, and the state doesn't say so. A
// cluster that has had one authority alone needs no proof.
func unproven(state *raftfsm.State, p mtls.Peer) bool {
	a := state.Authority()
	if a == nil || a.Next == nil && len(a.Endorsement) == 0 || p.Authority != sha256.Sum256(raftfsm.Signer(a).Cert) {
		return false
	}
	k := state.NodeKey(p.NodeID)
	return k != nil && bytes.Equal(k.KeySha256, p.KeySHA256[:]) && !bytes.Equal(k.AuthoritySha256, p.Authority[:])
}

// prove records that a node has shown a certificate of the authority that signs, if that isn't known.
func (n *Node) prove(ctx context.Context, p mtls.Peer) error {
	if !unproven(n.consensus.State(), p) {
		return nil
	}
	_, err := n.consensus.Propose(ctx, &raftfsm.ProveAuthority{NodeID: p.NodeID, KeySHA256: p.KeySHA256[:], AuthoritySHA256: p.Authority[:]},
		consensus.ProposeOptions{Actor: p.NodeID})
	if err != nil {
		return fmt.Errorf("record that node %s has renewed its certificate: %w", p.NodeID, err)
	}
	return nil
}

// Shown is mtls.Access's: it hears of the nodes that call, whose proof the state may lack.
func (n *Node) Shown(p mtls.Peer) {
	if unproven(n.consensus.State(), p) {
		n.proofs.add(p)
	}
}

// proofs are nodes that have shown a certificate of the authority that signs, which the state doesn't know yet.
type proofs struct {
	mu   sync.Mutex
	open map[string]mtls.Peer // by node id: who is here is enrolled, so they are few
	wake chan struct{}
}

func newProofs() *proofs {
	return &proofs{open: map[string]mtls.Peer{}, wake: make(chan struct{}, 1)}
}

func (p *proofs) add(peer mtls.Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[peer.NodeID] = peer
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *proofs) take() []mtls.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []mtls.Peer
	for id, peer := range p.open {
		all = append(all, peer)
		delete(p.open, id)
	}
	return all
}

// recordProofs proposes what Shown has heard, until the context ends. One that fails comes again with the node's next
// report.
func (n *Node) recordProofs(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.proofs.wake:
		}
		for _, p := range n.proofs.take() {
			if err := n.prove(ctx, p); err != nil && ctx.Err() == nil {
				n.config.Log.Debug("can't record a renewed certificate yet", "node", p.NodeID, "error", err)
			}
		}
	}
}
