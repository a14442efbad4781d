// Package tlsfiles makes a server's TLS configuration out of PEM files, and makes it anew when they change.
package tlsfiles

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
	"sync"
	"sync/atomic"
	"time"
)

// reloadEvery is how often the files are looked at.
const reloadEvery = time.Second

// Files names what TLS is made of: PEM files, which may be replaced while the server runs.
type Files struct {
	Cert string // the server's certificate and those between it and its root
	Key  string
	// ClientCA signs the certificates of clients; it is needed unless Clients is tls.NoClientCert.
	ClientCA string
	Clients  tls.ClientAuthType
}

// Certificates is the TLS configuration that the files give. It is read again when their content changes:
// nobody has to be able to signal the process, which containers and mounted secrets make hard.
type Certificates struct {
	files   Files
	current atomic.Pointer[tls.Config]

	mu    sync.Mutex
	tried [3][]byte // what the files held when they were last looked at
}

// Open reads the files, which must be whole. Watch looks for changes of them.
func Open(files Files) (*Certificates, error) {
	if (files.ClientCA == "") != (files.Clients == tls.NoClientCert) {
		return nil, errors.New("client certificates need a CA, and a CA the demand for them")
	}
	c := &Certificates{files: files}
	_, err := c.Reload()
	return c, err
}

// Reload makes a new configuration if the files' content has changed since the last call. After an error
// the old one stays.
func (c *Certificates) Reload() (changed bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
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

// Watch looks for changes until ctx ends.
func (c *Certificates) Watch(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch changed, err := c.Reload(); {
		case err != nil:
			log.Error("the changed TLS files are no good; going on with the last good ones", "error", err)
		case changed:
			log.Info("TLS files reloaded", "not_after", c.current.Load().Certificates[0].Leaf.NotAfter)
		}
	}
}

// Current returns the configuration of the files as they were last good. It must not be changed.
func (c *Certificates) Current() *tls.Config { return c.current.Load() }

// Listen makes a listener of connections that speak TLS with the files as they are when each comes.
func (c *Certificates) Listen(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.Current(), nil },
	})
}
