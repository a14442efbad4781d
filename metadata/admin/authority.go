package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/mtls"
)

func (a *api) registerAuthority(h huma.API) {
	const path = "/v1/cluster/authority"
	register(h, http.MethodGet, path, "get-authority", "Show the certificate authority, and whose certificates are of it", a.getAuthority)
	register(h, http.MethodPost, path, "begin-authority", "Make another certificate authority, by which every node renews its certificate by itself; both are trusted until that is finished", a.beginAuthority)
	register(h, http.MethodPost, path+"/finish", "finish-authority", "Take the trust from the certificate authority that is being replaced: what has a certificate of it alone is locked out, and join tokens that are open are void", a.finishAuthority)
}

func (a *api) getAuthority(ctx context.Context, _ *struct{}) (*reply[adminapi.Authority], error) {
	out, err := authorityJSON(callerOf(ctx).state)
	if err != nil {
		return nil, err
	}
	return &reply[adminapi.Authority]{out}, nil
}

type beginAuthorityInput struct {
	ChangeParams
}

func (a *api) beginAuthority(ctx context.Context, in *beginAuthorityInput) (*reply[adminapi.ChangedAuthority], error) {
	state := callerOf(ctx).state
	if state.Authority() == nil {
		return nil, noAuthority()
	}
	command, err := nextAuthority(state, a.Now())
	if err != nil {
		return nil, err
	}
	return a.changeAuthority(ctx, command, in.ChangeParams)
}

// nextAuthority makes an authority that the present one endorses.
func nextAuthority(state *raftfsm.State, now time.Time) (*raftfsm.BeginAuthority, error) {
	record, clusterID := state.Authority(), state.Cluster().GetClusterId()
	present, err := mtls.ReadAuthority(record.Cert, record.Key)
	if err == nil {
		err = present.Follow(record.Endorsement)
	}
	if err != nil {
		return nil, err
	}
	cert, key, err := mtls.NewAuthority(clusterID, now)
	if err != nil {
		return nil, err
	}
	next, err := mtls.ReadAuthority(cert, key)
	if err != nil {
		return nil, err
	}
	endorsement, err := present.Endorse(next.CA, clusterID, now)
	if err != nil {
		return nil, err
	}
	of := sha256.Sum256(record.Cert)
	return &raftfsm.BeginAuthority{Cert: cert, Key: key, Endorsement: endorsement, OfSHA256: of[:]}, nil
}

type finishAuthorityInput struct {
	ChangeParams
	Body adminapi.FinishAuthority
}

func (a *api) finishAuthority(ctx context.Context, in *finishAuthorityInput) (*reply[adminapi.ChangedAuthority], error) {
	return a.changeAuthority(ctx, &raftfsm.FinishAuthority{Force: in.Body.Force}, in.ChangeParams)
}

func (a *api) changeAuthority(ctx context.Context, command raftfsm.Command, p ChangeParams) (*reply[adminapi.ChangedAuthority], error) {
	result, err := a.propose(ctx, command, p)
	if err != nil {
		return nil, err
	}
	state, err := a.stateAt(ctx, result.Revision)
	if err != nil {
		return nil, err
	}

	out := adminapi.ChangedAuthority{}
	if out.Authority, err = authorityJSON(state); err != nil {
		return nil, err
	}
	out.Change = a.change(ctx, result, p)
	return &reply[adminapi.ChangedAuthority]{out}, nil
}

func noAuthority() *problem {
	return newProblem(adminapi.CodePrecondition, "the cluster has no certificate authority: its nodes don't use certificates, or it has just begun")
}

// authorityJSON describes the authority of a state, and who has which certificate.
func authorityJSON(state *raftfsm.State) (out adminapi.Authority, err error) {
	record := state.Authority()
	if record == nil {
		return out, noAuthority()
	}
	out = adminapi.Authority{Revision: state.Revision(), Unrenewed: append([]string{}, state.Unrenewed()...), Nodes: []adminapi.AuthorityNode{}}
	if out.Certificate, err = certJSON(record); err != nil {
		return out, err
	}
	if record.Next != nil {
		next, err := certJSON(record.Next)
		if err != nil {
			return out, err
		}
		out.Next = &next
	}
	for k := range state.NodeKeys() {
		if n, ok := authorityNode(state, k); ok {
			out.Nodes = append(out.Nodes, n)
		}
	}
	return out, nil
}

func certJSON(record *atollpb.CertificateAuthority) (adminapi.AuthorityCert, error) {
	cert, err := x509.ParseCertificate(record.Cert)
	if err != nil {
		return adminapi.AuthorityCert{}, err
	}
	sum := sha256.Sum256(record.Cert)
	return adminapi.AuthorityCert{SHA256: hex.EncodeToString(sum[:]), CreatedAt: time.UnixMilli(record.CreatedMs).UTC(), NotAfter: cert.NotAfter}, nil
}

// authorityNode describes a node that has a certificate; false for one that was removed, and has none that is good.
func authorityNode(state *raftfsm.State, k *atollpb.NodeKey) (adminapi.AuthorityNode, bool) {
	n := adminapi.AuthorityNode{ID: k.NodeId, Roles: []string{}, Certificate: certificateOf(state.Authority(), k)}
	for _, r := range k.Roles {
		n.Roles = append(n.Roles, mtls.RoleWord(r))
	}
	voter := slices.ContainsFunc(state.Cluster().GetMetadataNodes(), func(m *atollpb.MetadataNode) bool { return m.Id == k.NodeId })
	n.Removed = !voter && !slices.Contains(k.Roles, mtls.Data)
	return n, len(k.Roles) > 0 && !(n.Removed && n.Certificate == adminapi.AuthorityOlder)
}

func certificateOf(a *atollpb.CertificateAuthority, k *atollpb.NodeKey) string {
	shown := func(by *atollpb.CertificateAuthority) bool {
		sum := sha256.Sum256(by.Cert)
		return bytes.Equal(k.AuthoritySha256, sum[:])
	}
	switch {
	case a.Next != nil && shown(a.Next):
		return adminapi.AuthorityNext
	case shown(a), len(a.Endorsement) == 0: // the first one asks for no proof
		return adminapi.AuthorityCurrent
	}
	return adminapi.AuthorityOlder
}
