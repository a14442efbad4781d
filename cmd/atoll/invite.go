package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/rpc/adminapi"
)

func (p *program) nodeInvite() *cobra.Command {
	var role, nodeID string
	var ttl time.Duration
	var uses uint32
	var quiet bool
	c := p.adminCommand("invite", "Make a join token, which lets new nodes into the cluster; it is shown this once", cobra.NoArgs, nil,
		func(ctx context.Context, a *adminCall, _ []string) error {
			if ttl < time.Millisecond || ttl > adminapi.InviteTTLMax {
				return fmt.Errorf("--ttl: %v is out of bounds: it takes 1ms to %v", ttl, adminapi.InviteTTLMax)
			}
			if uses < 1 {
				return errors.New("--uses: it takes 1 to 100")
			}
			in := adminapi.CreateInvite{Role: role, TTLMs: ttl.Milliseconds(), Uses: uses, NodeID: nodeID}
			out, err := a.client.CreateInvite(ctx, in, newKey())
			if err != nil {
				return err
			}
			if quiet {
				_, err := fmt.Fprintln(a.stdout, out.JoinToken)
				return err
			}
			t := &table{head: []string{"ID", "ROLE", "USES", "EXPIRES", "JOIN TOKEN"}}
			t.add(out.Invite.ID, out.Invite.Role, out.Invite.UsesMax, out.Invite.ExpiresAt, out.JoinToken)
			return a.print(out, t)
		})
	flags := c.Flags()
	flags.StringVar(&role, "role", adminapi.InviteData, "what the nodes may be: data, meta or server, which is any of them")
	flags.DurationVar(&ttl, "ttl", time.Hour, "how long the token is good, at most a year")
	flags.Uint32Var(&uses, "uses", 1, "how many nodes may use it, at most 100")
	flags.StringVar(&nodeID, "for", "", "id of the one node that may use it; it may take the place of a node whose key is lost")
	flags.BoolVarP(&quiet, "quiet", "q", false, "print the token alone")
	return c
}

func (p *program) nodeInvites() *cobra.Command {
	return p.adminCommand("invites", "List the invitations", cobra.NoArgs, nil, func(ctx context.Context, a *adminCall, _ []string) error {
		list, err := a.client.Invites(ctx)
		if err != nil {
			return err
		}
		t := &table{head: []string{"ID", "ROLE", "FOR", "USED", "USES", "CREATED", "EXPIRES"}}
		for _, i := range list {
			t.add(i.ID, i.Role, i.NodeID, i.Uses, i.UsesMax, i.CreatedAt, i.ExpiresAt)
		}
		return a.print(list, t)
	})
}

func (p *program) nodeUninvite() *cobra.Command {
	return p.adminCommand("uninvite ID", "Take an invitation back; nodes that have used it stay", cobra.ExactArgs(1), nil,
		func(ctx context.Context, a *adminCall, args []string) error {
			out, err := a.client.DeleteInvite(ctx, args[0], newKey())
			if err != nil {
				return err
			}
			t := &table{head: []string{"DELETED", "REVISION"}}
			t.add(args[0], out.Revision)
			return a.print(out, t)
		})
}
