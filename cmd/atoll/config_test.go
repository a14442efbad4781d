package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func load(t *testing.T, file string, environ []string, args ...string) (*config, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	var names []string
	for _, k := range keys() {
		names = append(names, k.name)
	}
	addFlags(flags, names)
	if file != "" {
		path := filepath.Join(t.TempDir(), "atoll.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		environ = append(environ, "ATOLL_CONFIG="+path)
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return loadConfig(flags, environ)
}

func TestConfigLayers(t *testing.T) {
	const file = "resp-addr: 127.0.0.1:1\nhttp-addr: 127.0.0.1:2\ncluster-addr: 127.0.0.1:3\njoin: [a:1, b:2]\nmax-clients: 7\ndiscard-data: true\nmemtable: 32MiB\n"
	c, err := load(t, file, []string{"ATOLL_HTTP_ADDR=127.0.0.1:22", "ATOLL_CLUSTER_ADDR=127.0.0.1:33", "ATOLL_REQUIRE=x", "HOME=/"}, "--cluster-addr=127.0.0.1:333")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"resp-addr": "127.0.0.1:1", "http-addr": "127.0.0.1:22", "cluster-addr": "127.0.0.1:333", "data-dir": "./atoll-data",
	} {
		if got := c.text(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := strings.Join(c.list("join"), " "); got != "a:1 b:2" {
		t.Errorf("join is %q", got)
	}
	if len(c.unknown) != 0 {
		t.Errorf("unknown variables %q", c.unknown)
	}
	if c, err := load(t, "", []string{"ATOLL_RESP_ADR=x", "ATOLL_REQUIRE=y"}); err != nil || strings.Join(c.unknown, " ") != "ATOLL_RESP_ADR" {
		t.Errorf("a mistyped variable: %v, %v", c, err)
	}
	if c.number("max-clients") != 7 || !c.flag("discard-data") || c.number("memtable") != 32<<20 || c.duration("drain-wait") != 10*time.Second {
		t.Errorf("typed values %v", c.values)
	}
	if c, err = load(t, "", []string{"ATOLL_JOIN= a:1 ,b:2,"}); err != nil || strings.Join(c.list("join"), "|") != "a:1|b:2" {
		t.Errorf("join of the environment: %v, %v", c, err)
	}
	if c, err = load(t, "resp-socket-mode: '0770'", nil, "--resp-addr="); err != nil || c.text("resp-addr") != "" || c.number("resp-socket-mode") != 0o770 {
		t.Errorf("no address, and a mode: %v, %v", c, err)
	}
	if c, err = load(t, "", nil, "--discard-data"); err != nil || !c.flag("discard-data") {
		t.Errorf("a flag alone: %v, %v", c, err)
	}
}

func TestConfigRefusals(t *testing.T) {
	tests := []struct {
		file, env, arg string
		want           []string
	}{
		{"", "", "--memtable=1", []string{"--memtable", "ATOLL_MEMTABLE", "1MiB to 1GiB"}},
		{"", "ATOLL_MEMTABLE=2GiB", "", []string{"--memtable", "1MiB to 1GiB"}},
		{"memtable: -1", "", "", []string{"--memtable", "is not a size"}},
		{"", "", "--memtable=99999999999999999999", []string{"is not a size"}},
		{"", "", "--memtable=9999999999TiB", []string{"is not a size"}},
		{"", "", "--max-clients=0", []string{"--max-clients", "1 to 1000000"}},
		{"max-clients: many", "", "", []string{"--max-clients", "is not a number"}},
		{"max-clients: [1]", "", "", []string{"--max-clients", "number"}},
		{"", "", "--drain-wait=-1s", []string{"--drain-wait", "10ms to 10m"}},
		{"", "", "--drain-wait=10", []string{"--drain-wait", "is not a duration"}},
		{"", "", "--output=xml", []string{"--output", "table, json"}},
		{"", "", "--resp-addr=6379", []string{"--resp-addr", "host:port"}},
		{"", "", "--resp-addr=localhost:", []string{"--resp-addr", "host:port"}},
		{"", "", "--http-addr=", []string{"--http-addr", "host:port"}},
		{"", "", "--resp-tls-addr=6379", []string{"--resp-tls-addr", "host:port"}},
		{"", "", "--resp-socket-mode=1000", []string{"--resp-socket-mode", "0 to 777"}},
		{"", "", "--resp-socket-mode=8", []string{"--resp-socket-mode", "is not a octal"}},
		{"resp-socket-mode: 0770", "", "", []string{"--resp-socket-mode", "in quotes"}},
		{"discard-data: perhaps", "", "", []string{"--discard-data", "true nor false"}},
		{"join: {a: b}", "", "", []string{"--join", "list"}},
		{"", "", "--join=nonsense", []string{"--join", `"nonsense" is not host:port`}},
		{"join: [a:1, b]", "", "", []string{"--join", `"b" is not host:port`}},
		{"", "", "--node-id=a b", []string{"--node-id", "ATOLL_NODE_ID", `"a b" takes letters`}},
		{"", "ATOLL_NODE_ID=..", "", []string{"--node-id", "a dot or two"}},
		{"", "", "--data-dir=", []string{"--data-dir", "it is empty"}},
		{"", "ATOLL_ADMIN_ADDR=", "", []string{"--admin-addr", "it is empty"}},
		{"resp-adr: x", "", "", []string{`no key "resp-adr"`}},
		{"config: x", "", "", []string{`no key "config"`}},
		{"resp-addr: [", "", "", []string{"config file"}},
		{"", "ATOLL_CONFIG=/does/not/exist", "", []string{"/does/not/exist", "doesn't exist"}},
	}
	for _, tt := range tests {
		t.Run(tt.file+tt.env+tt.arg, func(t *testing.T) {
			var args, environ []string
			if tt.arg != "" {
				args = append(args, tt.arg)
			}
			if tt.env != "" {
				environ = append(environ, tt.env)
			}
			_, err := load(t, tt.file, environ, args...)
			if err == nil {
				t.Fatal("it was taken")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
		})
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "17": 17, "1KiB": 1024, "3 MiB": 3 << 20, "2GiB": 2 << 30, "8388607TiB": 8388607 << 40} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%q is %d (%v), want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "MiB", "-1", "1.5MiB", "1MB", "8388608TiB", "0x10"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q was taken as %d", s, got)
		}
	}
}
