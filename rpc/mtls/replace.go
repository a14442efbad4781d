package mtls

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ErrReplaced means that the cluster has replaced its authority while this process was away: nobody takes its
// certificate any more.
var ErrReplaced = errors.New("the cluster has replaced its certificate authority and no longer takes this node's certificate: invite it again (atoll node invite --for its id), and give it the token as --join-token")

// The kinds of an endorsement's URIs, atoll://<cluster id>/<kind>/<SHA-256 of an authority's certificate in hex>.
const (
	uriEndorsed = "authority" // the authority that is endorsed
	uriReplaced = "replaces"  // one that was there before it
)

// formerMax bounds how many authorities an endorsement names that were there before: the newest.
const formerMax = 64

// Endorse returns a certificate, in DER, by which this authority says that another one takes its place, so that who
// trusts this one may trust that one. It is a node's by its form, since this authority's own certificate allows none
// below it that sign; no node has such a name.
func (a *Authority) Endorse(next *x509.Certificate, clusterID string, now time.Time) ([]byte, error) {
	uri := func(kind string, sum [sha256.Size]byte) *url.URL {
		return &url.URL{Scheme: "atoll", Host: clusterID, Path: "/" + kind + "/" + hex.EncodeToString(sum[:])}
	}
	former := append([][sha256.Size]byte{sha256.Sum256(a.CA.Raw)}, formerOf(a.endorsement)...)
	uris := []*url.URL{uri(uriEndorsed, sha256.Sum256(next.Raw))}
	for _, sum := range former[:min(len(former), formerMax)] {
		uris = append(uris, uri(uriReplaced, sum))
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{Organization: []string{"atoll"}, CommonName: clusterID},
		NotBefore: now.Add(-clockSlop), NotAfter: a.CA.NotAfter, URIs: uris, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, a.CA, next.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("endorse the next certificate authority: %w", err)
	}
	return cert, nil
}

// sumsOf returns what a certificate's URIs of a kind name.
func sumsOf(cert *x509.Certificate, kind string) (sums [][sha256.Size]byte) {
	if cert == nil {
		return nil
	}
	for _, u := range cert.URIs {
		text, ok := strings.CutPrefix(u.Path, "/"+kind+"/")
		b, err := hex.DecodeString(text)
		if u.Scheme == "atoll" && ok && err == nil && len(b) == sha256.Size {
			sums = append(sums, [sha256.Size]byte(b))
		}
	}
	return sums
}

// formerOf returns the authorities that an endorsement says were there before, the newest first.
func formerOf(endorsement *x509.Certificate) [][sha256.Size]byte {
	return sumsOf(endorsement, uriReplaced)
}

// endorses reports whether an endorsement is one of an authority by another, for a cluster. Whose it is by the name, it
// has to be by the signature, too.
func endorses(endorsement, by, of *x509.Certificate, clusterID string, now time.Time) bool {
	if endorsement == nil || endorsement.IsCA || now.After(by.NotAfter) {
		return false
	}
	sums := sumsOf(endorsement, uriEndorsed)
	return len(sums) == 1 && sums[0] == sha256.Sum256(of.Raw) && endorsement.URIs[0].Host == clusterID && (endorsement.CheckSignatureFrom(by) == nil || planted == seedAnyEndorser)
}

// endorsedAmong returns the authority among the certificates of a peer that one of the trusted ones has endorsed, and
// by which; nil if there is none.
func endorsedAmong(certs, trusted []*x509.Certificate, clusterID string, now time.Time) (next, by *x509.Certificate) {
	for _, endorsement := range certs[min(1, len(certs)):] {
		for _, of := range certs[1:] {
			for _, by := range trusted {
				if of.IsCA && endorses(endorsement, by, of, clusterID, now) {
					return of, by
				}
			}
		}
	}
	return nil, nil
}

// shownMax bounds the certificates that are looked at: the node's, its authority's, an endorsement, and the authority
// that is being replaced.
const shownMax = 4

// check verifies a peer of the same cluster.
func (m *material) check(certs []*x509.Certificate, now time.Time) (Peer, error) {
	certs = certs[:min(len(certs), shownMax)]
	p, err := verify(certs, m.pool, now)
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		p, err = m.checkReplaced(certs, now, err)
	}
	if err == nil && p.ClusterID != m.peer.ClusterID {
		err = fmt.Errorf("%w: it belongs to cluster %s, this process to %s", ErrForeign, p.ClusterID, m.peer.ClusterID)
	}
	return p, err
}

// checkReplaced is for a peer whose authority isn't known: it may be the next one, or one that was replaced.
func (m *material) checkReplaced(certs []*x509.Certificate, now time.Time, unknown error) (Peer, error) {
	next, by := endorsedAmong(certs, m.trusted, m.peer.ClusterID, now)
	if next == nil {
		for _, cert := range certs[1:] {
			if m.replaced(sha256.Sum256(cert.Raw)) {
				return Peer{}, fmt.Errorf("%w any more: its certificate is of an authority that the cluster has replaced", ErrForeign)
			}
		}
		return Peer{}, unknown
	}
	pool := x509.NewCertPool()
	pool.AddCert(next)
	p, err := verify(certs, pool, now)
	if err == nil && by.Equal(m.ca) && !shows(certs, m.ca) {
		return Peer{}, ErrReplaced // the peer trusts nobody of this process's authority
	}
	return p, err
}

func shows(certs []*x509.Certificate, ca *x509.Certificate) bool {
	return slices.ContainsFunc(certs[1:], ca.Equal)
}

// replaced reports whether an authority is one that the process's own has replaced, also if both are still trusted.
func (m *material) replaced(authority [sha256.Size]byte) bool {
	return slices.Contains(formerOf(m.endorsement), authority)
}

// Replaced reports whether an authority, by the SHA-256 of its certificate, is one that this process's own has replaced.
func (i *Identity) Replaced(authority [sha256.Size]byte) bool {
	m := i.current.Load()
	return m != nil && m.replaced(authority)
}

// Trust takes the trust from the authorities that aren't among those that the cluster names, in DER. It adds none:
// what a process is told may be older than its certificate, which is why nothing happens either if its own authority isn't among
// them. What is open of a peer that isn't trusted any more is cut within CutWait.
func (i *Identity) Trust(authorities [][]byte) error {
	m := i.current.Load()
	if m == nil || len(m.trusted) == 1 || !contains(authorities, m.ca.Raw) || planted == seedKeepAuthority {
		return nil
	}
	c := m.credential()
	c.Trusted = nil
	for _, cert := range m.trusted[1:] {
		if contains(authorities, cert.Raw) {
			c.Trusted = append(c.Trusted, cert.Raw)
		}
	}
	if len(c.Trusted) == len(m.trusted)-1 {
		return nil
	}
	return i.Install(c)
}

func contains(list [][]byte, b []byte) bool {
	return slices.ContainsFunc(list, func(of []byte) bool { return bytes.Equal(of, b) })
}
