package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// writer sets one key after another on whichever node takes it, and remembers those that were acknowledged.
type writer struct {
	name  string
	nodes []*redis.Client
	mu    sync.Mutex
	acked []string
}

func (w *writer) run(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		key := fmt.Sprintf("%s:%d", w.name, i)
		c := w.nodes[i%len(w.nodes)]
		if err := c.Set(ctx, key, i, 0).Err(); err == nil {
			w.mu.Lock()
			w.acked = append(w.acked, key)
			w.mu.Unlock()
		}
	}
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// groupOf returns the one group, with its nodes by id.
func (p *process) groupOf(ctx context.Context) (adminapi.Group, map[string]adminapi.Node, error) {
	c := p.admin()
	list, err := c.Groups(ctx)
	if err != nil {
		return adminapi.Group{}, nil, err
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return adminapi.Group{}, nil, err
	}
	byID := make(map[string]adminapi.Node)
	for _, n := range nodes.Nodes {
		byID[n.ID] = n
	}
	if len(list.Groups) != 1 {
		return adminapi.Group{}, nil, fmt.Errorf("%d groups", len(list.Groups))
	}
	return list.Groups[0], byID, nil
}

func (p *process) idOf(d *process) string {
	p.t.Helper()
	id := ""
	d.until("registered", func(ctx context.Context) error {
		_, nodes, err := p.groupOf(ctx)
		for _, n := range nodes {
			if n.ClusterAddr == d.cluster && n.Report != nil && n.Report.State == "serving" {
				id = n.ID
				return nil
			}
		}
		return errors.Join(err, errors.New("not serving yet"))
	})
	return id
}

// TestPromoteLosesNothing moves the primary back and forth under writers on both nodes; every write that
// was acknowledged is there in the end, on both.
func TestPromoteLosesNothing(t *testing.T) {
	meta := newProcess(t, "meta")
	meta.start()
	meta.waitReady()
	a := meta.joinData()
	a.waitReady()
	b := meta.joinData()
	b.waitReady()
	ids := []string{meta.idOf(a), meta.idOf(b)}
	token := meta.createNamespace("tenant")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var writers []*writer
	for i := range 4 {
		w := &writer{name: fmt.Sprint("w", i), nodes: []*redis.Client{a.redis(token), b.redis(token)}}
		writers = append(writers, w)
		wg.Go(func() { w.run(ctx) })
	}
	for round := range 4 {
		target := ids[(round+1)%2]
		before := writers[0].count()
		waitFor(t, func() bool { return writers[0].count() > before+20 })
		if _, err := meta.admin().Promote(ctx, 1, adminapi.Promote{Target: target}); err != nil {
			t.Fatal(err)
		}
		a.until("promoted", func(ctx context.Context) error {
			g, _, err := meta.groupOf(ctx)
			if err == nil && g.Primary != target {
				err = fmt.Errorf("the primary is %s", g.Primary)
			}
			return err
		})
		before = writers[0].count()
		waitFor(t, func() bool { return writers[0].count() > before+20 }) // writes go on
	}
	cancel()
	wg.Wait()
	for _, node := range []*process{a, b} {
		c := node.redis(token)
		total := 0
		for _, w := range writers {
			total += len(w.acked)
			for _, key := range w.acked {
				waitFor(t, func() bool { return c.Exists(context.Background(), key).Val() == 1 })
			}
		}
		t.Logf("%d acknowledged writes are on %s", total, node.respAddr)
	}
}

// TestPromoteWithoutThePrimary: it is refused while the primary can't be reached, unless the operator
// accepts the loss; then the old primary comes back as a replica of the new history.
func TestPromoteWithoutThePrimary(t *testing.T) {
	meta := newProcess(t, "meta")
	meta.start()
	meta.waitReady()
	a := meta.joinData()
	a.waitReady()
	b := meta.joinData()
	b.waitReady()
	target := meta.idOf(b)
	token := meta.createNamespace("tenant")
	ca, cb := a.redis(token), b.redis(token)
	ctx := t.Context()
	if err := ca.Set(ctx, "before", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return cb.Get(ctx, "before").Val() == "1" })
	a.kill()
	var err error
	waitFor(t, func() bool { // until the primary's reports are too old
		_, err = meta.admin().Promote(ctx, 1, adminapi.Promote{Target: target})
		return err != nil && strings.Contains(err.Error(), "accept")
	})
	if _, err := meta.admin().Promote(ctx, 1, adminapi.Promote{Target: target, AcceptLoss: true}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return cb.Set(ctx, "after", "2", 0).Err() == nil })
	a.start()
	waitFor(t, func() bool { return ca.Get(ctx, "after").Val() == "2" && ca.Get(ctx, "before").Val() == "1" })
	// Its writes go to the new primary.
	waitFor(t, func() bool { return ca.Set(ctx, "through", "3", 0).Err() == nil })
	waitFor(t, func() bool { return cb.Get(ctx, "through").Val() == "3" })
}

// TestLargeValuesPassReplicas: a write that a replica passes on, and its reply, may be as large as any.
func TestLargeValuesPassReplicas(t *testing.T) {
	server := startServer(t)
	replica := server.joinData()
	server.idOf(replica)
	token := server.createNamespace("tenant")
	c := replica.redis(token)
	value := strings.Repeat("v", 20<<20)
	if err := c.Set(t.Context(), "k", value, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.GetDel(t.Context(), "k").Result(); err != nil || got != value {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
}
