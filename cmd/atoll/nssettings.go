package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/atolldb/atoll/rpc/adminapi"
)

// settingFlags are the labels and limits of a namespace.
type settingFlags struct {
	labels, limits []string
}

func (f *settingFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.labels, "label", nil, "a label, KEY=VALUE; in an update KEY- removes it; may be repeated")
	flags.StringArrayVar(&f.limits, "limit", nil, "a limit, NAME=HARD[:SOFT] or NAME=none, of keys, bytes, connections, commands_per_second,\n"+
		"in_bytes_per_second, out_bytes_per_second or value_bytes; sizes as 10GiB, HARD 0 for a soft one alone; may be repeated")
}

// create puts the flags into a creation.
func (f *settingFlags) create(in *adminapi.CreateNamespace) error {
	var update adminapi.UpdateNamespace
	if err := f.update(&update); err != nil {
		return err
	}
	for key, value := range update.Labels {
		if value == nil {
			return fmt.Errorf("--label %s-: a new namespace has no label to remove", key)
		}
		if in.Labels == nil {
			in.Labels = map[string]string{}
		}
		in.Labels[key] = *value
	}
	for name, limit := range update.Limits {
		if limit == nil {
			continue
		}
		if in.Limits == nil {
			in.Limits = map[string]adminapi.SetLimit{}
		}
		in.Limits[name] = *limit
	}
	return nil
}

// update puts the flags into a change.
func (f *settingFlags) update(in *adminapi.UpdateNamespace) error {
	for _, label := range f.labels {
		if in.Labels == nil {
			in.Labels = map[string]*string{}
		}
		key, value, set := strings.Cut(label, "=")
		removed, remove := strings.CutSuffix(key, "-")
		if !set && remove {
			key = removed
		} else if !set {
			return fmt.Errorf("--label %q: it takes KEY=VALUE, or KEY- to remove it", label)
		}
		if _, twice := in.Labels[key]; twice {
			return fmt.Errorf("--label %s comes twice", key)
		}
		in.Labels[key] = nil
		if set {
			in.Labels[key] = &value
		}
	}
	for _, limit := range f.limits {
		if in.Limits == nil {
			in.Limits = map[string]*adminapi.SetLimit{}
		}
		name, text, ok := strings.Cut(limit, "=")
		if _, twice := in.Limits[name]; twice {
			return fmt.Errorf("--limit %s comes twice", name)
		}
		bound, err := parseLimit(text)
		if err != nil || !ok {
			return fmt.Errorf("--limit %q: it takes NAME=HARD[:SOFT] or NAME=none", limit)
		}
		in.Limits[name] = bound
	}
	return nil
}

// parseLimit reads HARD[:SOFT]; nil is none.
func parseLimit(text string) (*adminapi.SetLimit, error) {
	if text == "none" {
		return nil, nil
	}
	hardText, softText, both := strings.Cut(text, ":")
	hard, err := parseSize(hardText)
	if err != nil {
		return nil, err
	}
	limit := &adminapi.SetLimit{Hard: uint64(hard)}
	if both {
		soft, err := parseSize(softText)
		if err != nil {
			return nil, err
		}
		limit.Soft = uint64(soft)
	}
	return limit, nil
}

func onOff(what, word string) (bool, error) {
	switch word {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return false, fmt.Errorf("%s: %q is neither on nor off", what, word)
}

func (p *program) nsRename() *cobra.Command {
	return p.adminCommand("rename OLD NEW", "Rename a namespace: its id, data and tokens stay", cobra.ExactArgs(2), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			if args[1] == "" {
				return errors.New("NEW is empty: it takes the new name")
			}
			return a.updateNamespace(ctx, args[0], adminapi.UpdateNamespace{Name: args[1]})
		})
}

func (p *program) nsSuspend() *cobra.Command {
	return p.adminCommand("suspend NAME", "Suspend a namespace: no session gets in, and none stays", cobra.ExactArgs(1), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			on := true
			return a.updateNamespace(ctx, args[0], adminapi.UpdateNamespace{Suspended: &on})
		})
}

func (p *program) nsResume() *cobra.Command {
	return p.adminCommand("resume NAME", "End a namespace's suspension", cobra.ExactArgs(1), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			off := false
			return a.updateNamespace(ctx, args[0], adminapi.UpdateNamespace{Suspended: &off})
		})
}

func (p *program) nsReadOnly() *cobra.Command {
	return p.adminCommand("read-only NAME on|off", "Refuse a namespace's writes, or take them again", cobra.ExactArgs(2), []string{"wait"},
		func(ctx context.Context, a *adminCall, args []string) error {
			on, err := onOff("read-only", args[1])
			if err != nil {
				return err
			}
			return a.updateNamespace(ctx, args[0], adminapi.UpdateNamespace{ReadOnly: &on})
		})
}

// describeNamespace returns everything about one namespace, a line each.
func describeNamespace(n adminapi.Namespace) *table {
	t := &table{head: []string{"FIELD", "VALUE"}}
	t.add("name", n.Name)
	t.add("id", n.ID)
	t.add("state", n.State)
	t.add("read-only", n.ReadOnly)
	t.add("durability", n.Durability)
	for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
		t.add("label "+key, n.Labels[key])
	}
	used := usedOf(n.Usage)
	for _, name := range []string{"keys", "bytes", "connections", "commands_per_second", "in_bytes_per_second", "out_bytes_per_second", "value_bytes"} {
		limit, limited := n.Limits[name]
		use, told := used[name]
		if !told && !limited {
			continue
		}
		value := use
		if !told {
			value = "-"
		}
		if limited {
			value += " of " + describeLimit(limit)
		}
		t.add(name, value)
	}
	if n.Usage != nil {
		t.add("limited commands", n.Usage.Limited)
		t.add("over soft limits", n.Usage.OverSoft)
	}
	t.add("created", n.CreatedAt)
	t.add("modified", n.ModifiedAt)
	t.add("revision", n.ModifiedRevision)
	return t
}

func describeLimit(l adminapi.Limit) string {
	switch {
	case l.Hard == 0:
		return fmt.Sprintf("%d (soft)", l.Soft)
	case l.Soft == 0:
		return strconv.FormatUint(l.Hard, 10)
	}
	return fmt.Sprintf("%d (soft %d)", l.Hard, l.Soft)
}

// usedOf returns what is used of each limit that has a use.
func usedOf(u *adminapi.NamespaceUsage) map[string]string {
	if u == nil {
		return nil
	}
	used := map[string]string{
		"connections":          strconv.FormatUint(u.Connections, 10),
		"commands_per_second":  strconv.FormatUint(u.CommandsPerSecond, 10),
		"in_bytes_per_second":  strconv.FormatUint(u.InBytesPerSecond, 10),
		"out_bytes_per_second": strconv.FormatUint(u.OutBytesPerSecond, 10),
	}
	if u.Keys != nil {
		used["keys"] = strconv.FormatUint(*u.Keys, 10)
	}
	if u.Bytes != nil {
		used["bytes"] = strconv.FormatUint(*u.Bytes, 10)
	}
	return used
}
