package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// listeners are a process's ports, and how others reach them.
type listeners struct {
	resp, http, cluster net.Listener
	advertised          struct{ resp, http, cluster string }
}

// listen takes the ports of the parts that run.
func (n *node) listen(ctx context.Context, meta, data bool) (l listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	take := func(key string, listener *net.Listener, advertised *string) error {
		addr := n.config.text(key)
		var lc net.ListenConfig
		*listener, err = lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return listenError(key, addr, err)
		}
		if *advertised, err = n.advertise(key, (*listener).Addr()); err != nil {
			return err
		}
		if !isLoopback((*listener).Addr()) {
			n.log.Warn("listening beyond this machine in plain text: whoever can read the network can read tokens and data", "key", key, "addr", (*listener).Addr().String())
		}
		return nil
	}
	if err := take("cluster-addr", &l.cluster, &l.advertised.cluster); err != nil {
		return l, err
	}
	if meta {
		if err := take("http-addr", &l.http, &l.advertised.http); err != nil {
			return l, err
		}
	}
	if data {
		if err := take("resp-addr", &l.resp, &l.advertised.resp); err != nil {
			return l, err
		}
	}
	return l, nil
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
	for _, listener := range []net.Listener{l.resp, l.http, l.cluster} {
		if listener != nil {
			_ = listener.Close() // closed already by its owner
		}
	}
}
