package adminapi

import (
	"context"
	"net/http"
	"time"
)

// The roles that an invitation may be for.
const (
	InviteData   = "data"
	InviteMeta   = "meta"
	InviteServer = "server"
)

// InviteTTLMax is the longest time that an invitation may be good for.
const InviteTTLMax = 365 * 24 * time.Hour

// Invite lets nodes join the cluster, without its secret.
type Invite struct {
	ID        string    `json:"id" example:"5f0c9a3e7b12d846"`
	Role      string    `json:"role" enum:"data,meta,server" doc:"of the nodes; server: of any"`
	NodeID    string    `json:"node_id,omitempty" doc:"of the one node that may use it; absent: any new node"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Uses      uint32    `json:"uses" doc:"how many nodes have used it"`
	UsesMax   uint32    `json:"uses_max"`
}

// InviteList is one page of the invitations by id. Those that are used up or expired stay for a while.
type InviteList struct {
	Revision uint64   `json:"revision"`
	Invites  []Invite `json:"invites"`
	Next     string   `json:"next,omitempty" doc:"pass as after to get the next page; empty on the last"`
}

// CreateInvite asks for an invitation.
type CreateInvite struct {
	Role   string `json:"role,omitempty" enum:"data,meta,server" doc:"of the nodes; absent: data" example:"data"`
	TTLMs  int64  `json:"ttl_ms,omitempty" minimum:"0" maximum:"31536000000" doc:"milliseconds until it expires, at most a year; 0: an hour" example:"3600000"`
	Uses   uint32 `json:"uses,omitempty" minimum:"0" maximum:"100" doc:"nodes that may use it; 0: one" example:"1"`
	NodeID string `json:"node_id,omitempty" doc:"of the one node that may use it; it may take the place of a node of that id" example:"data-1"`
}

// CreatedInvite answers CreateInvite.
type CreatedInvite struct {
	Change
	Invite    Invite `json:"invite"`
	JoinToken string `json:"join_token,omitempty" doc:"shown here, and again in the answer to a retry with the same Idempotency-Key"`
}

func invite(id string) target { return at("/v1/invites").id("invite id", id) }

// CreateInvite makes an invitation.
func (c *Client) CreateInvite(ctx context.Context, in CreateInvite, opts ...Option) (CreatedInvite, error) {
	return call[CreatedInvite](ctx, c, http.MethodPost, at("/v1/invites"), in, opts...)
}

// Invites returns the invitations.
func (c *Client) Invites(ctx context.Context) ([]Invite, error) {
	return pages(at("/v1/invites"), func(to target) ([]Invite, string, error) {
		list, err := call[InviteList](ctx, c, http.MethodGet, to, nil)
		return list.Invites, list.Next, err
	})
}

// DeleteInvite takes an invitation back; nodes that have used it stay.
func (c *Client) DeleteInvite(ctx context.Context, id string, opts ...Option) (Change, error) {
	return call[Change](ctx, c, http.MethodDelete, invite(id), nil, opts...)
}
