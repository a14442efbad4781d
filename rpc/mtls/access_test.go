package mtls

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// openStream is the server's end of a stream whose caller sends acknowledgements without end.
type openStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *openStream) Context() context.Context { return s.ctx }
func (s *openStream) RecvMsg(any) error        { return nil }
func (s *openStream) SendMsg(any) error        { return nil }

func contextOf(p Peer) context.Context {
	return peer.NewContext(context.Background(), &peer.Peer{Addr: &net.TCPAddr{}, AuthInfo: credentials.AuthInfo(infoOf(p))})
}

// TestOpenStreamsEnd: a stream that was opened by right ends once its caller is removed.
func TestOpenStreamsEnd(t *testing.T) {
	for direction, use := range map[string]func(grpc.ServerStream) error{
		"received": func(s grpc.ServerStream) error { return s.RecvMsg(&atollpb.SinkMessage{}) },
		"sent":     func(s grpc.ServerStream) error { return s.SendMsg(&atollpb.ViewFrame{}) },
	} {
		t.Run(direction, func(t *testing.T) {
			removed, refused := false, 0
			a := Access{
				Enrolled: func(context.Context, Peer) error {
					if removed {
						return status.Error(codes.PermissionDenied, "removed")
					}
					return nil
				},
				Refused: func(context.Context, Peer, string, error) { refused++ },
			}
			p := Peer{Name: Name{"c1", "d1", []Role{Data}}}
			info := &grpc.StreamServerInfo{FullMethod: atollpb.Replication_Follow_FullMethodName}
			err := a.stream(nil, &openStream{ctx: contextOf(p)}, info, func(_ any, s grpc.ServerStream) error {
				passed := func() { s.(*checkedStream).next.Store(time.Now().UnixNano() - 1) }
				for range 2 {
					if err := use(s); err != nil {
						t.Errorf("before: %v", err)
					}
					passed()
				}
				removed = true
				passed()
				if err := use(s); status.Code(err) != codes.PermissionDenied {
					t.Errorf("it goes on: %v", err)
				}
				if err := s.SendMsg(&atollpb.ViewFrame{}); status.Code(err) != codes.PermissionDenied {
					t.Errorf("the other direction goes on: %v", err)
				}
				return use(s)
			})
			if status.Code(err) != codes.PermissionDenied || refused == 0 {
				t.Errorf("%v, told %d times", err, refused)
			}
		})
	}
}

// TestConnectionsEndWithTheirCertificate: what was open when a peer's certificate ended is closed, on both sides, so
// that a renewed one comes into use.
func TestConnectionsEndWithTheirCertificate(t *testing.T) {
	now := time.Now()
	c := newCluster(t, "c1", now)
	ahead := func(i *Identity) (jump func()) {
		var by atomic.Int64
		i.now = func() time.Time { return time.Now().Add(time.Duration(by.Load())) }
		return func() { by.Store(int64(40 * 24 * time.Hour)) }
	}
	call := func(conn *grpc.ClientConn) error {
		_, err := atollpb.NewMetadataClient(conn).Report(t.Context(), reportOf("d1"))
		return err
	}
	host, node := c.identity("m1", now, Meta), c.identity("d1", now.Add(-60*24*time.Hour), Data)
	jump := ahead(host)
	s := serve(t, host, known)
	conn := s.dial(t, node.DialOptions()...)
	if err := call(conn); err != nil {
		t.Fatal(err)
	}
	jump()
	if err := call(conn); status.Code(err) != codes.Unavailable {
		t.Errorf("a client whose certificate has ended: %v", err)
	}
	c.sign(node, "d1", now, Data)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := atollpb.NewMetadataClient(conn).Report(ctx, reportOf("d1"), grpc.WaitForReady(true)); err != nil {
		t.Errorf("a renewed one: %v", err)
	}

	old, fresh := c.identity("m1", now.Add(-60*24*time.Hour), Meta), c.identity("d1", now, Data)
	jump = ahead(fresh)
	conn = serve(t, old, known).dial(t, fresh.DialOptions()...)
	if err := call(conn); err != nil {
		t.Fatal(err)
	}
	jump()
	if err := call(conn); status.Code(err) != codes.Unavailable {
		t.Errorf("a server whose certificate has ended: %v", err)
	}

	jump = ahead(host)
	raft := c.identity("m2", now.Add(-60*24*time.Hour), Meta)
	dialed, err := raft.DialRaft(t.Context(), s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	accepted, err := s.mux.Raft().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	for _, want := range []error{nil, errEnded} {
		if _, err := dialed.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := accepted.Read(make([]byte, 1)); !errors.Is(err, want) {
			t.Errorf("Raft: %v, want %v", err, want)
		}
		jump()
	}
}

// TestEveryClaimIsChecked walks all that a server is sent: a field that names the caller is compared with its
// certificate.
func TestEveryClaimIsChecked(t *testing.T) {
	p := Peer{Name: Name{"c1", "d1", []Role{Data}}}
	found := 0
	// claims tries each field node_id of a message, and of those inside.
	var claims func(root protoreflect.Message, at protoreflect.Message, path string, depth int)
	claims = func(root, at protoreflect.Message, path string, depth int) {
		fields := at.Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			switch {
			case f.Name() == "node_id" && f.Kind() == protoreflect.StringKind && !f.IsList():
				found++
				for id, want := range map[string]codes.Code{"d1": codes.OK, "d2": codes.PermissionDenied} {
					at.Set(f, protoreflect.ValueOfString(id))
					if err := checkClaim(p, root.Interface()); status.Code(err) != want {
						t.Errorf("%s.%s in the name of %s: %v", path, f.Name(), id, err)
					}
				}
				at.Clear(f)
			case f.Message() != nil && !f.IsList() && !f.IsMap() && depth < 4:
				claims(root, at.Mutable(f).Message(), path+"."+string(f.Name()), depth+1)
				at.Clear(f)
			}
		}
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("atoll.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				input := methods.Get(j).Input()
				if input.Name() == "EnrollRequest" { // its caller has no certificate
					continue
				}
				m, err := protoregistry.GlobalTypes.FindMessageByName(input.FullName())
				if err != nil {
					t.Fatal(err)
				}
				root := m.New()
				claims(root, root, string(input.Name()), 0)
			}
		}
		return true
	})
	if found < 8 {
		t.Errorf("%d fields", found)
	}
}
