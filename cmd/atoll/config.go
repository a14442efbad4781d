package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/atolldb/atoll/rpc/ident"
)

const envPrefix = "ATOLL_"

// envName returns the environment variable of a key.
func envName(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// flagValue is a flag whose text is checked with the rest of the configuration.
type flagValue struct {
	text string
	kind kind
}

func (v *flagValue) String() string     { return v.text }
func (v *flagValue) Set(s string) error { v.text = s; return nil }
func (v *flagValue) Type() string       { return string(v.kind) }

// addFlags adds the rows of the given keys to a command's flags.
func addFlags(flags *pflag.FlagSet, names []string) {
	for _, name := range names {
		k, ok := findKey(name)
		if !ok {
			panic("no config key " + name)
		}
		short := ""
		if name == "output" {
			short = "o"
		}
		f := flags.VarPF(&flagValue{text: k.byDef, kind: k.kind}, k.name, short, k.usage())
		if k.kind == kindBool {
			f.NoOptDefVal = "true"
		}
	}
}

// usage returns the help with the words or bounds of the key.
func (k key) usage() string {
	switch {
	case len(k.words) > 0:
		return k.help + " (" + strings.Join(k.words, ", ") + ")"
	case k.min != "" || k.max != "":
		return k.help + " (" + k.bounds() + ")"
	}
	return k.help
}

func (k key) bounds() string { return k.min + " to " + k.max }

// config is a complete, checked configuration.
type config struct {
	values  map[string]any    // by key: string, []string, bool, int64, time.Duration
	from    map[string]string // by key: what gave the value, in the operator's words; absent: the default
	unknown []string          // variables that look like keys and are none
}

// loadConfig merges flags over environment over file over defaults, and checks every value.
func loadConfig(flags *pflag.FlagSet, environ []string) (*config, error) {
	table := keys()
	defaults, set := map[string]any{}, map[string]any{}
	for _, k := range table {
		defaults[k.name] = k.byDef
		if f := flags.Lookup(k.name); f != nil && f.Changed {
			set[k.name] = f.Value.String()
		}
	}
	fromEnv := env.Provider(".", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			i := slices.IndexFunc(table, func(k key) bool { return envName(k.name) == name })
			if i < 0 {
				return "", nil
			}
			return table[i].name, value
		},
	})

	// The file's name comes from the layers above it.
	top := koanf.New(".")
	err := errors.Join(top.Load(fromEnv, nil), top.Load(confmap.Provider(set, "."), nil))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	merged := koanf.New(".")
	if err := merged.Load(confmap.Provider(defaults, "."), nil); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c := &config{values: map[string]any{}, from: map[string]string{}, unknown: unknownVariables(table, environ)}
	if name := top.String(configKey); name != "" {
		k, err := loadFile(name)
		if err != nil {
			return nil, err
		}
		for key := range k.Raw() {
			c.from[key] = name
		}
		if err := merged.Merge(k); err != nil {
			return nil, fmt.Errorf("config file %s: %w", name, err)
		}
	}
	for key := range top.Raw() {
		c.from[key] = envName(key)
		if _, ok := set[key]; ok {
			c.from[key] = "--" + key
		}
	}
	if err := merged.Merge(top); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}

	for _, k := range table {
		v, err := k.parse(merged.Get(k.name))
		if err != nil {
			return nil, fmt.Errorf("--%s (%s): %w", k.name, envName(k.name), err)
		}
		c.values[k.name] = v
	}
	return c, nil
}

