package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestPubSubAcrossNodes: who listens on one node of a group hears what is published on another, over the cluster's own
// connections, with the metadata service away, and after a node's restart; another namespace hears nothing.
func TestPubSubAcrossNodes(t *testing.T) {
	meta := newProcess(t, "meta")
	meta.start()
	meta.waitReady()
	var nodes []*process
	for range 2 {
		d := newProcess(t, "data", "--join", meta.cluster)
		d.tokenDir, d.httpAddr = meta.dir, meta.httpAddr
		d.start()
		d.waitReady()
		nodes = append(nodes, d)
	}
	token, other := meta.createNamespace("acme"), meta.createNamespace("other")
	listen := func(p *process, token string) *redis.PubSub {
		t.Helper()
		s := p.redis(token).Subscribe(t.Context(), "news")
		t.Cleanup(func() { _ = s.Close() })
		if _, err := s.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	}
	listeners := []*redis.PubSub{listen(nodes[0], token), listen(nodes[1], token)}
	quiet := listen(nodes[1], other)
	hear := func(what string, from *process, listeners ...*redis.PubSub) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), readyWait)
		defer cancel()
		c := from.redis(token)
		for i, l := range listeners {
			for n := 0; ; n++ { // a stream may have broken with the node that it was to
				text := fmt.Sprint(what, " ", i, " ", n)
				if err := c.Publish(ctx, "news", text).Err(); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				wait, stop := context.WithTimeout(ctx, 500*time.Millisecond)
				m, err := l.ReceiveMessage(wait)
				for err == nil && m.Payload != text {
					m, err = l.ReceiveMessage(wait)
				}
				stop()
				if err == nil {
					break
				}
				if ctx.Err() != nil {
					t.Fatalf("%s: listener %d hears nothing: %v", what, i, err)
				}
			}
		}
	}
	hear("from the first", nodes[0], listeners...)
	hear("from the second", nodes[1], listeners...)
	meta.stop()
	hear("without the metadata service", nodes[0], listeners...)
	nodes[1].restart()
	nodes[1].waitReady()
	again := listen(nodes[1], token)
	hear("after a restart", nodes[0], again)
	hear("from the restarted", nodes[1], listeners[0], again)
	wait, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if m, err := quiet.ReceiveMessage(wait); err == nil {
		t.Errorf("another namespace hears %v", m)
	}
}
