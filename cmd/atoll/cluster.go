package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// promotionPoll is how often group promote looks whether the promotion has ended.
const promotionPoll = 50 * time.Millisecond

func (p *program) nodeCommand() *cobra.Command {
	return group("node", "Look at data nodes, drain and remove them, and invite nodes",
		p.nodeInvite(), p.nodeInvites(), p.nodeUninvite(),
		p.adminCommand("list", "List the data nodes", cobra.NoArgs, nil, func(ctx context.Context, a *adminCall, _ []string) error {
			list, err := a.client.Nodes(ctx)
			if err != nil {
				return err
			}
			return a.print(list.Nodes, nodeTable(list.Nodes))
		}),
		p.adminCommand("show ID", "Show a data node", cobra.ExactArgs(1), nil, func(ctx context.Context, a *adminCall, args []string) error {
			n, err := a.client.Node(ctx, args[0])
			if err != nil {
				return err
			}
			return a.print(n, nodeDetails(n))
		}),
		p.nodeDrain(), p.nodeRemove())
}

func nodeTable(list []adminapi.Node) *table {
	t := &table{head: []string{"ID", "ROLE", "STATE", "RESP", "CLUSTER", "VIEW", "APPLIED", "KEYS"}}
	for _, n := range list {
		r := reportOf(n)
		t.add(n.ID, n.Role, nodeState(n), n.RESPAddr, n.ClusterAddr, r.ViewRevision, r.AppliedIndex, r.Keys)
	}
	return t
}

func reportOf(n adminapi.Node) adminapi.NodeReport {
	if n.Report == nil {
		return adminapi.NodeReport{State: "unknown"}
	}
	return *n.Report
}

// nodeState returns what a node says of itself, or that it says nothing any more.
func nodeState(n adminapi.Node) string {
	if !n.Live {
		return "silent"
	}
	return reportOf(n).State
}

func nodeDetails(n adminapi.Node) *table {
	r := reportOf(n)
	t := &table{head: []string{"FIELD", "VALUE"}}
	t.add("id", n.ID)
	t.add("role", n.Role)
	t.add("group", n.Group)
	t.add("state", nodeState(n))
	t.add("note", r.Note)
	t.add("resp address", n.RESPAddr)
	t.add("cluster address", n.ClusterAddr)
	t.add("version", n.Version)
	t.add("incarnation", n.Incarnation)
	t.add("registered", n.RegisteredAt)
	t.add("last report", time.Duration(r.AgeMs)*time.Millisecond)
	t.add("view revision", r.ViewRevision)
	t.add("history", r.Written.HistoryID)
	t.add("epoch", r.Written.Epoch)
	t.add("written index", r.Written.Index)
	t.add("synced index", r.SyncedIndex)
	t.add("commit index", r.CommitIndex)
	t.add("applied index", r.AppliedIndex)
	t.add("keys", r.Keys)
	t.add("bytes", r.Bytes)
	return t
}

func (p *program) groupCommand() *cobra.Command {
	status := p.adminCommand("status", "Show the groups", cobra.NoArgs, nil, func(ctx context.Context, a *adminCall, _ []string) error {
		list, err := a.client.Groups(ctx)
		if err != nil {
			return err
		}
		return a.print(list.Groups, groupTable(list.Groups...))
	})
	return group("group", "Look at groups and move their primaries", status, p.groupPromote())
}

func groupTable(list ...adminapi.Group) *table {
	t := &table{head: []string{"GROUP", "PRIMARY", "REPLICAS", "EPOCH", "PROMOTING"}}
	for _, g := range list {
		target := ""
		if g.Promotion != nil {
			target = g.Promotion.Target
		}
		t.add(g.ID, g.Primary, g.Replicas, g.Epoch, target)
	}
	return t
}

func (p *program) groupPromote() *cobra.Command {
	var acceptLoss bool
	c := p.adminCommand("promote GROUP NODE", "Make a replica the primary", cobra.ExactArgs(2), nil,
		func(ctx context.Context, a *adminCall, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 32)
			if err != nil {
				return fmt.Errorf("%q is not a group's number", args[0])
			}
			in := adminapi.Promote{Target: args[1], AcceptLoss: acceptLoss}
			out, err := a.client.Promote(ctx, uint32(id), in, newKey())
			if err != nil {
				return err
			}
			g, err := a.awaitPromotion(ctx, out)
			if err != nil {
				return err
			}
			return a.print(g, groupTable(g))
		})
	c.Flags().BoolVar(&acceptLoss, "accept-loss", false, "don't wait for the primary, which may be gone: what the node has not applied is lost")
	return c
}

// awaitPromotion follows a promotion that has begun to its end. The metadata service may be away or busy
// for a while: that says nothing about the promotion.
func (a *adminCall) awaitPromotion(ctx context.Context, begun adminapi.PromoteReply) (adminapi.Group, error) {
	tick := time.NewTicker(promotionPoll)
	defer tick.Stop()
	g := begun.Group
	target := g.Primary
	var err error
	for g.Promotion != nil {
		target = g.Promotion.Target
		select {
		case <-ctx.Done():
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return g, fmt.Errorf("the promotion of %s may still be under way: see group status; last, %w", target, err)
			}
			return g, fmt.Errorf("the promotion of %s is still under way: see group status", target)
		case <-tick.C:
		}
		var list adminapi.GroupList
		list, err = a.client.Groups(ctx)
		if p, ok := errors.AsType[*adminapi.Problem](err); ok && !passing(p) {
			return g, fmt.Errorf("follow the promotion of %s: %w", target, err)
		}
		for _, found := range list.Groups {
			if found.ID == begun.Group.ID {
				g = found
			}
		}
	}
	if g.Primary != target {
		return g, fmt.Errorf("the promotion of %s was given up: %s is still the primary, and nothing is lost", target, g.Primary)
	}
	return g, nil
}

// passing reports whether a refusal says only that the metadata service is away or busy.
func passing(p *adminapi.Problem) bool {
	return p.Status >= http.StatusInternalServerError || p.Status == http.StatusTooManyRequests
}

// status is what the status command prints as JSON.
type status struct {
	Cluster adminapi.Cluster `json:"cluster"`
	Groups  []adminapi.Group `json:"groups"`
	Nodes   []adminapi.Node  `json:"nodes"`
}

func (p *program) statusCommand() *cobra.Command {
	return p.adminCommand("status", "Show the cluster, its groups and nodes", cobra.NoArgs, nil, func(ctx context.Context, a *adminCall, _ []string) error {
		cluster, err := a.client.Cluster(ctx)
		if err != nil {
			return err
		}
		groups, err := a.client.Groups(ctx)
		if err != nil {
			return err
		}
		nodes, err := a.client.Nodes(ctx)
		if err != nil {
			return err
		}
		if a.text("output") == "json" {
			return a.print(status{cluster, groups.Groups, nodes.Nodes}, nil)
		}
		t := &table{head: []string{"CLUSTER", "REVISION", "LEADER", "VOTERS"}}
		t.add(cluster.ClusterID, cluster.Revision, cluster.LeaderID, len(cluster.Voters))
		for _, t := range []*table{t, groupTable(groups.Groups...), nodeTable(nodes.Nodes)} {
			if err := a.print(nil, t); err != nil {
				return err
			}
			fmt.Fprintln(a.stdout)
		}
		return nil
	})
}