// unknownVariables returns the variables with Atoll's prefix that are no key's. They are no error:
// Kubernetes makes some for a service of that name. ATOLL_REQUIRE is the tests'.
func unknownVariables(table []key, environ []string) []string {
	var unknown []string
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		known := slices.ContainsFunc(table, func(k key) bool { return envName(k.name) == name })
		if strings.HasPrefix(name, envPrefix) && !known && name != envPrefix+"REQUIRE" {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// loadFile reads a config file, which holds keys of the table alone.
func loadFile(name string) (*koanf.Koanf, error) {
	k := koanf.New(".")
	if err := k.Load(file.Provider(name), yaml.Parser()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("config file %s: it doesn't exist", name)
		}
		return nil, fmt.Errorf("config file %s: %w", name, err)
	}
	for found := range k.Raw() {
		if _, ok := findKey(found); !ok || found == configKey {
			return nil, fmt.Errorf("config file %s: there is no key %q", name, found)
		}
	}
	return k, nil
}

// parse checks one value and gives it its type. The file may hold numbers, booleans and lists.
func (k key) parse(raw any) (any, error) {
	if k.kind == kindAddrs {
		return parseAddrs(raw)
	}
	switch raw.(type) {
	case string, bool, int, int64, uint64, float64:
	default:
		return nil, fmt.Errorf("it takes a %s", k.kind)
	}
	s := fmt.Sprint(raw)
	switch k.kind {
	case kindText:
		if s == "" && k.byDef != "" {
			return nil, errors.New("it is empty")
		}
	case kindWord:
		if !slices.Contains(k.words, s) {
			return nil, fmt.Errorf("%q is not one of %s", s, strings.Join(k.words, ", "))
		}
	case kindAddr:
		if s == "" && k.none {
			return s, nil
		}
		return s, checkAddr(s)
	case kindID:
		if err := ident.Check(s); s != "" && err != nil {
			return nil, fmt.Errorf("%q %w", s, err)
		}
	case kindBool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return nil, fmt.Errorf("%q is neither true nor false", s)
		}
		return b, nil
	case kindDuration:
		return bounded(k, s, func(s string) (time.Duration, error) { return time.ParseDuration(s) })
	case kindMode:
		if _, ok := raw.(string); !ok { // YAML takes 0700 for an octal number, and gives 448
			return nil, errors.New("it takes an octal number in quotes")
		}
		return bounded(k, s, func(s string) (int64, error) { return strconv.ParseInt(s, 8, 64) })
	case kindInt:
		return bounded(k, s, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) })
	case kindSize:
		return bounded(k, s, parseSize)
	}
	return s, nil
}

func checkAddr(s string) error {
	if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
		return fmt.Errorf("%q is not host:port", s)
	}
	return nil
}

func parseAddrs(raw any) ([]string, error) {
	var list []string
	switch raw := raw.(type) {
	case string:
		list = strings.Split(raw, ",")
	case []any:
		for _, e := range raw {
			list = append(list, fmt.Sprint(e))
		}
	default:
		return nil, errors.New("it takes a list")
	}
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	list = slices.DeleteFunc(list, func(s string) bool { return s == "" })
	for _, addr := range list {
		if err := checkAddr(addr); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func bounded[T int64 | time.Duration](k key, s string, parse func(string) (T, error)) (T, error) {
	v, err := parse(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a %s", s, k.kind)
	}
	lowest, highest := T(math.MinInt64), T(math.MaxInt64)
	if k.min != "" {
		lowest, err = parse(k.min)
	}
	if err == nil && k.max != "" {
		highest, err = parse(k.max)
	}
	if err != nil {
		panic(fmt.Sprintf("bounds of config key %s: %v", k.name, err))
	}
	if v < lowest || v > highest {
		return 0, fmt.Errorf("%s is out of bounds: it takes %s", s, k.bounds())
	}
	return v, nil
}

// parseSize reads a number of bytes with an optional binary unit.
func parseSize(s string) (int64, error) {
	shift := 0
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			s, shift = strings.TrimSpace(number), 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return n << shift, nil
}

func value[T any](c *config, name string) T {
	v, ok := c.values[name].(T)
	if !ok {
		panic(fmt.Sprintf("config key %s is no %T", name, v))
	}
	return v
}

func (c *config) text(name string) string            { return value[string](c, name) }
func (c *config) list(name string) []string          { return value[[]string](c, name) }
func (c *config) flag(name string) bool              { return value[bool](c, name) }
func (c *config) number(name string) int64           { return value[int64](c, name) }
func (c *config) duration(name string) time.Duration { return value[time.Duration](c, name) }
