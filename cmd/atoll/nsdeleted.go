package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/rpc/adminapi"
)

func (p *program) nsDelete() *cobra.Command {
	var now bool
	c := p.adminCommand("delete NAME", "Delete a namespace with its tokens, and its data when its grace is over", cobra.ExactArgs(1), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			options := a.options()
			if now {
				options = append(options, adminapi.AtOnce())
			}
			out, err := a.client.DeleteNamespace(ctx, args[0], options...)
			if err != nil {
				return err
			}
			return a.printDeleted(args[0], out)
		})
	c.Long = c.Short + ".\nIts sessions end and its name is free at once. Until the servers' delete-grace is over, ns undelete brings it back."
	c.Flags().BoolVar(&now, "now", false, "no grace: its data is deleted at once, and nothing brings it back")
	return c
}

// printDeleted prints what a deletion or a purge has made of a namespace.
func (a *adminCall) printDeleted(name string, out adminapi.DeletedNamespaceReply) error {
	a.warn(out.Change)
	t := &table{head: []string{"DELETED", "REVISION", "PURGE AT"}}
	t.add(name, out.Revision, purgeTime(out.Namespace))
	return a.print(out, t)
}

// purgeTime says when a deleted namespace's data is deleted; nil is one that every node has purged.
func purgeTime(d *adminapi.DeletedNamespace) any {
	if d == nil || d.PurgeAt == nil {
		return "now"
	}
	return *d.PurgeAt
}

func (a *adminCall) listDeleted(ctx context.Context) error {
	list, err := a.client.DeletedNamespaces(ctx)
	if err != nil {
		return err
	}
	t := &table{head: []string{"NAME", "ID", "STATE", "PURGE AT", "WAITING FOR"}}
	for _, d := range list {
		t.add(d.Name, d.ID, d.State, purgeTime(&d), d.WaitingFor)
	}
	return a.print(list, t)
}

func (p *program) nsUndelete() *cobra.Command {
	flags := tokenFlags{first: true}
	var name string
	var noToken bool
	var c *cobra.Command
	c = p.adminCommand("undelete NAME-or-ID", "Bring a deleted namespace back in its grace, with a new first token", cobra.ExactArgs(1), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			in := adminapi.Undelete{Name: name}
			var err error
			if in.Token, err = flags.firstToken(c.Flags(), noToken, a.stdin); err != nil {
				return err
			}
			id, err := a.deletedID(ctx, args[0])
			if err != nil {
				return err
			}
			out, err := a.client.UndeleteNamespace(ctx, id, in, a.options()...)
			if err != nil {
				return err
			}
			return a.printCreated(out)
		})
	c.Long = c.Short + ".\nA NAME that is a number is taken for an ID; its old tokens stay revoked."
	flags.add(c.Flags())
	c.Flags().StringVar(&name, "as", "", "a new name (default: the one that it had)")
	c.Flags().BoolVar(&noToken, "no-token", false, "make no token")
	return c
}

// deletedID returns the id of the one namespace in grace of a name, or the id that was given.
func (a *adminCall) deletedID(ctx context.Context, nameOrID string) (uint64, error) {
	if id, err := strconv.ParseUint(nameOrID, 10, 64); err == nil && id > 0 {
		return id, nil
	}
	list, err := a.client.DeletedNamespaces(ctx)
	if err != nil {
		return 0, err
	}
	var id uint64
	for _, d := range list {
		if d.Name != nameOrID || d.State != adminapi.StateInGrace {
			continue
		}
		if id != 0 {
			return 0, fmt.Errorf("several deleted namespaces had the name %q: give an id of ns list --deleted", nameOrID)
		}
		id = d.ID
	}
	if id == 0 {
		return 0, fmt.Errorf("no namespace in grace has the name %q: see ns list --deleted", nameOrID)
	}
	return id, nil
}

func (p *program) nsPurge() *cobra.Command {
	return p.adminCommand("purge ID", "End a deleted namespace's grace: its data is deleted at once", cobra.ExactArgs(1), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil || id == 0 {
				return fmt.Errorf("ID %q is not a number: see ns list --deleted", args[0])
			}
			out, err := a.client.PurgeNamespace(ctx, id, a.options()...)
			if err != nil {
				return err
			}
			name := args[0]
			if out.Namespace != nil {
				name = out.Namespace.Name
			}
			return a.printDeleted(name, out)
		})
}
