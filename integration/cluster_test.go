package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// TestThreeMetadataNodes kills each metadata node in turn under changes: every change that was answered
// stays, and clients of the data node see nothing of it.
func TestThreeMetadataNodes(t *testing.T) {
	first := newProcess(t, "meta")
	first.start()
	first.waitReady()
	voters := []*process{first}
	for range 2 {
		p := newProcess(t, "meta", "--join", first.cluster)
		p.tokenDir = first.dir
		p.start()
		p.waitReady()
		voters = append(voters, p)
	}
	first.until("leading three voters", func(ctx context.Context) error {
		c, err := first.admin().Cluster(ctx)
		if err == nil && len(c.Voters) != 3 {
			err = fmt.Errorf("%d voters", len(c.Voters))
		}
		return err
	})
	d := newProcess(t, "data", "--join", first.cluster)
	d.tokenDir, d.httpAddr = first.dir, first.httpAddr
	d.start()
	d.waitReady()
	token := first.createNamespace("acme")

	made := []string{"__namespace", "acme"}
	for i, victim := range voters {
		victim.kill()
		if _, err := d.do(t.Context(), token, "SET", "k", i); err != nil {
			t.Errorf("a write while metadata node %d is away: %v", i, err)
		}
		other := voters[(i+1)%len(voters)]
		name := fmt.Sprintf("made-%d", i)
		other.until("changing metadata without one node", func(ctx context.Context) error {
			_, err := other.admin().CreateNamespace(ctx, adminapi.CreateNamespace{Name: name}, adminapi.WithIdempotencyKey("a-creation-of-"+name), adminapi.WaitApplied(time.Second))
			return err
		})
		made = append(made, name)
		victim.restart()
	}
	for i, p := range voters {
		list, err := p.admin().Namespaces(t.Context())
		var names []string
		for _, n := range list {
			names = append(names, n.Name)
		}
		if err != nil || !slices.Equal(names, made) {
			t.Errorf("metadata node %d lists %v, %v; want %v", i, names, err, made)
		}
	}
	for _, p := range voters {
		p.stop()
	}
	if got, err := d.do(t.Context(), token, "GET", "k"); err != nil || got != "2" {
		t.Errorf("with every metadata node stopped: %v, %v", got, err)
	}
	if _, err := d.do(t.Context(), token, "SET", "k", "alone"); err != nil {
		t.Errorf("a write with every metadata node stopped: %v", err)
	}
}

// TestHostilePeers sends to each port what belongs to another, and what is nobody's.
func TestHostilePeers(t *testing.T) {
	s := startServer(t)
	packets := map[string]string{
		"huge bulk":     "*1\r\n$9223372036854775807\r\n",
		"huge array":    "*2000000000\r\n",
		"negative bulk": "*1\r\n$-100\r\n",
		"HTTP":          "POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a b\r\n",
		"HTTP/2":        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"raft":          "R\x00\x00\x00\x00\xff\xff\xff\xff",
		"noise":         strings.Repeat("\xff\x00\r\n", 1<<16),
		"TLS":           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"long line":     strings.Repeat("x", 1<<20),
	}
	for name, packet := range packets {
		for port, addr := range map[string]string{"resp": s.respAddr, "http": s.httpAddr, "cluster": s.cluster} {
			t.Run(name+" to "+port, func(t *testing.T) { sendRaw(t, addr, packet) })
		}
	}
	if err := s.redis("").Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	if n, err := s.redis("").DBSize(t.Context()).Result(); err != nil || n != 0 {
		t.Errorf("%d keys, %v", n, err)
	}
	s.createNamespace("still-here")
	s.stop()
}
