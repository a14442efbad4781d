package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestServerLife starts, uses, stops and starts a server.
func TestServerLife(t *testing.T) {
	s := startServer(t)
	info, err := os.Stat(filepath.Join(s.dir, "admin-token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the admin token's file: %v, %v", info, err)
	}
	if log := s.log(); !strings.Contains(log, filepath.Join(s.dir, "admin-token")) || strings.Contains(log, s.adminToken()) {
		t.Errorf("the log names the token's file, and never the token:\n%s", log)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/openapi.json": 200, "/v1/namespaces": 401} {
		if got := httpGet(t, "http://"+s.httpAddr+path); got != want {
			t.Errorf("%s answers %d, want %d", path, got, want)
		}
	}
	token := s.createNamespace("acme")
	ctx := t.Context()
	if err := s.redis(token).Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.redis("").DBSize(ctx).Result(); err != nil || got != 0 {
		t.Errorf("the default namespace is open on loopback and empty: %d, %v", got, err)
	}
	if got, err := s.do(ctx, s.adminToken(), "NAMESPACE", "GET", "*"); err != nil || !strings.Contains(fmt.Sprint(got), "acme") {
		t.Errorf("NAMESPACE GET *: %v, %v", got, err)
	}
	if _, err := s.do(ctx, "", "NAMESPACE", "GET", "*"); err == nil {
		t.Error("an open session has the rights of an admin")
	}

	s.stop()
	if log := s.log(); !strings.Contains(log, "msg=stopped") {
		t.Errorf("no clean end in the log:\n%s", tail(log))
	}
	s.restart()
	if got, err := s.redis(token).Get(ctx, "k").Result(); err != nil || got != "v" {
		t.Errorf("after a restart: %q, %v", got, err)
	}
}

// TestKilledServer kills a server under writes: everything that it acknowledged is there afterwards.
func TestKilledServer(t *testing.T) {
	s := startServer(t)
	token := s.createNamespace("acme")
	c := s.redis(token)
	const writers = 4
	var acknowledged [writers]atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := int64(1); ; i++ {
				if c.Set(context.Background(), fmt.Sprintf("w%d-%d", w, i), i, 0).Err() != nil {
					return
				}
				acknowledged[w].Store(i)
			}
		})
	}
	s.until("written to", func(context.Context) error {
		if n := acknowledged[0].Load(); n < 500 {
			return fmt.Errorf("%d writes", n)
		}
		return nil
	})
	s.kill()
	wg.Wait()
	s.restart()
	c = s.redis(token)
	for w := range writers {
		for i := int64(1); i <= acknowledged[w].Load(); i++ {
			if got, err := c.Get(t.Context(), fmt.Sprintf("w%d-%d", w, i)).Int64(); err != nil || got != i {
				t.Fatalf("write %d of %d of writer %d is lost: %d, %v", i, acknowledged[w].Load(), w, got, err)
			}
		}
	}
}

// TestRefusedStarts looks for one clear line, a non-zero exit, and nothing harmed.
func TestRefusedStarts(t *testing.T) {
	s := startServer(t)
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.tex"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	free := []string{"--resp-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--cluster-addr", "127.0.0.1:0"}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"second process", append([]string{"server", "--data-dir", s.dir}, free...), "another process uses it"},
		{"foreign directory", append([]string{"server", "--data-dir", foreign}, free...), "not Atoll's"},
		{"file", append([]string{"server", "--data-dir", file}, free...), "not a directory"},
		{"taken RESP port", append([]string{"server", "--data-dir", t.TempDir()}, "--resp-addr", s.respAddr, "--http-addr", "127.0.0.1:0", "--cluster-addr", "127.0.0.1:0"), "--resp-addr"},
		{"taken HTTP port", append([]string{"server", "--data-dir", t.TempDir()}, "--resp-addr", "127.0.0.1:0", "--http-addr", s.httpAddr, "--cluster-addr", "127.0.0.1:0"), "--http-addr"},
		{"taken cluster port", append([]string{"server", "--data-dir", t.TempDir()}, "--resp-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--cluster-addr", s.cluster), "--cluster-addr"},
		{"everywhere", append([]string{"server", "--data-dir", t.TempDir()}, "--resp-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--cluster-addr", "0.0.0.0:0"), "--advertise-host"},
		{"data without a cluster", []string{"data", "--data-dir", t.TempDir()}, "--join"},
		{"bad value", []string{"server", "--data-dir", t.TempDir(), "--memtable", "7"}, "1MiB to 1GiB"},
		{"unknown flag", []string{"server", "--prot", "7"}, "--prot"},
		{"unknown command", []string{"serve"}, "serve"},
		{"argument", []string{"server", "now"}, "now"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), stopWait)
			defer cancel()
			cmd := exec.CommandContext(ctx, atoll(t), tt.args...)
			cmd.Env = environ()
			out, err := cmd.CombinedOutput()
			if _, ok := errors.AsType[*exec.ExitError](err); !ok || ctx.Err() != nil {
				t.Fatalf("it ended with %v\n%s", err, out)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if len(lines) != 1 || !strings.HasPrefix(lines[0], "atoll: ") || !strings.Contains(lines[0], tt.want) {
				t.Errorf("it printed\n%s\nwant one line with %q", out, tt.want)
			}
		})
	}
	if got, err := os.ReadDir(foreign); err != nil || len(got) != 1 {
		t.Errorf("the foreign directory now holds %v, %v", got, err)
	}
	if err := s.redis("").Ping(t.Context()).Err(); err != nil {
		t.Errorf("the server that was there: %v", err)
	}
}

// TestSecondSignal holds a stop up with a client that reads nothing, and insists.
func TestSecondSignal(t *testing.T) {
	s := startServer(t, "--drain-wait", "10m")
	conn, err := net.Dial("tcp", s.respAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("*1\r\n$4\r\nPI")); err != nil { // half a command
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return strings.Contains(s.log(), "msg=stopping") })
	// Whether it is still draining or done: the second signal leaves no process.
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exit:
	case <-time.After(stopWait):
		t.Error("it still runs after the second signal")
	}
}

// waitFor polls a condition that has to come true.
func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	for end := time.Now().Add(readyWait); !f(); time.Sleep(pollEvery) {
		if time.Now().After(end) {
			t.Fatal("it did not come true in time")
		}
	}
}
