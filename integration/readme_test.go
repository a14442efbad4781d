package integration

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// step is one command of the README with the output that stands below it.
type step struct {
	command string
	output  string
}

// readmeSteps returns the commands of the README's console blocks.
func readmeSteps(text string) []step {
	var steps []step
	inside := false
	for line := range strings.Lines(text) {
		switch command, ok := strings.CutPrefix(line, "$ "); {
		case strings.HasPrefix(line, "```"):
			inside = strings.HasPrefix(line, "```console")
		case inside && ok:
			steps = append(steps, step{command: strings.TrimSpace(command)})
		case inside && len(steps) > 0:
			steps[len(steps)-1].output += line
		}
	}
	return steps
}

// masked replaces what differs from run to run.
func masked(s string) string {
	for _, m := range []struct{ pattern, with string }{
		{`atoll_[0-9A-Za-z]{40}`, "SECRET"},
		{`tok_[0-9a-z]{26}`, "TOKEN"},
		{`node-[0-9a-z]{10}`, "NODE"},
		{`\b[0-9a-f]{32}\b`, "ID"},
		{`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?`, "TIME"},
		{`127\.0\.0\.1:\d+`, "ADDR"},
		{`\b\d+\b`, "N"},
		{`[ \t]+`, " "},
		{` *\n`, "\n"},
	} {
		s = regexp.MustCompile(m.pattern).ReplaceAllString(s, m.with)
	}
	return strings.TrimSpace(s)
}

// TestReadme runs the README's commands in a fresh directory and compares what they print. Only the
// ports are others, and the program is built already.
func TestReadme(t *testing.T) {
	for _, tool := range []string{"redis-cli", "curl", "bash"} {
		needProgram(t, tool)
	}
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	binary := atoll(t)
	ports := map[string]string{}
	var addrs []string
	for i, addr := range freeAddrs(t, 5) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		ports[[]string{"6379", "8379", "7379", "6380", "7380"}[i]] = port
		addrs = append(addrs, addr)
	}
	moved := regexp.MustCompile(`\b(6379|8379|7379|6380|7380)\b`)
	env := environ("ATOLL_RESP_ADDR="+addrs[0], "ATOLL_HTTP_ADDR="+addrs[1], "ATOLL_CLUSTER_ADDR="+addrs[2], "ATOLL_ADMIN_ADDR="+addrs[1])
	run := &readmeRun{t: t, dir: dir, env: env, port: ports["6379"]}
	t.Cleanup(run.stop)

	steps := append([]step{{command: "go run ./cmd/atoll server"}, {command: "go run ./cmd/atoll ns create first"}}, step{command: "restart"})
	for _, want := range []string{"go run ./cmd/atoll server", "go run ./cmd/atoll ns create acme", "go test ./..."} {
		if !strings.Contains(string(text), "```sh\n"+want+"\n```") {
			t.Errorf("the README lacks the command %q", want)
		}
	}
	steps = append(steps, readmeSteps(string(text))...)
	if len(steps) < 15 {
		t.Fatalf("the README has %d steps", len(steps))
	}
	for _, s := range steps {
		command := moved.ReplaceAllStringFunc(s.command, func(p string) string { return ports[p] })
		command = strings.NewReplacer("go run ./cmd/atoll", binary, "./atoll ", binary+" ").Replace(command)
		switch {
		case strings.HasPrefix(command, "go build "):
		case command == "restart":
			run.stop()
			if err := os.RemoveAll(filepath.Join(dir, "atoll-data")); err != nil {
				t.Fatal(err)
			}
		case strings.HasSuffix(command, " server"):
			run.serve(command)
			run.health(binary, "server")
		case strings.Contains(command, " data "):
			run.serve(command)
			run.health(binary, "data", "--resp-addr", "127.0.0.1:"+ports["6380"])
		case strings.HasPrefix(command, "export "):
			run.env = append(run.env, strings.TrimPrefix(command, "export "))
		default:
			out := run.shell(command)
			if s.output != "" && masked(out) != masked(s.output) {
				t.Errorf("$ %s\nprinted\n%s\nthe README says\n%s", s.command, out, s.output)
			}
		}
	}
}

// readmeRun is a shell of the README's reader.
type readmeRun struct {
	t       *testing.T
	dir     string
	env     []string
	port    string // that redis-cli takes by default
	servers []*exec.Cmd
}

func (r *readmeRun) command(ctx context.Context, line string) *exec.Cmd {
	// redis-cli has no variable for its port.
	cmd := exec.CommandContext(ctx, "bash", "-c", `redis-cli() { command redis-cli -p `+r.port+` "$@"; }; `+line)
	cmd.Dir, cmd.Env = r.dir, r.env
	return cmd
}

func (r *readmeRun) shell(line string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), clientWait)
	defer cancel()
	var stderr strings.Builder
	cmd := r.command(ctx, line)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		r.t.Fatalf("$ %s\n%v\n%s%s", line, err, out, stderr.String())
	}
	return string(out)
}

// serve starts a command that runs until stop.
func (r *readmeRun) serve(line string) {
	r.t.Helper()
	cmd := r.command(context.Background(), "exec "+line)
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.servers = append(r.servers, cmd)
}

func (r *readmeRun) health(binary string, args ...string) {
	r.t.Helper()
	waitFor(r.t, func() bool {
		cmd := exec.Command(binary, append([]string{"health"}, args...)...)
		cmd.Env = r.env
		return cmd.Run() == nil
	})
}

// stop interrupts the servers, as Ctrl-C does, the last one first.
func (r *readmeRun) stop() {
	for i := len(r.servers) - 1; i >= 0; i-- {
		if err := r.servers[i].Process.Signal(os.Interrupt); err != nil {
			r.t.Error(err)
		}
		if err := r.servers[i].Wait(); err != nil {
			r.t.Errorf("%s ended with %v", r.servers[i], err)
		}
	}
	r.servers = nil
}
