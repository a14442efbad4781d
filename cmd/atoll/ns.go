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
	return group("ns", "Manage namespaces", p.nsCreate(), p.nsList(), p.nsShow(), p.nsUpdate(), p.nsApply(), p.nsRename(), p.nsSuspend(),
		p.nsResume(), p.nsReadOnly(), p.nsDelete(), p.nsUndelete(), p.nsPurge())
}

func namespaceTable(list ...adminapi.Namespace) *table {
	t := &table{head: []string{"NAME", "ID", "STATE", "DURABILITY", "CREATED"}}
	for _, n := range list {
		t.add(n.Name, n.ID, n.State, n.Durability, n.CreatedAt)
	}
	return t
}

// tokenFlags are the flags that describe a new token.
type tokenFlags struct {
	secret, role, label string
	ttl                 time.Duration
	first               bool // the token comes with a namespace, whose labels are --label
}

func (f *tokenFlags) labelFlag() string {
	if f.first {
		return "token-label"
	}
	return "label"
}

func (f *tokenFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.secret, "secret", "", "the token's secret, 16 to 512 bytes; - reads it from a line of stdin (default: one is made)")
	flags.StringVar(&f.role, "role", "read-write", "the token's role: read-only, read-write, or on the default namespace viewer, operator and admin, which the admin API takes")
	flags.StringVar(&f.label, f.labelFlag(), "", "a note beside the token, at most 128 bytes")
	flags.DurationVar(&f.ttl, "ttl", 0, "the token expires after this time (default: never)")
}

// given returns the first of the flags that was given, or an empty string.
func (f *tokenFlags) given(flags *pflag.FlagSet) string {
	for _, name := range []string{"secret", "role", f.labelFlag(), "ttl"} {
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
	flags, settings := tokenFlags{first: true}, settingFlags{}
	var durability string
	var noToken bool
	var c *cobra.Command
	c = p.adminCommand("create NAME", "Create a namespace with a first token", cobra.ExactArgs(1), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			in := adminapi.CreateNamespace{Name: args[0], Durability: durability}
			err := settings.create(&in)
			if err != nil {
				return err
			}
			if in.Token, err = flags.firstToken(c.Flags(), noToken, a.stdin); err != nil {
				return err
			}
			out, err := a.client.CreateNamespace(ctx, in, a.options()...)
			if err != nil {
				return err
			}
			return a.printCreated(out)
		})
	c.Long = c.Short + ". NAME has 1 to 255 bytes of UTF-8 without spaces, '/', and control and format characters;\nit isn't '*', 'default', '.' or '..', and doesn't start with '__'."
	flags.add(c.Flags())
	settings.add(c.Flags())
	c.Flags().StringVar(&durability, "durability", "async", "async (fsynced within a second) or local (fsynced before the reply)")
	c.Flags().BoolVar(&noToken, "no-token", false, "make no token")
	return c
}

// firstToken returns the token that comes with a namespace, or nil.
func (f *tokenFlags) firstToken(flags *pflag.FlagSet, noToken bool, stdin io.Reader) (*adminapi.CreateToken, error) {
	if given := f.given(flags); noToken && given != "" {
		return nil, fmt.Errorf("--no-token and --%s contradict each other", given)
	}
	if noToken {
		return nil, nil
	}
	token, err := f.token(stdin)
	return &token, err
}

// printCreated prints a namespace that was made, or brought back, with its first token.
func (a *adminCall) printCreated(out adminapi.CreatedNamespace) error {
	a.warn(out.Change)
	t := &table{head: []string{"NAME", "ID", "DURABILITY", "TOKEN"}}
	secret := ""
	if out.Token != nil {
		secret = out.Token.Secret
	}
	t.add(out.Namespace.Name, out.Namespace.ID, out.Namespace.Durability, secret)
	return a.print(out, t)
}

func (p *program) nsList() *cobra.Command {
	var deleted bool
	var labels []string
	var state string
	c := p.adminCommand("list", "List the namespaces", cobra.NoArgs, nil, func(ctx context.Context, a *adminCall, _ []string) error {
		if deleted && (len(labels) > 0 || state != "") {
			return errors.New("--deleted lists all deleted ones: leave --label and --state out")
		}
		if deleted {
			return a.listDeleted(ctx)
		}
		var options []adminapi.Option
		for _, label := range labels {
			options = append(options, adminapi.WithLabel(label))
		}
		if state != "" {
			options = append(options, adminapi.WithState(state))
		}
		list, err := a.client.Namespaces(ctx, options...)
		if err != nil {
			return err
		}
		return a.print(list, namespaceTable(list...))
	})
	c.Flags().BoolVar(&deleted, "deleted", false, "list the deleted ones: those in grace, and those that some node has yet to purge")
	c.Flags().StringArrayVar(&labels, "label", nil, "only those with this label, KEY=VALUE; may be repeated")
	c.Flags().StringVar(&state, "state", "", "only those in this state: active, suspended or in-grace")
	return c
}

func (p *program) nsShow() *cobra.Command {
	return p.adminCommand("show NAME", "Show a namespace with its settings and its use", cobra.ExactArgs(1), nil, func(ctx context.Context, a *adminCall, args []string) error {
		n, err := a.client.Namespace(ctx, args[0])
		if err != nil {
			return err
		}
		return a.print(n, describeNamespace(n))
	})
}

func (p *program) nsUpdate() *cobra.Command {
	var settings settingFlags
	var durability, readOnly string
	c := p.adminCommand("update NAME", "Change a namespace's settings", cobra.ExactArgs(1), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			in := adminapi.UpdateNamespace{Durability: durability}
			if err := settings.update(&in); err != nil {
				return err
			}
			if readOnly != "" {
				on, err := onOff("--read-only", readOnly)
				if err != nil {
					return err
				}
				in.ReadOnly = &on
			}
			if durability == "" && readOnly == "" && len(settings.labels)+len(settings.limits) == 0 {
				return errors.New("nothing to change: give --durability, --label, --limit or --read-only")
			}
			return a.updateNamespace(ctx, args[0], in)
		})
	settings.add(c.Flags())
	c.Flags().StringVar(&durability, "durability", "", "async or local")
	c.Flags().StringVar(&readOnly, "read-only", "", "on (writes are refused) or off")
	return c
}

// updateNamespace makes a change of a namespace, and prints what it is now.
func (a *adminCall) updateNamespace(ctx context.Context, name string, in adminapi.UpdateNamespace) error {
	out, err := a.client.UpdateNamespace(ctx, name, in, a.options()...)
	if err != nil {
		return err
	}
	a.warn(out.Change)
	return a.print(out, describeNamespace(out.Namespace))
}
