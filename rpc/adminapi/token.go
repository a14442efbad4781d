package adminapi

import "time"

// Token is a credential of a namespace, without its secret.
type Token struct {
	ID               string     `json:"id" doc:"public" example:"tok_2f6n4c5dbu7t3qkzq6m3h4a5wi"`
	Namespace        string     `json:"namespace" example:"acme"`
	Role             string     `json:"role" enum:"read-only,read-write,viewer,operator,admin"`
	Label            string     `json:"label,omitempty" example:"dashboards"`
	CreatedAt        time.Time  `json:"created_at"`
	ExpiresAt        *time.Time `json:"expires_at,omitempty" doc:"absent: never"`
	ReplacedBy       string     `json:"replaced_by,omitempty" doc:"id of the token that it was rotated to; it ends at expires_at"`
	ModifiedRevision uint64     `json:"modified_revision" doc:"in quotes it is the ETag"`
	LastUsedAt       *time.Time `json:"last_used_at,omitempty" doc:"the latest use that the live nodes know of since their start; absent: none; only when tokens are listed or one is shown"`
	Connections      uint64     `json:"connections,omitempty" doc:"that are authenticated by it now, on all live nodes; only when tokens are listed or one is shown"`
}

// TokenList is one page of the tokens of a namespace by id.
type TokenList struct {
	Revision uint64  `json:"revision"`
	Tokens   []Token `json:"tokens"`
	Next     string  `json:"next,omitempty" doc:"pass as after to get the next page; empty on the last"`
}

// CreateToken asks for a new token.
type CreateToken struct {
	Secret    string     `json:"secret,omitempty" doc:"the server's secret-bytes-min (16 by default) to 512 bytes; absent: one is made"`
	Role      string     `json:"role,omitempty" doc:"read-write (default), read-only, or on the default namespace viewer, operator and admin: roles of this API" example:"read-only"`
	Label     string     `json:"label,omitempty" doc:"at most 128 bytes" example:"dashboards"`
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"absent: never"`
}

// CreatedToken is a new token with its secret.
type CreatedToken struct {
	Token
	Secret string `json:"secret,omitempty" doc:"shown here, and again in the answer to a retry with the same Idempotency-Key; absent in that of a retry whose secret can't be made again"`
}

// CreatedTokenReply answers CreateToken and RotateToken.
type CreatedTokenReply struct {
	Change
	Token CreatedToken `json:"token"`
}

// RotateToken asks for a token in another's place, with its role and expiry.
type RotateToken struct {
	OverlapMs int64  `json:"overlap_ms,omitempty" minimum:"0" maximum:"7776000000" doc:"milliseconds for which the old token works on, at most 90 days; 0: it ends at once" example:"3600000"`
	Secret    string `json:"secret,omitempty" doc:"as in creation"`
	Label     string `json:"label,omitempty" doc:"at most 128 bytes; absent: the old one's" example:"dashboards"`
}

// UpdateToken changes a token. What is absent stays.
type UpdateToken struct {
	Label     *string `json:"label,omitempty" doc:"at most 128 bytes" example:"dashboards"`
	ExpiresAt string  `json:"expires_at,omitempty" doc:"a time (RFC 3339), or never" example:"2030-01-01T00:00:00Z"`
}

// UpdatedToken answers UpdateToken.
type UpdatedToken struct {
	Change
	Token Token `json:"token"`
}
