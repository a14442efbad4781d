package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/rpc/adminapi"
)

func (p *program) tokenCommand() *cobra.Command {
	return group("token", "Manage the tokens of a namespace", p.tokenCreate(), p.tokenList(), p.tokenRevoke())
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
			return a.print(list.Tokens, tokenTable(list.Tokens))
		})
}

func tokenTable(list []adminapi.Token) *table {
	t := &table{head: []string{"ID", "ROLE", "LABEL", "CREATED", "EXPIRES"}}
	for _, token := range list {
		expires := any("never")
		if token.ExpiresAt != nil {
			expires = *token.ExpiresAt
		}
		t.add(token.ID, token.Role, token.Label, token.CreatedAt, expires)
	}
	return t
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
