package mtls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// How long certificates are good. They begin an hour back, so that clocks may be off by as much.
const (
	certLife  = 90 * 24 * time.Hour
	caLife    = 10 * 365 * 24 * time.Hour
	clockSlop = time.Hour
)

// Authority signs the certificates of one cluster.
type Authority struct {
	CA  *x509.Certificate
	key *ecdsa.PrivateKey

	endorsement *x509.Certificate   // by the authority before it; nil: there was none
	trusted     []*x509.Certificate // other authorities, while one takes the other's place
}

// Credential is what a process shows, and whom it trusts; in DER.
type Credential struct {
	Cert        []byte   // the process's own
	CA          []byte   // of the authority that has signed it
	Endorsement []byte   // of CA, by the authority before it; empty: there was none
	Trusted     [][]byte // other authorities that are trusted, while one takes the other's place
}

// NewAuthority makes the authority of a cluster: its certificate in DER and its key in PKCS #8.
func NewAuthority(clusterID string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make the cluster's certificate authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"atoll"}, CommonName: clusterID},
		NotBefore: now.Add(-clockSlop), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	cert, err = x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err == nil {
		key, err = x509.MarshalPKCS8PrivateKey(private)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make the cluster's certificate authority: %w", err)
	}
	return cert, key, nil
}

// ReadAuthority reads what NewAuthority made.
func ReadAuthority(cert, key []byte) (*Authority, error) {
	ca, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's certificate authority: %w", err)
	}
	private, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("read the key of the cluster's certificate authority: %w", err)
	}
	ec, ok := private.(*ecdsa.PrivateKey)
	if !ok || !ec.PublicKey.Equal(ca.PublicKey) {
		return nil, errors.New("the key of the cluster's certificate authority is not that of its certificate")
	}
	return &Authority{CA: ca, key: ec}, nil
}

// Follow says what came before the authority: who has endorsed it, and which others are trusted still; in DER.
func (a *Authority) Follow(endorsement []byte, trusted ...[]byte) error {
	a.endorsement, a.trusted = nil, nil
	if len(endorsement) > 0 {
		cert, err := x509.ParseCertificate(endorsement)
		if err != nil {
			return fmt.Errorf("read the endorsement of the cluster's certificate authority: %w", err)
		}
		a.endorsement = cert
	}
	for _, der := range trusted {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("read the certificate authority that is being replaced: %w", err)
		}
		a.trusted = append(a.trusted, cert)
	}
	return nil
}

// Issue signs a certificate for a node's public key, and returns it with what the node needs beside it.
func (a *Authority) Issue(public any, name Name, now time.Time) (Credential, error) {
	cert, err := a.Sign(public, name, now)
	if err != nil {
		return Credential{}, err
	}
	c := Credential{Cert: cert, CA: a.CA.Raw}
	if a.endorsement != nil {
		c.Endorsement = a.endorsement.Raw
	}
	for _, t := range a.trusted {
		c.Trusted = append(c.Trusted, t.Raw)
	}
	return c, nil
}

// Succeeds reports whether the authority is the one of a certificate, or has taken its place.
func (a *Authority) Succeeds(ca []byte) bool {
	return bytes.Equal(a.CA.Raw, ca) || slices.Contains(formerOf(a.endorsement), sha256.Sum256(ca))
}

// Sign returns a certificate in DER for a node's public key.
func (a *Authority) Sign(public any, name Name, now time.Time) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"atoll"}, CommonName: name.NodeID},
		NotBefore: now.Add(-clockSlop), NotAfter: now.Add(certLife), URIs: name.uris(),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, a.CA, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of node %q: %w", name.NodeID, err)
	}
	return cert, nil
}

// ReadRequest checks a node's PKCS #10 request and returns its public key, with the SHA-256 of its PKIX form.
func ReadRequest(der []byte) (public *ecdsa.PublicKey, sum [sha256.Size]byte, err error) {
	r, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		return nil, sum, fmt.Errorf("request: it is no signed PKCS #10 request: %w", err)
	}
	public, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, sum, errors.New("request: it takes a key of ECDSA on P-256")
	}
	return public, sha256.Sum256(r.RawSubjectPublicKeyInfo), nil
}

// serial returns a random number for a certificate.
func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}
