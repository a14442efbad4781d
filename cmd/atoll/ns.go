package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/atolldb/atoll/rpc/adminapi"
)

func (p *program) nsCommand() *cobra.Command {
	return group("ns", "Manage namespaces", p.nsCreate(), p.nsList(), p.nsShow(), p.nsUpdate(), p.nsDelete())
}

func namespaceTable(list ...adminapi.Namespace) *table {
	t := &table{head: []string{"NAME", "ID", "DURABILITY", "CREATED"}}
	for _, n := range list {
		t.add(n.Name, n.ID, n.Durability, n.CreatedAt)
	}
	return t
}

// tokenFlags are the flags that describe a new token.
type tokenFlags struct {
	secret, role, label string
	ttl                 time.Duration
}

func (f *tokenFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.secret, "secret", "", "the token's secret, 16 to 512 bytes; - reads it from a line of stdin (default: one is made)")
	flags.StringVar(&f.role, "role", "read-write", "the token's role: read-only, read-write, or admin on the default namespace")
	flags.StringVar(&f.label, "label", "", "a note beside the token, at most 128 bytes")
	flags.DurationVar(&f.ttl, "ttl", 0, "the token expires after this time (default: never)")
}

// given returns the first of the flags that was given, or an empty string.
func (f *tokenFlags) given(flags *pflag.FlagSet) string {
	for _, name := range []string{"secret", "role", "label", "ttl"} {
		if flags.Changed(name) {
			return name
		}
	}
	return ""
}

// token returns what the flags ask for.
func (f *tokenFlags) token(stdin io.Reader) (adminapi.CreateToken, error) {
	t := adminapi.CreateToken{Secret: f.secret, Role: f.role, Label: f.label}
	if t.Secret == "-" {
		line, err := readSecret(stdin)
		if err != nil {
			return t, fmt.Errorf("--secret: %w", err)
		}
		t.Secret = line
	}
	if f.ttl < 0 {
		return t, errors.New("--ttl: it takes a positive duration")
	}
	if f.ttl > 0 {
		at := time.Now().Add(f.ttl).UTC()
		t.ExpiresAt = &at
	}
	return t, nil
}

// readSecret reads the line of a secret, which the arguments of a process would show to other users.
func readSecret(stdin io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(stdin, 2*adminapi.SecretBytesMax)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read stdin: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	switch {
	case line == "":
		return "", errors.New("stdin has no line")
	case !utf8.ValidString(line):
		return "", errors.New("stdin is not valid UTF-8")
	}
	return line, nil
}

func (p *program) nsCreate() *cobra.Command {
	var flags tokenFlags
	var durability string
	var noToken bool
	var c *cobra.Command
	c = p.adminCommand("create NAME", "Create a namespace with a first token", cobra.ExactArgs(1), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			in := adminapi.CreateNamespace{Name: args[0], Durability: durability}
			if given := flags.given(c.Flags()); noToken && given != "" {
				return fmt.Errorf("--no-token and --%s contradict each other", given)
			}
			if !noToken {
				token, err := flags.token(a.stdin)
				if err != nil {
					return err
				}
				in.Token = &token
			}
			out, err := a.client.CreateNamespace(ctx, in, a.options()...)
			if err != nil {
				return err
			}
			a.warn(out.Change)
			t := &table{head: []string{"NAME", "ID", "DURABILITY", "TOKEN"}}
			secret := ""
			if out.Token != nil {
				secret = out.Token.Secret
			}
			t.add(out.Namespace.Name, out.Namespace.ID, out.Namespace.Durability, secret)
			return a.print(out, t)
		})
	c.Long = c.Short + ". NAME has 1 to 255 bytes of UTF-8 without spaces, '/', and control and format characters;\nit isn't '*', 'default', '.' or '..', and doesn't start with '__'."
	flags.add(c.Flags())
	c.Flags().StringVar(&durability, "durability", "async", "async (fsynced within a second) or local (fsynced before the reply)")
	c.Flags().BoolVar(&noToken, "no-token", false, "make no token")
	return c
}

func (p *program) nsList() *cobra.Command {
	var deleted bool
	c := p.adminCommand("list", "List the namespaces", cobra.NoArgs, nil, func(ctx context.Context, a *adminCall, _ []string) error {
		if deleted {
			return a.listTombstones(ctx)
		}
		list, err := a.client.Namespaces(ctx)
		if err != nil {
			return err
		}
		return a.print(list, namespaceTable(list...))
	})
	c.Flags().BoolVar(&deleted, "deleted", false, "list the deleted ones that some node has yet to purge")
	return c
}

func (a *adminCall) listTombstones(ctx context.Context) error {
	list, err := a.client.Tombstones(ctx)
	if err != nil {
		return err
	}
	t := &table{head: []string{"NAME", "ID", "DELETED AT REVISION", "WAITING FOR"}}
	for _, d := range list.Tombstones {
		t.add(d.Name, d.ID, d.DeletedRevision, d.WaitingFor)
	}
	return a.print(list.Tombstones, t)
}

func (p *program) nsShow() *cobra.Command {
	return p.adminCommand("show NAME", "Show a namespace", cobra.ExactArgs(1), nil, func(ctx context.Context, a *adminCall, args []string) error {
		n, err := a.client.Namespace(ctx, args[0])
		if err != nil {
			return err
		}
		return a.print(n, namespaceTable(n))
	})
}

func (p *program) nsUpdate() *cobra.Command {
	var durability string
	c := p.adminCommand("update NAME", "Change a namespace's settings", cobra.ExactArgs(1), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			if durability == "" {
				return errors.New("nothing to change: give --durability")
			}
			out, err := a.client.UpdateNamespace(ctx, args[0], adminapi.UpdateNamespace{Durability: durability}, a.options()...)
			if err != nil {
				return err
			}
			a.warn(out.Change)
			return a.print(out, namespaceTable(out.Namespace))
		})
	c.Flags().StringVar(&durability, "durability", "", "async or local")
	return c
}

func (p *program) nsDelete() *cobra.Command {
	return p.adminCommand("delete NAME", "Delete a namespace with its tokens and its data", cobra.ExactArgs(1), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			out, err := a.client.DeleteNamespace(ctx, args[0], a.options()...)
			if err != nil {
				return err
			}
			a.warn(out)
			t := &table{head: []string{"DELETED", "REVISION"}}
			t.add(args[0], out.Revision)
			return a.print(out, t)
		})
}
