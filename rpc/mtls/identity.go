package mtls

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/rpc/atomicfile"
)

const (
	keyFile  = "node.key"      // PKCS #8
	certFile = "node.crt"      // of the node, then of the authority
	authFile = "authority.pem" // of a metadata node: the authority's certificate and key
)

// Identity is a process's key and certificate, kept in files of a directory. Its methods may be called from any
// goroutine; what they change holds for the next connection, without a restart.
type Identity struct {
	dir string
	key *ecdsa.PrivateKey

	mu      sync.Mutex // held to change the files
	current atomic.Pointer[material]
	ready   chan struct{} // closed once there is a certificate
	once    sync.Once
	now     func() time.Time
}

// material is a certificate with what follows from it.
type material struct {
	pem  []byte
	tls  tls.Certificate
	leaf *x509.Certificate
	ca   *x509.Certificate
	pool *x509.CertPool
	peer Peer // this process
}

func newIdentity(dir string) *Identity {
	return &Identity{dir: dir, ready: make(chan struct{}), now: time.Now}
}

// OpenIdentity reads the identity of a directory, which exists and is this user's alone. A new one gets a key; its
// certificate comes by Install. It fails with ErrDamage when a file can't be used.
func OpenIdentity(dir string) (*Identity, error) {
	i := newIdentity(dir)
	data, err := os.ReadFile(filepath.Join(dir, keyFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := i.makeKey(); err != nil {
			return nil, fmt.Errorf("make the node's key: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("read the node's key: %w", err)
	default:
		if i.key, err = parseKey(data); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, keyFile), err)
		}
	}
	if _, err := i.Reload(); err != nil {
		return nil, err
	}
	return i, nil
}

func (i *Identity) makeKey() error {
	var err error
	if i.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(i.dir, keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%w: the key is not PEM", ErrDamage)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamage, err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok || ec.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: the key is not one of ECDSA on P-256", ErrDamage)
	}
	return ec, nil
}

// Reload reads the certificate's file again, and reports whether it is another one. Without a file the identity
// stays as it is.
func (i *Identity) Reload() (changed bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	path := filepath.Join(i.dir, certFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the node's certificate: %w", err)
	}
	if m := i.current.Load(); m != nil && bytes.Equal(m.pem, data) {
		return false, nil
	}
	m, err := i.parse(data)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	i.use(m)
	return true, nil
}

// Install takes a new certificate and its authority's, in DER, and keeps them.
func (i *Identity) Install(cert, ca []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca})...)
	m, err := i.parse(data)
	if err != nil {
		return fmt.Errorf("install a certificate: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(i.dir, certFile), data); err != nil {
		return fmt.Errorf("write the node's certificate: %w", err)
	}
	i.use(m)
	return nil
}

func (i *Identity) use(m *material) {
	i.current.Store(m)
	i.once.Do(func() { close(i.ready) })
}

// await returns the certificate, waiting for the first one for as long as the context lasts.
func (i *Identity) await(ctx context.Context) (*material, error) {
	select {
	case <-i.ready:
		return i.current.Load(), nil
	case <-ctx.Done():
		return nil, ErrNoIdentity
	}
}

// parse reads a certificate's file, whose two certificates have to fit each other and the key. Their times don't
// count: an expired certificate is still an identity.
func (i *Identity) parse(data []byte) (*material, error) {
	m := &material{pem: data}
	for rest := data; len(m.tls.Certificate) < 2; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("%w: it takes the node's certificate and the authority's, in PEM", ErrDamage)
		}
		m.tls.Certificate = append(m.tls.Certificate, block.Bytes)
	}
	var err error
	if m.leaf, err = x509.ParseCertificate(m.tls.Certificate[0]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamage, err)
	}
	if m.ca, err = x509.ParseCertificate(m.tls.Certificate[1]); err != nil {
		return nil, fmt.Errorf("%w: the authority's: %w", ErrDamage, err)
	}
	if !i.key.PublicKey.Equal(m.leaf.PublicKey) {
		return nil, fmt.Errorf("%w: it is not of the node's key", ErrDamage)
	}
	if err := m.leaf.CheckSignatureFrom(m.ca); err != nil {
		return nil, fmt.Errorf("%w: it is not of the authority beside it: %w", ErrDamage, err)
	}
	if m.peer, err = peerOf(m.leaf); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamage, err)
	}
	m.tls.PrivateKey, m.tls.Leaf = i.key, m.leaf
	m.pool = x509.NewCertPool()
	m.pool.AddCert(m.ca)
	return m, nil
}

// Own returns what this process's certificate says of it; false as long as there is none.
func (i *Identity) Own() (Peer, bool) {
	m := i.current.Load()
	if m == nil {
		return Peer{}, false
	}
	return m.peer, true
}

// Authority returns the certificate of the cluster's authority in DER; nil as long as there is none.
func (i *Identity) Authority() []byte {
	m := i.current.Load()
	if m == nil {
		return nil
	}
	return m.ca.Raw
}

// PublicKey returns the key that certificates of this process have, with the SHA-256 of its PKIX form.
func (i *Identity) PublicKey() (public *ecdsa.PublicKey, sum [sha256.Size]byte) {
	der, err := x509.MarshalPKIXPublicKey(&i.key.PublicKey)
	if err != nil {
		panic(err) // the key is one of P-256
	}
	return &i.key.PublicKey, sha256.Sum256(der)
}

// Request returns a PKCS #10 request in DER for the process's key.
func (i *Identity) Request() ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, i.key)
	if err != nil {
		return nil, fmt.Errorf("request a certificate: %w", err)
	}
	return der, nil
}

// Due reports whether the certificate should be renewed: two thirds of its life are over, or there is none.
func (i *Identity) Due() bool {
	m := i.current.Load()
	if m == nil {
		return true
	}
	life := m.leaf.NotAfter.Sub(m.leaf.NotBefore)
	return i.now().After(m.leaf.NotBefore.Add(life * 2 / 3))
}

// NotAfter returns when the certificate ends; the zero time as long as there is none.
func (i *Identity) NotAfter() time.Time {
	m := i.current.Load()
	if m == nil {
		return time.Time{}
	}
	return m.leaf.NotAfter
}

// KeepAuthority keeps the cluster's authority, of a metadata node: its state has it only once a leader is there, and
// metadata nodes whose certificates have ended while all were down find none without.
func (i *Identity) KeepAuthority(cert, key []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	data = append(data, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	path := filepath.Join(i.dir, authFile)
	if had, err := os.ReadFile(path); err == nil && bytes.Equal(had, data) {
		return nil
	}
	if err := atomicfile.Write(path, data); err != nil {
		return fmt.Errorf("write the cluster's certificate authority: %w", err)
	}
	return nil
}

// KeptAuthority returns what KeepAuthority has kept; nil if nothing.
func (i *Identity) KeptAuthority() (*Authority, error) {
	path := filepath.Join(i.dir, authFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the cluster's certificate authority: %w", err)
	}
	cert, rest := pem.Decode(data)
	key, _ := pem.Decode(rest)
	if cert == nil || key == nil {
		return nil, fmt.Errorf("%s: %w: it takes the authority's certificate and key, in PEM", path, ErrDamage)
	}
	a, err := ReadAuthority(cert.Bytes, key.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrDamage, err)
	}
	return a, nil
}
