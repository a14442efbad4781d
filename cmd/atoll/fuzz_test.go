package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// FuzzConfig reads any file, variable and flag: an error, or a configuration whose every value is of its row.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{
		"resp-addr: 127.0.0.1:1\njoin: [a:1, b:2]\nmax-clients: 7\ndiscard-data: true\nmemtable: 32MiB\n", "resp-socket-mode: '0770'\n", "a: &a [*a]\n", "{}", "- 1\n",
		"log-level: 1e3\nidle-timeout: 1h\n", "? {a: b}\n: c\n", "max-clients: 0x10\n", "token: !!binary aGk=\n", "bulk-max: 9223372036854775807\n",
	} {
		f.Add(s, "ATOLL_MEMTABLE=2MiB", "--output=json")
	}
	f.Add("", "ATOLL_JOIN= a:1 ,,b:2", "--resp-addr=[::1]:0")
	f.Fuzz(func(t *testing.T, file, variable, arg string) {
		flags := pflag.NewFlagSet("fuzz", pflag.ContinueOnError)
		flags.Usage = func() {}
		var names []string
		for _, k := range keys() {
			names = append(names, k.name)
		}
		addFlags(flags, names)
		if flags.Parse([]string{arg}) != nil {
			return
		}
		environ := []string{variable}
		if !strings.HasPrefix(arg, "--config") && !strings.HasPrefix(variable, "ATOLL_CONFIG=") { // not the files of this machine
			path := filepath.Join(t.TempDir(), "atoll.yaml")
			if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
			environ = append(environ, "ATOLL_CONFIG="+path)
		}
		c, err := loadConfig(flags, environ)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a word")
			}
			return
		}
		for _, k := range keys() {
			switch k.kind {
			case kindInt, kindSize, kindMode:
				_ = c.number(k.name)
			case kindDuration:
				_ = c.duration(k.name)
			case kindBool:
				_ = c.flag(k.name)
			case kindAddrs:
				_ = c.list(k.name)
			default:
				_ = c.text(k.name)
			}
		}
		if n := c.number("max-clients"); n < 1 || n > 1_000_000 {
			t.Errorf("max-clients is %d", n)
		}
		if d := c.duration("auth-timeout"); d < time.Second || d > time.Hour {
			t.Errorf("auth-timeout is %v", d)
		}
	})
}
