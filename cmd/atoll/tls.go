package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/rpc/adminapi"
)

func (p *program) tlsCommand() *cobra.Command {
	c := group("tls", "Look at the certificates of the cluster's nodes, and replace their authority",
		p.tlsShow(), p.tlsRenew(), p.tlsFinish())
	c.Long = c.Short + `.
The authority is made with the cluster, and nodes renew their certificates by themselves: there is nothing to do until it is to be
replaced, because a metadata node was removed or its disk is lost, or a key may be known. Nothing is stopped for it:

  atoll tls renew     makes another authority; every node renews its certificate, and both are trusted
  atoll tls show      tells which nodes have not renewed: start what is down, remove what won't come back
  atoll tls finish    takes the trust from the old one; connections by its certificates are cut within seconds

Remove a metadata node before tls renew: what still takes part then learns the next authority, too. A node that is locked out comes
back, with its data, by a new join token (atoll node invite --for its id).`
	return c
}

func (p *program) tlsShow() *cobra.Command {
	return p.adminCommand("show", "Show the certificate authority, and whose certificates are of it", cobra.NoArgs, nil,
		func(ctx context.Context, a *adminCall, _ []string) error {
			out, err := a.client.Authority(ctx)
			if err != nil {
				return err
			}
			return a.printAuthority(out, out)
		})
}

func (p *program) tlsRenew() *cobra.Command {
	c := p.adminCommand("renew", "Begin to replace the certificate authority", cobra.NoArgs, []string{"wait"},
		func(ctx context.Context, a *adminCall, _ []string) error {
			out, err := a.client.BeginAuthority(ctx, a.options()...)
			if err != nil {
				return err
			}
			a.warn(out.Change)
			return a.printAuthority(out, out.Authority)
		})
	c.Long = c.Short + ".\nEvery node renews its certificate by the next one at once, by itself, or when it is back. Both are trusted until atoll tls finish, which may take its time. Join tokens work on until then."
	return c
}

func (p *program) tlsFinish() *cobra.Command {
	var force bool
	c := p.adminCommand("finish", "Take the trust from the certificate authority that is being replaced", cobra.NoArgs, []string{"wait"},
		func(ctx context.Context, a *adminCall, _ []string) error {
			out, err := a.client.FinishAuthority(ctx, adminapi.FinishAuthority{Force: force}, a.options()...)
			if err != nil {
				return err
			}
			a.warn(out.Change)
			return a.printAuthority(out, out.Authority)
		})
	c.Long = c.Short + ".\nIt is refused while nodes have not renewed, and names them. Join tokens that are open are void: make others."
	c.Flags().BoolVar(&force, "force", false, "also if that locks nodes out, which have to be invited again")
	return c
}

// printAuthority prints an answer about an authority.
func (a *adminCall) printAuthority(answer any, of adminapi.Authority) error {
	if a.text("output") == "json" {
		return a.print(answer, nil)
	}
	t := &table{head: []string{"AUTHORITY", "SHA256", "CREATED", "ENDS"}}
	t.add(adminapi.AuthorityCurrent, of.Certificate.SHA256, of.Certificate.CreatedAt, of.Certificate.NotAfter)
	if of.Next != nil {
		t.add(adminapi.AuthorityNext, of.Next.SHA256, of.Next.CreatedAt, of.Next.NotAfter)
	}
	if err := a.print(nil, t); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	nodes := &table{head: []string{"NODE", "ROLES", "CERTIFICATE"}}
	var removed []string
	for _, n := range of.Nodes {
		nodes.add(n.ID, strings.Join(n.Roles, ","), n.Certificate)
		if n.Removed {
			removed = append(removed, n.ID)
		}
	}
	if err := a.print(nil, nodes); err != nil {
		return err
	}
	a.tellAuthority(of, removed)
	return nil
}

// tellAuthority says on stderr what is left to do.
func (a *adminCall) tellAuthority(of adminapi.Authority, removed []string) {
	late := strings.Join(of.Unrenewed, ", ")
	switch {
	case of.Next != nil && late != "":
		fmt.Fprintf(a.stderr, "atoll: not renewed yet: %s\n", late)
	case of.Next != nil:
		fmt.Fprintln(a.stderr, "atoll: every node has renewed: go on with atoll tls finish")
	case late != "":
		fmt.Fprintf(a.stderr, "atoll: locked out: %s; invite them again (atoll node invite --for ID), or remove them\n", late)
	}
	if len(removed) > 0 {
		fmt.Fprintf(a.stderr, "atoll: removed, with a certificate that is good until the authority is replaced: %s\n", strings.Join(removed, ", "))
	}
}
