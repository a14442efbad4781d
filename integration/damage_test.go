package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Each round breaks one file of a killed server's directory and starts it. More of them:
//
//	go test ./integration -run TestDamagedDirectory -damage.rounds 200 -v -timeout 60m
var damageRounds = flag.Int("damage.rounds", 6, "broken files in TestDamagedDirectory")

// TestDamagedDirectory: with any file broken, a server ends by saying so, or lists every namespace, takes every token
// and answers each read with the value or with an error. What a start refuses, debug verify finds.
func TestDamagedDirectory(t *testing.T) {
	server := startServer(t, "--memtable", "1MiB", "--log-segment", "1MiB")
	tokens := map[string]string{"acme": server.createNamespace("acme"), "globex": server.createNamespace("globex")}
	for i := range 300 {
		for name, token := range tokens {
			if _, err := server.do(t.Context(), token, "SET", fmt.Sprintf("k%d", i), fmt.Sprintf("%s:%d:%s", name, i, strings.Repeat("x", i*10))); err != nil {
				t.Fatal(err)
			}
		}
	}
	server.stop()
	server.restart() // with rows in sstables, and some in the log alone
	for name, token := range tokens {
		if _, err := server.do(t.Context(), token, "SET", "k0", name+":0:"); err != nil {
			t.Fatal(err)
		}
	}
	server.kill()
	whole := files(t, server.dir)
	var names []string
	for path, b := range whole {
		if len(b) > 0 && filepath.Base(path) != "LOCK" && filepath.Base(path) != "admin-token" {
			names = append(names, path)
		}
	}
	slices.Sort(names)
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	refused := 0
	for round := range *damageRounds {
		path := names[rng.IntN(len(names))]
		b, at := []byte(whole[path]), rng.IntN(len(whole[path]))
		how := fmt.Sprintf("seed %d, round %d: a flip at byte %d of %s", seed, round, at, path)
		if rng.IntN(5) == 0 {
			b, how = b[:at], fmt.Sprintf("seed %d, round %d: a cut at byte %d of %s", seed, round, at, path)
		} else {
			b[at] ^= 1 << rng.IntN(8)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, found := server.cli("debug", "verify", "--data-dir", server.dir)
		server.start()
		if server.serves(30 * time.Second) {
			server.readBack(how, tokens)
		} else {
			refused++
			if found == nil {
				t.Errorf("%s: debug verify finds nothing, and the start says\n%s", how, tail(server.log()))
			}
		}
		server.kill()
		restore(t, server.dir, whole)
	}
	t.Logf("%d files broken, %d starts refused", *damageRounds, refused)
}

// serves waits until the process has ended, or answers.
func (p *process) serves(limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(p.t.Context(), limit)
	defer cancel()
	for {
		if _, err := p.do(ctx, "", "PING"); err == nil || strings.HasPrefix(err.Error(), "DAMAGED") {
			return true
		}
		select {
		case <-p.exit:
			return false
		case <-ctx.Done():
			return false
		case <-time.After(pollEvery):
		}
	}
}

// readBack reads every key with each namespace's token.
func (p *process) readBack(how string, tokens map[string]string) {
	p.t.Helper()
	for name, token := range tokens {
		conn := p.redis(token)
		var refusal redis.Error
		if got, err := conn.Do(p.t.Context(), "NAMESPACE", "CURRENT").Text(); err != nil || got != name {
			p.t.Errorf("%s: the token of %s is one of %q, %v", how, name, got, err)
		}
		for i := range 300 {
			want := fmt.Sprintf("%s:%d:%s", name, i, strings.Repeat("x", i*10))
			got, err := conn.Get(p.t.Context(), fmt.Sprintf("k%d", i)).Result()
			if err != nil && (errors.Is(err, redis.Nil) || !errors.As(err, &refusal)) || err == nil && got != want {
				p.t.Errorf("%s: k%d of %s is read as %.40q, %v\n%s", how, i, name, got, err, tail(p.log()))
				break
			}
		}
		if err := conn.Close(); err != nil {
			p.t.Error(err)
		}
	}
}

// restore puts a directory back to what it was.
func restore(t *testing.T, dir string, whole map[string]string) {
	t.Helper()
	for path := range files(t, dir) {
		if _, ok := whole[path]; !ok {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	for path, b := range whole {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
