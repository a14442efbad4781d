package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestAdminAPIOverTLS is an operator whose admin API takes TLS alone, and whose certificate changes.
func TestAdminAPIOverTLS(t *testing.T) {
	cert, key := selfSigned(t, t.TempDir())
	old := filepath.Join(t.TempDir(), "old.crt")
	if err := os.WriteFile(old, []byte(readText(cert)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newProcess(t, "server", "--http-tls-cert", cert, "--http-tls-key", key)
	s.start()
	s.until("healthy", func(context.Context) error {
		_, stderr, err := s.cli("health", "server", "--http-addr", s.httpAddr, "--http-tls-cert", cert, "--resp-addr", s.respAddr)
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		return nil
	})
	list := []string{"ns", "list", "--admin-addr", "https://" + s.httpAddr, "--ca"}
	if out := s.mustCLI(append(list, cert)...); !strings.Contains(out, "__namespace") {
		t.Errorf("ns list printed %q", out)
	}
	if _, stderr, err := s.cli("ns", "list", "--admin-addr", "https://"+s.httpAddr); err == nil || !strings.Contains(stderr, "certificate") {
		t.Errorf("a certificate of nobody: %v, %q", err, stderr)
	}
	if _, stderr, err := s.cli("ns", "list"); err == nil || !strings.Contains(stderr, "HTTP") {
		t.Errorf("in plain text: %v, %q", err, stderr)
	}
	if _, stderr, err := s.cli(append(list, key)...); err == nil || !strings.Contains(stderr, "holds no certificate") {
		t.Errorf("a CA that is none: %v, %q", err, stderr)
	}

	selfSigned(t, filepath.Dir(cert))
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.waitLog("SIGHUP")
	s.until("showing the new certificate", func(context.Context) error {
		_, stderr, err := s.cli(append(list, cert)...)
		if err != nil {
			return fmt.Errorf("%w: %s", err, stderr)
		}
		return nil
	})
	if _, _, err := s.cli(append(list, old)...); err == nil {
		t.Error("the old certificate is still shown")
	}
	s.stop()
}

// Plain text beyond this machine takes a word of the operator's.
func TestPlaintextIsRefused(t *testing.T) {
	for key, instead := range map[string]string{"--resp-addr": "--resp-tls-addr", "--http-addr": "--http-tls-cert", "--metrics-addr": "proxy"} {
		args := []string{"server", "--data-dir", filepath.Join(t.TempDir(), "data"), "--cluster-addr", "127.0.0.1:0", "--advertise-host", "localhost"}
		for _, other := range []string{"--resp-addr", "--http-addr"} {
			if other != key {
				args = append(args, other, "127.0.0.1:0")
			}
		}
		p := newProcess(t, "server")
		if _, stderr, err := p.cli(append(args, key, "0.0.0.0:0")...); err == nil || !strings.Contains(stderr, instead) || !strings.Contains(stderr, "--allow-plaintext") {
			t.Errorf("%s: %v, %q", key, err, stderr)
		}
	}
}
