package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	"github.com/atolldb/atoll/rpc/tlsfiles"
)

// listeners are a process's ports and its socket, and how others reach them.
type listeners struct {
	resp, respTLS, respSocket, http, cluster, profiles, metrics net.Listener
	advertised                                                  struct{ resp, http, cluster string }
}

// listen takes the ports of the parts that run.
func (n *node) listen(ctx context.Context, meta, data bool) (l listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.cluster, l.advertised.cluster, err = n.take(ctx, "cluster-addr", true); err != nil {
		return l, err
	}
	if meta {
		if l.http, l.advertised.http, err = n.take(ctx, "http-addr", n.config.text("http-tls-cert") != ""); err != nil {
			return l, err
		}
		if err = n.httpTLS(&l); err != nil {
			return l, err
		}
	}
	if addr := n.config.text("pprof-addr"); addr != "" {
		if l.profiles, err = listenProfiles(ctx, addr); err != nil {
			return l, err
		}
	}
	if l.metrics, err = n.listenMetrics(ctx); err != nil {
		return l, err
	}
	if data {
		err = n.listenRESP(ctx, &l)
	}
	return l, err
}

// listenRESP takes what Redis clients connect to. Other nodes and clients are told of the plain port, or of
// that with TLS where there is no other.
func (n *node) listenRESP(ctx context.Context, l *listeners) (err error) {
	plain, private := n.config.text("resp-addr") != "", n.config.text("resp-tls-addr") != ""
	if !plain && !private {
		return errors.New("--resp-addr and --resp-tls-addr are empty: the others have to reach this node by one of them")
	}
	if private {
		if l.respTLS, l.advertised.resp, err = n.take(ctx, "resp-tls-addr", true); err != nil {
			return err
		}
	}
	if plain {
		if l.resp, l.advertised.resp, err = n.take(ctx, "resp-addr", false); err != nil {
			return err
		}
	}
	if path := n.config.text("resp-socket"); path != "" {
		if l.respSocket, err = listenSocket(ctx, path, fs.FileMode(n.config.number("resp-socket-mode"))); err != nil {
			return fmt.Errorf("--resp-socket (%s): %w", envName("resp-socket"), err)
		}
	}
	return nil
}

// take listens on the address of a key, and returns how others reach it.
func (n *node) take(ctx context.Context, key string, private bool) (listener net.Listener, advertised string, err error) {
	addr := n.config.text(key)
	var lc net.ListenConfig
	if listener, err = lc.Listen(ctx, "tcp", addr); err != nil {
		return nil, "", listenError(key, addr, err)
	}
	if advertised, err = n.advertise(key, listener.Addr()); err != nil {
		return nil, "", errors.Join(err, listener.Close())
	}
	if !private && !isLoopback(listener.Addr()) {
		if !n.config.flag("allow-plaintext") {
			return nil, "", errors.Join(fmt.Errorf("--%s (%s): %s is beyond this machine, and would be plain text: use %s, or allow it with --allow-plaintext",
				key, envName(key), addr, privateWay(key)), listener.Close())
		}
		n.log.Warn("listening beyond this machine in plain text: whoever can read the network can read tokens and data", "key", key, "addr", listener.Addr().String())
	}
	return listener, advertised, nil
}

// privateWay names what takes the place of a key's plain text.
func privateWay(key string) string {
	if key == "http-addr" {
		return "--http-tls-cert and --http-tls-key"
	}
	return "--resp-tls-addr"
}

// httpTLS makes the admin API's listener one that takes TLS, if there is a certificate.
func (n *node) httpTLS(l *listeners) (err error) {
	files := tlsfiles.Files{Cert: n.config.text("http-tls-cert"), Key: n.config.text("http-tls-key")}
	if (files.Cert == "") != (files.Key == "") {
		return errors.New("--http-tls-cert and --http-tls-key go together")
	}
	if files.Cert == "" {
		return nil
	}
	if n.httpCerts, err = tlsfiles.Open(files); err != nil {
		return fmt.Errorf("--http-tls-cert: %w", err)
	}
	l.http = n.httpCerts.Listen(l.http)
	return nil
}

func listenError(key, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is taken by another process: stop it, or choose another address with --%s", addr, key)
	}
	return fmt.Errorf("--%s (%s): %w", key, envName(key), err)
}

// advertise returns how others reach a listener: the listener's own address, unless it is none.
func (n *node) advertise(key string, addr net.Addr) (string, error) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return "", fmt.Errorf("--%s: %s is not a TCP address", key, addr)
	}
	host, port := tcp.IP.String(), fmt.Sprint(tcp.Port)
	if h := n.config.text("advertise-host"); h != "" {
		return net.JoinHostPort(h, port), nil
	}
	// A name that was configured says more than the address that it resolved to.
	if h, _, err := net.SplitHostPort(n.config.text(key)); err == nil && h != "" && net.ParseIP(h) == nil {
		host = h
	} else if tcp.IP.IsUnspecified() {
		return "", fmt.Errorf("--%s %s listens on all interfaces: --advertise-host has to say how others reach this node", key, n.config.text(key))
	}
	return net.JoinHostPort(host, port), nil
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// close closes what no part has taken over; closing twice is harmless.
func (l listeners) close() {
	for _, listener := range []net.Listener{l.resp, l.respTLS, l.respSocket, l.http, l.cluster, l.profiles, l.metrics} {
		if listener != nil {
			_ = listener.Close() // closed already by its owner
		}
	}
}
