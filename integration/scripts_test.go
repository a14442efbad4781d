package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the transcripts of the operator's commands, one a family, each against a server of its own. They are
// what the manual pages show as examples.
//
// Beside testscript's own commands there are:
//
//	api METHOD PATH [BODY] [HEADER=VALUE...]   sends a request to the admin API, and prints the answer; a stream's first event
//	until COMMAND...          repeats a command until it succeeds
//	await REGEXP COMMAND...   repeats a command until its output matches; one that goes on is interrupted then
//	capture NAME REGEXP       puts what the first group matches of stdout into a variable
//	glob NAME PATTERN         puts the first file of a pattern into a variable
func TestScripts(t *testing.T) {
	for _, file := range scriptFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			s := startServer(t, "--node-id", "first")
			testscript.Run(t, testscript.Params{
				Files: []string{file}, RequireUniqueNames: true,
				Setup: func(e *testscript.Env) error { return setScript(t, s, e) },
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"api": apiCommand, "until": untilCommand, "await": awaitCommand, "capture": captureCommand, "glob": globCommand,
				},
			})
		})
	}
}

// noExitSleep spares hundreds of short runs the second that the race detector waits for at each end.
const noExitSleep = "atexit_sleep_ms=0"

func scriptFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	return files
}

// setScript makes the environment that of an operator beside the server, and finds addresses for other nodes.
func setScript(t *testing.T, s *process, e *testscript.Env) error {
	e.Vars = slices.DeleteFunc(e.Vars, func(v string) bool { return strings.HasPrefix(v, "ATOLL_") })
	e.Setenv("PATH", filepath.Dir(atoll(t))+string(os.PathListSeparator)+e.Getenv("PATH"))
	e.Setenv("GORACE", noExitSleep)
	e.Setenv("ATOLL_ADMIN_ADDR", s.httpAddr)
	e.Setenv("ATOLL_DATA_DIR", s.dir)
	e.Setenv("HTTP", s.httpAddr)
	e.Setenv("RESP", s.respAddr)
	e.Setenv("CLUSTER", s.cluster)
	for i, addr := range freeAddrs(t, 6) {
		e.Setenv(fmt.Sprintf("ADDR%d", i+1), addr)
	}
	return nil
}

func apiCommand(ts *testscript.TestScript, neg bool, args []string) {
	err := call(ts, args)
	switch _, refused := errors.AsType[statusError](err); {
	case neg && err == nil:
		ts.Fatalf("it was answered well")
	case !neg || !refused:
		ts.Check(err)
	}
}

// statusError is a status that is no success.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("HTTP status %d", int(e)) }

// call sends a request, and prints the answer as far as the first event of a stream.
func call(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		ts.Fatalf("usage: api METHOD PATH [BODY] [HEADER=VALUE...]")
	}
	token, err := os.ReadFile(filepath.Join(ts.Getenv("ATOLL_DATA_DIR"), "admin-token"))
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), readyWait)
	defer cancel()
	headers := args[2:]
	var body io.Reader
	if len(headers) > 0 && strings.HasPrefix(headers[0], "{") {
		body, headers = strings.NewReader(headers[0]), headers[1:]
	}
	r, err := http.NewRequestWithContext(ctx, args[0], "http://"+ts.Getenv("ATOLL_ADMIN_ADDR")+args[1], body)
	ts.Check(err)
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, "=")
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for lines := bufio.NewReader(resp.Body); ; {
		line, err := lines.ReadString('\n')
		_, _ = ts.Stdout().Write([]byte(line)) // into memory
		if err == io.EOF || line == "\n" && resp.Header.Get("Content-Type") == "text/event-stream" {
			break
		}
		if err != nil {
			return err
		}
	}
	if resp.StatusCode/100 != 2 {
		return statusError(resp.StatusCode)
	}
	return nil
}

func untilCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: until COMMAND...")
	}
	end, run := time.Now().Add(readyWait), ts.Exec
	if args[0] == "api" {
		run = func(_ string, args ...string) error { return call(ts, args) }
	}
	for err := run(args[0], args[1:]...); err != nil; err = run(args[0], args[1:]...) {
		if time.Now().After(end) {
			ts.Fatalf("%v did not succeed in %v: %v", args, readyWait, err)
		}
		time.Sleep(10 * pollEvery)
	}
}

// watched is an output that tells when it matches.
type watched struct {
	mu      sync.Mutex
	b       bytes.Buffer
	want    *regexp.Regexp
	matched chan struct{} // closed once
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.want.Match(w.b.Bytes())
	n, err := w.b.Write(p)
	if !before && w.want.Match(w.b.Bytes()) {
		close(w.matched)
	}
	return n, err
}

func awaitCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await REGEXP COMMAND...")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), readyWait)
	defer cancel()
	for {
		out := &watched{want: want, matched: make(chan struct{})}
		err := watch(ctx, ts, out, args[1:])
		select {
		case <-out.matched:
			ts.Check(err)
			return
		case <-ctx.Done():
			ts.Fatalf("%v: %v\n%s", args, err, out.b.String())
		case <-time.After(10 * pollEvery):
		}
	}
}

