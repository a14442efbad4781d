package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write CONFIG.md anew")

// TestConfigReference holds CONFIG.md to the table of keys.
func TestConfigReference(t *testing.T) {
	want := reference()
	if *update {
		if err := os.WriteFile("CONFIG.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("CONFIG.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("CONFIG.md is not what the table of keys says: run go test ./cmd/atoll -run TestConfigReference -update")
	}
}

// reference renders the table of keys, and which commands take each.
func reference() string {
	var b strings.Builder
	b.WriteString(`# Configuration

Made from the table of keys in keys.go by ` + "`go test ./cmd/atoll -run TestConfigReference -update`" + `.

A key is a flag (` + "`--resp-addr`" + `), an environment variable (` + "`ATOLL_RESP_ADDR`" + `) and a key of the YAML file that
` + "`--config`" + ` names (` + "`resp-addr: 127.0.0.1:6379`" + `). Flags win over the environment, the environment over the file, the
file over the defaults. A value out of bounds and an unknown key of the file are refused. Sizes are bytes, or a
number with KiB, MiB, GiB or TiB behind it.

| key | variable | takes | default | bounds | of | what |
|---|---|---|---|---|---|---|
`)
	users := usersOf(newRoot(&program{}))
	for _, k := range keys() {
		bounds := strings.Join(k.words, ", ")
		if k.min != "" {
			bounds = k.bounds()
		}
		byDef := k.byDef
		if byDef != "" {
			byDef = "`" + byDef + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s | %s | %s |\n", k.name, envName(k.name), k.kind, byDef, bounds, strings.Join(users[k.name], ", "), k.help)
	}
	return b.String()
}

// usersOf returns, by key, the commands that take it; operators' commands count as one.
func usersOf(c *cobra.Command) map[string][]string {
	users := map[string][]string{}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		who := "operator"
		switch c.Name() {
		case "server", "meta", "data", "health":
			who = c.Name()
		case "config": // which takes every key, to show it
			return
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if _, ok := findKey(f.Name); ok && !slices.Contains(users[f.Name], who) {
				users[f.Name] = append(users[f.Name], who)
			}
		})
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(c)
	for _, who := range users {
		slices.Sort(who)
	}
	return users
}

// TestEveryKeyIsTaken finds rows of the table that no command uses.
func TestEveryKeyIsTaken(t *testing.T) {
	users := usersOf(newRoot(&program{}))
	seen := map[string]bool{}
	for _, k := range keys() {
		if len(users[k.name]) == 0 {
			t.Errorf("no command takes --%s", k.name)
		}
		if seen[k.name] {
			t.Errorf("%s is in the table twice", k.name)
		}
		seen[k.name] = true
		if _, err := k.parse(k.byDef); err != nil {
			t.Errorf("the default of %s: %v", k.name, err)
		}
	}
}
