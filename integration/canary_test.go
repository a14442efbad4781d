package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// canaries are secrets by what they are.
type canaries map[string]string

// sing returns a secret that nobody else has, and remembers it.
func (c canaries) sing(what string) string {
	c[what] = fmt.Sprintf("canary-%s-%d-wxyz", strings.ReplaceAll(what, " ", "-"), len(c))
	return c[what]
}

// find returns which secrets a text holds, as they are or in a usual disguise.
func (c canaries) find(text []byte) (found []string) {
	for what, secret := range c {
		for form, s := range map[string]string{
			"": secret, " in hex": hex.EncodeToString([]byte(secret)),
			" in base64": strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret[:len(secret)/3*3])), "="),
		} {
			if bytes.Contains(text, []byte(s)) {
				found = append(found, what+form)
			}
		}
	}
	return found
}

// look reports every secret that a text holds.
func (c canaries) look(t *testing.T, where string, text []byte) {
	t.Helper()
	for _, what := range c.find(text) {
		t.Errorf("%s holds the %s", where, what)
	}
}

// useSecrets has the server see secrets in every way that there is.
func useSecrets(t *testing.T, s *process, secrets canaries) (tenant string) {
	t.Helper()
	ctx, api := context.Background(), s.admin()
	secrets["admin token"] = s.adminToken()
	if _, err := s.do(ctx, s.adminToken(), "CONFIG", "SET", "slowlog-log-slower-than", "0"); err != nil {
		t.Fatal(err)
	}
	chosen := secrets.sing("secret that the API's caller chose")
	created, err := api.CreateNamespace(ctx, adminapi.CreateNamespace{Name: "acme", Token: &adminapi.CreateToken{Secret: chosen}}, adminapi.WaitApplied(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	key := secrets.sing("idempotency key")
	made, err := api.CreateToken(ctx, "acme", adminapi.CreateToken{Label: "made"}, adminapi.WithIdempotencyKey(key), adminapi.WaitApplied(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	secrets["secret that was made"] = made.Token.Secret
	rotated, err := api.RotateToken(ctx, "acme", created.Token.ID, adminapi.RotateToken{Secret: secrets.sing("secret of a rotation"), OverlapMs: 3_600_000})
	if err != nil || rotated.Token.ID == "" {
		t.Fatalf("rotate: %v", err)
	}
	s.mustCLI("ns", "create", "globex", "--secret", secrets.sing("secret of the command line"))
	secrets["join token"] = s.invite(adminapi.CreateInvite{})
	joiner := newProcess(t, "meta", "--join", s.cluster)
	joiner.joinToken = secrets["join token"]
	joiner.start()
	joiner.ends("not for a node with the role meta")
	secrets.look(t, "the log of a node that was refused", []byte(joiner.log()))
	wrong, err := adminapi.NewClient(s.httpAddr, secrets.sing("wrong bearer"))
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	if _, err := wrong.Nodes(ctx); err == nil {
		t.Error("a wrong bearer was taken")
	}
	for _, refused := range [][]any{
		{"AUTH", secrets.sing("wrong token")}, {"AUTH", "acme", secrets.sing("wrong token of a name")}, {"HELLO", "3", "AUTH", "default", secrets.sing("wrong token of HELLO")},
		{"AUTH", "a", "b", secrets.sing("third word of AUTH")}, {"HELLO", "9", "AUTH", "default", secrets.sing("token of a wrong HELLO")},
		{"CONFIG", "SET", "requirepass", secrets.sing("password of CONFIG SET")},
		{"NAMESPACE", "ADD", "acme", secrets.sing("token of a namespace that exists")}, {"NAMESPACE", "ADD", secrets.sing("token without a name")},
	} {
		if _, err := s.do(ctx, "", refused...); err == nil {
			t.Errorf("%v was taken", refused[:2])
		}
	}
	for _, taken := range [][]any{
		{"NAMESPACE", "ADD", "initech", secrets.sing("token of NAMESPACE ADD")}, {"NAMESPACE", "SET", "initech", secrets.sing("token of NAMESPACE SET")},
		{"HELLO", "3", "AUTH", "default", chosen}, {"AUTH", made.Token.Secret}, {"AUTH", "acme", chosen},
	} {
		if _, err := s.do(ctx, s.adminToken(), taken...); err != nil {
			t.Errorf("%v: %v", taken[:2], err)
		}
	}
	return chosen
}

// TestNoSecretLeaks has secrets go every way into a server that logs at debug, and looks for them everywhere that it
// writes to or answers with. Only the admin token's file holds its own.
func TestNoSecretLeaks(t *testing.T) {
	ports := freeAddrs(t, 2)
	s := startServer(t, "--log-level", "debug", "--metrics-addr", ports[0], "--pprof-addr", ports[1])
	ctx, secrets := context.Background(), canaries{}
	monitor := startMonitor(t, s)
	tenant := useSecrets(t, s, secrets)
	for _, token := range []string{tenant, s.adminToken()} {
		who := "a tenant's "
		if token != tenant {
			who = "an admin's "
		}
		for _, words := range [][]any{{"INFO", "everything"}, {"CLIENT", "LIST"}, {"SLOWLOG", "GET", "1000"}, {"CONFIG", "GET", "*"}, {"LATENCY", "LATEST"}, {"CLIENT", "INFO"}} {
			got, err := s.do(ctx, token, words...)
			if err != nil {
				t.Errorf("%v: %v", words, err)
			}
			secrets.look(t, who+fmt.Sprint(words...), fmt.Append(nil, got))
		}
	}
	if _, err := s.do(ctx, s.adminToken(), "NAMESPACE", "GET", "*"); err != nil {
		t.Error(err)
	}
	text, err := getText(ctx, "http://"+ports[0]+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	secrets.look(t, "/metrics", []byte(text))
	for _, path := range []string{"namespaces", "namespaces/acme", "namespaces/acme/tokens", "namespaces/initech/tokens", "nodes", "groups", "cluster", "audit"} {
		secrets.look(t, "/v1/"+path, apiGet(t, s, "/v1/"+path))
	}
	bundle := filepath.Join(t.TempDir(), "bundle.tar.gz")
	if out, stderr, err := s.cli("debug", "bundle", bundle, "--resp-addr", s.respAddr, "--profile", "0s", "--pprof-addr", ports[1]); err != nil {
		t.Fatalf("bundle: %v %s %s", err, out, stderr)
	}
	for name, data := range untar(t, bundle) {
		secrets.look(t, "the bundle's "+name, []byte(data))
	}
	heard := monitor()
	if !strings.Contains(heard, "AUTH") && !strings.Contains(heard, "CLIENT") {
		t.Errorf("MONITOR heard nothing:\n%s", tail(heard))
	}
	secrets.look(t, "MONITOR", []byte(heard))
	lookAtFiles(t, s, secrets)
	if err := s.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-s.exit
	if !strings.Contains(s.log(), "goroutine ") {
		t.Error("SIGQUIT left no dump")
	}
	secrets.look(t, "the log with the dump of SIGQUIT", []byte(s.log()))
	lookAtFiles(t, s, secrets)
	s.restart()
	secrets.look(t, "the log of another start", []byte(s.log()))
	if _, err := s.do(ctx, tenant, "PING"); err != nil {
		t.Errorf("the token doesn't work any more: %v", err)
	}
}

// startMonitor has an admin hear every command; the function that it returns ends that, and returns what was heard.
func startMonitor(t *testing.T, s *process) func() string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.respAddr, readyWait)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // it is closed with the server, if not before
	if err := conn.SetDeadline(time.Now().Add(2 * readyWait)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "AUTH %s\r\nMONITOR\r\n", s.adminToken()); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(conn)
	for range 2 {
		if line, err := lines.ReadString('\n'); err != nil || line != "+OK\r\n" {
			t.Fatalf("AUTH and MONITOR answered %q, %v", line, err)
		}
	}
	const sign = "the-last-command"
	return func() string {
		if _, err := s.do(context.Background(), "", "ECHO", sign); err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("MONITOR: %v\n%s", err, tail(all.String()))
			}
			if all.WriteString(line); strings.Contains(line, sign) {
				return all.String()
			}
		}
	}
}

// apiGet returns an answer of the admin API as it stands.
func apiGet(t *testing.T, s *process, path string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+s.httpAddr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.adminToken())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%s: %s %v %s", path, resp.Status, err, body)
	}
	return body
}

// lookAtFiles looks into every file of the data directory: Raft's log and store, views, rows, the replicated log.
func lookAtFiles(t *testing.T, s *process, secrets canaries) {
	t.Helper()
	var names []string
	err := filepath.WalkDir(s.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		if os.IsNotExist(err) { // a file of the running store that is done with
			return nil
		}
		short := strings.TrimPrefix(name, s.dir+"/")
		names = append(names, short)
		if short == "admin-token" {
			if found := secrets.find(data); !slices.Equal(found, []string{"admin token"}) { // this shows that what is there is found
				t.Errorf("the admin token's file holds %q", found)
			}
			return err
		}
		secrets.look(t, short, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"admin-token", "meta/", "data/"} {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, part) }) {
			t.Errorf("%s is not among the files %v", part, names)
		}
	}
}
