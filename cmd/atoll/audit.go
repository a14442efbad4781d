package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/audit"
)

func (p *program) auditCommand() *cobra.Command {
	return group("audit", "See who changed what of the metadata", p.auditList(), p.auditFollow(), p.auditVerify())
}

func (p *program) auditList() *cobra.Command {
	var filter adminapi.AuditFilter
	c := p.adminCommand("list", "List changes, the newest last", cobra.NoArgs, nil, func(ctx context.Context, a *adminCall, _ []string) error {
		list, err := a.client.Audit(ctx, filter)
		if err != nil {
			return err
		}
		t := &table{head: []string{"REVISION", "TIME", "ACTOR", "FROM", "ACTION", "CHANGES"}}
		for i := range list {
			r := &list[i]
			t.add(r.Revision, r.At, r.Actor, r.Source, r.Action, changesText(r))
		}
		return a.print(list, t)
	})
	c.Flags().IntVar(&filter.Last, "last", 50, "only so many, the newest; 1 to 10000")
	c.Flags().Uint64Var(&filter.After, "after", 0, "only those after this revision")
	c.Flags().StringVar(&filter.Namespace, "namespace", "", "only those of a namespace and its tokens: a name, or the id of a deleted one")
	c.Flags().StringVar(&filter.Actor, "actor", "", "only those by a token or a node: its id")
	return c
}

// changesText is a record's changes in a line. What is longer than a line is in the JSON.
func changesText(r *audit.Record) string {
	const most = 4
	var parts []string
	if r.Action == "record-refusals" { // of several fields each, which say little one by one
		return refusalsText(r)
	}
	for i, c := range r.Changes {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", uint64(len(r.Changes)-most)+r.Omitted))
			break
		}
		parts = append(parts, fmt.Sprintf("%s %s %s: %q to %q", c.Record, c.ID, c.Field, c.Before, c.After))
	}
	return strings.Join(parts, "; ")
}

// refusalsText is what was turned away, by reason.
func refusalsText(r *audit.Record) string {
	var reasons []string
	fields := map[string]map[string]string{}
	for _, c := range r.Changes {
		if fields[c.ID] == nil {
			reasons, fields[c.ID] = append(reasons, c.ID), map[string]string{}
		}
		fields[c.ID][c.Field] = c.After
	}
	for i, reason := range reasons {
		f := fields[reason]
		var text strings.Builder
		text.WriteString(f["count"] + " x " + reason)
		for _, of := range []struct{ word, field string }{{"node", "node_id"}, {"as", "role"}, {"from", "source"}} {
			if f[of.field] != "" {
				text.WriteString(" " + of.word + " " + f[of.field])
			}
		}
		reasons[i] = text.String()
	}
	return strings.Join(reasons, "; ")
}

func (p *program) auditFollow() *cobra.Command {
	var after uint64
	c := p.callingCommand("follow", "Print changes as they happen, until it is interrupted", cobra.NoArgs, nil, func(ctx context.Context, a *adminCall, _ []string) error {
		err := a.client.Events(ctx, after, func(r audit.Record) error {
			if a.text("output") == "json" {
				return json.NewEncoder(a.stdout).Encode(r)
			}
			from := ""
			if r.Source != "" {
				from = " from " + r.Source
			}
			_, err := fmt.Fprintf(a.stdout, "%s %d %s by %s%s: %s\n", r.At.Format("2006-01-02 15:04:05"), r.Revision, r.Action, r.Actor, from, changesText(&r))
			return err
		})
		if ctx.Err() != nil {
			return nil // as asked
		}
		return err
	})
	c.Flags().Uint64Var(&after, "after", 0, "begin with the first change after this revision; 0: with what is to come")
	return c
}

func (p *program) auditVerify() *cobra.Command {
	c := p.adminCommand("verify", "Check that no record of a change was changed or taken out", cobra.NoArgs, nil, func(ctx context.Context, a *adminCall, _ []string) error {
		list, err := a.client.Audit(ctx, adminapi.AuditFilter{})
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return errors.New("there are no records")
		}
		if i := audit.Verify(list); i >= 0 {
			return fmt.Errorf("the record of revision %d was changed, or one before it was taken out: compare with another node's, and with what audit follow has printed", list[i].Revision)
		}
		last := list[len(list)-1]
		t := &table{head: []string{"RECORDS", "FIRST", "LAST", "HASH"}}
		t.add(len(list), list[0].Revision, last.Revision, last.Hash)
		return a.print(map[string]any{"records": len(list), "first": list[0].Revision, "last": last.Revision, "hash": last.Hash}, t)
	})
	c.Long = c.Short + `.

Each record's hash covers the one before it. The last 10,000 are kept: note the hash of the last one elsewhere, or keep
what audit follow -o json prints, and no later change of the past can stay unseen.`
	return c
}
