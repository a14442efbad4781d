package prompt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/atolldb/atoll/datanode"
)

// What redis-cli 7.0 prints for the same replies.
func TestReplies(t *testing.T) {
	for _, c := range []struct{ wire, pretty, raw string }{
		{"+OK\r\n", "OK\n", "OK\n"},
		{"-ERR no\r\n", "(error) ERR no\n", "ERR no\n"},
		{":12\r\n", "(integer) 12\n", "12\n"},
		{"$-1\r\n", "(nil)\n", "\n"},
		{"*-1\r\n", "(nil)\n", "\n"},
		{"_\r\n", "(nil)\n", "\n"},
		{"$0\r\n\r\n", "\"\"\n", "\n"},
		{"$6\r\na\"\\\n\x00\xff\r\n", `"a\"\\\n\x00\xff"` + "\n", "a\"\\\n\x00\xff\n"},
		{"*0\r\n", "(empty array)\n", "\n"},
		{"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n", "1) \"a\"\n2) 1) (integer) 1\n   2) (nil)\n", "a\n1\n\n"},
		{"*10\r\n" + strings.Repeat(":0\r\n", 10), " 1) (integer) 0\n 2) (integer) 0\n 3) (integer) 0\n 4) (integer) 0\n 5) (integer) 0\n" +
			" 6) (integer) 0\n 7) (integer) 0\n 8) (integer) 0\n 9) (integer) 0\n10) (integer) 0\n", strings.Repeat("0\n", 10)},
		{"%1\r\n$1\r\nk\r\n:1\r\n", "1# \"k\" => (integer) 1\n", "k\n1\n"},
		{"~1\r\n+x\r\n", "1~ x\n", "x\n"},
		{"#t\r\n", "(true)\n", "t\n"},
		{",1.5\r\n", "(double) 1.5\n", "1.5\n"},
		{"=7\r\ntxt:abc\r\n", "abc\n", "abc\n"},
		{"|1\r\n+a\r\n+b\r\n:3\r\n", "(integer) 3\n", "3\n"},
	} {
		v, err := readReply(bufio.NewReader(strings.NewReader(c.wire)), 0)
		if err != nil {
			t.Errorf("%q: %v", c.wire, err)
			continue
		}
		var pretty, raw strings.Builder
		v.pretty(&pretty, "")
		v.raw(&raw)
		if pretty.String() != c.pretty || raw.String() != c.raw {
			t.Errorf("%q: %q and %q, want %q and %q", c.wire, pretty.String(), raw.String(), c.pretty, c.raw)
		}
	}
}

func TestBadReplies(t *testing.T) {
	for _, wire := range []string{
		"?\r\n", "\r\n", "+OK\n", "$x\r\n", "$-2\r\n", "$1\r\nab\r\n", "*-2\r\n", "*999999999999\r\n",
		strings.Repeat("*1\r\n", depthMax+2), "+" + strings.Repeat("a", lineBytesMax+1) + "\r\n",
	} {
		if _, err := readReply(bufio.NewReaderSize(strings.NewReader(wire), lineBytesMax), 0); !errors.Is(err, errProtocol) {
			t.Errorf("%.20q: %v", wire, err)
		}
	}
	for _, wire := range []string{"$5\r\nab", "*2\r\n:1\r\n", "$536870912\r\nabc", "*536870912\r\n"} {
		if _, err := readReply(bufio.NewReader(strings.NewReader(wire)), 0); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", wire, err)
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\na\r\n%1\r\n:1\r\n_\r\n"))
	f.Add([]byte("|1\r\n+a\r\n+b\r\n=7\r\ntxt:abc\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := readReply(bufio.NewReaderSize(bytes.NewReader(b), lineBytesMax), 0)
		if err != nil {
			return
		}
		var pretty, raw strings.Builder
		v.pretty(&pretty, "")
		v.raw(&raw)
		if !strings.HasSuffix(pretty.String(), "\n") {
			t.Errorf("%q is shown as %q", b, pretty.String())
		}
	})
}

// server answers each connection's commands by a function, and keeps them.
type server struct {
	mu    sync.Mutex
	calls []string
	wg    sync.WaitGroup
}

func (s *server) dial(answer func(string) string) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		s.wg.Go(func() {
			defer far.Close()
			r := bufio.NewReader(far)
			for {
				v, err := readReply(r, 0)
				if err != nil {
					return
				}
				var words []string
				for _, i := range v.items {
					words = append(words, i.text)
				}
				line := strings.Join(words, " ")
				s.mu.Lock()
				s.calls = append(s.calls, line)
				s.mu.Unlock()
				out := answer(line)
				if out == "" {
					return
				}
				if _, err := io.WriteString(far, out); err != nil {
					return
				}
			}
		})
		return near, nil
	}
}