// watch runs a command to its end, or until its output matches.
func watch(ctx context.Context, ts *testscript.TestScript, out *watched, args []string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], args[0]), args[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	for _, name := range []string{"ATOLL_ADMIN_ADDR", "ATOLL_DATA_DIR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the process, which the context ends
	select {
	case err := <-ended:
		return err
	case <-out.matched:
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return <-ended
}

func captureCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEXP")
	}
	want, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	m := want.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) < 2 {
		ts.Fatalf("%s matches nothing in\n%s", want, ts.ReadFile("stdout"))
	}
	ts.Setenv(args[0], m[1])
}

func globCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: glob NAME PATTERN")
	}
	files, err := filepath.Glob(ts.MkAbs(args[1]))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("no file is %s", args[1])
	}
	ts.Setenv(args[0], files[0])
}

var scriptLine = regexp.MustCompile(`^(?:exec |until |await .*? )(atoll( .*?)?)( &\w*&?)?$`)

// scriptLines returns the command lines of the program in the transcripts that succeed, as a reader would type them, but
// for their variables.
func scriptLines(t *testing.T) []string {
	t.Helper()
	var lines []string
	for _, file := range scriptFiles(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		script, _, _ := strings.Cut(string(text), "\n-- ")
		input := ""
		for l := range strings.Lines(script) {
			l = strings.TrimSpace(l)
			if m := scriptLine.FindStringSubmatch(l); m != nil {
				lines = append(lines, m[1]+input)
			}
			input = ""
			if name, ok := strings.CutPrefix(l, "stdin "); ok {
				input = " < " + name
			}
		}
	}
	return lines
}

// verb is a command of the program.
type verb struct {
	path     string // atoll ns create
	examples []string
}

// verbs walks the program's own help.
func verbs(t *testing.T, path string) []verb {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), atoll(t), append(strings.Fields(path)[1:], "--help")...)
	cmd.Env = environ("GORACE=" + noExitSleep)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s --help: %v\n%s", path, err, out)
	}
	v, section := verb{path: path}, ""
	var below []verb
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line != "" && line[0] != ' ':
			section = line
		case section == "Examples:" && line != "":
			v.examples = append(v.examples, strings.TrimSpace(line))
		case section == "Available Commands:" && line != "":
			if name := strings.Fields(line)[0]; name != "help" {
				below = append(below, verbs(t, path+" "+name)...)
			}
		}
	}
	if len(below) > 0 && len(v.examples) == 0 { // it only holds others
		return below
	}
	return append(below, v)
}

// pattern returns what a transcript's line may stand for: a word with a variable is any word.
func pattern(line string) *regexp.Regexp {
	words := strings.Fields(line)
	for i, w := range words {
		if words[i] = regexp.QuoteMeta(w); strings.Contains(w, "$") {
			words[i] = `\S+`
		}
	}
	return regexp.MustCompile("^" + strings.Join(words, " ") + "$")
}

// TestEveryVerbIsInATranscript holds the transcripts to the program: each command is run by one that succeeds, and so is
// each example of its help, letter by letter but for what differs from run to run.
func TestEveryVerbIsInATranscript(t *testing.T) {
	lines := scriptLines(t)
	all := verbs(t, "atoll")
	for _, v := range all {
		ran := slices.ContainsFunc(lines, func(l string) bool { return l == v.path || strings.HasPrefix(l, v.path+" ") })
		if !ran {
			t.Errorf("%s is run by no transcript", v.path)
		}
		foreign := strings.HasPrefix(v.path, "atoll debug pebble ") || strings.HasPrefix(v.path, "atoll completion ")
		if len(v.examples) == 0 && !foreign {
			t.Errorf("%s --help shows no example", v.path)
		}
		for _, e := range v.examples {
			if !slices.ContainsFunc(lines, func(l string) bool { return pattern(l).MatchString(e) }) {
				t.Errorf("%s: no transcript runs the example\n%s", v.path, e)
			}
		}
	}
	if len(all) < 50 {
		t.Errorf("only %d commands were found", len(all))
	}
}

// TestEveryOperationIsInATranscript holds the transcripts to the description of the API that a server gives.
func TestEveryOperationIsInATranscript(t *testing.T) {
	s := startServer(t)
	resp, err := http.Get("http://" + s.httpAddr + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/script/api.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			segments := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, `[^/? ]+`)
			line := regexp.MustCompile(`(?m)^(until )?api ` + strings.ToUpper(method) + ` ` + segments + `([? ].*)?$`)
			if !line.Match(text) {
				t.Errorf("%s %s is sent by no transcript", strings.ToUpper(method), path)
			}
		}
	}
	if len(doc.Paths) < 20 {
		t.Errorf("only %d paths were found", len(doc.Paths))
	}
}
