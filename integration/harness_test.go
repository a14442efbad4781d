package integration

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// The longest that a test waits for what should take milliseconds: a busy machine is no failure.
const (
	readyWait = 60 * time.Second
	stopWait  = 30 * time.Second
	pollEvery = 10 * time.Millisecond
)

var buildTags = flag.String("build.tags", "", "tags to build the program with: a seeded bug's")

// builds holds the program, made once for all tests.
type builds struct {
	once sync.Once
	dir  string
	path string
	err  error
}

var program builds

func TestMain(m *testing.M) {
	code := m.Run()
	if program.dir != "" {
		if err := os.RemoveAll(program.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// atoll returns the path of the program.
func atoll(t testing.TB) string {
	t.Helper()
	program.once.Do(func() {
		if program.dir, program.err = os.MkdirTemp("", "atoll-integration-"); program.err != nil {
			return
		}
		program.path = filepath.Join(program.dir, "atoll")
		args := []string{"build", "-o", program.path, "-tags", *buildTags}
		if raceEnabled {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, "../cmd/atoll")...).CombinedOutput()
		if err != nil {
			program.err = fmt.Errorf("build atoll: %w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return program.path
}

// process is one node of a cluster: a real process with a data directory and ports of its own, which it
// keeps over restarts.
type process struct {
	t                           testing.TB
	kind                        string // server, meta or data
	dir                         string
	respAddr, httpAddr, cluster string
	args                        []string
	tokenDir                    string // data directory with the admin's token
	joinToken                   string // empty: start makes one if it is needed

	cmd  *exec.Cmd
	exit chan struct{} // closed when the process has ended
	err  error         // of its end, once exit is closed
	logs []string      // files, one a start
}

// newProcess prepares a node and doesn't start it.
func newProcess(t testing.TB, kind string, args ...string) *process {
	t.Helper()
	ports := freeAddrs(t, 3)
	p := &process{
		t: t, kind: kind, dir: filepath.Join(t.TempDir(), kind), args: args,
		respAddr: ports[0], httpAddr: ports[1], cluster: ports[2],
	}
	p.tokenDir = p.dir
	if kind != "data" {
		hosts.Store(p.cluster, p)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			for i, name := range p.logs {
				t.Logf("log of %s, start %d:\n%s", p.kind, i+1, tail(readText(name)))
			}
		}
	})
	return p
}

// startServer starts `atoll server` and waits until it is ready.
func startServer(t testing.TB, args ...string) *process {
	t.Helper()
	p := newProcess(t, "server", args...)
	p.start()
	p.waitReady()
	return p
}

// joinData starts `atoll data --join` of this node's cluster, and doesn't wait.
func (p *process) joinData(args ...string) *process {
	p.t.Helper()
	d := newProcess(p.t, "data", append([]string{"--join", p.cluster}, args...)...)
	d.httpAddr, d.tokenDir = p.httpAddr, p.tokenDir
	d.start()
	return d
}

// freeAddrs returns loopback addresses whose ports were free a moment ago.
func freeAddrs(t testing.TB, n int) []string {
	t.Helper()
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all at the end, so that they differ
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// start starts the process; it may have run before.
func (p *process) start() {
	p.t.Helper()
	path := atoll(p.t)
	p.beInvited()
	args := []string{p.kind, "--data-dir", p.dir, "--cluster-addr", p.cluster}
	if p.kind != "meta" {
		args = append(args, "--resp-addr", p.respAddr)
	}
	if p.kind != "data" {
		args = append(args, "--http-addr", p.httpAddr)
	}
	name := filepath.Join(p.t.TempDir(), "log")
	log, err := os.Create(name)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.logs = append(p.logs, name)
	p.cmd = exec.Command(path, append(args, p.args...)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = environ("ATOLL_JOIN_TOKEN=" + p.joinToken)
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd, exit := p.cmd, make(chan struct{})
	p.exit = exit
	go func() { // ends with the process, which the cleanup ends
		p.err = cmd.Wait()
		close(exit)
	}()
}

// environ is this process's environment without Atoll's variables.
func environ(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "ATOLL_") })
	return append(env, more...)
}

// waitReady waits until the node answers as one that serves.
func (p *process) waitReady() {
	p.t.Helper()
	p.until("ready", func(ctx context.Context) error {
		if p.kind != "data" {
			if err := getReady(ctx, p.httpAddr); err != nil {
				return err
			}
		}
		if p.kind == "meta" {
			return nil
		}
		_, err := p.do(ctx, "", "PING")
		return err
	})
}

func getReady(ctx context.Context, addr string) error {
	c, err := adminapi.NewClient(addr, "")
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Ready(ctx)
}

// until polls a condition that has to come true while the process runs.
func (p *process) until(what string, f func(context.Context) error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyWait)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-p.exit:
			p.t.Fatalf("%s ended while it was awaited to be %s: %v\n%s", p.kind, what, p.err, tail(p.log()))
		case <-ctx.Done():
			p.t.Fatalf("%s is not %s after %v: %v\n%s", p.kind, what, readyWait, err, tail(p.log()))
		case <-time.After(pollEvery):
		}
	}
}

