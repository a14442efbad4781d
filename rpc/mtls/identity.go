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
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atolldb/atoll/rpc/atomicfile"
)

const (
	keyFile  = "node.key"      // PKCS #8
	certFile = "node.crt"      // of the node, then of the authority, its endorsement, and of others that are trusted
	authFile = "authority.pem" // of a metadata node: the authority's certificate and key, then as in certFile
)

// Identity is a process's key and certificate, kept in files of a directory. Its methods may be called from any
// goroutine; what they change holds for the next connection, without a restart.
type Identity struct {
	dir string
	key *ecdsa.PrivateKey

	conns     conns
	redialers redialers

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

	endorsement *x509.Certificate   // of ca; nil: it is the cluster's first
	trusted     []*x509.Certificate // ca, and others while one takes the other's place
}

func (m *material) credential() Credential {
	c := Credential{Cert: m.leaf.Raw, CA: m.ca.Raw}
	if m.endorsement != nil {
		c.Endorsement = m.endorsement.Raw
	}
	return c
}

func newIdentity(dir string) *Identity {
	i := &Identity{dir: dir, ready: make(chan struct{}), now: time.Now}
	i.redialers.i = i
	return i
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
	changed, err = i.reload()
	i.mu.Unlock()
	if changed {
		i.redialers.tell()
	}
	return changed, err
}

func (i *Identity) reload() (changed bool, err error) {
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

// Install takes a new certificate with what belongs to it, and keeps them. Connections are made anew by it.
func (i *Identity) Install(c Credential) error {
	i.mu.Lock()
	err := i.install(c)
	i.mu.Unlock()
	if err == nil {
		i.redialers.tell()
	}
	return err
}

func (i *Identity) install(c Credential) error {
	data := appendCerts(nil, c.Cert, c.CA)
	if len(c.Endorsement) > 0 {
		data = appendCerts(data, c.Endorsement)
	}
	data = appendCerts(data, c.Trusted...)
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

func appendCerts(data []byte, certs ...[]byte) []byte {
	for _, der := range certs {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return data
}

// use makes new material the process's. What is open of authorities that it doesn't trust any more is cut after a while.
func (i *Identity) use(m *material) {
	old := i.current.Swap(m)
	i.once.Do(func() { close(i.ready) })
	if old == nil {
		return
	}
	var gone [][sha256.Size]byte
	for _, ca := range old.trusted {
		if !slices.ContainsFunc(m.trusted, ca.Equal) {
			gone = append(gone, sha256.Sum256(ca.Raw))
		}
	}
	if len(gone) > 0 {
		time.AfterFunc(CutWait, func() { i.conns.cut(gone) })
	}
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
	certs, err := parseCerts(data)
	if err != nil {
		return nil, err
	}
	if len(certs) < 2 {
		return nil, fmt.Errorf("%w: it takes the node's certificate and the authority's, in PEM", ErrDamage)
	}
	m.leaf, m.ca = certs[0], certs[1]
	m.endorsement, m.trusted = sortCerts(certs[2:])
	m.trusted = append([]*x509.Certificate{m.ca}, m.trusted...)
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
	m.tls.Certificate = [][]byte{m.leaf.Raw, m.ca.Raw}
	if m.endorsement != nil {
		m.tls.Certificate = append(m.tls.Certificate, m.endorsement.Raw)
	}
	for at, ca := range m.trusted {
		m.pool.AddCert(ca)
		if at > 0 { // peers that know nothing newer find their authority among what is shown
			m.tls.Certificate = append(m.tls.Certificate, ca.Raw)
		}
	}
	return m, nil
}

// parseCerts reads every certificate of a file.
func parseCerts(data []byte) (certs []*x509.Certificate, err error) {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return certs, nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrDamage, len(certs)+1, err)
		}
		certs, data = append(certs, cert), rest
	}
}

// sortCerts tells an endorsement from authorities.
func sortCerts(certs []*x509.Certificate) (endorsement *x509.Certificate, authorities []*x509.Certificate) {
	for _, c := range certs {
		if c.IsCA {
			authorities = append(authorities, c)
		} else {
			endorsement = c
		}
	}
	return endorsement, authorities
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
func (i *Identity) KeepAuthority(a *Authority) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return fmt.Errorf("write the key of the cluster's certificate authority: %w", err)
	}
	data := append(appendCerts(nil, a.CA.Raw), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if a.endorsement != nil {
		data = appendCerts(data, a.endorsement.Raw)
	}
	for _, ca := range a.trusted {
		data = appendCerts(data, ca.Raw)
	}
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
	key, rest := pem.Decode(rest)
	if cert == nil || key == nil {
		return nil, fmt.Errorf("%s: %w: it takes the authority's certificate and key, in PEM", path, ErrDamage)
	}
	a, err := ReadAuthority(cert.Bytes, key.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrDamage, err)
	}
	more, err := parseCerts(rest)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	a.endorsement, a.trusted = sortCerts(more)
	return a, nil
}
