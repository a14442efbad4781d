package rpc

import (
	"errors"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"
)

func TestMuxRoutesByFirstByte(t *testing.T) {
	defer goleak.VerifyNone(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := Split(l)
	defer m.Close()

	// A silent connection holds nobody up.
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()

	raft, err := DialRaft(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raft.Close()
	expect(t, m.Raft(), raft, "hello", "hello")

	grpc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer grpc.Close()
	expect(t, m.GRPC(), grpc, "PRI * HTTP", "PRI * HTTP")

	other, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Write([]byte("G")); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Read(make([]byte, 1)); err == nil {
		t.Fatal("a connection of neither kind is answered")
	}
}

func expect(t *testing.T, l net.Listener, client net.Conn, send, want string) {
	t.Helper()
	if _, err := client.Write([]byte(send)); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("read %q: %v, want %q", got, err, want)
	}
}

func TestMuxClose(t *testing.T) {
	defer goleak.VerifyNone(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := Split(l)
	conn, err := DialRaft(t.Context(), l.Addr().String()) // accepted by nobody
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := m.Raft().Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.GRPC().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("accept after close: %v", err)
	}
}
