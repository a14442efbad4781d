package mtls

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/atolldb/atoll/rpc"
)

// The protocols that a connection may be for.
const (
	protoGRPC = "h2"
	protoRaft = "atoll-raft"

	// identityWait bounds how long a handshake waits for the process's first certificate: a cluster that begins
	// makes it within a second.
	identityWait = 4 * time.Second
)

// verify checks a chain against an authority, and returns who it is of. Times are those of this machine's clock.
func verify(certs []*x509.Certificate, pool *x509.CertPool, now time.Time) (Peer, error) {
	if len(certs) == 0 {
		return Peer{}, fmt.Errorf("%w: it has shown no certificate", ErrForeign)
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return Peer{}, fmt.Errorf("%w: its certificate is not good at this time: %w; is a clock wrong?", ErrForeign, err)
	}
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	p, err := peerOf(certs[0])
	if chain := chains[0]; err == nil {
		p.Authority = sha256.Sum256(chain[len(chain)-1].Raw)
	}
	return p, err
}

// check verifies a peer of this identity's own cluster.
func (i *Identity) check(certs []*x509.Certificate) (Peer, error) {
	m := i.current.Load()
	if m == nil {
		return Peer{}, ErrNoIdentity
	}
	return m.check(certs, i.now())
}

// serverConfig is made for each connection, so that a renewed certificate is in the next one. A client may come
// without a certificate, to enrol; what it shows has to be good.
func (i *Identity) serverConfig(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	ctx, cancel := context.WithTimeout(hello.Context(), identityWait)
	defer cancel()
	m, err := i.await(ctx)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protoGRPC, protoRaft}, SessionTicketsDisabled: true,
		Certificates: []tls.Certificate{m.tls}, ClientAuth: tls.RequestClientCert,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return nil
			}
			_, err := i.check(s.PeerCertificates)
			return err
		},
	}, nil
}

// clientConfig is made for each connection. Host names don't count: the peer has to show a certificate of the
// cluster.
func (i *Identity) clientConfig(ctx context.Context, proto string, ok func(Peer) error) (*tls.Config, error) {
	m, err := i.await(ctx)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{proto}, Certificates: []tls.Certificate{m.tls},
		InsecureSkipVerify: true, // VerifyConnection does it, without host names
		VerifyConnection: func(s tls.ConnectionState) error {
			p, err := i.check(s.PeerCertificates)
			if err == nil && ok != nil {
				err = ok(p)
			}
			return err
		},
	}, nil
}

// Accept is for rpc.SplitBy: it makes the handshake with a client, whose protocol tells the part. Raft is for
// metadata nodes alone. refused hears of clients that were turned away because of what they are.
func (i *Identity) Accept(refused func(remote net.Addr, err error)) func(context.Context, net.Conn) (net.Conn, rpc.Part, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: i.serverConfig}
	return func(ctx context.Context, raw net.Conn) (net.Conn, rpc.Part, error) {
		conn := tls.Server(raw, config)
		err := conn.HandshakeContext(ctx) // the caller has set a deadline
		if err == nil {
			var told net.Conn
			var part rpc.Part
			if told, part, err = i.part(conn); err == nil {
				return told, part, nil
			}
		}
		if !errors.Is(err, ErrNoIdentity) {
			refused(raw.RemoteAddr(), err)
		}
		return nil, 0, err
	}
}

// Declined reports whether a handshake failed because the client has turned this process's certificate down.
func Declined(err error) bool {
	alert, ok := errors.AsType[*net.OpError](err)
	return ok && alert.Op == "remote error" && strings.Contains(alert.Err.Error(), "certificate") // crypto/tls has no type for it
}

func (i *Identity) part(conn *tls.Conn) (net.Conn, rpc.Part, error) {
	s := conn.ConnectionState()
	switch s.NegotiatedProtocol {
	case protoGRPC:
		return conn, rpc.PartGRPC, nil
	case protoRaft:
		p, err := i.check(s.PeerCertificates)
		if err == nil && !p.Has(Meta) {
			err = fmt.Errorf("%w: node %q is no metadata node, and wants to speak Raft", ErrForeign, p.NodeID)
		}
		return i.keep(conn, p), rpc.PartRaft, err
	}
	return nil, 0, errors.New("the client names no protocol")
}

