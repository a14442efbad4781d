package resp

import (
	"testing"

	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/redis/go-redis/v9"
)

// TestGoRedis connects as go-redis does by default, and by name and token, in both protocols.
func TestGoRedis(t *testing.T) {
	r := start(t, false, Limits{})
	for _, proto := range []int{2, 3} {
		for _, user := range []string{"", "default", "a"} {
			c := redis.NewClient(&redis.Options{Addr: r.addr, Username: user, Password: commandtest.AWriteSecret, Protocol: proto, DB: 3, ClientName: "test"})
			ctx := t.Context()
			if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
				t.Fatalf("RESP%d as %q: %v", proto, user, err)
			}
			pipe := c.Pipeline()
			get := pipe.Get(ctx, "k")
			hset := pipe.HSet(ctx, "h", "f", "1", "g", "2")
			all := pipe.HGetAll(ctx, "h")
			zadd := pipe.ZAdd(ctx, "z", redis.Z{Score: 1.5, Member: "m"})
			z := pipe.ZRangeWithScores(ctx, "z", 0, -1)
			missing := pipe.Get(ctx, "missing")
			if _, err := pipe.Exec(ctx); err != redis.Nil {
				t.Errorf("RESP%d: %v", proto, err)
			}
			if get.Val() != "v" || hset.Err() != nil || len(all.Val()) != 2 || zadd.Err() != nil || len(z.Val()) != 1 || z.Val()[0].Score != 1.5 || missing.Err() != redis.Nil {
				t.Errorf("RESP%d: %v", proto, []any{get, hset, all, zadd, z, missing})
			}
			if n, err := c.DBSize(ctx).Result(); n != 3 || err != nil {
				t.Errorf("DBSIZE is %d, %v", n, err)
			}
			if _, err := c.Command(ctx).Result(); err != nil {
				t.Errorf("COMMAND: %v", err)
			}
			if m, err := c.ConfigGet(ctx, "*").Result(); err != nil || m["databases"] != "16" {
				t.Errorf("CONFIG GET: %v, %v", m, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	bad := redis.NewClient(&redis.Options{Addr: r.addr, Password: "nope", MaxRetries: -1})
	if err := bad.Ping(t.Context()).Err(); err == nil || !redis.HasErrorPrefix(err, "WRONGPASS") {
		t.Errorf("a wrong token: %v", err)
	}
	_ = bad.Close()
}