// kill ends the process at once, as a power switch would, but for what the kernel holds.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Error(err)
	}
	<-p.exit
}

// stop asks the process to end, and requires that it ends well.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.exit:
		if p.err != nil {
			p.t.Errorf("%s ended with %v\n%s", p.kind, p.err, tail(p.log()))
		}
	case <-time.After(stopWait):
		p.t.Errorf("%s has not stopped after %v\n%s", p.kind, stopWait, tail(p.log()))
		p.kill()
	}
}

// restart starts the process again and waits until it is ready.
func (p *process) restart() {
	p.t.Helper()
	p.start()
	p.waitReady()
}

// log returns what the process has written since its last start.
func (p *process) log() string {
	if len(p.logs) == 0 {
		return ""
	}
	return readText(p.logs[len(p.logs)-1])
}

// waitLog waits until the process has logged a line that contains text.
func (p *process) waitLog(text string) {
	p.t.Helper()
	p.until("logging "+text, func(context.Context) error {
		if !strings.Contains(p.log(), text) {
			return errors.New("not logged yet")
		}
		return nil
	})
}

func readText(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// tail returns the last lines of a text.
func tail(s string) string {
	const most = 40
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}

// adminToken returns the cluster's admin token.
func (p *process) adminToken() string {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join(p.tokenDir, "admin-token"))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// admin returns a client of the admin API.
func (p *process) admin() *adminapi.Client {
	p.t.Helper()
	c, err := adminapi.NewClient(p.httpAddr, p.adminToken())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(c.Close)
	return c
}

// createNamespace makes a namespace and returns its token, which every live node knows by then. Stopped
// nodes don't.
func (p *process) createNamespace(name string) string {
	p.t.Helper()
	out, err := p.admin().CreateNamespace(context.Background(),
		adminapi.CreateNamespace{Name: name, Token: &adminapi.CreateToken{}}, adminapi.WaitApplied(10*time.Second))
	if err != nil {
		p.t.Fatal(err)
	}
	if len(out.LaggingNodes) > len(out.UnreachableNodes) {
		p.t.Fatalf("nodes %v have not applied the namespace in time", out.LaggingNodes)
	}
	return out.Token.Secret
}

// cli runs an operator's command against this node, and returns what it printed and its error.
func (p *process) cli(args ...string) (stdout, stderr string, err error) {
	p.t.Helper()
	cmd := exec.Command(atoll(p.t), args...)
	cmd.Env = environ("ATOLL_ADMIN_ADDR="+p.httpAddr, "ATOLL_DATA_DIR="+p.tokenDir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// mustCLI runs an operator's command that has to succeed, and returns what it printed.
func (p *process) mustCLI(args ...string) string {
	p.t.Helper()
	stdout, stderr, err := p.cli(args...)
	if err != nil || stderr != "" {
		p.t.Fatalf("atoll %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	return stdout
}

// redis returns a client of this node; an empty token is an open session of the default namespace.
func (p *process) redis(token string, change ...func(*redis.Options)) *redis.Client {
	o := &redis.Options{
		Addr: p.respAddr, Password: token, MaxRetries: -1, DisableIdentity: true,
		DialTimeout: 5 * time.Second, ReadTimeout: readyWait, PoolSize: 8,
	}
	for _, c := range change {
		c(o)
	}
	c := redis.NewClient(o)
	p.t.Cleanup(func() { _ = c.Close() }) // the test may have closed it
	return c
}

// do runs one command on a connection of its own.
func (p *process) do(ctx context.Context, token string, args ...any) (any, error) {
	c := redis.NewClient(&redis.Options{Addr: p.respAddr, Password: token, MaxRetries: -1, DisableIdentity: true, PoolSize: 1, DialTimeout: time.Second})
	defer c.Close()
	return c.Do(ctx, args...).Result()
}

// httpGet returns a page's status.
func httpGet(t testing.TB, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// sendRaw writes to a port and reads until the peer closes or falls silent; what comes back doesn't
// matter, and no answer either.
func sendRaw(t *testing.T, addr, packet string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(packet)); err != nil {
		return // the peer had enough
	}
	_, _ = io.Copy(io.Discard, conn)
}