// DialRaft connects to the Raft part of a metadata node's cluster port.
func (i *Identity) DialRaft(ctx context.Context, addr string) (net.Conn, error) {
	var peer Peer
	config, err := i.clientConfig(ctx, protoRaft, func(p Peer) error {
		peer = p
		if !p.Has(Meta) {
			return fmt.Errorf("%w: node %q is no metadata node", ErrForeign, p.NodeID)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("dial raft: %w", err)
	}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial raft: %w", err)
	}
	return i.keep(conn, peer), nil
}

// authInfo is what gRPC keeps of a connection.
type authInfo struct {
	credentials.CommonAuthInfo
	peer Peer
}

// AuthType implements credentials.AuthInfo.
func (authInfo) AuthType() string { return "tls" }

func infoOf(p Peer) authInfo {
	return authInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, p}
}

// serverCredentials take connections that Accept has made.
type serverCredentials struct {
	i      *Identity
	guests *guests
}

// ServerCredentials returns gRPC's credentials for the connections of Accept.
func (i *Identity) ServerCredentials() credentials.TransportCredentials {
	return serverCredentials{i, new(guests)}
}

// ServerHandshake implements credentials.TransportCredentials.
func (c serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, ok := raw.(*tls.Conn)
	if !ok {
		return nil, nil, errors.New("a connection that is not of TLS")
	}
	certs := conn.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		guest, err := c.guests.admit(conn)
		return guest, infoOf(Peer{}), err
	}
	p, err := c.i.check(certs)
	return c.i.keep(conn, p), infoOf(p), err
}

// ClientHandshake implements credentials.TransportCredentials.
func (serverCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a server's")
}

// Info implements credentials.TransportCredentials.
func (serverCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (c serverCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials; names of hosts don't count.
func (serverCredentials) OverrideServerName(string) error { return nil }

// clientCredentials make gRPC's connections to other processes.
type clientCredentials struct {
	serverCredentials
	keep   func(net.Conn, Peer) net.Conn
	config func(context.Context) (*tls.Config, error)
	who    func([]*x509.Certificate) (Peer, error)
}

// ClientHandshake implements credentials.TransportCredentials.
func (c clientCredentials) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := c.config(ctx)
	if err != nil {
		return nil, nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	s := conn.ConnectionState()
	if s.NegotiatedProtocol != protoGRPC {
		return nil, nil, errors.Join(errors.New("the peer speaks no gRPC"), conn.Close())
	}
	p, err := c.who(s.PeerCertificates)
	return c.keep(conn, p), infoOf(p), err
}

// Clone implements credentials.TransportCredentials.
func (c clientCredentials) Clone() credentials.TransportCredentials { return c }

// ClientCredentials returns gRPC's credentials for connections to processes of the cluster.
func (i *Identity) ClientCredentials() credentials.TransportCredentials {
	return clientCredentials{keep: i.keep, who: i.check, config: func(ctx context.Context) (*tls.Config, error) {
		return i.clientConfig(ctx, protoGRPC, nil)
	}}
}

// pinnedCredentials are gRPC's credentials for a process that has nothing but a join token: it shows no
// certificate, and takes a metadata node of the authority that the token names. refused hears why it takes another
// not: gRPC says no more than that there is no connection.
func (i *Identity) pinnedCredentials(in Invitation, refused func(error)) credentials.TransportCredentials {
	who := func(certs []*x509.Certificate) (Peer, error) { return in.checkPinned(certs, i.now()) }
	return clientCredentials{keep: i.keep, who: who, config: func(context.Context) (*tls.Config, error) {
		return &tls.Config{
			MinVersion: tls.VersionTLS13, NextProtos: []string{protoGRPC},
			InsecureSkipVerify: true, // VerifyConnection does it, by the pinned authority
			VerifyConnection: func(s tls.ConnectionState) error {
				_, err := who(s.PeerCertificates)
				if err != nil {
					refused(err)
				}
				return err
			},
		}, nil
	}}
}
