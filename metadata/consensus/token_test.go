package consensus

import (
	"regexp"
	"strings"
	"testing"
)

func TestDerivedSecrets(t *testing.T) {
	key := []byte(strings.Repeat("k", 32))
	one := DeriveSecret(key, "caller", "a-key-of-16-bytes")
	if !regexp.MustCompile(`^atoll_[0-9A-Za-z]{40}$`).MatchString(one) {
		t.Errorf("secret %q has another form than a random one", one)
	}
	if DeriveSecret(key, "caller", "a-key-of-16-bytes") != one {
		t.Error("the same key makes another secret")
	}
	// It is what a retry at a node of another version shows: it must not change.
	if want := "atoll_Qkx66HJ4suxduhIeWzS8BXEUKd7BXMDizaqw5ODI"; one != want {
		t.Errorf("secret %q, released as %q", one, want)
	}
	for name, other := range map[string]string{
		"cluster": DeriveSecret([]byte(strings.Repeat("l", 32)), "caller", "a-key-of-16-bytes"),
		"caller":  DeriveSecret(key, "caller2", "a-key-of-16-bytes"),
		"key":     DeriveSecret(key, "caller", "b-key-of-16-bytes"),
		"split":   DeriveSecret(key, "callera", "-key-of-16-bytes"),
	} {
		if other == one {
			t.Errorf("another %s makes the same secret", name)
		}
	}
	if strings.Contains(one, "caller") {
		t.Error("the secret shows its caller")
	}
}
