package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// setting is one key as config shows it.
type setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	From  string `json:"from"` // a flag, a variable, the file's name, or "default"
}

// configCommand shows the configuration that a node or an operator's command would run with.
func (p *program) configCommand() *cobra.Command {
	var names []string
	for _, k := range keys() {
		names = append(names, k.name)
	}
	var changed bool
	c := p.command("config", "Show the effective configuration, and where each value comes from", cobra.NoArgs, names,
		func(_ context.Context, c *config, _ []string) error {
			for _, name := range c.unknown {
				fmt.Fprintf(p.stderr, "atoll: %s: there is no such variable, see CONFIG.md\n", name)
			}
			list := c.settings(changed)
			t := &table{head: []string{"KEY", "VALUE", "FROM"}}
			for _, s := range list {
				t.add(s.Key, s.Value, s.From)
			}
			return p.print(c, list, t)
		})
	c.Long = c.Short + `.

Every key of every command is shown, whether given or not, after its check: a value out of bounds is
refused as a node would refuse it. Give the flags and --config of a node to see what it would run with.
Secrets are shown as "(set)".`
	c.Flags().BoolVar(&changed, "changed", false, "only what differs from the defaults")
	return c
}

// settings lists the keys in the table's order.
func (c *config) settings(changed bool) []setting {
	list := []setting{}
	for _, k := range keys() {
		s := setting{Key: k.name, Value: c.written(k), From: c.from[k.name]}
		if s.From == "" {
			s.From = "default"
		}
		byDef, err := k.parse(k.byDef)
		if changed && err == nil && k.written(byDef) == k.written(c.values[k.name]) {
			continue
		}
		list = append(list, s)
	}
	return list
}

// written returns the value as it would be given, or that there is one.
func (c *config) written(k key) string {
	s := k.written(c.values[k.name])
	if k.secret && s != "" {
		return "(set)"
	}
	return s
}

// written returns a parsed value in the form that parse takes.
func (k key) written(v any) string {
	switch v := v.(type) {
	case []string:
		return strings.Join(v, ",")
	case time.Duration:
		return v.String()
	case int64:
		switch k.kind {
		case kindMode:
			return fmt.Sprintf("%o", v)
		case kindSize:
			return writeSize(v)
		}
	}
	return fmt.Sprint(v)
}

// writeSize writes a size with the largest unit that divides it.
func writeSize(n int64) string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	return fmt.Sprintf("%d%s", n, units[i])
}
