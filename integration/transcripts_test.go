package integration

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/atolldb/atoll/datanode/command/compare"
	"github.com/atolldb/atoll/rpc/adminapi"
)

// TestTranscripts runs the commands' transcripts, which hold a real Redis' replies, against a whole node
// over TCP, each file in a namespace of its own.
func TestTranscripts(t *testing.T) {
	s := startServer(t)
	admin := s.admin()
	compare.Transcripts(t, "../datanode/command/testdata/transcript", func(t *testing.T) compare.Conn {
		const secret = "the-secret-of-transcript-"
		name := filepath.Base(t.Name())
		_, err := admin.CreateNamespace(t.Context(), adminapi.CreateNamespace{
			Name: name, Token: &adminapi.CreateToken{Secret: secret + name},
		}, adminapi.WaitApplied(readyWait))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", s.respAddr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		c := compare.NewConn(conn)
		if r, err := c.Do([]string{"AUTH", secret + name}); err != nil || r[0].Text != "OK" {
			t.Fatalf("AUTH: %v, %v", r, err)
		}
		return c
	})
}
