package mtls

import (
	"errors"
	"strings"
	"testing"
)

func TestJoinToken(t *testing.T) {
	token := JoinToken{InviteID: "00112233aabbccff", Secret: [InviteSecretBytes]byte{1, 2, 3}, CA: [32]byte{4, 5, 6}}
	text := token.String()
	if got, err := ParseJoinToken(text); err != nil || got != token {
		t.Errorf("%+v, %v", got, err)
	}
	if len(text) != len(tokenPrefix)+87 {
		t.Errorf("%d characters", len(text))
	}
	for name, bad := range map[string]string{
		"empty":           "",
		"of a namespace":  "atoll_" + text[len(tokenPrefix):],
		"prefix alone":    tokenPrefix,
		"cut":             text[:len(text)-4],
		"longer":          text + "AAAA",
		"with a line end": text + "\n",
		"with a space":    text[:20] + " " + text[20:],
		"another version": tokenPrefix + "Ag" + text[len(tokenPrefix)+2:],
	} {
		_, err := ParseJoinToken(bad)
		if !errors.Is(err, ErrToken) || strings.Contains(err.Error(), text[20:40]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseJoinToken(f *testing.F) {
	f.Add(JoinToken{InviteID: "00112233aabbccff"}.String())
	f.Add("atollj_AQ")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := ParseJoinToken(s)
		if err != nil {
			if !errors.Is(err, ErrToken) {
				t.Error(err)
			}
			return
		}
		if token.String() != s {
			t.Errorf("%q reads as %q", s, token)
		}
	})
}
