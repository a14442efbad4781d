package mtls

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/rpc"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// cluster is an authority that signs for its test.
type cluster struct {
	t    *testing.T
	id   string
	cert []byte
	key  []byte
}

func newCluster(t *testing.T, id string, now time.Time) *cluster {
	t.Helper()
	c := &cluster{t: t, id: id}
	var err error
	if c.cert, c.key, err = NewAuthority(id, now); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) authority() *Authority {
	c.t.Helper()
	a, err := ReadAuthority(c.cert, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// identity makes a node's, with a certificate that was signed at a time; the zero time leaves it without.
func (c *cluster) identity(node string, signed time.Time, roles ...Role) *Identity {
	c.t.Helper()
	i, err := OpenIdentity(c.t.TempDir())
	if err != nil {
		c.t.Fatal(err)
	}
	if !signed.IsZero() {
		c.sign(i, node, signed, roles...)
	}
	return i
}

func (c *cluster) sign(i *Identity, node string, signed time.Time, roles ...Role) {
	c.t.Helper()
	public, _ := i.PublicKey()
	made, err := c.authority().Issue(public, Name{c.id, node, roles}, signed)
	if err == nil {
		err = i.Install(made)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// server is a process with every service, which does nothing.
type server struct {
	atollpb.UnimplementedConsensusServer
	atollpb.UnimplementedMetadataServer
	atollpb.UnimplementedReplicationServer
	atollpb.UnimplementedEnrolmentServer

	addr    string
	mux     *rpc.Mux
	refused chan error
	enroll  func(*atollpb.EnrollRequest) (*atollpb.EnrollResponse, error)
}

func (s *server) Report(context.Context, *atollpb.ReportRequest) (*atollpb.ReportResponse, error) {
	return &atollpb.ReportResponse{}, nil
}

func (s *server) Follow(stream grpc.BidiStreamingServer[atollpb.SinkMessage, atollpb.SourceMessage]) error {
	_, err := stream.Recv()
	return err
}

func (s *server) ReadIndex(context.Context, *atollpb.ReadIndexRequest) (*atollpb.ReadIndexResponse, error) {
	return &atollpb.ReadIndexResponse{}, nil
}

func (s *server) Enroll(_ context.Context, r *atollpb.EnrollRequest) (*atollpb.EnrollResponse, error) {
	return s.enroll(r)
}

func serve(t *testing.T, i *Identity, enrolled func(Peer) error) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().String(), refused: make(chan error, 64)}
	s.mux = rpc.SplitBy(l, i.Accept(func(_ net.Addr, err error) { s.refused <- err }))
	access := Access{
		Enrolled: func(_ context.Context, p Peer) error { return enrolled(p) },
		Refused:  func(_ context.Context, _ Peer, _ string, err error) { s.refused <- err },
	}
	g := grpc.NewServer(append(access.Options(), grpc.Creds(i.ServerCredentials()))...)
	atollpb.RegisterConsensusServer(g, s)
	atollpb.RegisterMetadataServer(g, s)
	atollpb.RegisterReplicationServer(g, s)
	atollpb.RegisterEnrolmentServer(g, s)
	served := make(chan error, 1)
	go func() { served <- g.Serve(s.mux.GRPC()) }()
	t.Cleanup(func() {
		g.Stop()
		if err := errors.Join(<-served, s.mux.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func known(Peer) error { return nil }

func (s *server) dial(t *testing.T, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.addr, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func reportOf(node string) *atollpb.ReportRequest {
	return &atollpb.ReportRequest{Report: &atollpb.NodeReport{NodeId: node}}
}

// TestCalls is who may call what, in whose name.
func TestCalls(t *testing.T) {
	now := time.Now()
	c := newCluster(t, "c1", now)
	s := serve(t, c.identity("m1", now, Meta, Data), func(p Peer) error {
		if p.NodeID == "removed" {
			return status.Error(codes.PermissionDenied, "removed")
		}
		return nil
	})
	report := func(node string, forwarded bool) func(context.Context, *grpc.ClientConn) error {
		return func(ctx context.Context, conn *grpc.ClientConn) error {
			r := reportOf(node)
			r.Forwarded = forwarded
			_, err := atollpb.NewMetadataClient(conn).Report(ctx, r)
			return err
		}
	}
	readIndex := func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := atollpb.NewConsensusClient(conn).ReadIndex(ctx, &atollpb.ReadIndexRequest{})
		return err
	}
	follow := func(node string) func(context.Context, *grpc.ClientConn) error {
		return func(ctx context.Context, conn *grpc.ClientConn) error {
			stream, err := atollpb.NewReplicationClient(conn).Follow(ctx)
			if err != nil {
				return err
			}
			// A stream that was refused already takes nothing more; why, Recv says.
			if err := stream.Send(&atollpb.SinkMessage{Kind: &atollpb.SinkMessage_Hello{Hello: &atollpb.SinkHello{NodeId: node}}}); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
				return err
			}
			return nil
		}
	}
	for _, tt := range []struct {
		name string
		who  *Identity
		call func(context.Context, *grpc.ClientConn) error
		want codes.Code
	}{
		{"a data node reports", c.identity("d1", now, Data), report("d1", false), codes.OK},
		{"in another's name", c.identity("d1", now, Data), report("d2", false), codes.PermissionDenied},
		{"as if it had been forwarded", c.identity("d1", now, Data), report("d2", true), codes.PermissionDenied},
		{"a metadata node forwards", c.identity("m2", now, Meta), report("d2", true), codes.OK},
		{"a metadata node in another's name", c.identity("m2", now, Meta), report("d2", false), codes.PermissionDenied},
		{"a removed node", c.identity("removed", now, Data), report("removed", false), codes.PermissionDenied},
		{"a data node on Consensus", c.identity("d1", now, Data), readIndex, codes.PermissionDenied},
		{"a metadata node on Consensus", c.identity("m2", now, Meta), readIndex, codes.OK},
		{"a data node follows", c.identity("d1", now, Data), follow("d1"), codes.OK},
		{"follows in another's name", c.identity("d1", now, Data), follow("d2"), codes.PermissionDenied},
		{"a metadata node follows", c.identity("m2", now, Meta), follow("m2"), codes.PermissionDenied},
		{"a removed node follows", c.identity("removed", now, Data), follow("removed"), codes.PermissionDenied},
		{"a call that there isn't", c.identity("m2", now, Meta), func(ctx context.Context, conn *grpc.ClientConn) error {
			return conn.Invoke(ctx, "/atoll.v1.Metadata/Nothing", &atollpb.ReportRequest{}, &atollpb.ReportResponse{})
		}, codes.Unimplemented},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.call(t.Context(), s.dial(t, tt.who.DialOptions()...)); status.Code(err) != tt.want {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
	t.Run("without a certificate", func(t *testing.T) {
		token := c.pinned()
		if err := report("d1", false)(t.Context(), s.dial(t, grpc.WithTransportCredentials(token))); status.Code(err) != codes.Unauthenticated {
			t.Error(err)
		}
	})
}

// TestEveryMethodHasItsRoles holds the table against the services.
func TestEveryMethodHasItsRoles(t *testing.T) {
	for _, service := range []grpc.ServiceDesc{
		atollpb.Consensus_ServiceDesc, atollpb.Metadata_ServiceDesc, atollpb.Replication_ServiceDesc, atollpb.Enrolment_ServiceDesc,
	} {
		var names []string
		for _, m := range service.Methods {
			names = append(names, m.MethodName)
		}
		for _, m := range service.Streams {
			names = append(names, m.StreamName)
		}
		for _, name := range names {
			roles, open, ok := mayCall("/" + service.ServiceName + "/" + name)
			if !ok || open != (name == "Enroll") || open != (len(roles) == 0) {
				t.Errorf("%s/%s: roles %v, open %v, known %v", service.ServiceName, name, roles, open, ok)
			}
		}
	}
}

// TestStrangers are certificates that a process must not take, on either side.
func TestStrangers(t *testing.T) {
	now := time.Now()
	c, other := newCluster(t, "c1", now), newCluster(t, "c2", now)
	namesake := newCluster(t, "c1", now)
	renamed := &cluster{t: t, id: "c2", cert: c.cert, key: c.key}
	good := c.identity("m1", now, Meta)
	day := 24 * time.Hour
	for name, stranger := range map[string]*Identity{
		"of another cluster":                    other.identity("m2", now, Meta),
		"of another authority of the same name": namesake.identity("m2", now, Meta),
		"of another cluster's name":             renamed.identity("m2", now, Meta),
		"expired":                               c.identity("m2", now.Add(-91*day), Meta),
		"signed by a clock that is a day ahead": c.identity("m2", now.Add(day), Meta),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, good, known)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := atollpb.NewConsensusClient(s.dial(t, stranger.DialOptions()...)).ReadIndex(ctx, &atollpb.ReadIndexRequest{})
			if status.Code(err) != codes.Unavailable {
				t.Errorf("as a client: %v", err)
			}
			// Who checks first differs: the client may have turned the server down before it has shown itself.
			if stranger.foreignTo(good) {
				if err := <-s.refused; err == nil {
					t.Error("not told")
				}
			}
			if conn, err := stranger.DialRaft(ctx, s.addr); err == nil {
				_, err = conn.Read(make([]byte, 1))
				if err == nil {
					t.Error("Raft with a stranger")
				}
				_ = conn.Close()
			}

			s = serve(t, stranger, known)
			_, err = atollpb.NewConsensusClient(s.dial(t, good.DialOptions()...)).ReadIndex(ctx, &atollpb.ReadIndexRequest{})
			if status.Code(err) != codes.Unavailable {
				t.Errorf("as a server: %v", err)
			}
			if _, err := good.DialRaft(ctx, s.addr); !errors.Is(err, ErrForeign) {
				t.Errorf("dialed for Raft: %v", err)
			}
		})
	}
}

// foreignTo reports whether the other side is the only one to object.
func (i *Identity) foreignTo(o *Identity) bool {
	_, err := i.check(o.certificates())
	return err == nil
}

func (i *Identity) certificates() []*x509.Certificate {
	m := i.current.Load()
	return []*x509.Certificate{m.leaf, m.ca}
}

// TestRaftIsForMetadataNodes tries to speak Raft with a data node's certificate, with none, and to a data node.
func TestRaftIsForMetadataNodes(t *testing.T) {
	now := time.Now()
	c := newCluster(t, "c1", now)
	meta, data := c.identity("m1", now, Meta), c.identity("d1", now, Data)
	s := serve(t, meta, known)
	conn, err := c.identity("m2", now, Meta).DialRaft(t.Context(), s.addr)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.mux.Raft().Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(conn.Close(), got.Close()); err != nil {
		t.Error(err)
	}

	// The client of TLS 1.3 is done before the server has looked at its certificate.
	if conn, err := data.DialRaft(t.Context(), s.addr); err == nil {
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("a data node speaks Raft")
		}
		_ = conn.Close()
	}
	if err := <-s.refused; !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "no metadata node") {
		t.Errorf("refused because %v", err)
	}
	if _, err := meta.DialRaft(t.Context(), serve(t, data, known).addr); !errors.Is(err, ErrForeign) {
		t.Errorf("Raft to a data node: %v", err)
	}
	// A data node that has come by a metadata node's address is asked nothing.
	_, err = atollpb.NewMetadataClient(serve(t, data, known).dial(t, data.DialOptions()...)).Report(t.Context(), reportOf("d1"))
	if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "not of the role meta") {
		t.Errorf("a data node as a metadata node: %v", err)
	}
}

// TestFirstCertificateAndRenewal: handshakes wait for a process's first certificate, and the next one holds for new
// connections without a restart.
func TestFirstCertificateAndRenewal(t *testing.T) {
	now := time.Now()
	c := newCluster(t, "c1", now)
	i := c.identity("m1", time.Time{}, Meta)
	if _, ok := i.Own(); ok || !i.Due() || i.Authority() != nil {
		t.Error("an identity without a certificate has one")
	}
	s := serve(t, i, known)
	client := c.identity("m2", now, Meta)
	called := make(chan error, 1)
	conn := s.dial(t, client.DialOptions()...)
	go func() {
		_, err := atollpb.NewConsensusClient(conn).ReadIndex(t.Context(), &atollpb.ReadIndexRequest{})
		called <- err
	}()
	c.sign(i, "m1", now.Add(-59*24*time.Hour), Meta)
	if err := <-called; err != nil {
		t.Error(err)
	}
	if i.Due() {
		t.Error("due after 59 days")
	}
	c.sign(i, "m1", now.Add(-61*24*time.Hour), Meta)
	if !i.Due() {
		t.Error("not due after 61 days")
	}

	// Another process on the same files, as a renewal by hand would be.
	again, err := OpenIdentity(i.dir)
	if err != nil {
		t.Fatal(err)
	}
	c.sign(again, "m1", now, Meta)
	if changed, err := i.Reload(); err != nil || !changed || i.Due() {
		t.Errorf("reload: %v, %v", changed, err)
	}
	if changed, err := i.Reload(); err != nil || changed {
		t.Errorf("reload of the same: %v, %v", changed, err)
	}
	raft, err := client.DialRaft(t.Context(), s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raft.Close()
	served, err := s.mux.Raft().Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = served.Close()
	if !i.NotAfter().After(now.Add(89 * 24 * time.Hour)) {
		t.Errorf("until %v", i.NotAfter())
	}
}

// TestSilentHandshakes: who connects and says nothing is gone after a while, and holds nobody up.
func TestSilentHandshakes(t *testing.T) {
	now := time.Now()
	c := newCluster(t, "c1", now)
	s := serve(t, c.identity("m1", now, Meta), known)
	var silent []net.Conn
	for range 50 {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, conn)
	}
	_, err := atollpb.NewConsensusClient(s.dial(t, c.identity("m2", now, Meta).DialOptions()...)).ReadIndex(t.Context(), &atollpb.ReadIndexRequest{})
	if err != nil {
		t.Error(err)
	}
	for _, conn := range silent {
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 64)); n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a silent connection stays")
		}
		_ = conn.Close()
	}
}

