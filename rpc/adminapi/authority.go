package adminapi

import (
	"context"
	"net/http"
	"time"
)

// The authorities that a node's certificate may be of.
const (
	AuthorityCurrent = "current"
	AuthorityNext    = "next"
	AuthorityOlder   = "older"
)

// Authority is the cluster's certificate authority, without its key, and what the nodes have of it.
type Authority struct {
	Revision    uint64          `json:"revision"`
	Certificate AuthorityCert   `json:"certificate" doc:"the present one"`
	Next        *AuthorityCert  `json:"next,omitempty" doc:"the one that takes its place: it signs already, and both are trusted until that is finished"`
	Unrenewed   []string        `json:"unrenewed" doc:"nodes without a certificate of next, which finishing would lock out; without next: nodes that are locked out and have to be invited again"`
	Nodes       []AuthorityNode `json:"nodes" doc:"by id"`
}

// AuthorityCert is what is public of an authority.
type AuthorityCert struct {
	SHA256    string    `json:"sha256" doc:"of its certificate in DER, in hexadecimal; join tokens name it" example:"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
	CreatedAt time.Time `json:"created_at"`
	NotAfter  time.Time `json:"not_after" doc:"when it ends"`
}

// AuthorityNode is one node with a certificate.
type AuthorityNode struct {
	ID          string   `json:"id"`
	Roles       []string `json:"roles" enum:"meta,data"`
	Certificate string   `json:"certificate" enum:"current,next,older" doc:"the authority whose certificate it has last shown; older: nobody takes it any more"`
	Removed     bool     `json:"removed,omitempty" doc:"a metadata node that was taken out of the cluster: its certificate is good until the authority is replaced"`
}

// FinishAuthority asks for the end of a replacement.
type FinishAuthority struct {
	Force bool `json:"force,omitempty" doc:"also if that locks nodes out, which have to be invited again"`
}

// ChangedAuthority answers a change of the authority.
type ChangedAuthority struct {
	Change
	Authority Authority `json:"authority"`
}

const authorityPath = "/v1/cluster/authority"

// Authority returns the cluster's certificate authority, and how far its nodes have renewed.
func (c *Client) Authority(ctx context.Context) (Authority, error) {
	return call[Authority](ctx, c, http.MethodGet, at(authorityPath), nil)
}

// BeginAuthority makes another authority, by which every node renews its certificate. Both are trusted until FinishAuthority.
func (c *Client) BeginAuthority(ctx context.Context, opts ...Option) (ChangedAuthority, error) {
	return call[ChangedAuthority](ctx, c, http.MethodPost, at(authorityPath), nil, opts...)
}

// FinishAuthority takes the trust from the authority that is being replaced.
func (c *Client) FinishAuthority(ctx context.Context, in FinishAuthority, opts ...Option) (ChangedAuthority, error) {
	return call[ChangedAuthority](ctx, c, http.MethodPost, at(authorityPath+"/finish"), in, opts...)
}
