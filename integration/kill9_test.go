package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// A process is killed under load, again and again. As often as wanted:
//
//	go test ./integration -run TestKill9 -kill9.rounds 200 -v -timeout 60m
var (
	kill9Rounds = flag.Int("kill9.rounds", 3, "kills in TestKill9")
	kill9Seed   = flag.Uint64("kill9.seed", 0, "of TestKill9; 0: a random one")
)

const (
	kill9Clients = 8
	kill9Keys    = 30 // of each client
	kill9Verify  = 5  // rounds between two checks of the directory
)

// TestKill9 kills the process at random times under the load of several clients in several namespaces, async and
// local, starts it again, and holds everything against a model: what was acknowledged is there, and of each client at
// most the command under way may be there too. Every few rounds debug verify checks the directory in between.
func TestKill9(t *testing.T) {
	seed := *kill9Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	server := startServer(t, "--memtable", "1MiB", "--log-segment", "1MiB", "--log-retain", "2MiB")
	clients := kill9Tenants(t, server, rng)
	var worst, sum time.Duration
	checks, total := 0, 0
	for round := range *kill9Rounds {
		wait := time.Duration(5+rng.IntN(600)) * time.Millisecond
		total += kill9Load(t, server, clients, wait)
		if round%kill9Verify == kill9Verify-1 || round == *kill9Rounds-1 {
			if v := server.verify(); len(v.Findings) > 0 {
				t.Fatalf("seed %d, round %d: %+v", seed, round, v.Findings)
			}
			checks++
		}
		began := time.Now()
		server.restart()
		took := time.Since(began)
		worst, sum = max(worst, took), sum+took
		for _, c := range clients {
			c.check(t, server, fmt.Sprintf("seed %d, round %d", seed, round))
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills, %d acknowledged writes, %d checks of the directory, a restart took %v on average, the longest %v",
		*kill9Rounds, total, checks, (sum / time.Duration(*kill9Rounds)).Round(time.Millisecond), worst.Round(time.Millisecond))
	if total == 0 {
		t.Error("nothing was written")
	}
}

// kill9Tenants makes the clients: two for each namespace, the second in a database of its own that it flushes.
func kill9Tenants(t *testing.T, server *process, rng *rand.Rand) (clients []*kill9Client) {
	t.Helper()
	for i := range kill9Clients / 2 {
		name, d := fmt.Sprintf("ns%d", i), "async"
		if i%2 == 1 {
			d = "local"
		}
		out, err := server.admin().CreateNamespace(t.Context(),
			adminapi.CreateNamespace{Name: name, Durability: d, Token: &adminapi.CreateToken{}}, adminapi.WaitApplied(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for db := range 2 {
			clients = append(clients, &kill9Client{
				name: fmt.Sprintf("%s/%d", name, db), token: out.Token.Secret, db: db,
				rng: rand.New(rand.NewPCG(rng.Uint64(), 2)), keys: map[string]kill9Value{},
			})
		}
	}
	return clients
}

// kill9Load runs all clients until the process is killed, and returns how many writes were acknowledged.
func kill9Load(t *testing.T, server *process, clients []*kill9Client, wait time.Duration) (writes int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	counts := make([]int, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			n, err := c.run(ctx, server)
			if counts[i] = n; err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		})
	}
	select { // at a random time, which is the point
	case <-time.After(wait):
	case <-server.exit:
		t.Errorf("it ended by itself: %v\n%s", server.err, tail(server.log()))
	}
	server.kill()
	wg.Wait()
	for _, n := range counts {
		writes += n
	}
	return writes
}

// kill9Value is what the model knows of one key: a string, a hash or a sorted set, by what is set.
type kill9Value struct {
	text   string
	fields map[string]string
	scores map[string]float64
	expire time.Time // zero: never
}

func (v kill9Value) clone() kill9Value {
	c := kill9Value{text: v.text, expire: v.expire}
	if v.fields != nil {
		c.fields = map[string]string{}
		maps.Copy(c.fields, v.fields)
	}
	if v.scores != nil {
		c.scores = map[string]float64{}
		maps.Copy(c.scores, v.scores)
	}
	return c
}

// kill9Client owns one database of one namespace, so that its model needs nobody else's.
type kill9Client struct {
	name, token string
	db          int
	rng         *rand.Rand
	keys        map[string]kill9Value
	pending     map[string]kill9Value // what the command under way may have made of keys; nil if there is none
	next        int
}

// run writes until the connection breaks. An error of the server is one of the test.
func (c *kill9Client) run(ctx context.Context, server *process) (acknowledged int, err error) {
	conn := redis.NewClient(&redis.Options{
		Addr: server.respAddr, Password: c.token, DB: c.db, MaxRetries: -1, DisableIdentity: true, PoolSize: 1, ReadTimeout: readyWait,
	})
	defer conn.Close()
	for {
		args, after := c.command()
		c.pending = after
		err := conn.Do(ctx, args...).Err()
		var refused redis.Error
		switch {
		case err == nil || errors.Is(err, redis.Nil):
			c.keys, c.pending = after, nil
			acknowledged++
		case errors.As(err, &refused):
			c.pending = nil
			return acknowledged, fmt.Errorf("%v: %w", args, err)
		default: // the process was killed
			if neverSent(err) {
				c.pending = nil
			}
			return acknowledged, nil
		}
	}
}

// neverSent says that a connection could not be made.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// command chooses a command, and returns what it makes of the database.
func (c *kill9Client) command() (args []any, after map[string]kill9Value) {
	c.next++
	after = make(map[string]kill9Value, len(c.keys))
	maps.Copy(after, c.keys)
	kind := c.rng.IntN(4)
	key := fmt.Sprintf("%s:%d", []string{"s", "n", "h", "z"}[kind], c.rng.IntN(kill9Keys/4))
	v := c.keys[key].clone()
	switch n := c.rng.IntN(100); {
	case n == 0:
		return []any{"FLUSHDB"}, map[string]kill9Value{}
	case n < 12:
		delete(after, key)
		return []any{"DEL", key}, after
	case n < 18:
		if _, ok := c.keys[key]; ok {
			v.expire = time.Now().Add(time.Hour + time.Duration(c.next)*time.Second).Truncate(time.Millisecond)
			after[key] = v
			return []any{"PEXPIREAT", key, v.expire.UnixMilli()}, after
		}
	}
	switch kind {
	case 0:
		v = kill9Value{text: strings.Repeat("v", c.rng.IntN(3000)) + strconv.Itoa(c.next)}
		args = []any{"SET", key, v.text}
	case 1:
		n, _ := strconv.Atoi(v.text)
		v.text = strconv.Itoa(n + 1)
		args = []any{"INCR", key}
	case 2:
		if v.fields == nil {
			v.fields = map[string]string{}
		}
		args = []any{"HSET", key}
		for range 1 + c.rng.IntN(5) {
			f, x := fmt.Sprintf("f%d", c.rng.IntN(300)), strconv.Itoa(c.next)
			v.fields[f] = x
			args = append(args, f, x)
		}
	case 3:
		if v.scores == nil {
			v.scores = map[string]float64{}
		}
		args = []any{"ZADD", key}
		for range 1 + c.rng.IntN(5) {
			m, x := fmt.Sprintf("m%d", c.rng.IntN(300)), float64(c.rng.IntN(1000))/4
			v.scores[m] = x
			args = append(args, x, m)
		}
	}
	after[key] = v
	return args, after
}

// check holds the database against the model, and settles what became of the command under way.
func (c *kill9Client) check(t *testing.T, server *process, when string) {
	t.Helper()
	conn := server.redis(c.token, func(o *redis.Options) { o.DB, o.PoolSize = c.db, 1 })
	defer conn.Close()
	got, err := kill9Read(t.Context(), conn)
	if err != nil {
		t.Fatalf("%s, %s: %v", when, c.name, err)
	}
	diff := kill9Diff(got, c.keys)
	if diff != "" && c.pending != nil {
		if other := kill9Diff(got, c.pending); other == "" {
			c.keys, diff = c.pending, ""
		} else {
			diff += "; or with the command under way: " + other
		}
	}
	if diff != "" {
		t.Errorf("%s, %s: %s", when, c.name, diff)
	}
	c.pending = nil
	if n, err := conn.DBSize(t.Context()).Result(); err != nil || n != int64(len(c.keys)) {
		t.Errorf("%s, %s: DBSIZE is %d, %v, and there are %d keys", when, c.name, n, err, len(c.keys))
	}
}

// kill9Read reads a whole database.
func kill9Read(ctx context.Context, conn *redis.Client) (map[string]kill9Value, error) {
	keys, err := conn.Keys(ctx, "*").Result()
	if err != nil {
		return nil, err
	}
	slices.Sort(keys)
	all := make(map[string]kill9Value)
	for _, k := range keys {
		var v kill9Value
		switch k[0] {
		case 's', 'n':
			v.text, err = conn.Get(ctx, k).Result()
		case 'h':
			v.fields, err = conn.HGetAll(ctx, k).Result()
		case 'z':
			var list []redis.Z
			list, err = conn.ZRangeWithScores(ctx, k, 0, -1).Result()
			v.scores = map[string]float64{}
			for _, z := range list {
				v.scores[fmt.Sprint(z.Member)] = z.Score
			}
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", k, err)
		}
		ms, err := conn.Do(ctx, "PEXPIRETIME", k).Int64()
		if err != nil {
			return nil, fmt.Errorf("read the expiry of %s: %w", k, err)
		}
		if ms > 0 {
			v.expire = time.UnixMilli(ms)
		}
		all[k] = v
	}
	return all, nil
}

// kill9Diff returns the first difference between what is there and what has to be, empty if there is none.
func kill9Diff(got, want map[string]kill9Value) string {
	for k, w := range want {
		g, ok := got[k]
		switch {
		case !ok:
			return k + " is missing"
		case g.text != w.text, fmt.Sprint(g.fields) != fmt.Sprint(w.fields), fmt.Sprint(g.scores) != fmt.Sprint(w.scores), !g.expire.Equal(w.expire):
			return fmt.Sprintf("%s is %.300s, want %.300s", k, fmt.Sprint(g), fmt.Sprint(w))
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			return k + " is there, and was deleted or never written"
		}
	}
	return ""
}
