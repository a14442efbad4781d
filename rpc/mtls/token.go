package mtls

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	tokenPrefix  = "atollj_"
	tokenVersion = 1

	inviteIDBytes = 8
	// InviteSecretBytes is the length of an invitation's secret.
	InviteSecretBytes = 24
)

// JoinToken is what an invited process gets: which invitation to use, and which authority to trust.
type JoinToken struct {
	InviteID string // 16 hex digits
	Secret   [InviteSecretBytes]byte
	CA       [sha256.Size]byte // SHA-256 of the authority's certificate in DER
}

// InviteID returns the id of the invitation that 8 bytes stand for.
func InviteID(b [inviteIDBytes]byte) string { return hex.EncodeToString(b[:]) }

// String returns the token's text: "atollj_" and 87 characters.
func (t JoinToken) String() string {
	id, err := hex.DecodeString(t.InviteID)
	if err != nil || len(id) != inviteIDBytes {
		panic("invite id " + t.InviteID) // ids are made by InviteID
	}
	b := append([]byte{tokenVersion}, id...)
	b = append(b, t.Secret[:]...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(b, t.CA[:]...))
}

// ParseJoinToken reads what String returned; an error is ErrToken, and doesn't show the text.
func ParseJoinToken(s string) (JoinToken, error) {
	var t JoinToken
	text, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok {
		return t, fmt.Errorf("%w: it begins with %q", ErrToken, tokenPrefix)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(text) != base64.RawURLEncoding.EncodedLen(len(b)) { // the decoder skips line breaks
		return t, fmt.Errorf("%w: it has characters that none has", ErrToken)
	}
	switch {
	case len(b) > 0 && b[0] != tokenVersion:
		return t, fmt.Errorf("%w: it has version %d, this program knows version %d", ErrToken, b[0], tokenVersion)
	case len(b) != 1+inviteIDBytes+InviteSecretBytes+sha256.Size:
		return t, fmt.Errorf("%w: it is %d characters long: was it cut?", ErrToken, len(s))
	}
	b = b[1:]
	t.InviteID = hex.EncodeToString(b[:inviteIDBytes])
	b = b[inviteIDBytes:]
	copy(t.Secret[:], b)
	copy(t.CA[:], b[InviteSecretBytes:])
	return t, nil
}
