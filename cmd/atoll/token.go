package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/rpc/adminapi"
)

func (p *program) tokenCommand() *cobra.Command {
	return group("token", "Manage the tokens of a namespace", p.tokenCreate(), p.tokenList(), p.tokenUpdate(), p.tokenRotate(), p.tokenRevoke())
}

func (p *program) tokenCreate() *cobra.Command {
	var flags tokenFlags
	c := p.adminCommand("create NAMESPACE", "Create a token; its secret is shown this once", cobra.ExactArgs(1), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			in, err := flags.token(a.stdin)
			if err != nil {
				return err
			}
			out, err := a.client.CreateToken(ctx, args[0], in, a.options()...)
			if err != nil {
				return err
			}
			a.warn(out.Change)
			t := &table{head: []string{"NAMESPACE", "ID", "ROLE", "TOKEN"}}
			t.add(out.Token.Namespace, out.Token.ID, out.Token.Role, out.Token.Secret)
			return a.print(out, t)
		})
	flags.add(c.Flags())
	return c
}

func (p *program) tokenList() *cobra.Command {
	return p.adminCommand("list NAMESPACE", "List the tokens of a namespace", cobra.ExactArgs(1), nil,
		func(ctx context.Context, a *adminCall, args []string) error {
			list, err := a.client.Tokens(ctx, args[0])
			if err != nil {
				return err
			}
			return a.print(list, tokenTable(list))
		})
}

func tokenTable(list []adminapi.Token) *table {
	t := &table{head: []string{"ID", "ROLE", "LABEL", "CREATED", "LAST USED", "CONNECTIONS", "EXPIRES", "REPLACED BY"}}
	for _, token := range list {
		t.add(token.ID, token.Role, token.Label, token.CreatedAt, timeOr(token.LastUsedAt, ""), token.Connections,
			timeOr(token.ExpiresAt, "never"), token.ReplacedBy)
	}
	return t
}

// timeOr returns a time, or a word where there is none.
func timeOr(t *time.Time, word string) any {
	if t == nil {
		return word
	}
	return *t
}

func (p *program) tokenUpdate() *cobra.Command {
	var label, expires string
	var c *cobra.Command
	c = p.adminCommand("update NAMESPACE ID", "Change a token's label or expiry", cobra.ExactArgs(2), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			in := adminapi.UpdateToken{ExpiresAt: expires}
			if c.Flags().Changed("label") {
				in.Label = &label
			}
			if in.Label == nil && expires == "" {
				return errors.New("nothing to change: give --label or --expires")
			}
			if ttl, err := time.ParseDuration(expires); err == nil {
				in.ExpiresAt = time.Now().Add(ttl).UTC().Format(time.RFC3339Nano)
			}
			out, err := a.client.UpdateToken(ctx, args[0], args[1], in, a.options()...)
			if err != nil {
				return err
			}
			a.warn(out.Change)
			t := &table{head: []string{"ID", "LABEL", "EXPIRES"}}
			t.add(out.Token.ID, out.Token.Label, timeOr(out.Token.ExpiresAt, "never"))
			return a.print(out, t)
		})
	c.Flags().StringVar(&label, "label", "", "a note beside the token, at most 128 bytes")
	c.Flags().StringVar(&expires, "expires", "", "when it expires: a duration from now, a time (RFC 3339), or never")
	return c
}

func (p *program) tokenRotate() *cobra.Command {
	var secret, label string
	var overlap time.Duration
	c := p.adminCommand("rotate NAMESPACE ID", "Put a new token in another's place; its secret is shown this once", cobra.ExactArgs(2), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			flags := tokenFlags{secret: secret, label: label}
			token, err := flags.token(a.stdin)
			if err != nil {
				return err
			}
			in := adminapi.RotateToken{OverlapMs: overlap.Milliseconds(), Secret: token.Secret, Label: label}
			out, err := a.client.RotateToken(ctx, args[0], args[1], in, a.options()...)
			if err != nil {
				return err
			}
			a.warn(out.Change)
			t := &table{head: []string{"NAMESPACE", "ID", "ROLE", "TOKEN"}}
			t.add(out.Token.Namespace, out.Token.ID, out.Token.Role, out.Token.Secret)
			return a.print(out, t)
		})
	c.Flags().DurationVar(&overlap, "overlap", 0, "how long the old token works on, at most 2160h; 0s: it ends at once")
	c.Flags().StringVar(&secret, "secret", "", "the new token's secret, 16 to 512 bytes; - reads it from a line of stdin (default: one is made)")
	c.Flags().StringVar(&label, "label", "", "a note beside the token, at most 128 bytes (default: the old one's)")
	return c
}

func (p *program) tokenRevoke() *cobra.Command {
	return p.adminCommand("revoke NAMESPACE ID", "Revoke a token and end its sessions", cobra.ExactArgs(2), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			out, err := a.client.RevokeToken(ctx, args[0], args[1], a.options()...)
			if err != nil {
				return err
			}
			a.warn(out)
			t := &table{head: []string{"REVOKED", "REVISION"}}
			t.add(args[1], out.Revision)
			return a.print(out, t)
		})
}
