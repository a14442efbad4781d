package resp

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/command/compare"
	"github.com/atolldb/atoll/rpc/tlsfiles"
)

// authority signs certificates of tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate
	dir  string
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.file = filepath.Join(a.dir, "ca.crt")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t testing.TB, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue writes a certificate for 127.0.0.1 and its key to name.crt and name.key.
func (a *authority) issue(name string, serial int64) (cert, key string) {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	own := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &own.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key = filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
	writePEM(a.t, cert, "CERTIFICATE", der)
	writePEM(a.t, key, "PRIVATE KEY", keyDER)
	return cert, key
}

// serveTLS serves on a port with TLS, as a remote or a local one.
func serveTLS(t testing.TB, local bool, l Limits, files tlsfiles.Files) *rig {
	t.Helper()
	certificates, err := tlsfiles.Open(files)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if !local {
		ln = remote{ln}
	}
	r := serve(t, l, Listener{ln, certificates})
	r.addr = addr
	return r
}

// dialTLS connects with the authority's trust; of the certificate it returns the serial number.
func (r *rig) dialTLS(t testing.TB, a *authority, conf *tls.Config) (*client, int64, error) {
	t.Helper()
	conf.RootCAs = x509.NewCertPool()
	conf.RootCAs.AddCert(a.cert)
	nc, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", r.addr, conf)
	if err != nil {
		return nil, 0, err
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{nc, bufio.NewReader(nc), t}, nc.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

func TestTLS(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("server", 2)
	r := serveTLS(t, true, Limits{}, tlsfiles.Files{Cert: cert, Key: key})
	c, _, err := r.dialTLS(t, a, &tls.Config{})
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("v", 60<<10)
	if got := c.say("SET k "+value+"\r\nGET k\r\nPING\r\nQUIT\r\n", 5); got != "+OK\r\n$61440\r\n"+value+"\r\n+PONG\r\n+OK\r\n" {
		t.Errorf("got %.40q", got)
	}
	if got := c.ends(); got != "" {
		t.Errorf("after QUIT: %q", got)
	}
	if _, _, err := r.dialTLS(t, a, &tls.Config{MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	plain := r.dial(t)
	_, _ = io.WriteString(plain, "PING\r\n")
	if got := plain.ends(); strings.Contains(got, "PONG") {
		t.Errorf("plain text on the TLS port got %q", got)
	}
}

func TestTLSClientCertificates(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	cert, key := a.issue("server", 2)
	known, err := tls.LoadX509KeyPair(a.issue("client", 3))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := tls.LoadX509KeyPair(stranger.issue("client", 3))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name                   string
		clients                tls.ClientAuthType
		none, known, strangers bool
	}{
		{"optional", tls.VerifyClientCertIfGiven, true, true, false},
		{"required", tls.RequireAndVerifyClientCert, false, true, false},
	} {
		r := serveTLS(t, true, Limits{}, tlsfiles.Files{Cert: cert, Key: key, ClientCA: a.file, Clients: tt.clients})
		for who, conf := range map[string]*tls.Config{
			"none": {}, "known": {Certificates: []tls.Certificate{known}},
			"stranger": {GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &foreign, nil }},
		} {
			served := false
			if c, _, err := r.dialTLS(t, a, conf); err == nil { // of TLS 1.3 a client learns its refusal by the first read
				_, _ = io.WriteString(c, "PING\r\n")
				line, _ := c.r.ReadString('\n')
				served = line == "+PONG\r\n"
			}
			if want := map[string]bool{"none": tt.none, "known": tt.known, "stranger": tt.strangers}[who]; served != want {
				t.Errorf("%s certificates, %s: served %v, want %v", tt.name, who, served, want)
			}
		}
	}
	if _, err := tlsfiles.Open(tlsfiles.Files{Cert: cert, Key: key, Clients: tls.RequireAndVerifyClientCert}); err == nil {
		t.Error("certificates of nobody are required")
	}
	if _, err := tlsfiles.Open(tlsfiles.Files{Cert: cert, Key: key, ClientCA: key, Clients: tls.RequireAndVerifyClientCert}); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("a CA without a certificate: %v", err)
	}
}

func TestCertificatesReload(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("server", 2)
	r := serveTLS(t, true, Limits{}, tlsfiles.Files{Cert: cert, Key: key})
	first, serial, err := r.dialTLS(t, a, &tls.Config{})
	if err != nil || serial != 2 {
		t.Fatalf("serial %d, %v", serial, err)
	}
	first.say("PING\r\n", 1)
	a.issue("server", 3) // over the same files
	for serial != 3 {
		var c *client
		if c, serial, err = r.dialTLS(t, a, &tls.Config{}); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	if got := first.say("PING\r\n", 1); got != "+PONG\r\n" {
		t.Errorf("the connection from before the reload got %q", got)
	}
}

func TestBrokenCertificatesKeepTheOldOnes(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("server", 2)
	c, err := tlsfiles.Open(tlsfiles.Files{Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	old := c.Current()
	other, _ := a.issue("other", 3)
	for what, spoil := range map[string]func(){
		"half a file":          func() { overwrite(t, cert, "-----BEGIN CERTIFICATE-----\nMIIB") },
		"another key's":        func() { overwrite(t, cert, readFile(t, other)) },
		"a file that was lost": func() { _ = os.Remove(cert) },
	} {
		spoil()
		if changed, err := c.Reload(); err == nil || changed {
			t.Errorf("%s: changed %v, %v", what, changed, err)
		}
		if changed, err := c.Reload(); err != nil || changed {
			t.Errorf("%s is told twice: changed %v, %v", what, changed, err)
		}
		if c.Current() != old {
			t.Errorf("%s: it took the place of the old ones", what)
		}
	}
	a.issue("server", 4)
	if changed, err := c.Reload(); err != nil || !changed || c.Current() == old {
		t.Errorf("good again: changed %v, %v", changed, err)
	}
}

func overwrite(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A handshake that never ends, one that is too long, and none at all: the accept loop goes on meanwhile, and the
// peer is cut. Nobody is spared for being local.
func TestUnfinishedHandshakes(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("server", 2)
	r := serveTLS(t, true, Limits{AuthTimeout: 2 * time.Second}, tlsfiles.Files{Cert: cert, Key: key})
	silent, long := r.dial(t), r.dial(t)
	// Records of a handshake message of 64,000 bytes that comes in parts.
	part := append([]byte{22, 3, 1, 0x20, 0, 1, 0, 0xfa, 0}, make([]byte, 0x2000-4)...)
	more := append([]byte{22, 3, 1, 0x20, 0}, make([]byte, 0x2000)...)
	_, _ = long.Write(append(append(part, more...), more...))
	c, _, err := r.dialTLS(t, a, &tls.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c.say("PING\r\n", 1)
	long.ends()
	silent.ends()
	if got := c.say("PING\r\n", 1); got != "+PONG\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestHandshakeBytesAreBounded(t *testing.T) {
	m := &meter{left: 10}
	ours, theirs := net.Pipe()
	m.Conn = ours
	go func() {
		_, _ = theirs.Write(make([]byte, 100))
		_ = theirs.Close()
	}()
	if b, err := io.ReadAll(m); len(b) != 10 || err != errHandshakeBytes {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	m.left = -1
	if b, err := io.ReadAll(m); len(b) != 90 || err != nil {
		t.Errorf("after the handshake %d bytes, %v", len(b), err)
	}
}

func TestDrainEndsTLSConnections(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue("server", 2)
	r := serveTLS(t, true, Limits{DrainTimeout: time.Hour}, tlsfiles.Files{Cert: cert, Key: key})
	r.dial(t) // in its handshake
	c, _, err := r.dialTLS(t, a, &tls.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c.say("PING\r\n", 1)
	r.stop()
	c.ends()
}

func TestRedisCLIWithTLS(t *testing.T) {
	compare.Require(t, "redis-cli")
	a := newAuthority(t)
	cert, key := a.issue("server", 2)
	own, ownKey := a.issue("client", 3)
	r := serveTLS(t, false, Limits{}, tlsfiles.Files{Cert: cert, Key: key, ClientCA: a.file, Clients: tls.RequireAndVerifyClientCert})
	_, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "redis-cli", append([]string{"-p", port, "--tls", "--cacert", a.file}, args...)...).CombinedOutput()
		if err != nil {
			return err.Error() + string(out)
		}
		return string(out)
	}
	with := []string{"--no-auth-warning", "--cert", own, "--key", ownKey, "-a", commandtest.AWriteSecret}
	if got := run(append(with, "set", "k", "v")...); got != "OK\n" {
		t.Errorf("got %q", got)
	}
	if got := run(append(with, "client", "list")...); !strings.Contains(got, " flags=N ") || !strings.Contains(got, "namespace=a") {
		t.Errorf("got %q", got)
	}
	if got := run("ping"); strings.Contains(got, "PONG") || strings.Contains(got, "NOAUTH") {
		t.Errorf("without a certificate: %q", got)
	}
}
