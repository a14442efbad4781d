package resp

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"
)

const (
	// reloadEvery is how often the files of certificates are looked at.
	reloadEvery = time.Second
	// handshakeBytes is what a peer may send before its handshake is done, and handshakeChainBytes if its
	// certificates are part of it.
	handshakeBytes      = 16 << 10
	handshakeChainBytes = 64 << 10
)

var errHandshakeBytes = errors.New("the handshake is too long")

// TLSFiles names what TLS is made of: PEM files, which may be replaced while the server runs.
type TLSFiles struct {
	Cert string // the server's certificate and those between it and its root
	Key  string
	// ClientCA signs the certificates of clients; it is needed unless Clients is tls.NoClientCert.
	ClientCA string
	Clients  tls.ClientAuthType
}

// Certificates is the TLS configuration that the files give. It is read again when their content changes:
// nobody has to be able to signal the process, which containers and mounted secrets make hard.
type Certificates struct {
	files   TLSFiles
	current atomic.Pointer[tls.Config]
	tried   [3][]byte // what the files held when they were last looked at
}

// OpenCertificates reads the files, which must be whole.
func OpenCertificates(files TLSFiles) (*Certificates, error) {
	if (files.ClientCA == "") != (files.Clients == tls.NoClientCert) {
		return nil, errors.New("client certificates need a CA, and a CA the demand for them")
	}
	c := &Certificates{files: files}
	_, err := c.reload()
	return c, err
}

// reload makes a new configuration if the files' content has changed since the last call. After an error
// the old one stays.
func (c *Certificates) reload() (changed bool, err error) {
	var held [3][]byte
	for i, name := range []string{c.files.Cert, c.files.Key, c.files.ClientCA} {
		if name == "" {
			continue
		}
		b, readErr := os.ReadFile(name)
		if readErr != nil {
			b, err = []byte(readErr.Error()), errors.Join(err, readErr) // told once, as a bad content is
		}
		held[i] = b
	}
	if c.current.Load() != nil && bytes.Equal(held[0], c.tried[0]) && bytes.Equal(held[1], c.tried[1]) && bytes.Equal(held[2], c.tried[2]) {
		return false, nil
	}
	c.tried = held
	if err != nil {
		return false, fmt.Errorf("read certificates: %w", err)
	}
	config, err := c.parse(held)
	if err != nil {
		return false, err
	}
	c.current.Store(config)
	return true, nil
}

func (c *Certificates) parse(held [3][]byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(held[0], held[1])
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", c.files.Cert, c.files.Key, err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientAuth: c.files.Clients}
	if c.files.Clients != tls.NoClientCert {
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(held[2]) {
			return nil, fmt.Errorf("client CA %s: it holds no certificate", c.files.ClientCA)
		}
		// A ticket would let a client in whose CA was replaced since.
		config.SessionTicketsDisabled = true
	}
	return config, nil
}

// watch reloads until ctx ends.
func (c *Certificates) watch(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch changed, err := c.reload(); {
		case err != nil:
			log.Error("the changed TLS files are no good; going on with the last good ones", "error", err)
		case changed:
			log.Info("TLS files reloaded", "not_after", c.current.Load().Certificates[0].Leaf.NotAfter)
		}
	}
}

// meter bounds what is read from a peer before its handshake is done.
type meter struct {
	net.Conn
	left int // bytes; below 0: any number
}

func (m *meter) Read(b []byte) (int, error) {
	if m.left < 0 {
		return m.Conn.Read(b)
	}
	if m.left == 0 {
		return 0, errHandshakeBytes
	}
	n, err := m.Conn.Read(b[:min(len(b), m.left)])
	m.left -= n
	return n, err
}

// wrap makes c one that speaks TLS.
func (c *conn) wrap(certificates *Certificates) {
	config := certificates.current.Load()
	c.meter = &meter{c.raw, handshakeBytes}
	if config.ClientAuth != tls.NoClientCert {
		c.meter.left = handshakeChainBytes
	}
	c.nc = tls.Server(c.meter, config)
}

// handshake opens a TLS connection, in the time that a peer has to authenticate.
func (c *conn) handshake() error {
	t, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	if err := c.raw.SetDeadline(time.Now().Add(c.server.Limits.AuthTimeout)); err != nil {
		return err
	}
	if c.server.draining.Load() { // its deadline was overwritten
		return errors.New("the server is stopping")
	}
	if err := t.Handshake(); err != nil {
		return err
	}
	c.meter.left = -1
	return c.raw.SetDeadline(time.Time{}) // the caller looks whether the server is draining
}
