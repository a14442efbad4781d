package raftfsm

import (
	"google.golang.org/protobuf/proto"
)

// OverlapMsMax bounds how long a rotated token works beside the new one: 90 days.
const OverlapMsMax = 90 * 24 * 60 * 60 * 1000

// RotateToken puts a new token in an old one's place, with its role and expiry, and its label if the new one has
// none. The old one ends after the overlap, and not later than it would have: at once where that is 0.
type RotateToken struct {
	TokenRef
	Token     NewToken // its role and expiry are not used
	OverlapMs uint64
}

func (c *RotateToken) fields(f *fields) {
	c.TokenRef.fields(f)
	c.Token.fields(f)
	f.u64(&c.OverlapMs)
}

func (c *RotateToken) apply(t *txn) (Result, *Error) {
	old, err := c.find(t)
	if err != nil {
		return Result{}, err
	}
	switch {
	case c.OverlapMs > OverlapMsMax:
		return Result{}, refuse(CodeInvalid, "overlap_ms", "overlap_ms is %d: it takes 0 to %d", c.OverlapMs, OverlapMsMax)
	case old.ReplacedBy != "":
		return Result{}, refuse(CodePrecondition, "token", "token %q was rotated already: rotate its successor %q", old.Id, old.ReplacedBy)
	case old.ExpiresMs != 0 && old.ExpiresMs <= t.timeMs:
		return Result{}, refuse(CodePrecondition, "token", "token %q has expired: create another", old.Id)
	}
	next := c.Token
	next.Role, next.ExpiresMs = old.Role, old.ExpiresMs
	if next.Label == "" {
		next.Label = old.Label
	}
	if err := t.createToken(t.Namespace(old.NamespaceId), next); err != nil {
		return Result{}, err
	}
	if c.OverlapMs == 0 {
		t.removeToken(old)
	} else {
		old = clone(old)
		old.ReplacedBy = next.ID
		if end := t.timeMs + int64(c.OverlapMs); old.ExpiresMs == 0 || end < old.ExpiresMs {
			old.ExpiresMs = end
		}
		t.putToken(old)
	}
	return Result{Revision: t.index, NamespaceID: old.NamespaceId, TokenIDs: []string{next.ID}}, nil
}

// UpdateToken changes a token's label and expiry.
type UpdateToken struct {
	TokenRef
	SetLabel  bool
	Label     string
	SetExpiry bool
	ExpiresMs int64 // Unix milliseconds; 0 is never
}

func (c *UpdateToken) fields(f *fields) {
	c.TokenRef.fields(f)
	f.boolean(&c.SetLabel)
	f.str(&c.Label)
	f.boolean(&c.SetExpiry)
	f.i64(&c.ExpiresMs)
}

func (c *UpdateToken) apply(t *txn) (Result, *Error) {
	old, err := c.find(t)
	if err != nil {
		return Result{}, err
	}
	token := clone(old)
	if c.SetLabel {
		if err := validateText("label", c.Label, LabelBytesMax); err != nil {
			return Result{}, err
		}
		token.Label = c.Label
	}
	if c.SetExpiry && c.ExpiresMs != old.ExpiresMs {
		switch {
		case old.ReplacedBy != "":
			return Result{}, refuse(CodePrecondition, "expires_at", "token %q was rotated: it ends when its overlap does", old.Id)
		case old.ExpiresMs != 0 && old.ExpiresMs <= t.timeMs:
			return Result{}, refuse(CodePrecondition, "expires_at", "token %q has expired: create another", old.Id)
		case c.ExpiresMs != 0 && c.ExpiresMs <= t.timeMs:
			return Result{}, refuse(CodeInvalid, "expires_at", "expires_at is not in the future")
		}
		if c.ExpiresMs != 0 {
			if err := t.notLastAdmin(old); err != nil {
				return Result{}, err
			}
		}
		token.ExpiresMs = c.ExpiresMs
	}
	if !proto.Equal(token, old) {
		t.putToken(token)
	}
	result := t.done()
	result.NamespaceID = old.NamespaceId
	return result, nil
}
