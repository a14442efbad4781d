package consensus

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"strings"
)

const (
	secretPrefix = "atoll_"
	secretChars  = 40
	base62       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	secretMin    = 16 // of a file that the operator wrote
	secretMax    = 512
)

// NewSecret returns a new token's secret: "atoll_" and 40 random characters (238 bits).
func NewSecret() string {
	b := []byte(secretPrefix)
	for range secretChars {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(base62))))
		if err != nil {
			panic(err) // crypto/rand never fails
		}
		b = append(b, base62[n.Int64()])
	}
	return string(b)
}

// HashSecret returns how the state knows a token: HMAC-SHA-256 of its secret under the cluster's key.
func HashSecret(key []byte, secret string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(secret))
	return h.Sum(nil)
}

// adminSecret returns the admin's secret from its file, which it makes if there is none. It is called
// only before the cluster is initialised, so a crash between file and cluster loses nothing.
func adminSecret(path string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret := NewSecret()
		if err := writeFile(path, []byte(secret+"\n")); err != nil {
			return "", fmt.Errorf("write admin token file: %w", err)
		}
		return secret, nil
	}
	if err != nil {
		return "", fmt.Errorf("read admin token file: %w", err)
	}
	secret := strings.TrimSpace(string(data))
	if len(secret) < secretMin || len(secret) > secretMax {
		return "", fmt.Errorf("admin token file %s holds %d bytes: a token takes %d to %d", path, len(secret), secretMin, secretMax)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return "", fmt.Errorf("protect admin token file: %w", err)
	}
	return secret, nil
}
