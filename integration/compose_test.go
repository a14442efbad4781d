package integration

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/atolldb/atoll/rpc/adminapi"
)

var testCompose = flag.Bool("compose", false, "run the cluster of deploy/compose in containers")

// composed is a project of docker-compose that belongs to one test.
type composed struct {
	t       *testing.T
	project string
	ports   []string // of data-1 to data-4, on the loopback
	env     []string
}

func newComposed(t *testing.T) *composed {
	t.Helper()
	addrs := freeAddrs(t, 5)
	c := &composed{t: t, project: fmt.Sprintf("atoll-test-%d", os.Getpid())}
	image := c.project + ":test"
	c.env = append(os.Environ(), "ATOLL_IMAGE="+image)
	for i, addr := range addrs {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("ATOLL_RESP_PORT_%d", i+1)
		if i == 4 {
			name = "ATOLL_HTTP_PORT"
		} else {
			c.ports = append(c.ports, port)
		}
		c.env = append(c.env, name+"="+port)
	}
	if out, err := exec.Command("../deploy/image", image).CombinedOutput(); err != nil {
		t.Fatalf("build the image: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.compose("logs", "--tail=40"))
		}
		c.compose("--profile", "grow", "down", "-v", "--timeout", "20")
		if out, err := exec.Command("docker", "rmi", "-f", image).CombinedOutput(); err != nil {
			t.Errorf("remove the image: %v\n%s", err, out)
		}
	})
	return c
}

// compose runs docker-compose, which has to succeed, and returns what it printed.
func (c *composed) compose(args ...string) string {
	c.t.Helper()
	out, err := c.tryCompose(args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

func (c *composed) tryCompose(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker-compose", append([]string{"-f", "../deploy/compose/docker-compose.yml", "-p", c.project}, args...)...)
	cmd.Env = c.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("docker-compose %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), nil
}

func (c *composed) atoll(args ...string) string {
	c.t.Helper()
	return c.compose(append([]string{"exec", "-T", "meta-1", "/atoll"}, args...)...)
}

// until waits for what f asks for.
func (c *composed) until(what string, f func() error) {
	c.t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// serving waits until so many data nodes serve, the one with the most behind not behind at all.
func (c *composed) serving(nodes int) {
	c.t.Helper()
	c.until(fmt.Sprintf("%d nodes serve", nodes), func() error {
		var list []adminapi.Node
		if err := json.Unmarshal([]byte(c.atoll("node", "list", "--output", "json")), &list); err != nil {
			return err
		}
		good := 0
		for _, n := range list {
			if n.Live && n.Report != nil && n.Report.State == "serving" {
				good++
			}
		}
		if good != nodes {
			return fmt.Errorf("%d of %d", good, nodes)
		}
		return nil
	})
}

func (c *composed) client(node int, token string) *redis.Client {
	c.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + c.ports[node-1], Password: token, MaxRetries: -1, Protocol: 3, DisableIdentity: true})
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// create makes a namespace, and returns its token.
func (c *composed) create(name string) string {
	c.t.Helper()
	var created adminapi.CreatedNamespace
	if err := json.Unmarshal([]byte(c.atoll("ns", "create", name, "--output", "json")), &created); err != nil {
		c.t.Fatal(err)
	}
	return created.Token.Secret
}

// TestCompose is an operator with docker-compose: a cluster, tenants, a fourth data node that lists them all from its
// first answer, and a container of each kind that dies under load. What was acknowledged is there in the end.
func TestCompose(t *testing.T) {
	if !*testCompose {
		t.Skip("containers are started with -compose")
	}
	for _, tool := range []string{"docker", "docker-compose"} {
		needProgram(t, tool)
	}
	need(t, "docker", exec.Command("docker", "info").Run())
	c := newComposed(t)
	c.compose("up", "-d", "meta-1")
	c.until("meta-1 answers", func() error {
		_, err := c.tryCompose("exec", "-T", "meta-1", "/atoll", "health", "meta")
		return err
	})
	c.env = append(c.env, "ATOLL_JOIN_TOKEN="+strings.TrimSpace(c.atoll("node", "invite", "-q", "--role", "server", "--uses", "6")))
	c.compose("up", "-d")
	c.serving(3)

	const namespaces = 20
	tokens := map[string]string{}
	for i := range namespaces {
		name := fmt.Sprintf("tenant-%d", i)
		tokens[name] = c.create(name)
	}
	ctx := t.Context()
	for name, token := range tokens {
		if err := c.client(1, token).Set(ctx, "who", name, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}

	c.compose("--profile", "grow", "up", "-d", "data-4")
	c.until("data-4 answers", func() error { return c.client(4, tokens["tenant-0"]).Ping(ctx).Err() })
	for name, token := range tokens { // each from the first moment
		if got, err := c.client(4, token).Get(ctx, "who").Result(); err != nil || got != name {
			t.Errorf("%s on the new node: %q, %v", name, got, err)
		}
	}
	c.serving(4)

	load := c.load(ctx, tokens["tenant-1"])
	for _, victim := range []string{"meta-2", "data-3", "data-1"} { // the last one is the primary
		c.compose("kill", victim)
		c.compose("start", victim)
		c.serving(4)
	}
	acknowledged := load()
	t.Logf("%d writes were acknowledged", acknowledged)
	if acknowledged == 0 {
		t.Error("no write was acknowledged")
	}
	for node := 1; node <= 4; node++ {
		client := c.client(node, tokens["tenant-1"])
		c.until(fmt.Sprintf("data-%d has every acknowledged write", node), func() error {
			for i := range acknowledged {
				if _, err := client.Get(ctx, fmt.Sprintf("key-%d", i)).Result(); err != nil {
					return fmt.Errorf("key-%d: %w", i, err)
				}
			}
			return nil
		})
	}
}

// load writes one key after another by way of data-2, each until it is acknowledged, and returns what stops it and
// tells how many were.
func (c *composed) load(ctx context.Context, token string) (stop func() int) {
	client := c.client(2, token)
	var stopped atomic.Bool
	var n int
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stopped.Load() && ctx.Err() == nil {
			err := client.Set(ctx, fmt.Sprintf("key-%d", n), n, 0).Err()
			switch {
			case err == nil:
				n++
			case errors.Is(err, context.Canceled):
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	return func() int {
		stopped.Store(true)
		wg.Wait()
		return n
	}
}
