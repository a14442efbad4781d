package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// waitSlack is how much longer than its wait a change may take.
const waitSlack = 5 * time.Second

// adminCommand returns a command that calls the admin API.
func (p *program) adminCommand(use, short string, args cobra.PositionalArgs, keys []string,
	f func(context.Context, *adminCall, []string) error) *cobra.Command {
	return p.callingCommand(use, short, args, keys, func(ctx context.Context, a *adminCall, args []string) error {
		limit := a.duration("timeout")
		if slices.Contains(keys, "wait") { // the answer comes after the wait
			limit = max(limit, a.duration("wait")+waitSlack)
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return f(ctx, a, args)
	})
}

// callingCommand is adminCommand for calls that may last: they end with the context alone.
func (p *program) callingCommand(use, short string, args cobra.PositionalArgs, keys []string,
	f func(context.Context, *adminCall, []string) error) *cobra.Command {
	c := p.command(use, short, args, p.adminKeys(keys...), func(ctx context.Context, c *config, args []string) error {
		// First, since a mistyped name may be why the rest goes wrong.
		for _, name := range c.unknown {
			fmt.Fprintf(p.stderr, "atoll: %s: there is no such variable, see CONFIG.md\n", name)
		}
		token, err := adminToken(c)
		if err != nil {
			return err
		}
		client, err := apiClient(c, token)
		if err != nil {
			return err
		}
		defer client.Close()
		return f(ctx, &adminCall{config: c, client: client, program: p}, args)
	})
	c.PreRunE = func(c *cobra.Command, args []string) error { return checkUTF8(c.Flags(), args) }
	return c
}

// apiClient returns a client of the admin API that the configuration names.
func apiClient(c *config, token string) (*adminapi.Client, error) {
	private := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := c.text("ca"); file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--ca (%s): %w", envName("ca"), err)
		}
		private.RootCAs = x509.NewCertPool()
		if !private.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("--ca (%s): %s holds no certificate", envName("ca"), file)
		}
	}
	return adminapi.NewClient(c.text("admin-addr"), token, adminapi.WithTLS(private))
}

// checkUTF8 refuses arguments that JSON can't carry: its encoder would send something else in silence.
func checkUTF8(flags *pflag.FlagSet, args []string) (err error) {
	for i, arg := range args {
		if !utf8.ValidString(arg) {
			err = fmt.Errorf("argument %d (%q) is not valid UTF-8", i+1, arg)
		}
	}
	flags.Visit(func(f *pflag.Flag) {
		if !utf8.ValidString(f.Value.String()) {
			err = fmt.Errorf("--%s is not valid UTF-8", f.Name)
		}
	})
	return err
}

// adminToken finds the admin's token: --token, ATOLL_TOKEN or the file, or that of the data directory.
func adminToken(c *config) (string, error) {
	if t := c.text("token"); t != "" {
		return t, nil
	}
	path := filepath.Join(c.text("data-dir"), adminTokenFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no admin token: there is no %s; give --token, %s or --data-dir", path, envName("token"))
	}
	if err != nil {
		return "", fmt.Errorf("read the admin token: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// adminCall is one run of an operator's command.
type adminCall struct {
	*config
	*program
	client *adminapi.Client
}

func (a *adminCall) print(v any, t *table) error { return a.program.print(a.config, v, t) }

// newKey makes a change have one effect when the connection sends it again.
func newKey() adminapi.Option { return adminapi.WithIdempotencyKey("cli-" + rand.Text()) }

// options returns what every change is sent with that data nodes apply: a key, and the wait.
func (a *adminCall) options() []adminapi.Option {
	options := []adminapi.Option{newKey()}
	if d := a.duration("wait"); d > 0 {
		options = append(options, adminapi.WaitApplied(d))
	}
	return options
}

// warn says which nodes have not applied a change in time.
func (a *adminCall) warn(c adminapi.Change) {
	late := slices.DeleteFunc(slices.Clone(c.LaggingNodes), func(id string) bool { return slices.Contains(c.UnreachableNodes, id) })
	if len(late) > 0 {
		fmt.Fprintf(a.stderr, "atoll: not yet applied by %s: the change is committed, and they will follow\n", strings.Join(late, ", "))
	}
	if len(c.UnreachableNodes) > 0 {
		fmt.Fprintf(a.stderr, "atoll: the metadata service does not hear %s: until it does, they may act on the state before the change\n", strings.Join(c.UnreachableNodes, ", "))
	}
}