func (s *server) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// A connection that broke is made again, with the token and the database it had.
func TestScriptReconnects(t *testing.T) {
	var s server
	broken := false
	var out strings.Builder
	c := &Client{Name: "test", Token: "the-token", Out: &out}
	c.Dial = s.dial(func(line string) string {
		switch {
		case line == "GET b" && !broken:
			broken = true
			return ""
		case line == "BOGUS":
			return "-ERR unknown command\r\n"
		}
		return "+" + line + "\r\n"
	})
	if err := c.Script(t.Context(), strings.NewReader("SELECT 3\nGET b\n")); err == nil || !strings.Contains(err.Error(), "GET: the connection broke") {
		t.Fatalf("error %v", err)
	}
	err := c.Script(t.Context(), strings.NewReader("\nGET 'b c'\nBOGUS\n"))
	if !errors.Is(err, ErrReplies) {
		t.Fatalf("error %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s.wg.Wait()
	want := []string{"AUTH the-token", "SELECT 3", "GET b", "AUTH the-token", "SELECT 3", "GET b c", "BOGUS"}
	if got := s.sent(); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	if out.String() != "SELECT 3\nGET b c\nERR unknown command\n" {
		t.Errorf("printed %q", out.String())
	}
	if err := c.Script(t.Context(), strings.NewReader("GET 'a\n")); err == nil || !strings.Contains(err.Error(), "line 1: its quotes") {
		t.Errorf("error %v", err)
	}
}

// A wrong token is told, and nothing else is sent.
func TestWrongToken(t *testing.T) {
	var s server
	c := &Client{Name: "test", Token: "wrong", Out: io.Discard, Dial: s.dial(func(string) string { return "-WRONGPASS no\r\n" })}
	if err := c.Do(t.Context(), []string{"SET", "a", "b"}); err == nil || !strings.Contains(err.Error(), "AUTH: WRONGPASS no") {
		t.Errorf("error %v", err)
	}
	s.wg.Wait()
	if got := s.sent(); !slices.Equal(got, []string{"AUTH wrong"}) {
		t.Errorf("sent %q", got)
	}
}

// MONITOR prints until the connection or the context ends.
func TestMonitor(t *testing.T) {
	var s server
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out writerFunc = func(b []byte) (int, error) {
		if strings.Contains(string(b), "second") {
			cancel()
		}
		return len(b), nil
	}
	c := &Client{Name: "test", Out: out, Dial: s.dial(func(string) string { return "+OK\r\n+first\r\n+second\r\n" })}
	if err := c.Do(ctx, []string{"monitor"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	s.wg.Wait()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// keys is a terminal whose keys were pressed before; what is drawn on it is dropped.
type keys struct{ io.Reader }

func (keys) Write(b []byte) (int, error) { return len(b), nil }

func TestInteract(t *testing.T) {
	var s server
	var out strings.Builder
	path := filepath.Join(t.TempDir(), "history")
	run := func(typed string) {
		t.Helper()
		c := &Client{Name: "test", Pretty: true, Out: &out, Dial: s.dial(func(string) string { return ":1\r\n" })}
		raw := func() (func(), error) { return func() {}, nil }
		if err := errors.Join(c.Interact(t.Context(), keys{strings.NewReader(typed)}, raw, path), c.Close()); err != nil {
			t.Fatal(err)
		}
		s.wg.Wait()
	}
	run("zinc\t a 1 b\rAUTH \"a secret\"\r\"\rhelp get\rdbsize\rquit\rget never\r")
	if got := s.sent(); !slices.Equal(got, []string{"zincrby a 1 b", "AUTH a secret", "dbsize"}) {
		t.Errorf("sent %q", got)
	}
	want := "(integer) 1\n(integer) 1\nInvalid argument(s)\nGET: " + (&completer{commands: datanode.Commands()}).find("get").Summary + "\n  group string, since Redis 1.0.0\n(integer) 1\n"
	if out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != "zincrby a 1 b\n\"\nhelp get\ndbsize\nquit\n" {
		t.Errorf("the history is %q", data)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	const up = "\x1b[A"
	run(up + up + "\r") // dbsize again
	if got := s.sent(); got[len(got)-1] != "dbsize" {
		t.Errorf("sent %q", got)
	}
}

func TestComplete(t *testing.T) {
	c := &completer{commands: datanode.Commands()}
	for _, x := range []struct {
		line string
		want []string
	}{
		{"GETR", []string{"GETRANGE"}},
		{"hset", []string{"hset", "hsetnx"}},
		{"CLIENT GETN", []string{"CLIENT GETNAME"}},
		{"client kil", []string{"client kill"}},
		{"get x", nil},
		{"bogus", nil},
		{"client kill x", nil},
	} {
		if got := c.candidates(x.line); !slices.Equal(got, x.want) {
			t.Errorf("%q: %q, want %q", x.line, got, x.want)
		}
	}
	line, pos, ok := c.complete("hset", 4, '\t')
	if line != "hset" || pos != 4 || !ok {
		t.Errorf("first TAB: %q, %d, %v", line, pos, ok)
	}
	if line, _, _ = c.complete(line, pos, '\t'); line != "hsetnx" {
		t.Errorf("second TAB: %q", line)
	}
	if line, _, _ = c.complete(line, len(line), '\t'); line != "hset" {
		t.Errorf("third TAB: %q", line)
	}
	if _, _, ok = c.complete("get", 3, 'x'); ok {
		t.Error("another key completes")
	}
}
