package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/rpc/adminapi"
)

func (p *program) metaList() *cobra.Command {
	return p.adminCommand("list", "List the metadata nodes", cobra.NoArgs, nil, func(ctx context.Context, a *adminCall, _ []string) error {
		c, err := a.client.Cluster(ctx)
		if err != nil {
			return err
		}
		t := &table{head: []string{"ID", "ROLE", "CLUSTER", "HTTP"}}
		for _, v := range c.Voters {
			role := "follower"
			if v.ID == c.LeaderID {
				role = "leader"
			}
			t.add(v.ID, role, v.ClusterAddr, v.HTTPAddr)
		}
		return a.print(c.Voters, t)
	})
}

func (p *program) metaRemove() *cobra.Command {
	c := p.adminCommand("remove ID", "Take a stopped metadata node out of the cluster", cobra.ExactArgs(1), nil, func(ctx context.Context, a *adminCall, args []string) error {
		out, err := a.client.RemoveMetadataNode(ctx, args[0])
		if err != nil {
			return err
		}
		t := &table{head: []string{"REMOVED", "REVISION"}}
		t.add(args[0], out.Revision)
		return a.print(out, t)
	})
	c.Long = c.Short + ".\nIt must not answer any more, and a majority of the others must. A metadata node is added by starting it with --join.\nIts certificate is good until the authority is replaced: see atoll tls."
	return c
}

func (p *program) metaTransfer() *cobra.Command {
	return p.adminCommand("transfer [ID]", "Have another metadata node lead", cobra.MaximumNArgs(1), nil, func(ctx context.Context, a *adminCall, args []string) error {
		var in adminapi.Transfer
		if len(args) > 0 {
			in.Target = args[0]
		}
		if _, err := a.client.TransferLeadership(ctx, in); err != nil {
			return err
		}
		c, err := a.client.Cluster(ctx)
		if err != nil {
			return err
		}
		t := &table{head: []string{"LEADER"}}
		t.add(c.LeaderID)
		return a.print(map[string]string{"leader_id": c.LeaderID}, t)
	})
}

func (p *program) nodeRemove() *cobra.Command {
	c := p.adminCommand("remove ID", "Forget a stopped data node", cobra.ExactArgs(1), []string{"wait"}, func(ctx context.Context, a *adminCall, args []string) error {
		out, err := a.client.RemoveNode(ctx, args[0], a.options()...)
		if err != nil {
			return err
		}
		a.warn(out)
		t := &table{head: []string{"REMOVED", "REVISION"}}
		t.add(args[0], out.Revision)
		return a.print(out, t)
	})
	c.Long = c.Short + ": nobody waits for it any more, and nobody asks it to purge. The primary can't be removed: drain it first."
	return c
}

// nodeDrain makes a node one that can be stopped: a replica that leads nothing.
func (p *program) nodeDrain() *cobra.Command {
	c := p.adminCommand("drain ID", "Move the primary away from a data node, so that it can be stopped", cobra.ExactArgs(1), nil,
		func(ctx context.Context, a *adminCall, args []string) error {
			list, err := a.client.Nodes(ctx)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(list.Nodes, func(n adminapi.Node) bool { return n.ID == args[0] })
			if i < 0 {
				return fmt.Errorf("node %q was not found: see node list", args[0])
			}
			node := list.Nodes[i]
			if node.Role != "primary" {
				fmt.Fprintf(a.stderr, "atoll: %s is no primary: it can be stopped\n", node.ID)
				return a.print(node, nodeTable(list.Nodes[i:i+1]))
			}
			target, err := successor(list.Nodes, node)
			if err != nil {
				return err
			}
			begun, err := a.client.Promote(ctx, node.Group, adminapi.Promote{Target: target}, newKey())
			if err != nil {
				return err
			}
			g, err := a.awaitPromotion(ctx, begun)
			if err != nil {
				return err
			}
			return a.print(g, groupTable(g))
		})
	c.Long = c.Short + ".\nThe live replica that has applied most becomes the primary; nothing that was acknowledged is lost."
	return c
}

// successor returns the replica of a primary's group that is nearest to it.
func successor(nodes []adminapi.Node, primary adminapi.Node) (string, error) {
	candidates := slices.DeleteFunc(slices.Clone(nodes), func(n adminapi.Node) bool {
		return n.Group != primary.Group || n.Role != "replica" || !n.Live || n.Report == nil || n.Report.State != "serving"
	})
	if len(candidates) == 0 {
		return "", fmt.Errorf("group %d has no live replica that serves: node %q can't be drained", primary.Group, primary.ID)
	}
	return slices.MaxFunc(candidates, func(x, y adminapi.Node) int { return cmp.Compare(x.Report.AppliedIndex, y.Report.AppliedIndex) }).ID, nil
}