// TestGuests: who has no certificate sends little, and there are few of them; members don't notice.
func TestGuests(t *testing.T) {
	now := time.Now()
	c := newCluster(t, "c1", now)
	s := serve(t, c.identity("m1", now, Meta), known)
	s.enroll = func(*atollpb.EnrollRequest) (*atollpb.EnrollResponse, error) { return &atollpb.EnrollResponse{}, nil }
	pinned := grpc.WithTransportCredentials(c.pinned())
	large := &atollpb.EnrollRequest{NodeId: strings.Repeat("x", 2*guestBytesMax)}
	if _, err := atollpb.NewEnrolmentClient(s.dial(t, pinned)).Enroll(t.Context(), large); status.Code(err) != codes.Unavailable {
		t.Errorf("a large message: %v", err)
	}
	small := &atollpb.EnrollRequest{NodeId: "n1"}
	var conns []*grpc.ClientConn
	for range guestsMax {
		conn := s.dial(t, pinned)
		conns = append(conns, conn)
		if _, err := atollpb.NewEnrolmentClient(conn).Enroll(t.Context(), small, grpc.WaitForReady(true)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := atollpb.NewEnrolmentClient(s.dial(t, pinned)).Enroll(t.Context(), small); status.Code(err) != codes.Unavailable {
		t.Errorf("one too many: %v", err)
	}
	member := s.dial(t, c.identity("m2", now, Meta).DialOptions()...)
	if _, err := atollpb.NewConsensusClient(member).ReadIndex(t.Context(), &atollpb.ReadIndexRequest{}); err != nil {
		t.Errorf("a member: %v", err)
	}
	if err := conns[0].Close(); err != nil {
		t.Error(err)
	}
	if _, err := atollpb.NewEnrolmentClient(s.dial(t, pinned)).Enroll(t.Context(), small, grpc.WaitForReady(true)); err != nil {
		t.Errorf("after one has left: %v", err)
	}
}

// TestFiles looks at what an identity takes from its directory.
func TestFiles(t *testing.T) {
	now := time.Now()
	c := newCluster(t, "c1", now)
	i := c.identity("m1", now, Meta, Data)
	if err := i.KeepAuthority(c.authority()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{keyFile, certFile, authFile} {
		info, err := os.Stat(filepath.Join(i.dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	again, err := OpenIdentity(i.dir)
	if err != nil {
		t.Fatal(err)
	}
	own, ok := again.Own()
	_, sum := i.PublicKey()
	if !ok || own.NodeID != "m1" || own.ClusterID != "c1" || !slices.Equal(own.Roles, []Role{Meta, Data}) || own.KeySHA256 != sum {
		t.Errorf("%+v, %v", own, ok)
	}
	if a, err := again.KeptAuthority(); err != nil || !slices.Equal(a.CA.Raw, c.cert) {
		t.Errorf("the authority: %v", err)
	}
	if a, err := c.identity("m2", now, Meta).KeptAuthority(); a != nil || err != nil {
		t.Errorf("no authority: %v, %v", a, err)
	}

	if found := findings(t, i.dir, "m1"); len(found) != 0 {
		t.Errorf("a check finds %q", found)
	}
	if found := findings(t, i.dir, "m2"); len(found) != 1 {
		t.Errorf("a check for another node finds %q", found)
	}

	foreign := c.identity("m1", now, Meta)
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(foreign.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	good, err := os.ReadFile(filepath.Join(i.dir, certFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string]map[string][]byte{
		"key that is none":            {keyFile: []byte("x")},
		"another key":                 {keyFile: read(keyFile)},
		"another key's certificate":   {certFile: read(certFile)},
		"certificate that is none":    {certFile: []byte("x")},
		"certificate without its end": {certFile: good[:len(good)/3]},
		"one certificate":             {certFile: good[:strings.Index(string(good), "-----END")+26]},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range []string{keyFile, certFile} {
				data, err := os.ReadFile(filepath.Join(i.dir, file))
				if with, ok := files[file]; ok {
					data = with
				}
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, file), data, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if _, err := OpenIdentity(dir); !errors.Is(err, ErrDamage) {
				t.Errorf("%v", err)
			}
			if found := findings(t, dir, "m1"); len(found) != 1 {
				t.Errorf("a check finds %q", found)
			}
		})
	}
}

func findings(t *testing.T, dir, node string) []string {
	t.Helper()
	var found []string
	if err := Verify(dir, node, func(file, what string) { found = append(found, file+": "+what) }); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestEnroll(t *testing.T) {
	now := time.Now()
	c, other := newCluster(t, "c1", now), newCluster(t, "c2", now)
	token := JoinToken{InviteID: "0011223344556677", Secret: [InviteSecretBytes]byte{7}, CA: sha256.Sum256(c.cert)}
	signer := func(c *cluster, at time.Time) func(*atollpb.EnrollRequest) (*atollpb.EnrollResponse, error) {
		return func(r *atollpb.EnrollRequest) (*atollpb.EnrollResponse, error) {
			public, _, err := ReadRequest(r.GetRequest())
			if err != nil {
				return nil, status.Error(codes.InvalidArgument, err.Error())
			}
			cert, err := c.authority().Sign(public, Name{c.id, r.GetNodeId(), r.GetRoles()}, at)
			return &atollpb.EnrollResponse{Cert: cert, Ca: c.cert}, err
		}
	}
	lost := 0
	for _, tt := range []struct {
		name   string
		server *Identity
		token  JoinToken
		enroll func(*atollpb.EnrollRequest) (*atollpb.EnrollResponse, error)
		want   error
		text   string
	}{
		{"invited", c.identity("m1", now, Meta), token, signer(c, now), nil, ""},
		{"after lost answers", c.identity("m1", now, Meta), token, func(r *atollpb.EnrollRequest) (*atollpb.EnrollResponse, error) {
			if lost++; lost < 3 {
				return nil, status.Error(codes.Unavailable, "lost")
			}
			return signer(c, now)(r)
		}, nil, ""},
		{"refused", c.identity("m1", now, Meta), token, func(*atollpb.EnrollRequest) (*atollpb.EnrollResponse, error) {
			return nil, status.Error(codes.FailedPrecondition, "the join token has expired")
		}, ErrRefused, "the join token has expired"},
		{"told that its clock is off", c.identity("m1", now, Meta), token, func(r *atollpb.EnrollRequest) (*atollpb.EnrollResponse, error) {
			if off := time.UnixMilli(r.GetTimeMs()).Sub(now); off.Abs() > time.Hour {
				return nil, status.Error(codes.Internal, "it tells no time")
			}
			return nil, status.Error(codes.OutOfRange, CheckClock(now.Add(24*time.Hour).UnixMilli(), now).Error())
		}, ErrClock, "24h0m0s ahead"},
		{"a token of another cluster", other.identity("m1", now, Meta), token, signer(c, now), ErrForeign, "the join token is another cluster's"},
		{"a data node as the host", c.identity("d1", now, Data), token, signer(c, now), ErrForeign, "no metadata node"},
		{"a host whose certificate has ended", c.identity("m1", now.Add(-91*24*time.Hour), Meta), token, signer(c, now), ErrForeign, "is a clock wrong?"},
		{"a host whose clock is a day ahead", c.identity("m1", now, Meta), token, signer(c, now.Add(24*time.Hour)), ErrClock, "set the one that is wrong"},
		{"a host whose clock is a day behind", c.identity("m1", now, Meta), token, signer(c, now.Add(-24*time.Hour)), ErrClock, "24h0m"},
		{"an answer of another authority", c.identity("m1", now, Meta), token, signer(other, now), ErrForeign, "another authority"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, tt.server, known)
			s.enroll = tt.enroll
			i := c.identity("d1", time.Time{})
			err := i.Enroll(t.Context(), Invitation{Token: tt.token, Addrs: []string{s.addr}, NodeID: "d1", Roles: []Role{Data}}, slog.New(slog.DiscardHandler))
			if !errors.Is(err, tt.want) || tt.want != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if own, ok := i.Own(); ok != (tt.want == nil) || ok && (own.NodeID != "d1" || !own.Has(Data) || own.Has(Meta)) {
				t.Errorf("it is %+v", own)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		i := c.identity("d1", time.Time{})
		if err := i.Enroll(ctx, Invitation{Token: token, Addrs: []string{"127.0.0.1:1"}}, slog.New(slog.DiscardHandler)); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
