package consensus

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"strings"

	"github.com/atolldb/atoll/rpc/atomicfile"
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

// secretDomain is in what secrets are derived from. No secret holds it, since none has control characters: so no
// token's hash is the origin of another's secret.
const secretDomain = "\x00atoll token secret\x00"

// DeriveSecret returns the secret that an idempotency key of a caller stands for, in the form of NewSecret: from
// HMAC-SHA-256 under the cluster's key of the caller and the idempotency key. Who doesn't know that one can't make
// the secret from the state, which holds its SHA-256 alone.
func DeriveSecret(key []byte, caller, idempotencyKey string) string {
	h := hmac.New(sha256.New, key)
	for _, part := range []string{secretDomain, caller, idempotencyKey} {
		h.Write(binary.AppendUvarint(nil, uint64(len(part)))) // with its length, so that no two lists run together
		h.Write([]byte(part))
	}
	n, base := new(big.Int).SetBytes(h.Sum(nil)), big.NewInt(int64(len(base62)))
	b := []byte(secretPrefix)
	for range secretChars { // 62^40 is below 2^239
		digit := new(big.Int)
		n.DivMod(n, base, digit)
		b = append(b, base62[digit.Int64()])
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
		if err := atomicfile.Write(path, []byte(secret+"\n")); err != nil {
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
