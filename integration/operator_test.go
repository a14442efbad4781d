package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// TestWaitForAReplica: WAIT and WAITAOF count a replica that follows, and none that has ended.
func TestWaitForAReplica(t *testing.T) {
	server := startServer(t)
	replica := server.joinData()
	server.idOf(replica) // once it serves
	token := server.createNamespace("tenant")
	c := server.redis(token).Conn() // of one session
	defer func() { _ = c.Close() }()
	for i := range 20 {
		if err := c.Set(t.Context(), "k", i, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Do(t.Context(), "WAIT", 1, 20_000).Int(); err != nil || n != 1 {
			t.Fatalf("WAIT: %d, %v", n, err)
		}
		if n, err := replica.redis(token).Get(t.Context(), "k").Int(); err != nil {
			t.Fatalf("the replica has %d, %v", n, err)
		}
	}
	if got, err := c.Do(t.Context(), "WAITAOF", 1, 1, 20_000).Slice(); err != nil || fmt.Sprint(got) != "[1 1]" {
		t.Errorf("WAITAOF: %v, %v", got, err)
	}
	if err := replica.redis(token).Do(t.Context(), "WAIT", 0, 0).Err(); err == nil || !strings.Contains(err.Error(), "WAIT cannot be used with replica instances") {
		t.Errorf("WAIT on a replica: %v", err)
	}
	replica.stop()
	if err := c.Set(t.Context(), "k", "last", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Do(t.Context(), "WAIT", 1, 100).Int(); err != nil || n != 0 {
		t.Errorf("WAIT without a replica: %d, %v", n, err)
	}
}

// TestNamespaceCommandIsAudited: a change by RESP's NAMESPACE is that of the token that the client has shown to the
// node, and is found by token and by node.
func TestNamespaceCommandIsAudited(t *testing.T) {
	server := startServer(t)
	replica := server.joinData()
	first, second := server.idOf(server), server.idOf(replica)
	if _, err := server.do(t.Context(), server.adminToken(), "NAMESPACE", "ADD", "a", "secret of the token of a"); err != nil {
		t.Fatal(err)
	}
	if _, err := replica.do(t.Context(), server.adminToken(), "NAMESPACE", "DEL", "a"); err != nil {
		t.Fatal(err)
	}
	tokens, err := server.admin().Tokens(t.Context(), "__namespace")
	if err != nil || len(tokens) != 1 {
		t.Fatalf("%+v, %v", tokens, err)
	}
	id := tokens[0].ID
	for filter, want := range map[string]string{first: id + "@" + first, id: id + "@" + second, second: id + "@" + second} {
		list, err := server.admin().Audit(t.Context(), adminapi.AuditFilter{Actor: filter, Last: 1})
		if err != nil || len(list) != 1 || list[0].Actor != want || !strings.HasPrefix(list[0].Source, "127.0.0.1:") {
			t.Errorf("by %s: %+v, %v, want %s", filter, list, err, want)
		}
	}
}

// TestShutdownCommand: SHUTDOWN stops the process as a signal does, and what was written is there again.
func TestShutdownCommand(t *testing.T) {
	s := startServer(t)
	token := s.createNamespace("tenant")
	if err := s.redis(token).Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.redis(token).Do(t.Context(), "SHUTDOWN").Err(); err == nil || !strings.Contains(err.Error(), "admin permission required") {
		t.Errorf("a tenant's SHUTDOWN: %v", err)
	}
	if _, err := s.do(t.Context(), s.adminToken(), "SHUTDOWN", "NOSAVE"); err == nil {
		t.Error("SHUTDOWN was answered")
	}
	select {
	case <-s.exit:
		if s.err != nil {
			t.Errorf("it ended with %v", s.err)
		}
	case <-time.After(stopWait):
		t.Fatalf("it has not stopped after %v", stopWait)
	}
	s.start()
	s.waitReady()
	if got, err := s.redis(token).Get(t.Context(), "k").Result(); err != nil || got != "v" {
		t.Errorf("after the start k is %q, %v", got, err)
	}
}

// TestSlowLogOfAProcess: a client reads an entry of the slow log.
func TestSlowLogOfAProcess(t *testing.T) {
	s := startServer(t)
	admin := s.adminToken()
	if _, err := s.do(t.Context(), admin, "CONFIG", "SET", "slowlog-log-slower-than", "5000"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.do(t.Context(), admin, "DEBUG", "SLEEP", "0.02"); err != nil {
		t.Fatal(err)
	}
	log, err := s.redis(admin).SlowLogGet(t.Context(), -1).Result()
	if err != nil || len(log) == 0 {
		t.Fatalf("the slow log is %v, %v", log, err)
	}
	slept := slices.IndexFunc(log, func(e redis.SlowLog) bool { return len(e.Args) == 3 && e.Args[0] == "DEBUG" })
	if slept < 0 || log[slept].Duration < 20*time.Millisecond {
		t.Errorf("the slow log is %v", log)
	}
}
