package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// selfSigned writes a certificate for 127.0.0.1, which signs itself, and its key.
func selfSigned(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &own.PublicKey, own)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// A node without a plain port: TLS with a certificate of either side, a unix socket, and health by TLS.
func TestTLSAndSocketAlone(t *testing.T) {
	needProgram(t, "redis-cli")
	dir, err := os.MkdirTemp("", "atoll-edge-") // a socket's path must be short, which t.TempDir's need not be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cert, key := selfSigned(t, dir)
	socket := filepath.Join(dir, "atoll.sock")
	s := newProcess(t, "server")
	s.args = []string{
		"--resp-addr=", "--resp-tls-addr", s.respAddr, "--resp-tls-cert", cert, "--resp-tls-key", key,
		"--resp-tls-client-ca", cert, "--resp-tls-clients", "required", "--resp-socket", socket, "--resp-socket-mode", "777",
	}
	s.start()
	s.until("ready", func(context.Context) error {
		_, _, err := s.cli("health", "--resp-addr=", "--resp-tls-addr", s.respAddr, "--resp-socket", socket, "--http-addr", s.httpAddr)
		return err
	})
	if _, stderr, err := s.cli("health", "--resp-addr=", "--resp-tls-addr", s.respAddr, "--http-addr", s.httpAddr); err != nil {
		t.Errorf("health by a port that asks for a certificate: %v, %s", err, stderr)
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "redis-cli", args...).CombinedOutput()
		if err != nil {
			return err.Error() + string(out)
		}
		return string(out)
	}
	_, port, err := net.SplitHostPort(s.respAddr)
	if err != nil {
		t.Fatal(err)
	}
	private := []string{"-p", port, "--tls", "--cacert", cert, "--cert", cert, "--key", key}
	if got := run(append(private, "set", "k", "over TLS")...); got != "OK\n" {
		t.Errorf("over TLS: %q", got)
	}
	if got := run(append(private, "info", "server")...); !strings.Contains(got, "tcp_port:"+port+"\r\n") {
		t.Errorf("INFO over TLS: %q", got)
	}
	if got := run("-s", socket, "get", "k"); got != "over TLS\n" {
		t.Errorf("by the socket, as a local client: %q", got)
	}
	if got := run("-s", socket, "client", "list"); !strings.Contains(got, " addr="+socket+":0 laddr="+socket+":0 ") || !strings.Contains(got, " flags=U ") {
		t.Errorf("by the socket: %q", got)
	}
	if got := run("-p", port, "ping"); strings.Contains(got, "PONG") {
		t.Errorf("in plain text: %q", got)
	}
	s.kill() // which leaves the socket behind
	s.start()
	s.until("back", func(context.Context) error {
		if got := run("-s", socket, "get", "k"); got != "over TLS\n" {
			return errors.New(got)
		}
		return nil
	})
	s.stop()
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the socket outlives the server")
	}
}
